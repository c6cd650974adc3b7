// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

func TestWakeupsNameTheTaskOrTheInterrupt(t *testing.T) { wakeups(t, 300*time.Millisecond) }

func wakeups(t *testing.T, d time.Duration) {
	t.Helper()
	tracetest.RequireTracer(t)
	pair, alone := tracetest.NewCgroup(t), tracetest.NewCgroup(t)
	l := tracetest.PingPong(t, pair, quietCPU())
	l.Prefer()
	tracetest.Sleep(t, alone, 0, 2*time.Millisecond)
	before := tracetest.Kernel(t)
	sample, err := trace.SampleWakeups(t.Context(), d)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	var sum, eachOther, byOthers, byTimer, byTask uint64
	for i, e := range sample.Edges {
		sum += e.Count
		if i > 0 && e.Count > sample.Edges[i-1].Count {
			t.Fatalf("%+v comes after %+v", e, sample.Edges[i-1])
		}
		switch {
		case e.WakeeCgroup == pair.ID && e.WakerCgroup == pair.ID:
			eachOther += e.Count
		case e.WakeeCgroup == pair.ID:
			byOthers += e.Count
		case e.Wakee.String() == tracetest.SleeperComm && e.WakeeCgroup == alone.ID && e.Interrupt:
			byTimer += e.Count
		case e.Wakee.String() == tracetest.SleeperComm && e.WakeeCgroup == alone.ID:
			byTask += e.Count
		}
	}
	if sum+sample.Unnamed != sample.Wakeups {
		t.Errorf("edges have %d wakeups and %d are unnamed, of %d", sum, sample.Unnamed, sample.Wakeups)
	}
	t.Logf("%d wakeups in %v: the pair woke each other %d times, others them %d times; the sleeper was woken %d times by an interrupt, %d times by a task",
		sample.Wakeups, sample.Duration, eachOther, byOthers, byTimer, byTask)
	// A softirq that runs in a task's time may wake one of the pair in between.
	if eachOther < 100 || byOthers*5 > eachOther {
		t.Errorf("the pair woke each other %d times, others them %d times", eachOther, byOthers)
	}
	// A sleeper is woken by the timer's interrupt.
	if byTimer < 5 || byTask*5 > byTimer {
		t.Errorf("the sleeper was woken %d times by an interrupt, %d times by a task", byTimer, byTask)
	}
	tracetest.AwaitKernel(t, before)
}

func TestBlockLatencyCountsEveryReadOfALoad(t *testing.T) {
	tracetest.RequireTracer(t)
	l := tracetest.Read(t, tracetest.NewCgroup(t), quietCPU(), tracetest.DiskFile(t))
	before := tracetest.Kernel(t)
	sample := blockSample(t, 300*time.Millisecond)
	tracetest.AwaitKernel(t, before)
	var hist workload.Histogram
	for _, op := range sample.Ops {
		if op.Op.String() == "read" {
			hist = op.Buckets
			if hist.Count() != op.Requests || op.Total <= 0 {
				t.Errorf("%d requests in the buckets: %+v", hist.Count(), op)
			}
		}
	}
	reads := len(l.Durations())
	t.Logf("%d reads in the load's life, %d requests, p50 %v, %d without a start", reads, hist.Count(), hist.Quantile(0.5), sample.Untimed)
	if n := hist.Count() + sample.Untimed; n == 0 {
		t.Errorf("no read among %d", reads)
	}
}

func blockSample(t *testing.T, d time.Duration) trace.BlockSample {
	t.Helper()
	sample, err := trace.SampleBlock(t.Context(), d)
	if errors.Is(err, trace.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return sample
}

func TestASampleThatIsCalledOffLeavesNothingAttached(t *testing.T) { callOff(t, 3) }

func callOff(t *testing.T, times int) {
	t.Helper()
	tracetest.RequireTracer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trace.SampleWakeups(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	before := tracetest.Kernel(t)
	for range times {
		if _, err := trace.SampleWakeups(ctx, time.Hour); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := trace.SampleBlock(ctx, time.Hour); !errors.Is(err, context.Canceled) && !errors.Is(err, trace.ErrNotSupported) {
			t.Error(err)
		}
	}
	tracetest.AwaitKernel(t, before)
}

// Decoding the kernel's type information is most of the work of loading a
// program. It is done once, by what memory it takes.
func TestLoadingDecodesTheKernelsTypesOnce(t *testing.T) {
	tracetest.RequireTracer(t)
	allocated := func(what func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		what()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	probing := allocated(func() {
		if err := trace.Probe(); err != nil {
			t.Fatal(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, load := range map[string]func() error{
		"tracer": func() error {
			tracer, err := trace.Load(trace.Options{})
			if err != nil {
				return err
			}
			return tracer.Close()
		},
		"stream": func() error {
			s, err := trace.OpenStream(trace.StreamOptions{})
			if err != nil {
				return err
			}
			return s.Close()
		},
		"tasks": func() error { return trace.Tasks(func(*trace.Task) error { return nil }) },
		"wakeups": func() error {
			_, err := trace.SampleWakeups(ctx, time.Hour)
			return err
		},
		"block": func() error {
			_, err := trace.SampleBlock(ctx, time.Hour)
			return err
		},
	} {
		var err error
		got := allocated(func() { err = load() })
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, trace.ErrNotSupported) {
			t.Errorf("%s: %+v", name, err)
		}
		t.Logf("%s: %d bytes, the probe alone %d", name, got, probing)
		if got > probing*3/2 {
			t.Errorf("%s allocates %d bytes where the probe, which has to decode the kernel's types, takes %d", name, got, probing)
		}
	}
}
