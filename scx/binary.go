// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fileID tells one version of a file from another.
type fileID struct {
	path     string
	dev, ino uint64
	size     int64
	mtime    unix.Timespec
}

// refusal is why a file will not be executed.
type refusal struct {
	why, remedy string
	// missing is true when there is no file at all.
	missing bool
}

// maxSymlinks bounds the resolution of a path, as the kernel does (path_resolution(7)).
const maxSymlinks = 40

// checkExecutable resolves path and reports whether it may be executed: a
// regular file that can be executed here. With trusted set, also that only root
// can have put it there: root owns the file and every directory on the way to
// it, through every symbolic link, and nobody else can write any of them. A
// directory with the sticky bit counts as not writable, because what root owns
// in it only root can replace.
//
// The answer stays true after the check, since only root could change it.
func checkExecutable(path string, trusted bool) (fileID, *refusal) {
	resolved, st, ref := resolve(path, trusted)
	if ref != nil {
		return fileID{}, ref
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fileID{}, &refusal{why: resolved + " is not a regular file", remedy: "name the program itself"}
	}
	if trusted {
		if ref := distrust(resolved, st, false); ref != nil {
			return fileID{}, ref
		}
		// The kernel clears the parent-death signal for such files, and a
		// scheduler that root starts needs neither bit.
		if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
			return fileID{}, &refusal{
				why:    resolved + " is set-user-ID or set-group-ID",
				remedy: "chmod ug-s " + resolved,
			}
		}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, resolved, unix.X_OK, unix.AT_EACCESS); err != nil {
		ref := &refusal{why: fmt.Sprintf("%s is not executable: %v", resolved, err), remedy: "chmod +x " + resolved}
		if st.Mode&0o111 != 0 {
			ref.remedy = "check its permissions and that its file system is not mounted noexec"
		}
		return fileID{}, ref
	}
	return fileID{path: resolved, dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim}, nil
}

// resolve follows path component by component, checking each directory on the
// way where trusted is set, and returns the final path and its inode.
func resolve(path string, trusted bool) (string, *unix.Stat_t, *refusal) {
	todo := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	at := "/"
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return "", nil, &refusal{why: fmt.Sprintf("stat /: %v", err)}
	}
	for links := 0; len(todo) > 0; {
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return "", nil, &refusal{why: at + " is not a directory", missing: true}
		}
		if trusted {
			if ref := distrust(at, &st, true); ref != nil {
				return "", nil, ref
			}
		}
		next := todo[0]
		todo = todo[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			if err := unix.Lstat(at, &st); err != nil {
				return "", nil, &refusal{why: fmt.Sprintf("stat %s: %v", at, err)}
			}
			continue
		}
		sub := filepath.Join(at, next)
		if err := unix.Lstat(sub, &st); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", nil, &refusal{why: sub + " does not exist", remedy: "install it, or correct its path", missing: true}
			}
			return "", nil, &refusal{why: fmt.Sprintf("stat %s: %v", sub, err)}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			at = sub
			continue
		}
		if links++; links > maxSymlinks {
			return "", nil, &refusal{why: path + " goes through too many symbolic links"}
		}
		if trusted && st.Uid != 0 {
			return "", nil, &refusal{
				why:    fmt.Sprintf("the symbolic link %s belongs to user %d, not to root", sub, st.Uid),
				remedy: "chown -h root " + sub,
			}
		}
		target, err := os.Readlink(sub)
		if err != nil {
			return "", nil, &refusal{why: fmt.Sprintf("read link %s: %v", sub, err)}
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		if err := unix.Lstat(at, &st); err != nil {
			return "", nil, &refusal{why: fmt.Sprintf("stat %s: %v", at, err)}
		}
		todo = append(strings.Split(strings.Trim(target, "/"), "/"), todo...)
	}
	return at, &st, nil
}

// distrust says why root should not execute what it finds at path.
func distrust(path string, st *unix.Stat_t, dir bool) *refusal {
	if st.Uid != 0 {
		return &refusal{
			why:    fmt.Sprintf("%s belongs to user %d, not to root", path, st.Uid),
			remedy: "chown root " + path,
		}
	}
	// An access list that grants writing shows as the group's bit.
	sticky := dir && st.Mode&unix.S_ISVTX != 0
	if st.Mode&0o022 != 0 && !sticky {
		return &refusal{
			why:    fmt.Sprintf("others than root can write %s (mode %04o)", path, st.Mode&0o7777),
			remedy: "chmod go-w " + path,
		}
	}
	return nil
}

func isNotDir(err error) bool { return errors.Is(err, unix.ENOTDIR) }
