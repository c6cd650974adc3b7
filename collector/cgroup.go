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
	// maxNames bounds the names kept, of removed cgroups too.
	maxNames = 4096
	// maxWalk bounds a walk over the hierarchy.
	maxWalk = maxNames
	// walkPause is between two walks: ids that a walk did not find are of
	// cgroups already removed, mostly.
	walkPause = 5 * time.Second
	// removedName stands for cgroups removed before they could be named.
	removedName = "(removed)"
)

// errNoCgroups says that there is no cgroup v2 hierarchy.
var errNoCgroups = errors.New("no cgroup v2 hierarchy is mounted")

// cgroups names the cgroups of the v2 hierarchy by their ids, which are the
// inode numbers of their directories. A nil *cgroups knows none.
type cgroups struct {
	root  string
	dir   int // of root, to open cgroups by id
	names map[uint64]string
	walk  bool // opening by id does not work here
	next  time.Time
	buf   []byte
}

// openCgroups finds the hierarchy: at root, or where mountinfo has it. Without
// one it returns nil and no error.
func openCgroups(procRoot, root string) (*cgroups, error) {
	if root == "" {
		var err error
		if root, err = findCgroups(procRoot); err != nil {
			if errors.Is(err, errNoCgroups) {
				err = nil
			}
			return nil, err
		}
	}
	dir, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup root %s: %w", root, err)
	}
	return &cgroups{root: root, dir: dir, names: make(map[uint64]string), buf: make([]byte, 4096)}, nil
}

// findCgroups returns the mount point of the cgroup v2 hierarchy. Hybrid
// machines have it beside those of version 1.
func findCgroups(procRoot string) (string, error) {
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
	return "", errNoCgroups
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
	if n, ok := c.names[id]; ok {
		return n, true
	}
	if !c.walk {
		n, err := c.byHandle(id)
		switch {
		case err == nil:
			c.keep(id, n)
			return n, true
		case errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENOENT):
			if c.isCgroupfs() {
				return "", false // removed meanwhile
			}
		}
		c.walk = true
	}
	if now := time.Now(); now.After(c.next) {
		c.next = now.Add(walkPause)
		c.walkTree()
	}
	n, ok := c.names[id]
	return n, ok
}

// nameOr is name with a stand-in.
func (c *cgroups) nameOr(id uint64) string {
	if n, ok := c.name(id); ok {
		return n
	}
	return removedName
}

func (c *cgroups) keep(id uint64, name string) {
	if len(c.names) >= maxNames {
		// Forget what does not exist any more; if nothing, everything.
		for old, n := range c.names {
			if !c.alive(old, n) {
				delete(c.names, old)
			}
		}
		if len(c.names) >= maxNames {
			clear(c.names)
		}
	}
	c.names[id] = name
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

// walkTree names every cgroup there is, breadth first, as far as it may.
func (c *cgroups) walkTree() {
	queue := []string{"/"}
	for seen := 0; len(queue) > 0 && seen < maxWalk; seen++ {
		name := queue[0]
		queue = queue[1:]
		var st unix.Stat_t
		if unix.Stat(c.path(name), &st) != nil {
			continue
		}
		c.keep(st.Ino, name)
		entries, err := os.ReadDir(c.path(name))
		if err != nil {
			continue // removed meanwhile, or not ours to read
		}
		for _, e := range entries {
			if e.IsDir() {
				queue = append(queue, filepath.Join(name, e.Name()))
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

// throttled returns the time for which a cgroup was held back by its own quota
// since it was made. ok is false where the CPU controller is off for it.
func (c *cgroups) throttled(name string) (total time.Duration, ok bool, err error) {
	if c == nil {
		return 0, false, nil
	}
	b, err := c.read(name, "cpu.stat")
	if err != nil {
		return 0, false, err
	}
	usec, ok := cpuStatField(b, "throttled_usec")
	return time.Duration(min(usec, uint64(maxMicros))) * time.Microsecond, ok, nil
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
