// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"sync"
	"time"

	"autosa/workload"
)

// controls is how the tracer is made to do less, or more.
type controls interface {
	// SetThresholds sets the shortest waits that become events.
	SetThresholds(wait, io time.Duration) error
	// SetEvents turns single events off and on; counting goes on.
	SetEvents(on bool) error
	// Pause stops counting until Resume; what is counted stays.
	Pause() error
	Resume() error
	Paused() bool
	// MemoryBytes is what the tracer's maps take in the kernel.
	MemoryBytes() (uint64, error)
}

const (
	// backedOff is the divisor of groups and time where the tracer does less.
	backedOff = 4
	// fallbackThreads bounds the threads looked at in a tick while /proc stands in
	// for a tracer that is too dear: it must not be dearer itself.
	fallbackThreads = 512
	// memoryTicks is how often the tracer's memory is asked for.
	memoryTicks = 64
)

// effort makes the tracer do as much as its budget allows.
type effort struct {
	controls controls
	machine  *machine
	parts    *parts
	options  Options
	cg       *cgroups

	budget budget
	ticks  int
	memory uint64

	quiet    bool // events are off
	floor    [2]time.Duration
	current  [2]time.Duration // thresholds of waits and I/O waits
	duty     duty
	fallback *procfsSource // while the tracer is paused for good
}

func newEffort(c controls, o Options, cg *cgroups, m *machine, p *parts) *effort {
	e := &effort{
		controls: c, options: o, cg: cg, machine: m, parts: p,
		budget: budget{limit: o.Budget, top: workload.StepProcfs},
		floor:  [2]time.Duration{o.WaitThreshold, o.IOThreshold},
		duty:   duty{controls: c},
	}
	e.current = e.floor
	e.options.maxScan = fallbackThreads
	return e
}

// events says whether there are single events.
func (e *effort) events() bool { return e.budget.step < workload.StepEvents }

// thresholds are the shortest waits of a sample's events, 0 without events.
func (e *effort) thresholds() (wait, io time.Duration) {
	if !e.events() {
		return 0, 0
	}
	return e.current[0], e.current[1]
}

// groups and slots bound the cgroups listed, and those told apart.
func (e *effort) groups(all int) int { return e.fewer(all) }
func (e *effort) slots(all int) int  { return e.fewer(all) }

func (e *effort) fewer(all int) int {
	if e.budget.step < workload.StepGroups {
		return all
	}
	return max(all/backedOff, 1)
}

// covered ends the part of the interval in which the tracer counts, and returns
// how long it was; 0 for all of it.
func (e *effort) covered(interval time.Duration) time.Duration {
	covered, err := e.duty.end()
	e.parts.report("duty cycle of the tracer", err)
	return min(covered, interval)
}

// next judges a sample's cost, sets what the sample says of the budget, and
// makes the tracer do what it may in the next interval.
func (e *effort) next(s *workload.Sample) {
	before := e.budget.step
	cost := &s.Tracer.Cost
	if e.budget.observe(cost.BPFShare+cost.DaemonShare, cost.DaemonShare+e.full(s)) {
		verb := "the tracer backs off"
		if e.budget.step < before {
			verb = "the tracer does more again"
		}
		e.parts.log.Info(verb, "step", int(e.budget.step), "doing", e.budget.step.String(), "before", before.String(), "reason", e.budget.reason)
	}
	if e.ticks%memoryTicks == 0 {
		var err error
		e.memory, err = e.controls.MemoryBytes()
		e.parts.report("memory of the tracer", err)
	}
	e.ticks++
	t := &s.Tracer
	t.Budget, t.Step, t.StepReason, t.MemoryBytes = e.budget.limit, e.budget.step, e.budget.reason, e.memory
	e.parts.report("effort of the tracer", e.enforce(s))
}

// full is what the tracer would have taken in the interval without a duty
// cycle or a pause, as a share of the machine. The kernel's count of switches,
// which stands in while there is none of the tracer, is the higher one.
func (e *effort) full(s *workload.Sample) float64 {
	switches := float64(s.CPU.ContextSwitches)
	if e.fallback == nil {
		switches = float64(s.Host.Switches) * s.Interval.Seconds() / s.CoveredTime().Seconds()
	}
	return s.Tracer.Cost.NanosPerSwitch * switches / machineNanos(s)
}

// enforce brings the tracer to the budget's step. What could not be done is
// tried again at the next tick.
func (e *effort) enforce(s *workload.Sample) error {
	step := e.budget.step
	if quiet := step >= workload.StepEvents; quiet != e.quiet {
		if err := e.controls.SetEvents(!quiet); err != nil {
			return err
		}
		e.quiet = quiet
	}
	if step == workload.StepProcfs {
		return e.pause()
	}
	e.fallback = nil
	if step == workload.StepDuty {
		return e.duty.begin(s.Interval / backedOff)
	}
	if e.controls.Paused() {
		if err := e.controls.Resume(); err != nil {
			return err
		}
	}
	if e.quiet {
		return nil
	}
	// As many again are left to chance: beyond that the kernel drops them.
	many := float64(e.options.EventsPerSecond) / 2
	next := [2]time.Duration{
		nextThreshold(e.current[0], e.floor[0], &s.Host.WaitHist, s.CoveredTime(), many),
		nextThreshold(e.current[1], e.floor[1], &s.Host.IOHist, s.CoveredTime(), many),
	}
	if next == e.current {
		return nil
	}
	if err := e.controls.SetThresholds(next[0], next[1]); err != nil {
		return err
	}
	e.current = next
	return nil
}

// pause has /proc stand in for the tracer.
func (e *effort) pause() error {
	if !e.controls.Paused() {
		if err := e.controls.Pause(); err != nil {
			return err
		}
	}
	if e.fallback != nil {
		return nil
	}
	var err error
	e.fallback, err = newProcfsSource(e.options, e.cg, e.machine, e.parts, "backed off: "+e.budget.reason)
	return err
}

func (e *effort) close() { e.duty.stop() }

// duty has the tracer count for a part of each interval: from its beginning,
// for a given time.
type duty struct {
	controls controls

	mu    sync.Mutex
	timer *time.Timer
	began time.Time     // zero: not counting
	took  time.Duration // of the part that has ended
	err   error
}

// begin lets the tracer count for a while, from now on.
func (d *duty) begin(length time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.controls.Paused() {
		if err := d.controls.Resume(); err != nil {
			return err
		}
	}
	d.began, d.took = time.Now(), 0
	if d.timer == nil {
		d.timer = time.AfterFunc(length, d.elapsed)
	} else {
		d.timer.Reset(length)
	}
	return nil
}

func (d *duty) elapsed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pause()
}

// pause ends the part. d.mu is held.
func (d *duty) pause() {
	if d.began.IsZero() {
		return
	}
	if d.err = d.controls.Pause(); d.err == nil {
		d.took = max(time.Since(d.began), 1)
		d.began = time.Time{}
	}
}

// end ends the part if it has not, and returns how long it was; 0 when none
// had begun.
func (d *duty) end() (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.pause()
	took, err := d.took, d.err
	if !d.began.IsZero() { // it counts on
		took, d.began = 0, time.Time{}
	}
	d.took, d.err = 0, nil
	return took, err
}

// stop ends the part for good.
func (d *duty) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.began = time.Time{}
}
