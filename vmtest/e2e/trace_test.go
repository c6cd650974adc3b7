// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/bpf/trace/tracetest"
	"autosa/vmtest/guest"
)

// napper is a thread that sleeps again and again and knows how often it got a
// CPU.
type napper struct {
	tid  int
	ask  chan chan uint64
	stop chan struct{}
	done chan struct{}
}

func startNapper(t *testing.T) *napper {
	t.Helper()
	n := &napper{ask: make(chan chan uint64), stop: make(chan struct{}), done: make(chan struct{})}
	tid := make(chan int)
	go n.run(tid)
	if n.tid = <-tid; n.tid == os.Getpid() {
		// To trace the first thread's number is to trace the whole process. While this one naps there, the next cannot.
		other := startNapper(t)
		close(n.stop)
		<-n.done
		return other
	}
	t.Cleanup(func() { close(n.stop); <-n.done })
	return n
}

func (n *napper) run(tid chan<- int) {
	defer close(n.done)
	runtime.LockOSThread() // and the thread ends with this goroutine
	tid <- unix.Gettid()
	for {
		nap := unix.NsecToTimespec(int64(time.Millisecond))
		_ = unix.Nanosleep(&nap, nil)
		select {
		case answer := <-n.ask:
			answer <- arrivals()
		case <-n.stop:
			return
		default:
		}
	}
}

// arrivals is how often this thread got a CPU, 0 where that cannot be read.
func arrivals() uint64 {
	var run, wait, n uint64
	b, err := os.ReadFile("/proc/thread-self/schedstat")
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(string(b), &run, &wait, &n)
	return n
}

func (n *napper) arrivals(t *testing.T) uint64 {
	t.Helper()
	answer := make(chan uint64, 1)
	n.ask <- answer
	got := <-answer
	if got == 0 {
		t.Fatal("the kernel does not say how often a thread got a CPU")
	}
	return got
}

// tracing is a running `autosa trace --json`.
type tracing struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func (a *autosa) trace(args ...string) *tracing {
	a.t.Helper()
	tr := &tracing{t: a.t, cmd: exec.Command(a.bin, append([]string{"trace", "--json"}, args...)...)}
	tr.cmd.Env = append(withoutSettings(), "AUTOSA_SOCKET="+a.socket)
	tr.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	tr.cmd.Stderr = &tr.stderr
	out, err := tr.cmd.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := tr.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = tr.cmd.Process.Kill(); _ = tr.cmd.Wait() })
	tr.lines = bufio.NewScanner(out)
	return tr
}

// next is the next line; ok is false at the end.
func (tr *tracing) next() (e api.TraceEvent, ok bool) {
	tr.t.Helper()
	if !tr.lines.Scan() {
		return e, false
	}
	if err := json.Unmarshal(tr.lines.Bytes(), &e); err != nil {
		tr.t.Fatalf("%v: %s", err, tr.lines.Bytes())
	}
	return e, true
}

// checkTraceIsWhole traces a thread and compares each of its arrivals on a CPU
// with what the kernel says.
func checkTraceIsWhole(t *testing.T, a *autosa) {
	t.Helper()
	before := tracetest.Kernel(t)
	n := startNapper(t)
	tr := a.trace("--switches", "--pid", fmt.Sprint(n.tid))
	seen := make(map[uint64]int)
	var events uint64
	note := func(e api.TraceEvent) {
		if e.Slice == nil {
			return
		}
		if e.Kind != api.TraceSwitch || e.Slice.PID != n.tid || e.Slice.LostBefore != 0 || e.Slice.Group == "" {
			t.Errorf("line %+v %+v", e, e.Slice)
		}
		events++
		if !e.Slice.Partial { // else the kernel has not noted the arrival
			seen[e.Slice.Arrivals]++
		}
	}
	e, ok := tr.next()
	if !ok {
		t.Fatalf("no line: %s", tr.stderr.String())
	}
	note(e)
	from := n.arrivals(t)
	for upTo := from + 200; e.Slice != nil && e.Slice.Arrivals < upTo; note(e) {
		if e, ok = tr.next(); !ok {
			t.Fatalf("the trace ended early: %s", tr.stderr.String())
		}
	}
	to := n.arrivals(t)
	if err := tr.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var end *api.TraceTotal
	for {
		e, ok := tr.next()
		if !ok {
			break
		}
		note(e)
		end = e.End
	}
	if err := tr.cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v: %s", err, tr.stderr.String())
	}
	if end == nil || end.Lost != 0 || end.Events != events {
		t.Errorf("totals %+v of %d events", end, events)
	}
	// What it was doing at either end may be on its way.
	for i := from + 1; i < to; i++ {
		if seen[i] != 1 {
			t.Errorf("arrival %d, of those from %d to %d, was shown %d times", i, from, to, seen[i])
		}
	}
	if s := tr.stderr.String(); !strings.Contains(s, "events in") || !strings.Contains(s, " 0 lost") {
		t.Errorf("summary: %s", s)
	}
	tracetest.AwaitKernel(t, before)
}

// nobodys is a copy of the program that anybody may run.
func nobodys(t *testing.T, bin string) func(args ...string) (stderr string, code int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "autosa-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "autosa")
	if err := os.WriteFile(copied, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, int) {
		cmd := exec.Command(copied, args...)
		cmd.Dir = "/"
		cmd.Env = withoutSettings()
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var errOut guest.Output
		cmd.Stderr = &errOut
		_ = cmd.Run()
		return errOut.String(), cmd.ProcessState.ExitCode()
	}
}

func checkTraceWithoutADaemon(t *testing.T, bin string) {
	t.Helper()
	a := newAutosa(t, bin)
	checkTraceIsWhole(t, a)
	as := nobodys(t, bin)
	for _, args := range [][]string{{"trace"}, {"trace", "--tasks", "3"}, {"trace", "--wakeups"}} {
		if errOut, code := as(append(args, "--socket", "/nonexistent/autosa.sock")...); code != api.ExitForbidden || !strings.Contains(errOut, "CAP_BPF") {
			t.Errorf("%v as nobody: exit %d, want %d and what is missing: %s", args, code, api.ExitForbidden, errOut)
		}
	}
}
