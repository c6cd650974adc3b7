// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"cmp"
	"math"
	"slices"
	"time"

	"autosa/bpf/trace"
	"autosa/workload"
)

const (
	maxWorst   = 8
	maxEdges   = 16
	maxPeriods = 16
	// maxPairs bounds the pairs of cgroups summed in a tick; further pairs are
	// summed as one, named workload.OtherName.
	maxPairs = 1024

	// maxTasks bounds the tasks whose rhythm is followed; while there are more,
	// new ones are not.
	maxTasks = 512
	// ringLen is how many wakeup distances of a task are remembered, minRing how
	// many it takes to judge them.
	ringLen = 32
	minRing = 8
	// forgetTicks is after how many ticks without a wakeup a task is forgotten.
	forgetTicks = 10
)

// aggregator sums events up. It is not safe for concurrent use.
type aggregator struct {
	received uint64
	waits    worst
	ioWaits  worst
	pairs    map[pair]*pairSum
	tasks    map[int]*rhythm
}

type pair struct{ waiter, holder uint64 }

// otherPair stands for the pairs beyond maxPairs; no cgroup has id 0.
var otherPair = pair{}

type pairSum struct {
	count uint64
	total time.Duration
}

func newAggregator() *aggregator {
	return &aggregator{pairs: make(map[pair]*pairSum), tasks: make(map[int]*rhythm)}
}

// add takes one event in.
func (a *aggregator) add(e *trace.Event) {
	a.received++
	if e.Kind&trace.EventWait != 0 {
		a.waits.add(e, e.Wait)
		// A group's own tasks are no neighbours.
		if e.HolderPID != 0 && e.HolderCgroup != e.Cgroup {
			a.pair(pair{e.Cgroup, e.HolderCgroup}, min(e.HolderRun, e.Wait))
		}
	}
	if e.Kind&trace.EventIO != 0 {
		a.ioWaits.add(e, e.Blocked)
	}
	if e.Kind&trace.EventCycle != 0 {
		a.cycle(e)
	}
}

func (a *aggregator) pair(p pair, wait time.Duration) {
	sum := a.pairs[p]
	if sum == nil {
		if len(a.pairs) >= maxPairs {
			p = otherPair
			sum = a.pairs[p]
		}
		if sum == nil {
			sum = &pairSum{}
			a.pairs[p] = sum
		}
	}
	sum.count++
	sum.total += wait
}

// worst keeps the longest of many waits, longest first.
type worst struct {
	n      int
	events [maxWorst]trace.Event
	waits  [maxWorst]time.Duration
}

func (w *worst) add(e *trace.Event, wait time.Duration) {
	i := w.n
	for i > 0 && w.waits[i-1] < wait {
		i--
	}
	if i == maxWorst {
		return
	}
	w.n = min(w.n+1, maxWorst)
	copy(w.events[i+1:w.n], w.events[i:])
	copy(w.waits[i+1:w.n], w.waits[i:])
	w.events[i], w.waits[i] = *e, wait
}

// rhythm is the recent wakeups of one task.
type rhythm struct {
	pid    int
	comm   trace.Comm
	cgroup uint64

	wakeups   uint32 // the number of the last one seen
	wakeup    time.Duration
	distances [ringLen]time.Duration
	n, next   int
	cycles    int // in this tick
	quiet     int // ticks without one
}

func (a *aggregator) cycle(e *trace.Event) {
	r := a.tasks[e.PID]
	switch {
	case r == nil:
		if len(a.tasks) >= maxTasks {
			return
		}
		r = &rhythm{pid: e.PID}
		a.tasks[e.PID] = r
	case e.Wakeups-r.wakeups == 1 && e.Wakeup() > r.wakeup:
		r.distances[r.next] = e.Wakeup() - r.wakeup
		r.next = (r.next + 1) % ringLen
		r.n = min(r.n+1, ringLen)
		r.cycles++
	case e.Wakeups <= r.wakeups:
		// Another task with a used process id.
		*r = rhythm{pid: e.PID}
	}
	r.comm, r.cgroup = e.Comm, e.Cgroup
	r.wakeups, r.wakeup = e.Wakeups, e.Wakeup()
	r.quiet = 0
}

