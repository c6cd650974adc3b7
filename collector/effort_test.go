// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

// tracedBy is the collector's source, to look at its effort.
func tracedBy(c *Collector) *effort { return c.src.(*bpfSource).effort }

// ticks takes samples until one is as wanted.
func ticks(t *testing.T, c *Collector, pause time.Duration, what string, want func(*workload.Sample) bool) workload.Sample {
	t.Helper()
	for range 600 {
		time.Sleep(pause)
		s := sample(t, c)
		addsUp(t, &s)
		if t.Failed() {
			t.FailNow()
		}
		if want(&s) {
			return s
		}
	}
	t.Fatalf("%s: not in 600 ticks", what)
	return workload.Sample{}
}

func atStep(step workload.Step) func(*workload.Sample) bool {
	return func(s *workload.Sample) bool { return s.Tracer.Step == step }
}

// A budget that nothing can meet makes the tracer go all the way; one that
// everything meets brings it back, and its counts are right again.
func TestTracerBacksOffInStepsAndComesBack(t *testing.T) {
	var logged bytes.Buffer
	c := traced(t, Options{Budget: 1e-9, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	cg := tracetest.NewCgroup(t)
	l := tracetest.PingPong(t, cg, lastCPU())
	const pause = 20 * time.Millisecond
	step := workload.StepAll
	deepest := ticks(t, c, pause, "every step", func(s *workload.Sample) bool {
		if s.Tracer.Step != step && s.Tracer.Step != step+1 {
			t.Errorf("from %v to %v", step, s.Tracer.Step)
		}
		if step = s.Tracer.Step; (s.Tracer.StepReason == "") != (step == workload.StepAll) {
			t.Errorf("%v because %q", step, s.Tracer.StepReason)
		}
		return s.Source == workload.SourceProcfs
	})
	if step != workload.StepProcfs || !tracedBy(c).controls.Paused() || !strings.Contains(deepest.Tracer.Reason, "budget") {
		t.Errorf("totals of /proc at %v, paused %t, because %q", step, tracedBy(c).controls.Paused(), deepest.Tracer.Reason)
	}
	for i, g := range ticks(t, c, pause, "a group of /proc", func(s *workload.Sample) bool { return groupOf(s, cg.Name) != nil }).Groups {
		if g.WaitHist.Count() > 0 {
			t.Errorf("group %d has a distribution", i)
		}
	}

	c.SetBudget(1)
	ticks(t, c, pause, "full work again", func(s *workload.Sample) bool {
		if s.Tracer.Step > step {
			t.Errorf("from %v back to %v", step, s.Tracer.Step)
		}
		step = s.Tracer.Step
		return step == workload.StepAll && s.Source == workload.SourceBPF && groupOf(s, cg.Name) != nil && s.CoveredTime() == s.Interval
	})
	for s := workload.StepEvents; s <= workload.StepProcfs; s++ {
		if n := strings.Count(logged.String(), `doing="`+s.String()); n < 1 && s != workload.StepProcfs {
			t.Errorf("%v is not in the log:\n%s", s, logged.String())
		}
	}
	l.Stop()
	v0, i0 := l.Switches()
	sample(t, c)
	l.Resume()
	var sum uint64
	for range 10 {
		time.Sleep(pause)
		s := sample(t, c)
		if g := groupOf(&s, cg.Name); g != nil {
			sum += g.Switches
		}
	}
	l.Stop()
	v1, i1 := l.Switches()
	s := sample(t, c)
	if g := groupOf(&s, cg.Name); g != nil {
		sum += g.Switches
	}
	if want := v1 - v0 + i1 - i0; sum != want {
		t.Errorf("%d switches after coming back, want %d", sum, want)
	}
}

// The duty cycle counts a part of the time, and says which.
func TestDutyCycleSaysWhatItCovers(t *testing.T) {
	c := traced(t, Options{Budget: 1e-9})
	tracedBy(c).budget.top = workload.StepDuty
	cg := tracetest.NewCgroup(t)
	l := tracetest.PingPong(t, cg, lastCPU())
	ticks(t, c, 20*time.Millisecond, "the duty cycle", atStep(workload.StepDuty))
	ticks(t, c, 100*time.Millisecond, "the load's group", func(s *workload.Sample) bool { return groupOf(s, cg.Name) != nil })
	var covered, interval time.Duration
	var counted uint64
	v0, i0 := l.Switches()
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		s := sample(t, c)
		addsUp(t, &s)
		if s.Covered <= 0 || s.Covered > s.Interval {
			t.Fatalf("%v of %v covered", s.Covered, s.Interval)
		}
		covered, interval = covered+s.Covered, interval+s.Interval
		if g := groupOf(&s, cg.Name); g != nil {
			counted += g.Switches
		}
	}
	v1, i1 := l.Switches()
	share := float64(covered) / float64(interval)
	seen := float64(counted) / float64(v1-v0+i1-i0)
	t.Logf("%.3f of the time covered, %.3f of the switches seen", share, seen)
	if share > 0.6 || share < 0.02 {
		t.Errorf("%.3f of the time covered, want about a quarter", share)
	}
	// The load does not run evenly where others disturb it.
	if r := seen / share; r < 0.4 || r > 2.5 {
		t.Errorf("%.3f of the switches seen in %.3f of the time", seen, share)
	}
}

func TestFewerGroupsLeaveTheRestInOther(t *testing.T) {
	c := traced(t, Options{Slots: 16, Groups: 8, Budget: 1e-9})
	tracedBy(c).budget.top = workload.StepGroups
	for range 6 {
		tracetest.Sleep(t, tracetest.NewCgroup(t), lastCPU(), time.Millisecond)
	}
	ticks(t, c, 20*time.Millisecond, "fewer groups", atStep(workload.StepGroups))
	s := ticks(t, c, 50*time.Millisecond, "a quarter of the slots", func(s *workload.Sample) bool {
		return s.Tracer.Slots == 4 && s.Tracer.SlotsUsed <= 4 && s.Other.Switches > 0
	})
	if len(s.Groups) > 2 || s.Events.Received > 0 || s.Events.WaitThreshold != 0 {
		t.Errorf("%d groups, %d events with threshold %v; want at most 2 and none", len(s.Groups), s.Events.Received, s.Events.WaitThreshold)
	}
}

// Waits beyond what anybody can use raise the threshold, and it comes back.
func TestThresholdFollowsTheLoad(t *testing.T) {
	c := traced(t, Options{WaitThreshold: 10 * time.Microsecond})
	cg := tracetest.NewCgroup(t)
	l, spin := tracetest.PingPong(t, cg, lastCPU()), tracetest.PingPong(t, cg, lastCPU())
	ticks(t, c, 50*time.Millisecond, "a higher threshold", func(s *workload.Sample) bool {
		return s.Events.WaitThreshold > 10*time.Microsecond
	})
	l.Kill()
	spin.Kill()
	const floor = 100 * time.Millisecond // waits that nobody has now
	tracedBy(c).floor[0] = floor
	ticks(t, c, 10*time.Millisecond, "the floor", func(s *workload.Sample) bool { return s.Events.WaitThreshold == floor })
}
