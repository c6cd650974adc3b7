// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"strings"
	"testing"

	"autosa/workload"
)

// costOf is what a load costs at each step, as a share of what it costs in
// full.
var costOf = [workload.NumSteps]float64{1, 0.9, 0.7, 0.2, 0.01}

// play runs a budget over ticks of a load, and returns how often it changed.
func play(b *budget, ticks int, load func(tick int) float64) (changes int) {
	for tick := range ticks {
		full := load(tick)
		if b.observe(full*costOf[b.step], full) {
			changes++
		}
	}
	return changes
}

func steady(load float64) func(int) float64 { return func(int) float64 { return load } }

func TestBudgetClimbsNoFurtherThanItMustAndComesBack(t *testing.T) {
	for name, tt := range map[string]struct {
		load float64
		want workload.Step
	}{
		"cheap":                  {0.004, workload.StepAll},
		"at the limit":           {0.005, workload.StepAll},
		"dearer":                 {0.0055, workload.StepEvents},
		"dearer still":           {0.0065, workload.StepGroups},
		"far too dear":           {0.02, workload.StepDuty},
		"beyond any measure":     {0.4, workload.StepProcfs},
		"nothing helps any more": {40, workload.StepProcfs},
	} {
		b := &budget{limit: 0.005, top: workload.StepProcfs}
		play(b, 60, steady(tt.load))
		if b.step != tt.want {
			t.Errorf("%s: step %v, want %v", name, b.step, tt.want)
		}
		if (b.reason == "") != (b.step == workload.StepAll) || b.reason != "" && !strings.Contains(b.reason, "0.5 %") {
			t.Errorf("%s: reason %q", name, b.reason)
		}
		play(b, (downTicks+meanTicks)*int(workload.StepProcfs), steady(0.001))
		if b.step != workload.StepAll || b.reason != "" {
			t.Errorf("%s: step %v because %q after the load has ended", name, b.step, b.reason)
		}
	}
}

func TestBudgetForgivesPeaks(t *testing.T) {
	b := &budget{limit: 0.005, top: workload.StepProcfs}
	peaks := func(tick int) float64 {
		if tick%20 == 0 {
			return 0.015 // its mean over four ticks is below the limit
		}
		return 0.001
	}
	if n := play(b, 10_000, peaks); n != 0 {
		t.Errorf("changed %d times for single peaks", n)
	}
}

// A load that is too dear with everything on and cheap without it invites to
// flap: the returns get rarer.
func TestBudgetDoesNotFlap(t *testing.T) {
	b := &budget{limit: 0.005, top: workload.StepProcfs}
	const ticks = 20_000
	n := play(b, ticks, steady(0.012)) // 0.0084 at StepGroups, 0.0024 at StepDuty
	// Without the hold it would be two changes every downTicks or so.
	if free := 2 * ticks / (downTicks + 2*meanTicks); n > free/20 {
		t.Errorf("changed %d times in %d ticks", n, ticks)
	}
	if n < 10 {
		t.Errorf("changed %d times in %d ticks: it does not try to come back", n, ticks)
	}
	// Once the load is gone it comes back without serving its hold.
	play(b, (downTicks+meanTicks)*int(workload.StepProcfs), steady(0.001))
	if b.step != workload.StepAll {
		t.Errorf("step %v long after the load has ended", b.step)
	}
}

func TestBudgetRidesASquareWaveAtTheEdge(t *testing.T) {
	for _, half := range []int{1, 2, 3, 5, 10, 30, 40, 100, 300} {
		b := &budget{limit: 0.005, top: workload.StepProcfs}
		const ticks = 20_000
		n := play(b, ticks, func(tick int) float64 {
			if tick/half%2 == 0 {
				return 0.0051
			}
			return 0.0049
		})
		if n > 40 {
			t.Errorf("half period %d: changed %d times in %d ticks", half, n, ticks)
		}
		if b.step > workload.StepGroups {
			t.Errorf("half period %d: at step %v for a load at the edge", half, b.step)
		}
	}
}

func TestWithoutABudgetNothingBacksOff(t *testing.T) {
	b := &budget{top: workload.StepProcfs}
	if n := play(b, 100, steady(1)); n != 0 || b.step != workload.StepAll {
		t.Errorf("changed %d times, to %v", n, b.step)
	}
	b.limit = 0.005
	play(b, 60, steady(1))
	b.limit = 0
	if b.observe(1, 1); b.step != workload.StepAll {
		t.Errorf("step %v after the limit was lifted", b.step)
	}
}

func TestBudgetStopsWhereTheSourceHasNoFurtherStep(t *testing.T) {
	b := &budget{limit: 0.005, top: workload.StepGroups}
	if play(b, 100, steady(1)); b.step != workload.StepGroups {
		t.Errorf("step %v, want %v", b.step, workload.StepGroups)
	}
}
