// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"autosa/api/client"
)

func listen(t *testing.T, path string) *Server {
	t.Helper()
	s, err := Listen(path, Options{Backend: newFake(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestTheSocketIsOpenToAllWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o177))
	dir := t.TempDir()
	_ = os.Chmod(dir, 0o700)
	path := filepath.Join(dir, "autosa.sock")
	s := listen(t, path)
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o666 {
		t.Errorf("mode = %v, %v; want a socket, 0666", info.Mode(), err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("the directory holds %v, want the socket alone", list)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestAMissingDirectoryIsMadeOpenToRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "autosa.sock")
	listen(t, path)
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v; want 0755", info, err)
	}
}

func TestADeadDaemonsSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "autosa.sock")
	for _, name := range []string{path, filepath.Join(filepath.Dir(path), ".autosa.sock.new")} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close()
	}
	listen(t, path)
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

func TestALivingDaemonsSocketIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "autosa.sock")
	listen(t, path)
	before, _ := os.Lstat(path)
	_, err := Listen(path, Options{Backend: newFake(), Logger: slog.New(slog.DiscardHandler)})
	var used *InUseError
	if !errors.Is(err, ErrInUse) || !errors.As(err, &used) || used.PID != os.Getpid() {
		t.Errorf("err = %v, want InUseError with PID %d", err, os.Getpid())
	}
	if after, _ := os.Lstat(path); !os.SameFile(before, after) {
		t.Error("the living socket was replaced")
	}
}

func TestAFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "autosa.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, Options{Backend: newFake(), Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("err = %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file is now %q", b)
	}
}

func TestASocketThatAnotherTookOverIsNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "autosa.sock")
	first := listen(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listen(t, path)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second one's socket is gone: %v", err)
	}
}

func TestTheLongestPathWorks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("s", 107-len(dir)-1))
	if len(path) != 107 {
		t.Skipf("the temporary directory's name is too long: %s", dir)
	}
	s := listen(t, path)
	_ = s
	if _, err := client.New(path).Process(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAnUnwritableDirectoryIsAPermissionError(t *testing.T) {
	if os.Getuid() == 0 {
		// Root writes anywhere but where the kernel keeps it out.
		_, err := Listen("/proc/autosa.sock", Options{Backend: newFake(), Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			t.Fatal("listened in /proc")
		}
		return
	}
	dir := t.TempDir()
	_ = os.Chmod(dir, 0o500)
	_, err := Listen(filepath.Join(dir, "autosa.sock"), Options{Backend: newFake(), Logger: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("err = %v, want a permission error", err)
	}
}
