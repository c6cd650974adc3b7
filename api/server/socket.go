// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse is what an [InUseError] matches.
var ErrInUse = errors.New("socket in use")

// InUseError says that another process listens on the socket.
type InUseError struct {
	Path string
	PID  int // 0 when it cannot be told
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another process listens on %s", e.Path)
	}
	return fmt.Sprintf("process %d listens on %s already", e.PID, e.Path)
}

// Is makes the error match ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// socket is a listening socket and the file that leads to it.
type socket struct {
	path     string
	listener *net.UnixListener
	file     os.FileInfo
}

// socketMode lets everybody connect; peer credentials decide what they may do.
const socketMode = 0o666

func bind(path string) (*socket, error) {
	dir, base := filepath.Split(path)
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	// The name is built through the directory's descriptor: it stays short where
	// path has the greatest length, and in the same directory whatever happens.
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket directory: %w", err)
	}
	defer d.Close()
	hidden := fmt.Sprintf("/proc/self/fd/%d/.%s.new", d.Fd(), base)
	if info, err := os.Lstat(hidden); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(hidden) // of a daemon that died while it was here
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, cause(err))
	}
	l.SetUnlinkOnClose(false)
	s := &socket{path: path, listener: l}
	if err := s.appear(hidden); err != nil {
		_ = os.Remove(hidden)
		_ = l.Close()
		return nil, err
	}
	return s, nil
}

// appear gives the socket its mode and then its name.
func (s *socket) appear(hidden string) (err error) {
	if err := os.Chmod(hidden, socketMode); err != nil {
		return fmt.Errorf("set mode of %s: %w", s.path, cause(err))
	}
	if s.file, err = os.Lstat(hidden); err != nil {
		return fmt.Errorf("listen on %s: %w", s.path, cause(err))
	}
	if err := os.Rename(hidden, s.path); err != nil {
		return fmt.Errorf("listen on %s: %w", s.path, cause(err))
	}
	return nil
}

// cause strips the operation and the hidden name from an error.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// vacant says whether path may be taken: there is nothing, or a socket on which
// nobody listens.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("inspect socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("listen on %s: a file that is no socket is in the way", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		defer c.Close()
		p, _ := peerOf(c.(*net.UnixConn)) // the listener's, as of its listen(2)
		return &InUseError{Path: path, PID: p.pid}
	}
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EAGAIN), os.IsTimeout(err): // its backlog is full
		return &InUseError{Path: path}
	}
	return fmt.Errorf("inspect socket %s: %w", path, cause(err))
}

// remove removes the file unless another has taken its place.
func (s *socket) remove() error {
	if now, err := os.Lstat(s.path); err != nil || !os.SameFile(now, s.file) {
		return nil
	}
	return os.Remove(s.path)
}

// close removes the file and stops listening.
func (s *socket) close() error {
	removed := s.remove()
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return errors.Join(removed, err)
	}
	return removed
}
