// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"time"

	"autosa/api"
	"autosa/policy"
	"autosa/scx"
)

// adjust carries out a decision for another policy of the built-in scheduler,
// which is in charge. That is no swap: it happens here and now, no interval
// begins, and samples go on. What it came to is as of a swap.
func (l *loop) adjust(dec *policy.Decision) (api.Swap, error) {
	began := time.Now()
	rec := api.Swap{
		From: l.st.Scheduler.Name, To: dec.Arm.Scheduler, Args: []string{}, Cause: "auto", Reasons: list(dec.Reasons),
	}
	if dec.Manual {
		rec.Cause = "manual"
	}
	_, err := l.hands.Adjust(scx.Target{Name: dec.Arm.Scheduler, Args: dec.Arm.Args})
	// One that has just gone is no trouble of the order's: its event is on the way.
	lasting := err
	if errors.Is(err, scx.ErrNotInCharge) {
		lasting = nil
	}
	l.trouble("change of policy", lasting)
	l.truth()
	rec.Time = time.Now()
	rec.InCharge, rec.Ops, rec.EnableSeq = l.st.Scheduler.Name, l.st.Scheduler.Ops, l.st.Kernel.EnableSeq
	rec.TotalSeconds = rec.Time.Sub(began).Seconds()
	if err == nil && rec.InCharge != rec.To {
		err = fmt.Errorf("adjust to %s: %w: the kernel says %s", rec.To, scx.ErrNotInCharge, rec.InCharge)
	}
	if err != nil {
		rec.Error = err.Error()
		return rec, err
	}
	rec.OK = true
	l.adjustments++
	l.adjusted = rec.Time
	l.log.Info("policy changed in place", "from", rec.From, "to", rec.To, "cause", rec.Cause, "enable_seq", rec.EnableSeq)
	return rec, nil
}

// apiBuiltin is what the built-in scheduler says of itself; nil while it is not in
// charge.
func (l *loop) apiBuiltin() *api.Builtin {
	if l.hands == nil || l.st.Scheduler.Owner != api.OwnerAutosa || !policy.IsBuiltin(l.st.Scheduler.Name) {
		return nil
	}
	b := l.hands.Builtin()
	if b == nil {
		return nil
	}
	out := &api.Builtin{
		Policy: b.Policy, Generation: b.Generation, CPUs: b.CPUs, ObeyingCPUs: b.Obeying, Adjustments: l.adjustments,
		Counts: api.BuiltinCounts{
			Direct: b.Stats.Direct, Enqueued: b.Stats.Enqueued, Local: b.Stats.Local, Stolen: b.Stats.Stolen, Kept: b.Stats.Kept,
			Kthreads: b.Stats.Kthreads, Preemptions: b.Stats.Preempts, Wakes: b.Stats.Wakes, Overdue: b.Stats.Overdue, Unknown: b.Stats.Unassigned,
		},
	}
	if !l.adjusted.IsZero() {
		at := l.adjusted
		out.LastAdjustment = &at
	}
	return out
}
