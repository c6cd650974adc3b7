// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"autosa/api"
	"autosa/policy"
	"autosa/scx"
)

// maxWaiting bounds the orders that wait for a swap to end.
const maxWaiting = 16

// swap is one under way.
type swap struct {
	decision policy.Decision
	from     string
	began    time.Time
	progress api.SwapProgress
	// order is the operator's order behind it; nil for one of auto's, and for
	// one that a restart took up again.
	order *order
	// cancel gives it up.
	cancel context.CancelFunc
}

// outcome is how a swap ended, on its way back to the loop.
type outcome struct {
	swap   *swap
	result scx.Result
	err    error
}

// take receives an order. During a swap it waits: a swap is never interrupted
// halfway for another.
func (l *loop) take(ctx context.Context, o order) {
	if l.swap != nil {
		if len(l.waiting) >= maxWaiting {
			l.answer(&o, reply{err: apiError(api.CodeConflict, "a swap to %s is under way and %d orders wait already", l.swap.progress.To, len(l.waiting))})
			return
		}
		if o.noWait {
			l.answer(&o, taken)
		}
		l.waiting = append(l.waiting, o)
		return
	}
	now := time.Now()
	if o.manual == nil {
		if l.manual != nil {
			l.log.Info("the operator gives the choice back", "was", l.manual.Arm.String())
			l.manual = nil
			l.save()
		}
		l.veto = nil
		l.emit(now)
		l.answer(&o, reply{})
		return
	}
	l.truth()
	// Switch has just found it usable, which may be newer than the last look.
	whyNot := map[string]string{}
	maps.Copy(whyNot, l.whyNot)
	whyNot[o.manual.Scheduler] = ""
	if o.version != "" {
		l.versions[o.manual.Scheduler] = o.version
	}
	dec := l.consult(now, &policy.Order{Arm: *o.manual, Since: now}, whyNot)
	refusal := l.refuse(*o.manual, now)
	switch {
	case (dec.Action == policy.ActionSwap || dec.Action == policy.ActionAdjust) && refusal != nil && !o.force:
		l.emit(now)
		l.answer(&o, reply{err: refusal})
	case dec.Action == policy.ActionSwap:
		l.note(&dec)
		l.begin(ctx, &dec, &o)
		if o.noWait {
			l.answer(&o, taken)
		}
		l.emit(now)
	case dec.Action == policy.ActionAdjust:
		l.note(&dec)
		rec, err := l.adjust(&dec)
		if err == nil {
			l.choose(*o.manual, "", now)
		}
		l.emit(now)
		l.answer(&o, reply{result: api.SwitchResult{Swap: rec, InPlace: true}, err: switchError(err)})
	case l.st.Scheduler.Owner == api.OwnerForeign:
		l.answer(&o, reply{err: l.handsOff()})
	case o.manual.Equal(policy.Arm{Scheduler: l.st.Scheduler.Name, Args: l.st.Scheduler.Args}):
		l.note(&dec)
		l.choose(*o.manual, o.mode, now)
		l.truth()
		l.emit(now)
		l.answer(&o, reply{result: api.SwitchResult{Unchanged: true}})
	default:
		l.answer(&o, reply{err: apiError(api.CodeFailed, "%s", dec.Reasons[len(dec.Reasons)-1])})
	}
}

// taken answers an order that does not wait.
var taken = reply{result: api.SwitchResult{Accepted: true}}

// answer answers an order. Of one that was answered when it was taken, the log and the status say what went wrong.
func (l *loop) answer(o *order, r reply) {
	switch {
	case !o.answered:
		o.answered = true
		o.reply <- r
	case r.err != nil && o.manual != nil:
		l.warn(fmt.Sprintf("order for %s: %v", o.manual, r.err))
	}
}

// choose makes an arm the operator's choice.
func (l *loop) choose(a policy.Arm, mode string, now time.Time) {
	l.veto = nil
	l.chosen = chosen{a, mode}
	l.manual = &policy.Order{Arm: a, Since: now}
	l.save()
}

