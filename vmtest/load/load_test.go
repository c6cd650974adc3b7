// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "load")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "load")
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build load: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// measured runs the binary and returns its result and what it cost, children
// included.
func measured(t *testing.T, args ...string) (result, *syscall.Rusage) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("load %v: %v: %s", args, err, stderr.String())
	}
	var r result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("load %v printed %q: %v", args, stdout.String(), err)
	}
	return r, cmd.ProcessState.SysUsage().(*syscall.Rusage)
}

func cpuSeconds(u *syscall.Rusage) float64 {
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func TestSpinNeverBlocks(t *testing.T) {
	cmd := start(t, "spin", "-n", "2")
	waitFor(t, "workers", func() bool { return len(childrenOf(cmd.Process.Pid)) == 2 })
	time.Sleep(200 * time.Millisecond)
	// The parent too is quiet by now: it waits.
	family := descendants(cmd.Process.Pid)
	before := voluntarySwitches(t, family)
	time.Sleep(time.Second)
	// A Go program of its own would be woken about a hundred times a second.
	if n := voluntarySwitches(t, family) - before; n > 5 {
		t.Errorf("%d voluntary switches in a second", n)
	}
	var r result
	if err := json.Unmarshal([]byte(stop(t, cmd, syscall.SIGTERM)), &r); err != nil || r.Iterations == 0 {
		t.Errorf("%v: %+v", err, r)
	}
}

func voluntarySwitches(t *testing.T, pids []int) int {
	t.Helper()
	sum := 0
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
			var n int
			if _, err := fmt.Sscan(rest, &n); err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

func TestPeriodicKeepsItsPeriodAndItsWork(t *testing.T) {
	// The work is calibrated when the program begins; on a machine that others use too, what it was then may not be what it is later.
	var said []string
	for range 8 {
		r, u := measured(t, "periodic", "-n", "2", "-period", "20ms", "-work", "2ms", "-duration", "1500ms")
		// Each of 2 workers has 50 periods a second, used or missed, but for the first of them and what starting and ending take.
		if n, want := float64(r.Iterations+r.Missed), 100*r.Seconds; n > want+2 || n < 0.9*want-4 {
			said = append(said, fmt.Sprintf("%d wakeups and %d missed of 2 workers at 20 ms in %.2f s", r.Iterations, r.Missed, r.Seconds))
			continue
		}
		// The rest is starting and calibrating.
		per := (cpuSeconds(u) - 0.1) / float64(r.Iterations)
		if per > 0.001 && per < 0.004 {
			return
		}
		said = append(said, fmt.Sprintf("%.1f ms of CPU time a wakeup, want 2", 1e3*per))
	}
	t.Error(strings.Join(said, "\n"))
}

func TestEveryKindWorks(t *testing.T) {
	blob := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(blob, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, k := range kindNames() {
		t.Run(k, func(t *testing.T) {
			args := []string{k, "-duration", "700ms"}
			if kinds[k].needsFile {
				if f, err := os.OpenFile(blob, os.O_RDONLY|syscall.O_DIRECT, 0); errors.Is(err, syscall.EINVAL) {
					t.Skip("the temporary directory's file system takes no direct reads")
				} else if err == nil {
					f.Close()
				}
				args = append(args, "-file", blob)
			}
			if k == "interactive" {
				args = append(args, "-think", "20ms")
			}
			r, _ := measured(t, args...)
			if r.Seconds < 0.7 || r.Load != k {
				t.Errorf("%+v", r)
			}
			if (r.Iterations == 0) != (k == "sleep") {
				t.Errorf("%d iterations", r.Iterations)
			}
			if k != "sleep" && k != "spin" && (r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99) {
				t.Errorf("times are %v, %v, %v", r.P50, r.P99, r.Max)
			}
		})
	}
}

func TestBuildStartsMoreProcessesThanCPUs(t *testing.T) {
	cmd := start(t, "build", "-n", "6", "-work", "200ms")
	defer stop(t, cmd, syscall.SIGTERM)
	waitFor(t, "6 jobs with a child each", func() bool {
		children := 0
		for _, w := range childrenOf(cmd.Process.Pid) {
			children += len(childrenOf(w))
		}
		return children >= 5 // one may just have ended
	})
}

func TestSequenceAnnouncesEachPhase(t *testing.T) {
	out, err := exec.Command(binary, "sequence", "compute:200ms,latency:200ms,idle:100ms").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		var l struct{ Phase, Load string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l.Phase+l.Load)
	}
	if want := "compute compute latency latency idle idle"; strings.Join(got, " ") != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestSignalsEndItCleanly(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := start(t, "build", "-n", "3")
		waitFor(t, "workers", func() bool { return len(childrenOf(cmd.Process.Pid)) == 3 })
		family := descendants(cmd.Process.Pid)
		if out := stop(t, cmd, sig); !strings.Contains(out, `"load":"build"`) {
			t.Errorf("%v: printed %q", sig, out)
		}
		waitFor(t, "all processes gone", func() bool { return noneAlive(family) })
	}
}

func TestWorkersDieWithTheirParent(t *testing.T) {
	cmd := start(t, "build", "-n", "3")
	waitFor(t, "workers", func() bool { return len(childrenOf(cmd.Process.Pid)) == 3 })
	family := descendants(cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitFor(t, "all processes gone", func() bool { return noneAlive(family) })
}

func TestAWorkerThatFailsIsNamed(t *testing.T) {
	out, err := exec.Command(binary, "spin", "-cpu", "4000", "-n", "1", "-duration", "5s").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "worker 0 could not pin to the CPU: invalid argument") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWrongUsageExitsWith2(t *testing.T) {
	for _, args := range [][]string{
		nil, {"dance"}, {"spin", "-n", "-1"}, {"spin", "extra"}, {"read"}, {"sequence"}, {"sequence", "compute"},
		{"sequence", "compute:1s,dance:1s"}, {"sequence", "storage:1s"}, {"periodic", "-period", "0s"}, {"spin", "-x"},
	} {
		err := exec.Command(binary, args...).Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("load %v: %v", args, err)
		}
	}
}

func TestCalibratedWorkTakesItsTime(t *testing.T) {
	s := calibrate()
	for range 20 { // frequency changes and other guests of the machine come and go
		if got := time.Duration(cpuTimeOf(s.steps(20 * time.Millisecond))); got > 14*time.Millisecond && got < 28*time.Millisecond {
			return
		}
		s = calibrate()
	}
	t.Error("20 ms of work never took about 20 ms of CPU time")
}

func TestHistogramQuantilesAreWithinAnEighthOfAnOctave(t *testing.T) {
	for _, ns := range []int64{1, 7, 8, 1000, 123456, 1 << 40} {
		var h histogram
		h.observe(ns)
		if got := h.quantile(0.5) * 1e9 / float64(ns); got < 1 || ns >= 8 && got > 1.13 {
			t.Errorf("%d ns reads as %.3f times that", ns, got)
		}
	}
	var h histogram
	for i := range int64(1000) {
		h.observe(1000 * (i + 1))
	}
	if p := h.quantile(0.99); p < 0.00099 || p > 0.00112 {
		t.Errorf("p99 of 1 to 1000 µs is %v s", p)
	}
}

func start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = new(bytes.Buffer), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// stop sends sig, expects exit code 0 and returns what was printed.
func stop(t *testing.T, cmd *exec.Cmd, sig os.Signal) string {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after %v: %v", sig, err)
	}
	return cmd.Stdout.(*bytes.Buffer).String()
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func childrenOf(pid int) []int {
	var pids []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, field := range strings.Fields(string(b)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

func descendants(pid int) []int {
	all := []int{pid}
	for _, c := range childrenOf(pid) {
		all = append(all, descendants(c)...)
	}
	return all
}

// noneAlive says whether all are gone, or zombies that wait for somebody else.
func noneAlive(pids []int) bool {
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(b), ") Z ") && strings.Contains(string(b), "(load)") {
			return false
		}
	}
	return true
}
