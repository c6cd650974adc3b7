// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

func TestMain(m *testing.M) { tracetest.Main(m) }

// load loads a tracer for the test.
func load(t testing.TB, o trace.Options) *trace.Tracer {
	t.Helper()
	tracetest.RequireTracer(t)
	tracer, err := trace.Load(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	})
	return tracer
}

// assign counts a new cgroup in a slot of its own.
func assign(t testing.TB, tracer *trace.Tracer, slot int) *tracetest.Cgroup {
	t.Helper()
	c := tracetest.NewCgroup(t)
	if err := tracer.Assign(c.ID, slot); err != nil {
		t.Fatal(err)
	}
	if err := tracer.Publish(); err != nil {
		t.Fatal(err)
	}
	return c
}

// cell reads one slot.
func cell(t testing.TB, tracer *trace.Tracer, slot int) trace.Cell {
	t.Helper()
	var s trace.Snapshot
	if err := tracer.Snapshot(&s); err != nil {
		t.Fatal(err)
	}
	return s.Slots[slot]
}

// quietCPU is the last CPU, which does fewer of the machine's own chores.
func quietCPU() int { return runtime.NumCPU() - 1 }

// attempts is how often a known load may be measured: the machine's own tasks
// may take the CPU while it runs.
const attempts = 5

func TestSpinnersWaitForEachOtherAndTheKernelAgrees(t *testing.T) {
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { spinners(t, n) })
	}
}

func spinners(t *testing.T, n int) {
	t.Helper()
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	var loads []*tracetest.Load
	for range n {
		l := tracetest.Spin(t, c, quietCPU())
		l.Prefer()
		loads = append(loads, l)
	}
	time.Sleep(200 * time.Millisecond)

	got := spin(t, tracer, loads)
	t.Logf("%+v", got)
	if math.Abs(got.kernel-1) > 0.01 {
		t.Errorf("the tracer's wait is %.4f of the kernel's, want 1 within 1 %%", got.kernel)
	}
	// Not a multiple of their run: a hypervisor takes time from the one that runs, which the kernel leaves out.
	if w := got.wait.Seconds(); w < 0.95*got.least.Seconds() || w > 1.05*got.most.Seconds() {
		t.Errorf("%d spinners have waited %v, want %v to %v", n, got.wait, got.least, got.most)
	}
}

// spun is what a group of spinners did.
type spun struct {
	kernel float64 // their wait over what the kernel says it was
	wait   time.Duration
	// What the wait ought to be: all but one of them while they spun, and all of them while others ran.
	least, most time.Duration
}

// spin lets the spinners go for a while. Their accounting stands still at both
// ends.
func spin(t *testing.T, tracer *trace.Tracer, loads []*tracetest.Load) spun {
	t.Helper()
	read := func() (own, rest trace.Cell, wait time.Duration) {
		tracetest.StopAll(loads...)
		for _, l := range loads {
			_, w := l.Schedstat()
			wait += w
		}
		rest, err := tracer.SnapshotCPU(0, quietCPU())
		if err != nil {
			t.Fatal(err)
		}
		return cell(t, tracer, 1), rest, wait
	}
	before, restBefore, waitBefore := read()
	first := time.Now()
	for _, l := range loads {
		l.Resume()
	}
	all := time.Now()
	time.Sleep(3 * time.Second)
	least := time.Since(all)
	after, restAfter, waitAfter := read()
	most := time.Since(first)
	wait := float64(after.WaitNs - before.WaitNs)
	rest := float64(restAfter.RunNs - restBefore.RunNs)
	waiting := func(spun time.Duration) time.Duration {
		return time.Duration(float64(len(loads)-1)*float64(spun) + rest)
	}
	return spun{
		kernel: wait / float64(waitAfter-waitBefore),
		wait:   time.Duration(wait), least: waiting(least), most: waiting(most),
	}
}

func TestPingPongSwitchesAreTheKernels(t *testing.T) { pingPong(t) }

