// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

// counts is what a load did: as the kernel has it, or as the tracer has it in
// some slots. Involuntary switches are left out: a task that has a signal when
// it goes to sleep stays runnable, and the kernel counts that as voluntary.
type counts struct{ switches, runNs, waitNs uint64 }

func (c counts) since(before counts) counts {
	return counts{c.switches - before.switches, c.runNs - before.runNs, c.waitNs - before.waitNs}
}

// kernelCounts sums over loads that are stopped.
func kernelCounts(loads ...*tracetest.Load) (c counts) {
	for _, l := range loads {
		v, i := l.Switches()
		run, wait := l.Schedstat()
		c.switches += v + i
		c.runNs += uint64(run)
		c.waitNs += uint64(wait)
	}
	return c
}

// slotCounts sums over slots.
func slotCounts(t testing.TB, tracer *trace.Tracer, slots ...int) (c counts) {
	t.Helper()
	for _, slot := range slots {
		got := cell(t, tracer, slot)
		c.switches += got.Switches
		c.runNs += got.RunNs
		c.waitNs += got.WaitNs
	}
	return c
}

// letRun lets a stopped load go until its threads have left a CPU n times more,
// and stops it.
func letRun(t testing.TB, l *tracetest.Load, n uint64) {
	t.Helper()
	v, i := l.Switches()
	l.Resume()
	tracetest.Await(t, "the load's switches", func() bool {
		v1, i1 := l.Switches()
		return v1+i1 >= v+i+n
	})
	l.Stop()
}

// Every thread of the crowd existed before the tracer: what it does from its
// first switch on is counted, to the nanosecond.
func TestExistingTasksCountFromTheirFirstSlice(t *testing.T) {
	const threads = 200
	l := tracetest.Crowd(t, tracetest.NewCgroup(t), quietCPU(), threads)
	l.Stop()
	tracer := load(t, trace.Options{})
	if err := errors.Join(tracer.Assign(l.Cgroup().ID, 1), tracer.Publish()); err != nil {
		t.Fatal(err)
	}
	before := kernelCounts(l)
	letRun(t, l, 10*threads)
	want, got := kernelCounts(l).since(before), slotCounts(t, tracer, 1)
	lost := losses(t, tracer)["switch_first_slice"]
	t.Logf("%+v, %d first slices lost on the machine", got, lost)
	if got != want {
		t.Errorf("counted %+v, want the kernel's %+v", got, want)
	}
	// Those that had a CPU when the tracer came, and a few that switched between.
	if lost >= threads/2 {
		t.Errorf("%d first slices lost on a machine of more than %d tasks", lost, threads)
	}
}

// While the tracer is paused the load runs, then sleeps for long. None of it may
// show; what follows must.
func TestPauseCountsNeitherRunNorWaitNorSleep(t *testing.T) {
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	l := tracetest.Crowd(t, c, quietCPU(), 8)
	tracetest.Await(t, "the load in its slot", func() bool { return cell(t, tracer, 1).Switches > 100 })

	began := time.Now()
	for range 2 {
		if err := tracer.Pause(); err != nil || !tracer.Paused() {
			t.Fatalf("pause: %v; paused: %v", err, tracer.Paused())
		}
	}
	l.Stop() // the program may have been running while it was detached
	paused := cell(t, tracer, 1)
	letRun(t, l, 1000)
	if got := cell(t, tracer, 1); got != paused {
		t.Errorf("counted while paused: %+v after %+v", got, paused)
	}
	time.Sleep(time.Second)
	slept := time.Since(began)

	began = time.Now()
	for range 2 {
		if err := tracer.Resume(); err != nil || tracer.Paused() {
			t.Fatalf("resume: %v; paused: %v", err, tracer.Paused())
		}
	}
	base, before := slotCounts(t, tracer, 1), kernelCounts(l)
	letRun(t, l, 200)
	want, got := kernelCounts(l).since(before), slotCounts(t, tracer, 1).since(base)
	after, since := cell(t, tracer, 1), time.Since(began)
	t.Logf("%+v in %v after a pause of %v", got, since, slept)
	if got != want {
		t.Errorf("after the pause counted %+v, want the kernel's %+v", got, want)
	}
	for i := range after.Sleep {
		n := after.Sleep[i] - paused.Sleep[i]
		if n > 0 && workload.BucketOf(uint64(since)) < i {
			t.Errorf("%d sleeps in bucket %d, longer than the %v since the pause", n, i, since)
		}
	}
	if got := after.SleepNs - paused.SleepNs; got == 0 {
		t.Error("no sleep counted after the pause")
	}
}

func TestPausedTracerCanBeClosed(t *testing.T) {
	tracer := load(t, trace.Options{})
	if err := errors.Join(tracer.Pause(), tracer.Close()); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"pause": tracer.Pause(), "resume": tracer.Resume(), "events": tracer.SetEvents(true),
		"thresholds": tracer.SetThresholds(1, 1),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
	if !tracer.Paused() {
		t.Error("a closed tracer says that it is not paused")
	}
}

func TestMemoryIsThatOfTheMapsAndTheTasks(t *testing.T) {
	size := func(o trace.Options) uint64 {
		tracer := load(t, o)
		n, err := tracer.MemoryBytes()
		if err != nil {
			t.Fatal(err)
		}
		if err := tracer.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := tracer.MemoryBytes(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("memory after close: %v", err)
		}
		return n
	}
	small, ring, slots := size(trace.Options{Slots: 1}), size(trace.Options{Slots: 1, RingBytes: 8 << 20}), size(trace.Options{Slots: 255})
	t.Logf("%d, with a ring of 8 MiB %d, with 255 slots %d bytes", small, ring, slots)
	if grown := ring - small; grown < 7<<20 || grown > 9<<20 {
		t.Errorf("a ring buffer of 8 MiB instead of 256 KiB takes %d bytes more", grown)
	}
	if slots < small+254*832 {
		t.Errorf("254 slots more take %d bytes more", slots-small)
	}
	// The storage of every task of the machine, these at least.
	const tasks, taskBytes = 500, 320
	l := tracetest.Crowd(t, tracetest.NewCgroup(t), quietCPU(), tasks)
	if crowded := size(trace.Options{Slots: 1}); crowded < 256<<10+tasks*taskBytes {
		t.Errorf("%d bytes with a ring buffer of 256 KiB and %d tasks", crowded, tasks)
	}
	l.Kill()
}
