// SPDX-License-Identifier: Apache-2.0

// Package guest is what tests use that run inside a machine which package vmtest has booted: in files with the build tag
// vmguest, with names that begin with TestVM.
package guest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const schedExt = "/sys/kernel/sched_ext"

// Series is the kernel series this guest was booted with, as in "6.18". It ends the test outside a guest.
func Series(t testing.TB) string {
	t.Helper()
	return environ(t, "AUTOSA_KERNEL_SERIES")
}

// SchedExt skips the test where Debian's kernels have no sched_ext, before 6.16, and fails it where they promise it and
// it is not there.
func SchedExt(t testing.TB) {
	t.Helper()
	series := Series(t)
	_, err := os.Stat(schedExt)
	switch promised := Promised(series); {
	case err == nil:
	case promised:
		t.Fatalf("kernel %s should have sched_ext: %v", series, err)
	default:
		t.Skipf("kernel %s has no sched_ext", series)
	}
}

// Tracing skips the test on kernels that autosa does not trace on: before 6.4, creating task storage under the run queue's
// lock can deadlock, and Debian has nothing between 6.1 and 6.12.
func Tracing(t testing.TB) {
	t.Helper()
	if Series(t) == "6.1" {
		t.Skip("kernel 6.1 is observed through /proc, not traced")
	}
}

// On skips the test in the short form of the matrix on all but the given series: what does not depend on the kernel's
// version need not be seen on each of them, on emulated CPUs, at every change. The whole matrix runs it everywhere.
func On(t testing.TB, series ...string) {
	t.Helper()
	if testing.Short() && !slices.Contains(series, Series(t)) {
		t.Skipf("the short matrix has it on %s; `make test-vm` on every kernel", strings.Join(series, " and "))
	}
}

// Long skips the test in the short form of the matrix.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short matrix; `make test-vm` runs it on every kernel")
	}
}

// Promised tells whether Debian's kernels of a series have sched_ext.
func Promised(series string) bool {
	major, minor, _ := strings.Cut(series, ".")
	x, errX := strconv.Atoi(major)
	y, errY := strconv.Atoi(minor)
	return errX == nil && errY == nil && (x > 6 || x == 6 && y >= 16)
}

// VirtualTime tells whether the guest's clock counts instructions, 8 ns each: it is then a machine of its own speed, ten times slower than
// a real one and more, whatever it runs on.
func VirtualTime() bool { return os.Getenv("AUTOSA_VM_ICOUNT") != "" }

// Scheduler returns the path of a real scheduler's binary, such as "scx_rusty".
func Scheduler(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(environ(t, "AUTOSA_SCX_DIR"), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("scheduler %s: %v", name, err)
	}
	return path
}

// Autosa returns the path of the program under test.
func Autosa(t testing.TB) string {
	t.Helper()
	return environ(t, "AUTOSA_BIN")
}

// Results returns a directory that outlives the guest.
func Results(t testing.TB) string {
	t.Helper()
	return environ(t, "AUTOSA_RESULTS")
}

// State is what the kernel says of sched_ext: "disabled", "enabling", "enabled" or "disabling".
func State(t testing.TB) string {
	t.Helper()
	return read(t, filepath.Join(schedExt, "state"))
}

// Ops is the name of the attached scheduler as the kernel shows it, empty when there is none.
func Ops(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(schedExt, "root", "ops"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// Await ends the test when cond does not become true within limit.
func Await(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// Process is a program that runs beside a test.
type Process struct {
	Cmd *exec.Cmd

	stop sync.Once
	done chan struct{}
	out  Output
	err  error // valid once done is closed
}

// Load starts the load generator and ends it with the test.
func Load(t testing.TB, args ...string) *Process {
	t.Helper()
	return Start(t, environ(t, "AUTOSA_LOAD"), args...)
}

// Start starts a program, ends it with the test and shows what it printed if the test has failed.
func Start(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	p := &Process{Cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.out, &p.out
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// What the program starts may hold its output open.
	p.Cmd.WaitDelay = time.Second
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	go func() {
		p.err = p.Cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.Cmd, p.Output())
		}
	})
	return p
}

// Stop ends the program with SIGTERM, after ten seconds with SIGKILL, and returns how it ended.
func (p *Process) Stop() error {
	p.stop.Do(func() {
		_ = p.Cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			_ = p.Cmd.Process.Kill()
		}
	})
	<-p.done
	return p.err
}

// Ended tells whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Output is what the program has printed so far.
func (p *Process) Output() string { return p.out.String() }

// NullBlock loads a disk whose reads and writes complete after 5 ms and returns its device. It is unloaded with the test.
func NullBlock(t testing.TB) string {
	t.Helper()
	const dev = "/dev/nullb0"
	modprobe(t, "null_blk", "completion_nsec=5000000", "irqmode=2")
	t.Cleanup(func() { modprobe(t, "-r", "null_blk") })
	Await(t, time.Minute, dev, func() bool {
		_, err := os.Stat(dev)
		return err == nil
	})
	return dev
}

func modprobe(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("modprobe", args...).CombinedOutput(); err != nil {
		t.Fatalf("modprobe %s: %v: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
}

func environ(t testing.TB, key string) string {
	t.Helper()
	v := os.Getenv(key)
	if v == "" || os.Getenv("AUTOSA_VM") == "" {
		t.Fatalf("%s is not set: this test runs in a guest that vmtest boots (make test-vm)", key)
	}
	return v
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// Output collects what a process prints. It is safe for concurrent use.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