func pingPong(t *testing.T) {
	t.Helper()
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	l := tracetest.PingPong(t, c, quietCPU())
	time.Sleep(200 * time.Millisecond)
	read := func() (trace.Cell, uint64, uint64) {
		l.Stop()
		v, i := l.Switches()
		return cell(t, tracer, 1), v, i
	}
	before, v0, i0 := read()
	l.Resume()
	tracetest.Await(t, "a thousand switches", func() bool { v, i := l.Switches(); return v-v0+i-i0 >= 1000 })
	after, v1, i1 := read()

	switches, want := after.Switches-before.Switches, v1-v0+i1-i0
	t.Logf("%d switches, %d by the kernel; %d and %d involuntary", switches, want, after.Involuntary-before.Involuntary, i1-i0)
	if math.Abs(float64(switches)/float64(want)-1) > 0.005 {
		t.Errorf("%d switches, want %d within 0.5 %%", switches, want)
	}
	// The signal that stops it finds a thread or two going to sleep: these stay
	// runnable, and the kernel counts that as voluntary.
	const few = 4
	if got, want := after.Involuntary-before.Involuntary, i1-i0; got < want || got > want+few {
		t.Errorf("%d involuntary switches, want the kernel's %d or up to %d more", got, want, few)
	}
}

// What each known load is known by, as the features that classify it are made.

func TestSpinnersLeaveTheCPUWhenTheyHaveTo(t *testing.T) {
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	loads := []*tracetest.Load{tracetest.Spin(t, c, quietCPU()), tracetest.Spin(t, c, quietCPU())}
	for _, l := range loads {
		l.Prefer()
	}
	tracetest.Await(t, "slices of both", func() bool {
		_, i := loads[0].Switches()
		_, j := loads[1].Switches()
		return min(i, j) > 30
	})
	got := cell(t, tracer, 1)
	if share := float64(got.Involuntary) / float64(got.Switches); share < 0.9 {
		t.Errorf("%.2f of the spinners' switches are involuntary", share)
	}
	if contention := float64(got.WaitNs) / float64(got.WaitNs+got.RunNs); contention < 0.4 {
		t.Errorf("contention %.2f of two spinners on a CPU", contention)
	}
}

func TestPeriodicSleepsShowTheirPeriod(t *testing.T) {
	const period = 20 * time.Millisecond
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	tracetest.Sleep(t, c, quietCPU(), period).Prefer()
	// Within an octave. Its process has threads of the runtime that sleep, too.
	first, last := workload.BucketOf(uint64(period/2)), workload.BucketOf(uint64(2*period))
	tracetest.Await(t, "30 sleeps of about a period", func() bool {
		var n uint32
		got := cell(t, tracer, 1)
		for _, in := range got.Sleep[first : last+1] {
			n += in
		}
		return n >= 30
	})
	if got := cell(t, tracer, 1); got.SleepNs < uint64(30*period/2) || got.RunNs > got.SleepNs/2 {
		t.Errorf("%v asleep and %v run", time.Duration(got.SleepNs), time.Duration(got.RunNs))
	}
}

func TestPingPongRunsAndSleepsBriefly(t *testing.T) {
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	tracetest.PingPong(t, c, quietCPU()).Prefer()
	tracetest.Await(t, "switches", func() bool { return cell(t, tracer, 1).Switches > 5000 })
	got := cell(t, tracer, 1)
	run, sleep := median(got.Run), median(got.Sleep)
	t.Logf("median run %v, sleep %v", run, sleep)
	if run > time.Millisecond || sleep > time.Millisecond || got.Switches-got.Involuntary < got.Switches/4 {
		t.Errorf("median run %v and sleep %v, %d of %d switches involuntary", run, sleep, got.Involuntary, got.Switches)
	}
}

func median(buckets [workload.NumBuckets]uint32) time.Duration {
	var h workload.Histogram
	for i, n := range buckets {
		h[i] = uint64(n)
	}
	return h.Quantile(0.5)
}
