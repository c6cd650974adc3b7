// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"autosa/workload"
)

// Decide says which arm should be in charge now. It never fails; cfg must be
// valid ([Config.Validate]).
//
// What holds for every decision: neither ActionSwap nor ActionAdjust is decided while a foreign
// scheduler is in charge, in ModeObserve, or towards an arm that is not usable
// or is in charge already, and ActionAdjust only from one policy of the built-in
// scheduler to another, while it is autosa's. Without an order either is decided only in ModeAuto, with
// no hold in force, at or above the minimum confidence, for work that lasts, and, for ActionSwap, outside the minimum
// interval, and towards an arm that is not resting after a failure; and never
// while a veto is in force.
//
// What has to be sure, and has to last, is that the arm is the right one:
// where the table gives several classes the same arm, their probabilities add
// up, and a change from one to another is none.
func Decide(cfg Config, st State, in Input) (Decision, State) {
	d := decider{cfg: cfg, in: in}
	d.st = State{Resting: note(cfg, st.Resting, in)}
	d.st.Choice = d.choose(st.Choice)
	d.out = Decision{
		Time:       in.Now,
		Arm:        in.InCharge.Arm.clone(),
		Action:     ActionKeep,
		Class:      in.Host.Class,
		Confidence: in.Host.Confidence,
	}
	switch {
	case d.foreign():
	case d.veto():
	case d.manual():
	default:
		d.auto()
	}
	d.alternatives()
	return d.out, d.st
}

// choose is the arm that the host's class asks for, since when it does. An
// arm that was asked for before, by whatever class, still is.
func (d *decider) choose(before Choice) Choice {
	c := d.in.Host.Class
	if c == workload.Idle || len(d.cfg.Table[c]) == 0 {
		return Choice{}
	}
	now := Choice{Arm: d.pick(c).clone(), Since: d.in.Host.Since}
	if before.Arm.Equal(now.Arm) && before.Since.Before(now.Since) {
		now.Since = before.Since
	}
	return now
}

// pick returns the first arm for class c that is usable and does not rest, at
// last EEVDF.
func (d *decider) pick(c workload.Class) Arm {
	for _, a := range d.cfg.Table[c] {
		if d.unusable(a) == "" && d.resting(a) == nil {
			return a
		}
	}
	return Default()
}

// confidence is the probability that a is the right arm.
func (d *decider) confidence(a Arm) float64 {
	sum := d.in.Host.Confidence
	// In the classes' order: a sum of floats depends on it, in its last bits.
	for _, c := range workload.Classes() {
		if c != d.in.Host.Class && len(d.cfg.Table[c]) > 0 && d.pick(c).Equal(a) {
			sum += d.in.Host.Probabilities[c]
		}
	}
	return sum
}

// decider carries one decision through its rules. Each rule returns true when
// it has spoken the last word.
type decider struct {
	cfg Config
	st  State
	in  Input
	out Decision
	// waiting is the arm that auto would put in charge and may not yet.
	waiting *Arm
	vetoed  bool
}

func (d *decider) because(format string, args ...any) {
	d.out.Reasons = append(d.out.Reasons, fmt.Sprintf(format, args...))
}

func (d *decider) would(format string, args ...any) {
	d.out.WouldChange = append(d.out.WouldChange, fmt.Sprintf(format, args...))
}

// act decides for an arm that is not the one in charge.
func (d *decider) act(a Arm, action Action) {
	d.out.Arm, d.out.Action = a.clone(), action
}

// foreign keeps hands off a scheduler that somebody else started: there can be
// one at a time, and its owner decides.
func (d *decider) foreign() bool {
	if d.in.InCharge.Owner != OwnerForeign {
		return false
	}
	d.because("%s was started by somebody else: autosa leaves it alone", d.in.InCharge.Arm.Scheduler)
	if m := d.in.Manual; m != nil {
		d.out.Manual = true
		d.because("the operator's order for %s waits until it is gone", m.Arm)
	}
	d.would("%s being stopped by whoever started it", d.in.InCharge.Arm.Scheduler)
	return true
}

// veto keeps everything as it is after SysRq-S: whoever presses it wants no
// scheduler now. A later order outranks it.
func (d *decider) veto() bool {
	v := d.in.Veto
	if v == nil || d.in.Manual != nil && d.in.Manual.Since.After(v.Since) {
		return false
	}
	d.vetoed, d.out.Manual = true, d.in.Manual != nil
	d.because("SysRq-S took %s out %s ago: nothing is started until the operator says so", v.Arm.Scheduler, seconds(d.in.Now.Sub(v.Since)))
	d.would("`autosa auto`, or `autosa switch`")
	return true
}

