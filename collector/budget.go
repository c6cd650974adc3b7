// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"fmt"

	"autosa/workload"
)

const (
	// meanTicks is the number of ticks whose mean cost counts.
	meanTicks = 4
	// upTicks is for how many ticks in a row the mean must be above the budget
	// before the tracer does less.
	upTicks = 3
	// downTicks is for how many ticks in a row it must be below downShare of the
	// budget before the tracer does more.
	downTicks = 30
	downShare = 0.5
	// maxHold bounds how often downTicks is doubled by relapses: to a quarter of
	// an hour at a tick a second.
	maxHold = 5
)

// budget decides how much the tracer may do, from what it costs. It has no clock
// and does no I/O: it is told each tick what that tick cost.
//
// It climbs a step when the cost stays above the limit, and comes back by one
// when it stays far below it for longer. If it must climb again soon after
// (a relapse), the next return takes twice as long, and so on: a load that is
// too dear with a step and cheap without it does not make it flap.
type budget struct {
	limit float64 // share of the machine's CPU time; 0: none
	top   workload.Step
	step  workload.Step

	costs        [meanTicks]float64
	n            int // ticks since the last change
	above, below int // in a row
	hold         uint
	returned     bool // the last change was a return
	reason       string
}

// observe takes one tick's cost in, a share of the machine's CPU time, and says
// whether the step has changed. demand is what full work would have cost in
// that tick; where it is low, past relapses do not count.
func (b *budget) observe(cost, demand float64) (changed bool) {
	if b.limit <= 0 {
		return b.set(workload.StepAll, "")
	}
	b.costs[b.n%meanTicks] = cost
	b.n++
	if b.n < meanTicks {
		return false
	}
	var mean float64
	for _, c := range b.costs {
		mean += c / meanTicks
	}
	b.above, b.below = b.above+1, b.below+1
	if mean <= b.limit {
		b.above = 0
	}
	if mean > downShare*b.limit {
		b.below = 0
	}
	if b.returned && b.n > b.patience() {
		b.returned, b.hold = false, 0 // it held
	}
	switch {
	case b.above >= upTicks && b.step < b.top:
		if b.returned {
			b.hold = min(b.hold+1, maxHold)
		}
		return b.set(b.step+1, fmt.Sprintf("observing took %.2g %% of the CPUs, the budget is %.2g %%", 100*mean, 100*b.limit))
	case b.below >= b.needed(demand) && b.step > workload.StepAll:
		b.set(b.step-1, b.reason)
		b.returned = true
		return true
	}
	return false
}

// patience is for how many ticks a return must last to be no relapse.
func (b *budget) patience() int { return downTicks << b.hold }

// needed is for how many ticks the cost must stay low.
func (b *budget) needed(demand float64) int {
	if demand <= downShare*b.limit {
		return downTicks
	}
	return b.patience()
}

func (b *budget) set(step workload.Step, reason string) (changed bool) {
	changed = step != b.step
	b.step, b.reason = step, reason
	if step == workload.StepAll {
		b.reason = ""
	}
	b.n, b.above, b.below, b.returned = 0, 0, 0, false
	return changed
}
