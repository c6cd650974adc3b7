// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

const (
	// maxNames bounds the names kept, of removed cgroups too: about 4 MiB.
	maxNames = 16384
	// walkStep is how many cgroups a walk over the hierarchy looks at in one go,
	// and walkPause the time between two walks: ids that a walk did not find are
	// of cgroups already removed, mostly.
	walkStep  = 512
	walkPause = 5 * time.Second
	// removedName stands for cgroups removed before they could be named.
	removedName = "(removed)"
)

// ErrNoCgroups says that there is no cgroup v2 hierarchy.
var ErrNoCgroups = errors.New("no cgroup v2 hierarchy is mounted")

// cgroups names the cgroups of the v2 hierarchy by their ids, which are the
// inode numbers of their directories. A nil *cgroups knows none.
//
// An id is looked up when it is met first, by asking the kernel for that one
// cgroup, and its name is kept from then on: for late samples of a cgroup that
// was removed, too. That is right for as long as it is kept, because a cgroup of
// version 2 cannot be renamed (only version 1 has a rename operation, see
// cgroup1_rename in kernel/cgroup/cgroup-v1.c), and one that is made anew at
// the same path has another id: the kernel counts a generation in the upper half
// (kernfs_id in include/linux/kernfs.h). Beyond maxNames the names used longest
// ago are forgotten.
type cgroups struct {
	root  string
	dir   int // of root, to open cgroups by id
	names nameCache
	buf   []byte

	walk  bool // opening by id does not work here
	queue []string
	next  time.Time // of the next walk
}

// openCgroups finds the hierarchy: at root, or where mountinfo has it. Without
// one it returns nil and no error.
func openCgroups(procRoot, root string) (*cgroups, error) {
	if root == "" {
		var err error
		if root, err = CgroupRoot(procRoot); err != nil {
			if errors.Is(err, ErrNoCgroups) {
				err = nil
			}
			return nil, err
		}
	}
	dir, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup root %s: %w", root, err)
	}
	return &cgroups{root: root, dir: dir, buf: make([]byte, 4096)}, nil
}

// CgroupRoot returns the mount point of the cgroup v2 hierarchy as the procfs at
// procRoot has it, or [ErrNoCgroups]. Hybrid
// machines have it beside those of version 1.
func CgroupRoot(procRoot string) (string, error) {
	fs, err := procfs.NewFS(procRoot)
	if err != nil {
		return "", fmt.Errorf("open procfs: %w", err)
	}
	mounts, err := fs.GetMounts()
	if err != nil {
		return "", fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			return unescapeMount(m.MountPoint), nil
		}
	}
	return "", ErrNoCgroups
}

// unescapeMount undoes the octal escapes of white space and backslashes that
// the kernel writes into mount points.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (c *cgroups) close() error {
	if c == nil || c.dir < 0 {
		return nil
	}
	err := unix.Close(c.dir)
	c.dir = -1
	return err
}

// name returns the path of a cgroup below the root. Once known it is kept,
// whatever becomes of the cgroup.
func (c *cgroups) name(id uint64) (string, bool) {
	if c == nil {
		return "", false
	}
	if n, ok := c.names.get(id); ok {
		return n, true
	}
	if !c.walk {
		n, err := c.byHandle(id)
		switch {
		case err == nil:
			c.names.put(id, n)
			return n, true
		case errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENOENT):
			if c.isCgroupfs() {
				return "", false // removed meanwhile
			}
		}
		c.walk = true
	}
	c.walkOn(time.Now())
	return c.names.get(id)
}

// nameOr is name with a stand-in.
func (c *cgroups) nameOr(id uint64) string {
	if n, ok := c.name(id); ok {
		return n
	}
	return removedName
}

// nameCache is a map of at most maxNames that forgets what was used longest ago, in
// halves: what is used moves to the young one.
type nameCache struct{ young, old map[uint64]string }

func (n *nameCache) get(id uint64) (string, bool) {
	if s, ok := n.young[id]; ok {
		return s, true
	}
	s, ok := n.old[id]
	if ok {
		n.put(id, s)
	}
	return s, ok
}

func (n *nameCache) put(id uint64, name string) {
	if len(n.young) >= maxNames/2 {
		n.old, n.young = n.young, nil
	}
	if n.young == nil {
		n.young = make(map[uint64]string)
	}
	n.young[id] = name
}

// fileidKernfs is the type of file handles of kernfs, FILEID_KERNFS in
// include/linux/exportfs.h; the handle is the 64-bit id.
const fileidKernfs = 0xfe

// byHandle asks the kernel for the path of an id. It needs
// CAP_DAC_READ_SEARCH.
func (c *cgroups) byHandle(id uint64) (string, error) {
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(c.dir, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(c.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") || strings.HasSuffix(path, " (deleted)") {
		return "", unix.ENOENT
	}
	return filepath.Join("/", rel), nil
}

func (c *cgroups) isCgroupfs() bool {
	var st unix.Statfs_t
	return unix.Fstatfs(c.dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// walkOn names the next walkStep cgroups of a walk over all of them, breadth
// first, and begins another one when it is time.
func (c *cgroups) walkOn(now time.Time) {
	if len(c.queue) == 0 {
		if now.Before(c.next) {
			return
		}
		c.next, c.queue = now.Add(walkPause), []string{"/"}
	}
	for range walkStep {
		if len(c.queue) == 0 {
			return
		}
		name := c.queue[0]
		c.queue = c.queue[1:]
		var st unix.Stat_t
		if unix.Stat(c.path(name), &st) != nil {
			continue
		}
		c.names.put(st.Ino, name)
		entries, err := os.ReadDir(c.path(name))
		if err != nil {
			continue // removed meanwhile, or not ours to read
		}
		for _, e := range entries {
			if e.IsDir() {
				c.queue = append(c.queue, filepath.Join(name, e.Name()))
			}
		}
	}
}

func (c *cgroups) path(name string) string { return c.root + name }

// alive says whether the cgroup of that id still exists.
func (c *cgroups) alive(id uint64, name string) bool {
	if c == nil {
		return false
	}
	var st unix.Stat_t
	return unix.Stat(c.path(name), &st) == nil && st.Ino == id
}

// maxMicros is the longest time in µs that a time.Duration holds.
const maxMicros = int64(^uint64(0)>>1) / int64(time.Microsecond)

// read returns a small file of a cgroup; the bytes are good until the next.
func (c *cgroups) read(name, file string) ([]byte, error) {
	fd, err := unix.Open(c.path(name)+"/"+file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, c.buf)
	if err != nil {
		return nil, err
	}
	return c.buf[:n], nil
}

// cpuStatField finds a value in a flat keyed file such as cpu.stat.
func cpuStatField(b []byte, key string) (uint64, bool) {
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		k, v, ok := bytes.Cut(line, []byte{' '})
		if !ok || string(k) != key {
			continue
		}
		n, err := strconv.ParseUint(string(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}
