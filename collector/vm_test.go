// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package collector

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/vmtest/guest"
	"autosa/workload"
)

func TestVMSamplesOfAKnownLoadAddUpToTheKernelsAccounting(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12")
	TestSamplesOfAKnownLoadAddUpToTheKernelsAccounting(t)
}

func TestVMTracerStatsAreComplete(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.18")
	TestTracerStatsAreComplete(t)
}

// A quota of half a CPU holds a spinner back for half the time.
func TestVMThrottledTimeIsTheQuotas(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12")
	guest.Series(t)
	c := traced(t, Options{})
	cg := tracetest.NewCgroup(t)
	write(t, filepath.Join(filepath.Dir(cg.Path), "cgroup.subtree_control"), "+cpu")
	tracetest.Spin(t, cg, lastCPU())
	awaitGroup(t, c, cg.Name)
	write(t, filepath.Join(cg.Path, "cpu.max"), "50000 100000")
	var throttled, interval time.Duration
	for range 8 {
		time.Sleep(500 * time.Millisecond)
		s := sample(t, c)
		interval += s.Interval
		if g := groupOf(&s, cg.Name); g != nil {
			throttled += g.Throttled
		}
	}
	t.Logf("throttled for %v of %v", throttled, interval)
	if share := float64(throttled) / float64(interval); share < 0.25 || share > 0.75 {
		t.Errorf("throttled for %.2f of the time, want about half", share)
	}
}

// The fallback sees the same run-queue wait as the tracer, as a total.
func TestVMFallbackAgreesWithTheTracerOnWait(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12")
	guest.Series(t)
	bpf := traced(t, Options{})
	proc, err := New(Options{Source: workload.SourceProcfs})
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	cg := tracetest.NewCgroup(t)
	for range 3 {
		tracetest.Spin(t, cg, lastCPU())
	}
	time.Sleep(500 * time.Millisecond)
	sample(t, bpf)
	sample(t, proc)
	time.Sleep(3 * time.Second)
	a, b := sample(t, bpf), sample(t, proc)
	t.Logf("tracer: run %v wait %v; /proc: run %v wait %v", a.Host.Run, a.Host.Wait, b.Host.Run, b.Host.Wait)
	// Their intervals differ, by much where CPUs are emulated.
	if r := waiting(&b) / waiting(&a); r < 0.75 || r > 1.33 {
		t.Errorf("/proc has %.2f of the tracer's wait", r)
	}
	if g := groupOf(&b, cg.Name); g == nil || g.Wait == 0 || g.Switches == 0 {
		t.Errorf("/proc does not see group %s: %+v", cg.Name, names(b.Groups))
	}
}

// waiting is the mean number of tasks on run queues.
func waiting(s *workload.Sample) float64 { return float64(s.Host.Wait) / float64(s.Interval) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// A quota is nobody's fault: with one beside the bystander, everything else is as
// in TestCulpritIsNamedAndBystandersAreNot.
func TestVMCulpritIsNamedAndAThrottledGroupBlamesNobody(t *testing.T) {
	guest.Long(t)
	guest.Series(t)
	rounds, each, tick, least := 2, 4, 500*time.Millisecond, 0.6
	if soak() {
		// The daemon's own interval: in half of it an emulated CPU gets too little done.
		rounds, each, tick, least = 8, 8, time.Second, 0.95
	}
	v := neighbourhood(t, rounds, each, tick, func(cg *tracetest.Cgroup, on bool) {
		write(t, filepath.Join(filepath.Dir(cg.Path), "cgroup.subtree_control"), "+cpu")
		quota := "max 100000"
		if on {
			quota = "20000 100000"
		}
		write(t, filepath.Join(cg.Path, "cpu.max"), quota)
	})
	v.check(t, least)
}

// Before 6.4 creating task storage while scheduling may deadlock: there, /proc
// has to do, and says why.
func TestVMOldKernelIsWatchedThroughProcfs(t *testing.T) {
	guest.Long(t)
	if series := guest.Series(t); series != "6.1" {
		t.Skipf("kernel %s has what the tracer needs", series)
	}
	if _, err := New(Options{Source: workload.SourceBPF}); !errors.Is(err, trace.ErrNotSupported) {
		t.Errorf("the tracer on this kernel: %v", err)
	}
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cg := tracetest.NewCgroup(t)
	write(t, filepath.Join(filepath.Dir(cg.Path), "cgroup.subtree_control"), "+cpu +io +memory")
	tracetest.Spin(t, cg, lastCPU())
	tracetest.PingPong(t, cg, lastCPU())
	g := awaitGroup(t, c, cg.Name)
	if g.Run == 0 {
		t.Errorf("group %+v", g)
	}
	time.Sleep(time.Second)
	s := sample(t, c)
	addsUp(t, &s)
	if s.Source != workload.SourceProcfs || !strings.Contains(s.Tracer.Reason, "6.4") {
		t.Errorf("source %s because %q", s.Source, s.Tracer.Reason)
	}
	got := groupOf(&s, cg.Name)
	if got == nil {
		t.Fatalf("group %s is not among %v", cg.Name, names(s.Groups))
	}
	t.Logf("host %d switches (the machine's count %d, %d interrupts), run %v, wait %v; group run %v, wait %v, %d + %d switches, pressure %+v",
		s.Host.Switches, s.CPU.ContextSwitches, s.CPU.Interrupts, s.Host.Run, s.Host.Wait, got.Run, got.Wait, got.Voluntary, got.Involuntary, got.Pressure)
	if got.Run == 0 || got.Wait == 0 || got.Voluntary == 0 || s.CPU.ContextSwitches == 0 || s.CPU.Interrupts == 0 || s.Host.Wait == 0 {
		t.Errorf("host %+v, group %+v", s.Host, got)
	}
	if s.PSI.Available && (!got.Pressure.Available || got.Pressure.CPUSome == 0) {
		t.Errorf("pressure of the group %+v where two tasks contend", got.Pressure)
	}
	if !got.Disk.Available {
		t.Error("no storage traffic with the io controller on")
	}
}
