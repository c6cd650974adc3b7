// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package collector

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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