// resting returns the rest that a takes now, nil when it takes none.
func (d *decider) resting(a Arm) *Rest { return d.st.RestOf(a, d.in.Versions[a.Scheduler], d.in.Now) }

// manual follows the operator's order, at once and whatever the workload. An
// order that cannot be followed now is not replaced by another choice.
func (d *decider) manual() bool {
	m := d.in.Manual
	if m == nil {
		return false
	}
	d.out.Manual = true
	d.because("ordered by the operator: %s", m.Arm)
	defer d.would("`autosa auto`, which withdraws the order")
	if m.Arm.Equal(d.in.InCharge.Arm) {
		d.because("it is in charge")
		return true
	}
	if d.cfg.Mode == ModeObserve {
		d.because("autosa only observes here and cannot follow the order")
		return true
	}
	if why := d.unusable(m.Arm); why != "" {
		d.because("%s cannot be used: %s", m.Arm.Scheduler, why)
		d.would("%s becoming usable", m.Arm.Scheduler)
		return true
	}
	// An order given after the failure is a wish to try again.
	if r := d.resting(m.Arm); r != nil && !m.Since.After(r.At) {
		d.because("%s", d.restText(r))
		d.would("%s, when the rest is over, or a new order", in(r.Until.Sub(d.in.Now)))
		return true
	}
	d.act(m.Arm, d.change(m.Arm))
	return true
}

// auto acts on the workload's class.
func (d *decider) auto() {
	c := d.in.Host
	d.because("the host is %s (confidence %.2f)", c.Class, c.Confidence)
	if d.cfg.Mode == ModeManual {
		d.because("manual mode: nothing changes without an order")
		d.would("`autosa auto`, or `autosa switch`")
		return
	}
	if c.Class == workload.Idle {
		d.because("an idle machine keeps the scheduler it has: %s", d.in.InCharge.Arm)
		d.would("work to do")
		return
	}
	if len(d.cfg.Table[c.Class]) == 0 {
		d.because("the table names no scheduler for %s: %s stays", c.Class, d.in.InCharge.Arm)
		d.would("an entry for %s in the table, or another kind of work", c.Class)
		return
	}
	want := d.st.Choice.Arm
	d.explainChoice(want)
	if want.Equal(d.in.InCharge.Arm) {
		d.because("%s is in charge already", want)
		d.would("another kind of work, for %v with confidence %.2f", d.cfg.MinClassAge, d.cfg.MinConfidence)
		return
	}
	if !d.gates(want) {
		d.waiting = &want
		return
	}
	switch d.cfg.Mode {
	case ModeAuto:
		d.act(want, d.change(want))
		d.would("another kind of work, for %v with confidence %.2f, after %v", d.cfg.MinClassAge, d.cfg.MinConfidence,
			d.cfg.MinSwitchInterval)
	case ModeRecommend:
		d.act(want, ActionRecommend)
		d.because("automatic switching is off: this is a recommendation")
		d.would("`autosa switch %s`, or automatic switching", want.Scheduler)
	default:
		d.waiting = &want
		d.because("autosa only observes here: it would put %s in charge", want)
		d.would("a kernel and permissions that let autosa switch schedulers")
	}
}

// explainChoice says why want is the arm for the host's class, and why each
// one before it in the table is not.
func (d *decider) explainChoice(want Arm) {
	c := d.in.Host.Class
	for _, a := range d.cfg.Table[c] {
		if a.Equal(want) {
			d.because("%s is the choice for %s", a, c)
			return
		}
		if why := d.unusable(a); why != "" {
			d.because("%s is the choice for %s and cannot be used: %s", a, c, why)
			d.would("%s becoming usable", a.Scheduler)
		} else if r := d.resting(a); r != nil {
			d.because("%s is the choice for %s; %s", a, c, d.restText(r))
			d.would("%s, when its rest is over", in(r.Until.Sub(d.in.Now)))
		}
	}
	d.because("%s is what remains", EEVDF)
}

