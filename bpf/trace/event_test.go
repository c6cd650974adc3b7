// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
)

// drain reads what is in the ring buffer.
func drain(t testing.TB, tracer *trace.Tracer) []trace.Event {
	t.Helper()
	if err := tracer.Flush(); err != nil {
		t.Fatal(err)
	}
	var (
		all []trace.Event
		rec trace.Record
		e   trace.Event
	)
	for {
		switch err := tracer.ReadEvent(&rec, &e); {
		case errors.Is(err, trace.ErrFlushed):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func losses(t testing.TB, tracer *trace.Tracer) map[string]uint64 {
	t.Helper()
	m := make(map[string]uint64)
	if err := tracer.Losses(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// eventsOf waits until a load has had n more switches, and returns its events of
// that time.
func eventsOf(t *testing.T, tracer *trace.Tracer, l *tracetest.Load, n uint64) (own []trace.Event) {
	t.Helper()
	drain(t, tracer) // from before
	v, i := l.Switches()
	tracetest.Await(t, "the load's switches", func() bool {
		v1, i1 := l.Switches()
		return v1+i1 >= v+i+n
	})
	for _, e := range drain(t, tracer) {
		if e.PID == l.PID() {
			own = append(own, e)
		}
	}
	return own
}

// A culprit and a victim share a CPU by slices; others slip in for a moment now
// and then, and are often the last that had it. The culprit is named, with about
// the time that the victim waited.
func TestWaitEventsNameWhoHeldTheCPU(t *testing.T) {
	waits, byCulprit, bySlip := waitsOfAVictim(t)
	// Others may have the CPU on a busy machine and are named then.
	if byCulprit < waits/2 {
		t.Errorf("culprit named in %d of %d waits, want most", byCulprit, waits)
	}
	if bySlip > byCulprit/10 {
		t.Errorf("who slipped in is named in %d waits, the culprit in %d", bySlip, byCulprit)
	}
}

// waitsOfAVictim checks the events of a victim, a culprit and tasks that slip in
// between them, and returns how many there were and whom they name.
func waitsOfAVictim(t *testing.T) (waits, byCulprit, bySlip int) {
	t.Helper()
	const threshold = time.Millisecond
	tracer := load(t, trace.Options{WaitThreshold: threshold, WaitEvents: 1 << 20, CycleEvents: -1, RingBytes: 16 << 20})
	culprits, victims := tracetest.NewCgroup(t), tracetest.NewCgroup(t)
	culprit := tracetest.Spin(t, culprits, quietCPU())
	victim := tracetest.Spin(t, victims, quietCPU())
	slip := tracetest.Crowd(t, tracetest.NewCgroup(t), quietCPU(), 3)
	for _, l := range []*tracetest.Load{culprit, victim, slip} {
		l.Prefer()
	}
	eventsOf(t, tracer, victim, 50) // from before they became what they are

	var whole int
	check := func(e trace.Event) {
		if e.Kind != trace.EventWait || e.Wait < threshold {
			t.Fatalf("event %+v is no wait past the threshold", e)
		}
		if e.CPU != quietCPU() || e.Cgroup != victims.ID || e.Comm.String() != "sh" {
			t.Errorf("victim's event has CPU %d, cgroup %d, comm %q", e.CPU, e.Cgroup, e.Comm)
		}
		if e.HolderPID == victim.PID() || e.HolderPID == 0 != (e.HolderRun == 0) || e.HolderRun+e.Idle > e.Wait {
			t.Errorf("event %+v does not add up", e)
		}
		waits++
		switch e.HolderCgroup {
		case culprits.ID:
			byCulprit++
			if e.HolderPID != culprit.PID() || e.HolderTGID != culprit.PID() || e.HolderComm.String() != "sh" {
				t.Errorf("the culprit, process %d, is shown as %+v", culprit.PID(), e)
			}
			// Of a long wait amid many switches not all is remembered.
			if e.HolderRun >= e.Wait*3/4 {
				whole++
			}
		case slip.Cgroup().ID:
			bySlip++
		}
	}
	tracetest.Await(t, "waits that the culprit made", func() bool {
		for _, e := range eventsOf(t, tracer, victim, 100) {
			check(e)
		}
		return whole >= 10
	})
	t.Logf("%d waits of the victim; the culprit named in %d, with most of the wait in %d; who slipped in in %d",
		waits, byCulprit, whole, bySlip)
	return waits, byCulprit, bySlip
}

func TestOwnProcessMakesNoEvents(t *testing.T) {
	tracer := load(t, trace.Options{WaitThreshold: 1, CycleEvents: 1 << 20, WaitEvents: 1 << 20})
	l := tracetest.Spin(t, tracetest.NewCgroup(t), quietCPU())
	eventsOf(t, tracer, l, 10)
	v, i := l.Switches()
	tracetest.Await(t, "some switches", func() bool { v1, i1 := l.Switches(); return v1+i1 > v+i+10 })
	for _, e := range drain(t, tracer) {
		if e.TGID == os.Getpid() {
			t.Errorf("event of the tracer's own process: %+v", e)
		}
	}
}

func TestEventsFollowTheirSettings(t *testing.T) {
	// Room for everyone's events: the machine may be busy.
	tracer := load(t, trace.Options{WaitThreshold: time.Millisecond, WaitEvents: 1 << 20, CycleEvents: -1, RingBytes: 16 << 20})
	c := tracetest.NewCgroup(t)
	l := tracetest.Spin(t, c, quietCPU())
	tracetest.Spin(t, c, quietCPU())
	for _, step := range []struct {
		what string
		set  func() error
		want bool
	}{
		{"as loaded", func() error { return nil }, true},
		{"off", func() error { return tracer.SetEvents(false) }, false},
		{"off, with thresholds", func() error { return tracer.SetThresholds(1, 1) }, false},
		{"off, sampling all tasks", func() error { return tracer.SampleTasks(0, 0) }, false},
		{"on again, past 1 ns", func() error { return tracer.SetEvents(true) }, true},
		{"past an hour", func() error { return tracer.SetThresholds(time.Hour, time.Hour) }, false},
		{"past 1 ms", func() error { return tracer.SetThresholds(time.Millisecond, time.Hour) }, true},
	} {
		if err := step.set(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		eventsOf(t, tracer, l, 4) // a switch may have been under way
		got := func() (n int) {
			for _, e := range eventsOf(t, tracer, l, 40) {
				if e.Kind&trace.EventWait != 0 {
					n++
				}
			}
			return n
		}
		if step.want {
			tracetest.Await(t, step.what+": a wait event", func() bool { return got() > 0 })
		} else if n := got(); n > 0 {
			t.Errorf("%s: %d wait events", step.what, n)
		}
	}
	for _, d := range [][2]time.Duration{{0, 1}, {1, 0}, {-1, -1}} {
		if err := tracer.SetThresholds(d[0], d[1]); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("thresholds %v: %v", d, err)
		}
	}
}

func TestSampledCyclesShowAPeriodicTasksPeriod(t *testing.T) {
	const period = 20 * time.Millisecond
	// Room for every task's cycles: the machine may be busy.
	tracer := load(t, trace.Options{CycleEvents: 1 << 20, RingBytes: 64 << 20})
	c := tracetest.NewCgroup(t)
	l := tracetest.Sleep(t, c, quietCPU(), period)
	time.Sleep(time.Second)

	var last trace.Event
	var distances []time.Duration
	for _, e := range drain(t, tracer) {
		if e.Cgroup != c.ID || e.TGID != l.PID() || e.Comm.String() != tracetest.SleeperComm || e.Kind&trace.EventCycle == 0 {
			continue
		}
		if last.PID != 0 && e.Wakeups == last.Wakeups+1 {
			distances = append(distances, e.Wakeup()-last.Wakeup())
		}
		last = e
	}
	if len(distances) < 20 {
		t.Fatalf("%d distances of wakeups in a second with a period of %v", len(distances), period)
	}
	// The median: on a busy machine some wakeups come late.
	slices.Sort(distances)
	if median := distances[len(distances)/2]; median < period*9/10 || median > period*11/10 {
		t.Errorf("median distance of wakeups %v, want %v", median, period)
	}
}

func TestLossesAreCountedWhenNobodyReadsTheRing(t *testing.T) {
	tracer := load(t, trace.Options{RingBytes: 1, CycleEvents: 1 << 20})
	c := assign(t, tracer, 1)
	l := tracetest.PingPong(t, c, quietCPU())
	time.Sleep(300 * time.Millisecond)
	l.Stop()
	lost := losses(t, tracer)["event_ring_full"]
	got := len(drain(t, tracer))
	// Its two threads slept and ran by turns: a cycle for a good part of the
	// switches, of which a page holds a few dozen; more come while it is read.
	if lost < 1000 || got == 0 || got > os.Getpagesize()/32 {
		t.Errorf("%d events lost and %d read from a ring buffer of a page", lost, got)
	}
}

func TestEventsOverTheRateAreCounted(t *testing.T) {
	tracer := load(t, trace.Options{CycleEvents: 100, WaitEvents: -1})
	c := assign(t, tracer, 1)
	l := tracetest.PingPong(t, c, quietCPU())
	time.Sleep(time.Second)
	l.Kill()
	events, lost := len(drain(t, tracer)), losses(t, tracer)[trace.LossCycleRate]
	// On every CPU 100 a second and a burst of a quarter of that, and the second
	// may take longer on a busy machine.
	if limit := 500 * tracer.CPUs(); events > limit || events < 100 {
		t.Errorf("%d events in a second, want 100 to %d", events, limit)
	}
	if lost < 10000 {
		t.Errorf("%d cycles over the rate counted", lost)
	}
}

func TestReaderIsWokenFromAQuarterFull(t *testing.T) {
	tracer := load(t, trace.Options{RingBytes: 64 << 10, CycleEvents: 1 << 20})
	c := assign(t, tracer, 1)
	read := make(chan error)
	go func() { // nobody flushes
		var rec trace.Record
		var e trace.Event
		read <- tracer.ReadEvent(&rec, &e)
	}()
	tracetest.PingPong(t, c, quietCPU())
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(3 * time.Minute):
		t.Error("the reader sleeps although the ring buffer is full")
		if err := tracer.Flush(); err != nil {
			t.Error(err)
		}
		<-read
	}
}

// How many of the reads wait is the disk's and the hypervisor's business: one whose data came while the reader was still on its
// way to sleep waits for nothing. That none is missed is shown where the disk is known, in guests.
func TestDirectReadsCountAsIOWait(t *testing.T) {
	for attempt := 1; ; attempt++ {
		if n := directReads(t); n >= 10 {
			return
		} else if attempt == attempts {
			t.Fatalf("%d I/O waits in the last of %d attempts", n, attempts)
		}
	}
}

// directReads has a task read for a while and returns its I/O waits.
func directReads(t *testing.T) uint64 {
	t.Helper()
	tracer := load(t, trace.Options{IOThreshold: time.Microsecond})
	c := assign(t, tracer, 1)
	l := tracetest.Read(t, c, quietCPU(), tracetest.DiskFile(t))
	time.Sleep(500 * time.Millisecond)
	tracetest.Await(t, "some reads", func() bool { got := cell(t, tracer, 1); return got.Switches > 200 })
	l.Stop()
	got := cell(t, tracer, 1)
	var total time.Duration
	durations := l.Durations()
	for _, d := range durations {
		total += d
	}
	reads := len(durations)
	var io, sleeps uint64
	for i := range got.Io {
		io += uint64(got.Io[i])
		sleeps += uint64(got.Sleep[i])
	}
	t.Logf("%d reads in %v; %d I/O waits of %v, %d sleeps", reads, total, io, time.Duration(got.IoNs), sleeps)
	if reads < 50 {
		t.Fatalf("the load read %d blocks only", reads)
	}
	if io > uint64(reads)*11/10 {
		t.Errorf("%d I/O waits for %d direct reads", io, reads)
	}
	// A read is its wait for the disk, the system call around it, and waiting
	// for the CPU on a busy machine.
	if share := float64(got.IoNs) / float64(total); share > 1 {
		t.Errorf("I/O waits are %.2f of the time that the reads took", share)
	}
	var events int
	for _, e := range drain(t, tracer) {
		if e.Cgroup == c.ID && e.Kind&trace.EventIO != 0 {
			events++
		}
	}
	if events == 0 && io > 0 {
		t.Errorf("no event for %d I/O waits past the threshold", io)
	}
	return io
}

func TestNewTasksCountFromTheirFirstSlice(t *testing.T) {
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	before := losses(t, tracer)["switch_first_slice"]
	tracetest.Fork(t, c, quietCPU())
	tracetest.Await(t, "new tasks", func() bool { return cell(t, tracer, 1).Forks >= 10 })
	forks := cell(t, tracer, 1).Forks
	skipped := losses(t, tracer)["switch_first_slice"] - before
	t.Logf("%d new tasks, %d first slices skipped", forks, skipped)
	if skipped > forks/2 {
		t.Errorf("%d new tasks counted, %d first slices skipped on the machine", forks, skipped)
	}
}

func TestEverythingAtOnceIsSafe(t *testing.T) {
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	tracetest.PingPong(t, c, quietCPU())
	end := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for _, f := range []func(){
		func() {
			var s trace.Snapshot
			last := uint64(0)
			for time.Now().Before(end) {
				err := tracer.Snapshot(&s)
				if errors.Is(err, os.ErrClosed) {
					return
				}
				if err != nil || s.Slots[1].Switches < last {
					t.Errorf("snapshot: %v; switches %d after %d", err, s.Slots[1].Switches, last)
					return
				}
				last = s.Slots[1].Switches
			}
		},
		func() {
			m := make(map[string]uint64)
			for time.Now().Before(end) && tracer.Losses(m) == nil {
				_, _ = tracer.Cost(time.Now())
				_ = tracer.Publish()
				_ = tracer.Assign(1, 2)
				_ = tracer.Unassign(1)
				_ = tracer.SampleTasks(3, 1)
				_, _ = tracer.Unknown(nil)
				_ = tracer.SetThresholds(time.Millisecond, time.Millisecond)
				_ = tracer.SetEvents(true)
				_, _ = tracer.MemoryBytes()
			}
		},
		func() {
			for time.Now().Before(end) && tracer.Pause() == nil {
				_ = tracer.Paused()
				if err := tracer.Resume(); err != nil && !errors.Is(err, os.ErrClosed) {
					t.Error(err)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		},
		func() {
			var rec trace.Record
			var e trace.Event
			for {
				if err := tracer.ReadEvent(&rec, &e); errors.Is(err, os.ErrClosed) {
					return
				} else if err != nil && !errors.Is(err, trace.ErrFlushed) {
					t.Error(err)
					return
				}
			}
		},
		func() {
			for time.Now().Before(end.Add(-200 * time.Millisecond)) {
				if err := tracer.Flush(); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
			}
			if err := tracer.Close(); err != nil {
				t.Error(err)
			}
		},
	} {
		wg.Go(f)
	}
	wg.Wait()
}
