// SPDX-License-Identifier: Apache-2.0

package scx

import "context"

// PreflightOptions say what to check. The zero value checks the running machine
// but for its schedulers.
type PreflightOptions struct {
	Host Host
	// Catalogue finds the installed schedulers; nil leaves them out.
	Catalogue *Catalogue
	// InCharge is what a daemon knows of the scheduler in charge; nil asks the
	// kernel, which does not know whose it is.
	InCharge *InCharge
	// Gate tries whether a scheduler can be held before its registration; nil holds
	// a process there and ends it.
	Gate func(context.Context) error
	// Stats is where schedulers put the socket of their statistics; empty for
	// theirs.
	Stats string
}

// look is what the checks look at.
type look struct {
	PreflightOptions
	ctx     context.Context
	entries []Entry
}

// condition is something that a swap depends on, or that is worth knowing before
// one. Each is a row of doctor's.
type condition struct {
	name string
	// at is when a swap asks for it.
	at stage
	// refuse says why the swap cannot be; nil for what refuses none.
	refuse func(w *swap) error
	row    func(l *look) Check
}

// stage is a moment of a swap's preflight.
type stage int

const (
	worthKnowing  stage = iota
	anyTarget           // also for one to EEVDF
	anyScheduler        // before the scheduler has been looked up
	thatScheduler       // with its entry
)

// conditions are all of them, in the order of doctor's rows. A swap asks for each
// that refuses, stage by stage: what is not here it does not depend on.
var conditions = []condition{
	{"sched_ext", anyScheduler, func(w *swap) error {
		if !w.kernel.Supported() {
			return ErrNotSupported
		}
		return nil
	}, func(l *look) Check { return l.Host.checkSchedExt() }},
	{"btf", worthKnowing, nil, func(l *look) Check { return l.Host.checkBTF() }},
	{"kernel-config", worthKnowing, nil, func(l *look) Check { return l.Host.checkConfig() }},
	{"permission", thatScheduler, func(w *swap) error { return w.host.checkPermission() }, func(l *look) Check { return l.Host.checkCaps() }},
	{"isolated-cpus", thatScheduler, func(w *swap) error { return w.host.refuseIsolated(w.entry.Name) }, func(l *look) Check { return l.Host.checkIsolated() }},
	{"in-charge", anyTarget, (*swap).refuseForeign, func(l *look) Check { return l.Host.checkInCharge(l.InCharge) }},
	{"schedulers", thatScheduler, func(w *swap) error {
		if e := &w.entry; !e.Usable && e.Lacks == "" {
			return &UnusableError{Scheduler: e.Name, Why: e.WhyNot, Remedy: e.Remedy}
		}
		return nil
	}, func(l *look) Check { return checkSchedulers(l.entries) }},
	{"kernel-needs", thatScheduler, func(w *swap) error {
		if e := &w.entry; e.Lacks != "" {
			return &UnusableError{Scheduler: e.Name, Why: e.WhyNot, Remedy: e.Remedy, kernelConfig: e.Lacks == needKernelConfig}
		}
		return nil
	}, func(l *look) Check { return checkNeeds(l.entries) }},
	{"gate", worthKnowing, nil, (*look).checkGate},
	{"stats-socket", worthKnowing, nil, func(l *look) Check { return checkStats(l.Stats) }},
	{"cgroup-cpu", worthKnowing, nil, func(l *look) Check { return l.Host.checkCgroups(l.ctx) }},
}

// Conditions returns the names of what [Preflight] checks, in its order.
func Conditions() []string {
	names := make([]string, len(conditions))
	for i, c := range conditions {
		names[i] = c.name
	}
	return names
}

// Preflight checks all that a swap depends on, and what is worth knowing beside.
// It changes nothing. Without a catalogue those of its schedulers are left out.
func Preflight(ctx context.Context, o PreflightOptions) []Check {
	l := &look{PreflightOptions: o, ctx: ctx}
	if o.Catalogue != nil {
		l.entries = o.Catalogue.List(ctx)
	}
	checks := make([]Check, 0, len(conditions))
	for _, c := range conditions {
		if o.Catalogue == nil && (c.name == "schedulers" || c.name == "kernel-needs") {
			continue
		}
		row := c.row(l)
		row.Name = c.name
		checks = append(checks, row)
	}
	return checks
}

// refused asks for the conditions of a stage, in order.
func (w *swap) refused(at stage) error {
	for _, c := range conditions {
		if c.at != at || c.refuse == nil {
			continue
		}
		if err := c.refuse(w); err != nil {
			return err
		}
	}
	return nil
}

// refuseForeign leaves alone what somebody else has put in charge.
func (w *swap) refuseForeign() error {
	if w.now.Owner != OwnerForeign {
		return nil
	}
	err := &ForeignError{Ops: w.now.Ops, State: w.now.Kernel.State}
	if w.opt.Adopt {
		err.HandsOff = w.now.HandsOff
	}
	return err
}
