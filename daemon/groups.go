// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/collector"
)

const (
	// maxTreeGroups bounds the cgroups whose names a trace knows.
	maxTreeGroups = 1 << 16
	// treePause is between two walks in search of names that are not known.
	treePause = time.Second
	// maxCandidates are named where a name stands for several cgroups.
	maxCandidates = 8
	// removedGroup stands for a cgroup that is gone before it could be named.
	removedGroup = "(removed)"
)

// cgroupTree is the v2 hierarchy by name and id, for one goroutine. Where there
// is none its root is empty: it then knows no names.
type cgroupTree struct {
	root  string
	names map[uint64]string
	next  time.Time // of the earliest next walk
}

// openCgroupTree finds the hierarchy; hybrid machines have it beside those of
// version 1.
func openCgroupTree() (*cgroupTree, error) {
	root, err := collector.CgroupRoot("/proc")
	if err != nil && !errors.Is(err, collector.ErrNoCgroups) {
		return nil, err
	}
	return &cgroupTree{root: root, names: make(map[uint64]string)}, nil
}

// walk calls fn with each cgroup's name, until it returns false.
func (t *cgroupTree) walk(fn func(name string, id uint64) bool) {
	if t.root == "" {
		return
	}
	seen := 0
	_ = filepath.WalkDir(t.root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // removed meanwhile, or not ours to read
		}
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil {
			return nil
		}
		if seen++; seen > maxTreeGroups || !fn(path.Join("/", strings.TrimPrefix(dir, t.root)), st.Ino) {
			return fs.SkipAll
		}
		return nil
	})
}

// name is the path of a cgroup below the root.
func (t *cgroupTree) name(id uint64) string {
	if name, ok := t.names[id]; ok {
		return name
	}
	if now := time.Now(); now.After(t.next) {
		if len(t.names) >= maxTreeGroups {
			clear(t.names)
		}
		t.walk(func(name string, id uint64) bool { t.names[id] = name; return true })
		t.next = now.Add(treePause)
	}
	if name, ok := t.names[id]; ok {
		return name
	}
	return removedGroup
}

// find returns the ids of cgroups by their names: paths below the root, with or
// without it, or the last element of exactly one.
func (t *cgroupTree) find(names []string) ([]uint64, error) {
	ids := make([]uint64, 0, len(names))
	for _, name := range names {
		id, err := t.findOne(name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (t *cgroupTree) findOne(name string) (uint64, error) {
	if t.root == "" {
		return 0, apiError(api.CodeUnsupported, "there is no cgroup v2 hierarchy to choose %q from", name)
	}
	clean := path.Clean("/" + strings.TrimPrefix(name, t.root))
	var st unix.Stat_t
	switch err := unix.Stat(t.root+clean, &st); {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return st.Ino, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR):
		return 0, apiError(api.CodeBadRequest, "cgroup %s: %v", clean, err)
	case strings.Contains(strings.Trim(name, "/"), "/"):
		return 0, apiError(api.CodeBadRequest, "there is no cgroup %s; paths are those below %s", clean, t.root)
	}
	last := path.Base(clean)
	var found []string
	var id uint64
	t.walk(func(name string, ino uint64) bool {
		if path.Base(name) == last {
			found, id = append(found, name), ino
		}
		return true
	})
	switch {
	case len(found) == 1:
		return id, nil
	case len(found) == 0:
		return 0, apiError(api.CodeBadRequest, "there is no cgroup %s, nor one below %s with that last part of its path", last, t.root)
	}
	slices.Sort(found)
	more := ""
	if n := len(found) - maxCandidates; n > 0 {
		found, more = found[:maxCandidates], fmt.Sprintf(", and %d more", n)
	}
	return 0, apiError(api.CodeBadRequest, "%s stands for several cgroups: %s%s; give the path of one", last, strings.Join(found, ", "), more)
}