// judge returns the mean of the wakeup distances and their coefficient of
// variation.
func (r *rhythm) judge() (mean time.Duration, cv float64) {
	var sum, squares float64
	for _, d := range r.distances[:r.n] {
		sum += float64(d)
	}
	m := sum / float64(r.n)
	for _, d := range r.distances[:r.n] {
		squares += (float64(d) - m) * (float64(d) - m)
	}
	return time.Duration(m), math.Sqrt(squares/float64(r.n)) / m
}

// take returns what the events since the call before add up to. held says which
// groups' own quotas made them wait.
func (a *aggregator) take(name func(uint64) string, held func(string) bool) workload.Events {
	ev := workload.Events{Received: a.received}
	a.received = 0
	ev.Worst = a.takeWorst(name)
	ev.WaitedFor, ev.Throttled = a.takeEdges(name, held)
	ev.Periods = a.takePeriods(name)
	return ev
}

// takeWorst returns the worst run-queue waits, and I/O waits where these leave
// room.
func (a *aggregator) takeWorst(name func(uint64) string) []workload.WaitEvent {
	var all []workload.WaitEvent
	for i := range a.waits.n {
		e := &a.waits.events[i]
		w := waitEvent(e, e.Wait, name)
		if e.HolderPID != 0 {
			w.HolderPID, w.HolderComm, w.HolderGroup = e.HolderPID, e.HolderComm.String(), name(e.HolderCgroup)
		}
		all = append(all, w)
	}
	for i := range min(a.ioWaits.n, maxWorst-a.waits.n) {
		e := &a.ioWaits.events[i]
		w := waitEvent(e, e.Blocked, name)
		w.IO = true
		all = append(all, w)
	}
	a.waits.n, a.ioWaits.n = 0, 0
	slices.SortStableFunc(all, func(a, b workload.WaitEvent) int { return cmp.Compare(b.Wait, a.Wait) })
	return all
}

func waitEvent(e *trace.Event, wait time.Duration, name func(uint64) string) workload.WaitEvent {
	return workload.WaitEvent{PID: e.PID, Comm: e.Comm.String(), Group: name(e.Cgroup), CPU: e.CPU, Wait: wait}
}

// takeEdges returns which groups made which others wait, and the number of
// waits for which nobody is to blame, because the waiter's own quota held it
// back.
func (a *aggregator) takeEdges(name func(uint64) string, held func(string) bool) (edges []workload.Edge, throttled uint64) {
	type kept struct {
		pair
		pairSum
	}
	var top []kept
	for p, sum := range a.pairs {
		top = append(top, kept{p, *sum})
	}
	clear(a.pairs)
	slices.SortFunc(top, func(a, b kept) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.waiter, b.waiter), cmp.Compare(a.holder, b.holder))
	})
	for _, k := range top {
		if len(edges) == maxEdges {
			break // names and quotas are not looked up for what nobody sees
		}
		e := workload.Edge{Waiter: workload.OtherName, Holder: workload.OtherName, Count: k.count, Total: k.total}
		if k.pair != otherPair {
			e.Waiter, e.Holder = name(k.waiter), name(k.holder)
			if held(e.Waiter) {
				throttled += k.count
				continue
			}
		}
		edges = append(edges, e)
	}
	return edges, throttled
}

// takePeriods returns the tasks that woke in this tick and whose rhythm can be
// judged: first the one with most cycles of each cgroup, then by cycles.
func (a *aggregator) takePeriods(name func(uint64) string) []workload.Period {
	var known []*rhythm
	for pid, r := range a.tasks {
		if r.cycles > 0 && r.n >= minRing {
			known = append(known, r)
		}
		if r.quiet++; r.quiet > forgetTicks {
			delete(a.tasks, pid)
		}
	}
	slices.SortFunc(known, func(a, b *rhythm) int {
		return cmp.Or(cmp.Compare(b.cycles, a.cycles), cmp.Compare(a.pid, b.pid))
	})
	seen := make(map[uint64]bool)
	var first, others []*rhythm
	for _, r := range known {
		if seen[r.cgroup] {
			others = append(others, r)
			continue
		}
		seen[r.cgroup] = true
		first = append(first, r)
	}
	known = append(first, others...)
	var periods []workload.Period
	for _, r := range known[:min(len(known), maxPeriods)] {
		mean, cv := r.judge()
		periods = append(periods, workload.Period{
			PID: r.pid, Comm: r.comm.String(), Group: name(r.cgroup), Mean: mean, CV: cv, Cycles: r.cycles,
		})
	}
	for _, r := range a.tasks {
		r.cycles = 0
	}
	return periods
}