// gates says whether auto may swap to want now. It names every gate that is
// shut, not only the first.
func (d *decider) gates(want Arm) bool {
	open := !d.held()
	c := d.in.Host
	p := d.confidence(want)
	if p > c.Confidence+0.005 {
		d.because("confidence %.2f in the scheduler, the choice for other likely classes too", p)
	}
	// Written so that a confidence that is no number is no confidence.
	if !(p >= d.cfg.MinConfidence) {
		open = false
		d.because("confidence %.2f is below the minimum of %.2f", p, d.cfg.MinConfidence)
		d.would("a confidence of %.2f or more", d.cfg.MinConfidence)
	}
	if age := d.in.Now.Sub(d.st.Choice.Since); age < d.cfg.MinClassAge {
		open = false
		d.because("the work has been so for %s only; %v are asked for", seconds(age), d.cfg.MinClassAge)
		d.would("%s staying for another %s", c.Class, seconds(d.cfg.MinClassAge-age))
	}
	if d.change(want) == ActionAdjust {
		d.because("a change of the built-in scheduler's policy is no swap")
	} else if since := d.in.Now.Sub(d.in.LastSwap); !d.in.LastSwap.IsZero() && since < d.cfg.MinSwitchInterval {
		open = false
		d.because("the last swap was %s ago; swaps are kept %v apart", seconds(since), d.cfg.MinSwitchInterval)
		d.would("%s, when the interval is over", in(d.cfg.MinSwitchInterval-since))
	}
	if !open {
		d.because("%s stays; %s waits", d.in.InCharge.Arm, want)
	}
	return open
}

// change is what it takes to put a in charge.
func (d *decider) change(a Arm) Action {
	if IsBuiltin(a.Scheduler) && IsBuiltin(d.in.InCharge.Arm.Scheduler) && d.in.InCharge.Owner == OwnerAutosa {
		return ActionAdjust
	}
	return ActionSwap
}

// held says which holds are in force.
func (d *decider) held() bool {
	held := false
	for _, h := range d.in.Holds {
		left, end := "until its holder ends", "the end of the hold"
		if !h.Until.IsZero() {
			if !h.Until.After(d.in.Now) {
				continue
			}
			rest := h.Until.Sub(d.in.Now)
			left, end = "for another "+seconds(rest), in(rest)+", when the hold is over"
		}
		held = true
		d.because("held %s (%s)", left, h.Reason)
		d.would("%s, or `autosa hold --release`", end)
	}
	return held
}

// unusable says why an arm cannot be put in charge, "" when it can.
func (d *decider) unusable(a Arm) string {
	if a.Scheduler == EEVDF {
		return ""
	}
	why, ok := d.in.WhyNot[a.Scheduler]
	if !ok {
		return "not installed"
	}
	return why
}

// alternatives lists the arms that were not chosen, with why not.
func (d *decider) alternatives() {
	for _, a := range d.cfg.Table.arms() {
		if a.Equal(d.out.Arm) {
			continue
		}
		d.out.Alternatives = append(d.out.Alternatives, Alternative{a.clone(), d.whyNot(a)})
	}
}

func (d *decider) whyNot(a Arm) string {
	if why := d.unusable(a); why != "" {
		return why
	}
	if r := d.resting(a); r != nil {
		return d.restText(r)
	}
	switch {
	case d.in.InCharge.Owner == OwnerForeign:
		return "a foreign scheduler is in charge"
	case d.vetoed:
		return "vetoed by SysRq-S"
	case d.out.Manual:
		return "the operator ordered " + d.in.Manual.Arm.String()
	case d.out.Action != ActionKeep && a.Equal(d.in.InCharge.Arm):
		return fmt.Sprintf("in charge now; not the choice for %s", d.out.Class)
	}
	if d.waiting != nil && a.Equal(*d.waiting) {
		return fmt.Sprintf("the choice for %s; it waits, as the reasons say", d.out.Class)
	}
	if d.listed(d.out.Class, a) {
		return fmt.Sprintf("a later choice for %s", d.out.Class)
	}
	var classes []string
	for _, c := range workload.Classes() {
		if d.listed(c, a) {
			classes = append(classes, fmt.Sprintf("%s (%.2f)", c, d.in.Host.Probabilities[c]))
		}
	}
	if len(classes) == 0 {
		return "the last resort, when nothing else is usable"
	}
	return "the choice for " + strings.Join(classes, ", ")
}

// listed says whether the table names a for class c.
func (d *decider) listed(c workload.Class, a Arm) bool {
	return slices.ContainsFunc(d.cfg.Table[c], a.Equal)
}

func (d *decider) restText(r *Rest) string {
	times := "once"
	if r.Failures > 1 {
		times = fmt.Sprintf("%d times in a row", r.Failures)
	}
	return fmt.Sprintf("%s failed %s, last %s ago (%s), and rests for another %s", r.Arm.Scheduler, times,
		seconds(d.in.Now.Sub(r.At)), r.Reason, seconds(r.Until.Sub(d.in.Now)))
}

// seconds prints a duration to the second, as people say it.
func seconds(t time.Duration) string { return max(t, 0).Round(time.Second).String() }

func in(t time.Duration) string { return "in " + seconds(t) }
