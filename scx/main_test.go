// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// parentWord makes the test binary a daemon that is there to be killed: it
// starts the scheduler named after it and prints how far it came.
const parentWord = "test-parent"

// linkWord makes the test binary a loader at its last step: it asks the kernel for
// links as loaders do, for tracing and then for struct_ops, with descriptors that
// are none. It prints each answer, whatever signal asks it to end. The exit status is
// 0 if both were the kernel's own.
const linkWord = "test-link"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case SuperviseWord:
			// Not os.Exit, with which the race detector waits for a second.
			syscall.Exit(SuperviseMain(os.Args[2:]))
		case linkWord:
			syscall.Exit(makeLinks())
		case parentWord:
			parent(os.Args[2], os.Args[3:])
		}
	}
	goleak.VerifyTestMain(m)
}

func makeLinks() int {
	signal.Ignore(syscall.SIGTERM)
	code := 0
	for _, attachType := range []uint32{unix.BPF_TRACE_RAW_TP, unix.BPF_STRUCT_OPS} {
		attr := [4]uint32{math.MaxUint32, 0, attachType, 0}
		_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		fmt.Printf("link of type %d: %v\n", attachType, errno)
		if errno != unix.EBADF {
			code = 1
		}
	}
	return code
}

// parent is the daemon: it stops after the step named and waits for its end.
func parent(step string, argv []string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("begin", os.Getpid())
	state := noGate
	if step == "park" {
		state, argv = argv[0], argv[1:]
	}
	p, err := spawn(context.Background(), slog.New(slog.DiscardHandler), state, argv[0], argv[1:], time.Second)
	if err != nil {
		fail(err)
	}
	fmt.Println("supervisor", p.group)
	if step != "spawn" {
		if err := p.start(context.Background()); err != nil {
			fail(err)
		}
		fmt.Println("scheduler", p.PID())
	}
	if step == "park" {
		if err := p.park(context.Background(), time.Minute); err != nil {
			fail(err)
		}
		fmt.Println("parked", p.PID())
	}
	select {}
}

// script writes an executable shell script that root may trust.
func script(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(trustedDir(t), name)
	write(t, path, "#!/bin/sh\n"+body+"\n")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// trustedDir is a directory that passes [checkExecutable].
func trustedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// write replaces a file at once, so that no reader sees half of it.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// await ends the test when cond does not become true within limit.
func await(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// exists reports whether a process is there and not a zombie.
func exists(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(b, []byte(") "))
	return !strings.HasPrefix(string(after), "Z") && !strings.HasPrefix(string(after), "X")
}

// testLog shows a test's log where it fails.
func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