// begin starts a swap beside the loop.
func (l *loop) begin(ctx context.Context, dec *policy.Decision, o *order) {
	now := time.Now()
	s := &swap{
		decision: *dec, from: l.st.Scheduler.Name, began: now, order: o,
		progress: api.SwapProgress{To: dec.Arm.Scheduler, Args: list(dec.Arm.Args), Phase: "beginning", Since: now},
	}
	ctx, s.cancel = context.WithCancel(ctx)
	l.try(dec.Arm)
	l.swap = s
	target := scx.Target{Name: dec.Arm.Scheduler, Args: dec.Arm.Args}
	l.beside.Go(func() {
		res, err := l.hands.Switch(ctx, target)
		l.swapped <- outcome{swap: s, result: res, err: err} // room for one, and one runs at a time
	})
}

func (l *loop) progress(p scx.Progress) {
	if l.swap == nil {
		return
	}
	l.swap.progress.Phase = string(p.Phase)
	l.truth()
	l.emit(time.Now())
}

// finish takes a swap's outcome: into the status, the log, policy's memory and
// to whoever ordered it. Then it is the next waiting order's turn.
func (l *loop) finish(ctx context.Context, out outcome) {
	now := time.Now()
	out.swap.cancel()
	l.swap, l.last, l.skip = nil, now, 1
	l.truth()
	rec := out.record(l.st, now)
	l.st.LastSwap = &rec
	l.recordSwap(&rec, out.result.Gap, now.Sub(out.swap.began))
	if rec.OK {
		l.st.Swaps++
		l.log.Info("swapped", "from", rec.From, "to", rec.To, "cause", rec.Cause, "ops", rec.Ops, "enable_seq", rec.EnableSeq,
			"gap", seconds(rec.GapSeconds), "total", seconds(rec.TotalSeconds))
		l.tried()
		if out.swap.order != nil {
			l.choose(out.swap.decision.Arm, out.swap.order.mode, now)
			l.truth() // it has a mode now
		}
	} else {
		l.st.FailedSwaps++
		l.warn(fmt.Sprintf("swap %s → %s: %s", rec.From, rec.To, rec.Error))
		if ctx.Err() == nil {
			l.miss(&out, now)
		}
		if len(l.failed) == 0 {
			l.tried() // else once the next decision has noted it
		}
	}
	l.emit(now)
	l.answerSwap(&out, rec, nil)
	for len(l.waiting) > 0 && l.swap == nil {
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.take(ctx, next)
	}
}

// record is the outcome as the status shows it.
func (o *outcome) record(st api.Status, now time.Time) api.Swap {
	rec := api.Swap{
		Time: now, From: o.swap.from, To: o.swap.decision.Arm.Scheduler, Args: list(o.swap.decision.Arm.Args),
		Cause: "auto", Reasons: list(o.swap.decision.Reasons), OK: o.err == nil,
		InCharge: st.Scheduler.Name, Ops: st.Scheduler.Ops, EnableSeq: st.Kernel.EnableSeq,
		GapSeconds: o.result.Gap.Seconds(), Ungated: o.result.Ungated, TotalSeconds: now.Sub(o.swap.began).Seconds(),
	}
	if o.swap.decision.Manual {
		rec.Cause = "manual"
	}
	if o.err != nil {
		rec.Error = o.err.Error()
	}
	return rec
}

// answerSwap tells whoever ordered the swap how it ended: with its record, with its
// error, or, where that is not nil, with instead.
func (l *loop) answerSwap(o *outcome, rec api.Swap, instead error) {
	if o.swap.order == nil {
		return
	}
	r := reply{result: api.SwitchResult{Swap: rec}}
	switch {
	case instead != nil:
		r = reply{err: instead}
	case o.err != nil:
		r = reply{err: switchError(o.err)}
	}
	if o.err == nil || instead != nil || !o.swap.order.answered { // a failed swap is said already
		l.answer(o.swap.order, r)
	}
}

