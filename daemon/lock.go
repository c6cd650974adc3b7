// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrAlreadyRunning is matched by [*AlreadyRunningError].
var ErrAlreadyRunning = errors.New("another autosa daemon is running")

// AlreadyRunningError says that the machine-wide lock is taken.
type AlreadyRunningError struct {
	// PID is the holder's process id as the kernel knows it in this process's
	// PID namespace; 0 when it lives in another one.
	PID  int
	Path string
}

func (e *AlreadyRunningError) Error() string {
	who := "another autosa daemon"
	if e.PID != 0 {
		who = fmt.Sprintf("another autosa daemon (PID %d)", e.PID)
	}
	return fmt.Sprintf("%s is running on this machine and holds %s: stop it with `autosa stop`, or use it with `autosa status`", who, e.Path)
}

// Is reports whether target is [ErrAlreadyRunning].
func (e *AlreadyRunningError) Is(target error) bool { return target == ErrAlreadyRunning }

// lock is the machine-wide claim to be the daemon. It is a POSIX record lock:
// the kernel drops it when the process ends, however it ends, and names its
// holder to whoever asks, so that no stale file can keep a daemon out and no
// PID has to be believed from a file.
type lock struct{ f *os.File }

// lockPath is where the lock lives: one place for every daemon that can change
// the scheduler, whatever its socket or state directory; a private one for
// each unprivileged user, whose daemon can only observe.
func lockPath(euid int) string {
	if euid == 0 {
		return "/run/autosa/daemon.lock"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "autosa-daemon.lock")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("autosa-daemon-%d.lock", euid))
}

// acquireLock takes the lock at path or returns *AlreadyRunningError. The file
// is readable by its owner only, so that nobody else can hold a lock on it.
func acquireLock(path string) (*lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create lock directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &whole)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		held := &AlreadyRunningError{Path: path}
		q := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		if unix.FcntlFlock(f.Fd(), unix.F_GETLK, &q) == nil && q.Type != unix.F_UNLCK {
			held.PID = int(max(q.Pid, 0))
		}
		return nil, errors.Join(held, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	// The PID in the file is for people; nothing reads it.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &lock{f: f}, nil
}

// release gives the lock up. The file stays: removing it would race with a
// daemon that has it open and is about to lock it.
func (l *lock) release() error { return l.f.Close() }