// event is something that happened to the scheduler in charge by itself.
func (l *loop) event(e scx.Event) {
	now := time.Now()
	l.truth()
	if e.Kind == scx.EventReattached {
		l.log.Info("registered itself anew", "scheduler", e.Target.Name, "ops", e.Ops)
		l.emit(now)
		return
	}
	l.warn(fmt.Sprintf("%s %s: %s; %s is in charge", e.Target.Name, e.Kind, e.Reason, l.st.Scheduler.Name))
	arm := policy.Arm{Scheduler: e.Target.Name, Args: e.Target.Args}
	if e.Ending.Failed() {
		l.fail(policy.Failure{Arm: arm, Version: e.Version, At: now, Reason: e.Reason})
	}
	if e.Ending == scx.EndingSysRq {
		l.vetoed(arm, now)
	}
	if e.Ending != scx.EndingHotplug { // to be started anew at once
		l.last = now
	}
	in := api.Incident{
		Scheduler: e.Target.Name, Args: e.Target.Args, Version: e.Version, Path: e.Path, Ending: string(e.Ending), Reason: e.Reason,
		KernelLog: e.Kernel, Counters: e.Counters, Output: e.Output,
	}
	if e.Exit != nil {
		in.Exit = e.Exit.String()
	}
	l.incident(in)
	l.emit(now)
}

// miss takes a swap that did not come about into policy's memory and among the
// incidents.
func (l *loop) miss(out *outcome, now time.Time) {
	arm := out.swap.decision.Arm
	var f *scx.SwitchError
	if !errors.As(out.err, &f) {
		if !errors.Is(out.err, scx.ErrForeign) {
			l.fail(policy.Failure{Arm: arm, At: now, Reason: brief(out.err)})
		}
		return
	}
	switch {
	case errors.Is(out.err, scx.ErrForeign):
	case !f.Ending.Failed() && f.Ending != scx.EndingHotplug: // one that never comes up for it would be tried for ever
	case f.Phase == scx.PhaseStopping: // the old one did not go
	case f.Phase == scx.PhasePreflight && out.swap.order != nil: // nothing was tried, and whoever ordered it was told why
	default:
		l.fail(policy.Failure{Arm: arm, Version: f.Version, At: now, Reason: brief(out.err)})
	}
	if f.ReturnErr != nil && !errors.Is(f.ReturnErr, scx.ErrForeign) {
		from := out.result.From
		l.fail(policy.Failure{Arm: policy.Arm{Scheduler: from.Name, Args: from.Args}, At: now, Reason: "it was to come back: " + f.ReturnErr.Error()})
	}
	if f.Ending == scx.EndingSysRq {
		l.vetoed(arm, now)
	}
	if f.Ending == scx.EndingStopped {
		return
	}
	in := api.Incident{
		Scheduler: arm.Scheduler, Args: arm.Args, Version: f.Version, Path: f.Path, Ending: string(f.Ending), Reason: f.Error(),
		Phase: string(f.Phase), GapSeconds: f.Gap.Seconds(), KernelLog: f.Kernel, Output: f.Output,
	}
	if f.Exit != nil {
		in.Exit = f.Exit.String()
	}
	l.incident(in)
}

// vetoed takes the operator's SysRq-S for what it is: no scheduler, also not the
// one that is on its way.
func (l *loop) vetoed(arm policy.Arm, now time.Time) {
	l.veto = &policy.Veto{Arm: arm, Since: now}
	l.log.Warn("SysRq-S: nothing is started until `autosa auto` or `autosa switch`", "taken out", arm.Scheduler)
	if l.swap != nil {
		l.swap.cancel()
	}
}

// lastOutcome takes that of a swap that the daemon's end cut short.
func (l *loop) lastOutcome(out *outcome, stopping error) {
	out.swap.cancel()
	l.answerSwap(out, api.Swap{}, stopping)
	if l.swap = nil; len(l.failed) == 0 {
		l.tried() // it was not the scheduler's fault
	}
}

// brief is an error for the middle of a sentence.
func brief(err error) string {
	var failed *scx.SwitchError
	if errors.As(err, &failed) {
		return fmt.Sprintf("%s: %v", failed.Phase, failed.Err)
	}
	return err.Error()
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
