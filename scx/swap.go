// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// swap is one call of Switch as it goes.
type swap struct {
	*Switcher
	target Target
	entry  Entry
	began  time.Time
	old    *running // ours that is in charge at the beginning; nil if none
	// adopted runs the scheduler that somebody else started and that is to be
	// replaced, as seq counts it; nil if none.
	adopted *Process
	seq     uint64
	now     InCharge // what is in charge at the beginning
	before  Target   // the same as a target
	kmsg    *kmsg    // the kernel's log since the beginning
	phase   Phase
	// stopped is true once the old one is, and gone when the kernel first said so.
	stopped bool
	gone    time.Time
}

// Switch puts t in charge. Where there is an old scheduler of autosa's, the new
// one is first loaded and verified behind a [gate], then the old one is stopped,
// the gate opened, and the kernel asked until it confirms. A scheduler that
// cannot be held is started after the old one was stopped; [Result] says why. It
// returns when the swap is proved, or undone.
//
// Everything that can be known beforehand is checked before the old scheduler is
// touched: whether the new one loads, too. If the new one does not come up, the
// old one is started again with
// its arguments; if that fails too, or there was none, EEVDF remains. The error
// is then a [*SwitchError] that says what is in charge. ErrBusy, ErrClosed and
// what a caller asked wrongly ([*UnknownError], ErrBadArgs) come as they are.
//
// A scheduler that autosa did not start is never touched, [*ForeignError], unless
// it is adopted ([Options].Adopt): then it is asked to end, and stays in charge
// if it does not.
//
// When ctx ends before the old scheduler was told to stop, nothing has changed.
// Later the swap is given up at once: what was half started is stopped, and
// EEVDF remains. The old one is not started again then, since whoever cancels is
// in a hurry. Nothing of autosa's is ever left half started, and Switch returns
// only when the kernel has confirmed so, or failed to within DisableTimeout.
func (s *Switcher) Switch(ctx context.Context, t Target) (Result, error) {
	t.Name = canonicalName(t.Name)
	select {
	case s.token <- struct{}{}:
	default:
		if s.life.Err() != nil {
			return Result{}, ErrClosed
		}
		return Result{}, ErrBusy
	}
	defer func() { <-s.token }()
	if s.life.Err() != nil {
		return Result{}, ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()

	w := &swap{Switcher: s, target: t, began: time.Now()}
	k, err := openKmsg(s.host.kmsg())
	if err != nil {
		s.log.Debug("the kernel's log cannot be read; its reasons will be missing", "err", err)
	}
	w.kmsg = k
	defer func() { w.kmsg.close() }()
	return w.run(ctx)
}

func (w *swap) run(ctx context.Context) (Result, error) {
	w.before = Target{Name: EEVDF}
	w.enter(PhasePreflight)
	unchanged, err := w.preflight(ctx)
	res := Result{From: w.before, To: w.target}
	if err != nil {
		return w.fail(ctx, res, nil, err)
	}
	if unchanged {
		res.Unchanged = true
		return w.done(res)
	}
	if w.old != nil && IsBuiltin(w.old.target.Name) && IsBuiltin(w.target.Name) {
		if _, err := w.adjust(w.target); err != nil {
			return w.fail(ctx, res, nil, err)
		}
		res.InPlace = true
		return w.done(res)
	}

	// The new one is made ready first: should that fail, nothing has changed.
	var next *running
	if w.target.Name != EEVDF {
		if next, res.Ungated, err = w.prepare(ctx); err != nil {
			return w.fail(ctx, res, next, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return w.fail(ctx, res, next, err)
	}
	var up time.Time
	var upErr error
	bring := func() {
		if next != nil {
			up, upErr = w.bring(ctx, next, PhaseStarting, PhaseVerifying)
		}
	}
	switch {
	case w.adopted != nil:
		w.enter(PhaseStopping)
		if w.gone, err = w.dismiss(ctx, w.adopted, w.seq); err != nil {
			return w.fail(ctx, res, next, err)
		}
		w.stopped = true
		bring()
	case w.old == nil:
		bring()
	default:
		w.enter(PhaseStopping)
		// Not cut short: a stop is bounded, and ends in a defined state.
		if w.gone, err = w.stopThen(context.WithoutCancel(ctx), w.old, bring); err != nil && up.IsZero() {
			return w.fail(ctx, res, next, fmt.Errorf("stop %s: %w", w.old.target.Name, err))
		}
		if err != nil {
			w.log.Error("the scheduler before is out of charge and its process stays", "scheduler", w.old.target.Name, "err", err)
		}
		w.stopped = true
	}
	if upErr != nil {
		return w.fail(ctx, res, next, upErr)
	}
	if w.stopped && next != nil {
		res.Gap = up.Sub(w.gone)
	}
	return w.done(res)
}

// parkTries is how often a scheduler is loaded again because CPUs came or went
// while it was held: the kernel would refuse it.
const parkTries = 3

// prepare makes the new scheduler ready: loaded and held behind a gate where
// there is an old one, else and where it cannot be held with just its supervisor
// waiting for the order to start. ungated is then why. On an error the caller
// retires next, if there is one.
func (w *swap) prepare(ctx context.Context) (next *running, ungated string, err error) {
	if w.old == nil && w.adopted == nil {
		next, err = w.spawn(ctx, w.target, w.entry, noGate)
		return next, "", err
	}
	ungated = w.ungated.why(w.entry.file)
	for try := 1; ungated == ""; try++ {
		before, err := w.kernel.Read()
		if err != nil {
			return nil, "", err
		}
		if next, err = w.spawn(ctx, w.target, w.entry, w.stateFile); err != nil {
			return nil, "", err
		}
		w.enter(PhaseLoading)
		if err = next.proc.start(ctx); err == nil {
			w.log.Debug("scheduler started behind the gate", "scheduler", next.target.Name, "pid", next.proc.PID(), "args", next.target.Args)
			err = next.proc.park(ctx, w.opt.ReadyTimeout)
		}
		if why, binary := notHeld(next.proc, err); why != "" {
			w.log.Warn("scheduler cannot be loaded beside another one, stopping that first", "scheduler", next.target.Name, "why", why)
			if err := w.retire(next, false); err != nil {
				return nil, "", err
			}
			ungated = why
			w.ungated.note(w.entry.file, why, binary, time.Now())
			break
		}
		if err != nil {
			return next, "", err
		}
		after, err := w.kernel.Read()
		if err != nil || after.HotplugSeq == before.HotplugSeq {
			return next, "", err
		}
		if try == parkTries {
			return next, "", fmt.Errorf("%w: CPUs came or went each of %d times that it was loaded", ErrTimeout, try)
		}
		w.log.Info("CPUs have come or gone, loading the scheduler anew", "scheduler", next.target.Name)
		if err := w.retire(next, false); err != nil {
			return nil, "", err
		}
	}
	next, err = w.spawn(ctx, w.target, w.entry, noGate)
	return next, ungated, err
}

// notHeld is why a scheduler must be started after the old one was stopped, as
// it showed: there is no gate here, or it did not come to the gate because
// another scheduler is in charge. Empty if it was held, and when it would fail
// anyhow. binary is true where the reason is the scheduler's own and not this
// machine's.
func notHeld(p child, err error) (why string, binary bool) {
	var g *gateError
	if errors.As(err, &g) {
		return g.why, false
	}
	if errors.Is(err, ErrExited) && busy.MatchString(p.prints().text()) {
		return "it looks for another scheduler before it registers: " + p.ending().Complaint, true
	}
	return "", false
}

// busy is how loaders say that another scheduler is in charge: EBUSY, or their own
// words.
var busy = regexp.MustCompile(`(?i)resource busy|EBUSY|os error 16\b|already (running|loaded|enabled|active|attached)|another sched`)

// preflight checks what can be checked before anything is touched. unchanged is
// true when there is nothing to do.
func (w *swap) preflight(ctx context.Context) (unchanged bool, err error) {
	ks, err := w.kernel.Read()
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	in := w.attribute(ks)
	w.now = in
	switch in.Owner {
	case OwnerAutosa:
		if w.old = w.current; w.old != nil {
			w.before = w.old.target
		}
	case OwnerAdopted:
		w.adopted, w.seq, w.before = in.Process, ks.EnableSeq, Target{Name: in.Name, Args: in.Args}
	}
	w.mu.Unlock()

	if w.target.Name == EEVDF && len(w.target.Args) > 0 {
		return false, fmt.Errorf("%w: %s takes none", ErrBadArgs, EEVDF)
	}
	if err := w.refused(anyTarget); err != nil {
		return false, err
	}
	if w.target.Name == EEVDF {
		return w.old == nil && w.adopted == nil, nil
	}
	if err := w.refused(anyScheduler); err != nil {
		return false, err
	}
	if err := checkArgs(w.target.Args); err != nil {
		return false, err
	}
	if IsBuiltin(w.target.Name) && len(w.target.Args) > 0 {
		return false, fmt.Errorf("%w: %s takes none", ErrBadArgs, w.target.Name)
	}
	if w.entry, err = w.opt.Catalogue.Lookup(ctx, w.target.Name); err != nil {
		return false, err
	}
	if (w.old != nil || w.adopted != nil) && w.before.Equal(w.target) {
		return true, nil
	}
	if err := w.refused(thatScheduler); err != nil {
		return false, err
	}
	return false, ctx.Err()
}

// spawn makes a scheduler's supervisor. The scheduler itself is not started yet.
func (s *Switcher) spawn(ctx context.Context, t Target, e Entry, state string) (*running, error) {
	log := s.log.With("scheduler", t.Name)
	var p child
	if policy, ok := builtinPolicy(t.Name); ok {
		p = newBuiltin(policy, state != noGate, s.loadOwn, log)
	} else {
		process, err := spawn(ctx, log, state, e.Path, t.Args, min(s.opt.StopTimeout, 2*time.Second))
		if err != nil {
			return nil, err
		}
		p = process
	}
	r := &running{target: t, entry: e, proc: p, held: state != noGate, oomKills: s.host.oomKills()}
	s.left.starting(r)
	return r, nil
}

// bring starts a spawned scheduler, or opens the gate of one that is held, and
// waits for the kernel's proof that it is in
// charge. up is when the kernel first said enabled. On an error the caller
// retires next.
func (w *swap) bring(ctx context.Context, next *running, starting, verifying Phase) (up time.Time, err error) {
	before, err := w.kernel.Read()
	if err != nil {
		return up, err
	}
	if before.State != StateDisabled {
		return up, &ForeignError{Ops: before.Ops, State: before.State}
	}
	w.mu.Lock()
	opened := next.held
	w.pending, next.held = next, false
	w.mu.Unlock()

	if opened {
		next.proc.open()
		starting, verifying = PhaseOpening, PhaseOpening
	}
	w.enter(starting)
	if !opened {
		if err := next.proc.start(ctx); err != nil {
			return up, fmt.Errorf("start %s: %w", next.target.Name, err)
		}
		w.log.Debug("scheduler started", "scheduler", next.target.Name, "pid", next.proc.PID(), "args", next.target.Args)
	}
	w.enter(verifying)
	up, ks, err := w.prove(ctx, next, before.EnableSeq)
	if err != nil {
		return up, err
	}
	if next.kmsg, err = openKmsg(w.host.kmsg()); err != nil {
		w.log.Debug("the kernel's log cannot be read; its reasons will be missing", "err", err)
	}

	w.mu.Lock()
	next.ops, next.seq, next.since = ks.Ops, ks.EnableSeq, up
	w.pending, w.current = nil, next
	w.mu.Unlock()
	w.left.inCharge()
	w.wg.Go(func() { w.watch(next) })
	w.log.Info("scheduler in charge", "scheduler", next.target.Name, "ops", ks.Ops, "enable_seq", ks.EnableSeq,
		"pid", next.proc.PID(), "args", next.target.Args)
	return up, nil
}

// linkGrace is how long after the kernel's "enabled" the process may take to
// have its link in hand: the same system call does both.
const linkGrace = 3 * time.Second

// prove asks the kernel until it says that next is in charge: state enabled,
// enable_seq above what it was before the start, its name in root/ops, and its
// process alive and holding the link.
func (w *swap) prove(ctx context.Context, next *running, seq uint64) (up time.Time, ks KernelState, err error) {
	began := time.Now()
	timeout := time.NewTimer(w.opt.ReadyTimeout)
	defer timeout.Stop()
	state, told := StateDisabled, began
	for {
		select {
		case <-next.proc.over():
			switch refused := next.proc.refusal(); {
			case errors.Is(refused, unix.EBUSY):
				if ks, err = w.kernel.Read(); err != nil {
					return up, ks, err
				}
				return up, ks, &ForeignError{Ops: ks.Ops, State: ks.State}
			case refused != nil:
				return up, ks, refused
			}
			return up, ks, fmt.Errorf("%w: %s", ErrExited, next.proc.ending())
		case <-ctx.Done():
			return up, ks, ctx.Err()
		case <-timeout.C:
			return up, ks, fmt.Errorf("%w: not in charge after %v; the kernel says %s", ErrTimeout, w.opt.ReadyTimeout, ks.State)
		case <-time.After(pollEvery(ks.State, time.Since(began), up)):
		}
		if ks, err = w.kernel.Read(); err != nil {
			return up, ks, err
		}
		if now := time.Now(); ks.State != state || now.Sub(told) >= time.Second {
			state, told = ks.State, now
			w.tell(ks.State)
		}
		if ks.State != StateEnabled {
			up = time.Time{}
			continue
		}
		if up.IsZero() {
			up = time.Now()
		}
		if ks.EnableSeq <= seq {
			continue // raised right after the state
		}
		holds, known := next.proc.holdsLink(w.host.proc())
		named := next.entry.Ops == "" || opsMatch(ks.Ops, next.entry.Ops)
		switch {
		case named && (holds || !known) && next.proc.alive():
			return up, ks, nil
		case holds:
			return up, ks, fmt.Errorf("it registered as %q, not as %q: %s is not %s",
				ks.Ops, next.entry.Ops, next.entry.Path, next.target.Name)
		case !named || time.Since(up) > linkGrace:
			return up, ks, &ForeignError{Ops: ks.Ops, State: ks.State}
		}
	}
}

// pollEvery is how long to wait between readings, since sysfs cannot be waited
// on: fine where the moment counts, coarser the longer it takes. up is when the
// kernel first said enabled, zero before.
func pollEvery(state State, elapsed time.Duration, up time.Time) time.Duration {
	if state != StateDisabled && (up.IsZero() || time.Since(up) < 50*time.Millisecond) {
		return time.Millisecond
	}
	return min(max(elapsed/100, 5*time.Millisecond), 20*time.Millisecond)
}

// fail ends a swap that did not come about: next is retired, and the old
// scheduler started again if it was stopped.
func (w *swap) fail(ctx context.Context, res Result, next *running, cause error) (Result, error) {
	failed := &SwitchError{Target: w.target, Phase: w.phase, Err: cause, Version: w.entry.Version, Path: w.entry.Path}
	known := Evidence{Err: cause}
	if next != nil {
		if err := w.retire(next, errors.Is(cause, ErrForeign)); err != nil {
			failed.Err = errors.Join(cause, err)
		}
		exit := next.proc.ending()
		if next.proc.begun() {
			failed.Exit = &exit
		}
		failed.Output = next.proc.prints().text()
		if exit.Reason != "" && !isCleanEnd(exit.Reason) {
			failed.KernelReason = exit.Reason
		}
	}
	failed.Kernel = w.kmsg.collect()
	if said := kernelReason(failed.Kernel); said != "" {
		failed.KernelReason = said
	}
	if next != nil {
		known = w.evidence(next, w.kmsg, failed.Kernel)
		known.Err = cause
	}
	failed.Ending = known.Ending()
	foreign := errors.Is(cause, ErrForeign)
	switch {
	case !w.stopped:
		// Not touched, or it could not be stopped: nothing to return to.
		failed.Returned = w.old != nil && w.old.proc.alive() || w.adopted != nil && w.adopted.still(w.host.proc())
	case failed.Ending == EndingSysRq:
		// The operator wants no scheduler: neither the new one nor the old.
	case ctx.Err() == nil && !foreign:
		var up time.Time
		up, failed.ReturnErr = w.goBack(ctx)
		if failed.Returned = failed.ReturnErr == nil; failed.Returned && !w.gone.IsZero() {
			failed.Gap = up.Sub(w.gone)
		}
	}
	in, err := w.InCharge()
	if err != nil {
		failed.Err = errors.Join(failed.Err, err)
	}
	failed.InCharge, res.InCharge = in, in
	res.Total = time.Since(w.began)

	if w.phase == PhasePreflight && (errors.Is(cause, ErrUnknown) || errors.Is(cause, ErrBadArgs)) {
		return res, cause
	}
	return res, failed
}

// goBack starts the old scheduler again. up is when the kernel first said enabled.
func (w *swap) goBack(ctx context.Context) (up time.Time, err error) {
	w.enter(PhaseReturning)
	old := w.before
	w.log.Warn("returning to the previous scheduler", "scheduler", old.Name, "args", old.Args)
	e, err := w.opt.Catalogue.Lookup(ctx, old.Name)
	if err != nil {
		return up, err
	}
	if !e.Usable {
		return up, &UnusableError{Scheduler: e.Name, Why: e.WhyNot, Remedy: e.Remedy}
	}
	again, err := w.spawn(ctx, old, e, noGate)
	if err != nil {
		return up, err
	}
	if up, err = w.bring(ctx, again, PhaseReturning, PhaseReturning); err != nil {
		return up, errors.Join(err, w.retire(again, errors.Is(err, ErrForeign)))
	}
	return up, nil
}

// retire stops a scheduler that did not come up. outrun says that another
// manager's is in charge.
func (w *swap) retire(r *running, outrun bool) error {
	w.mu.Lock()
	r.outrun = outrun
	w.mu.Unlock()
	var err error
	if !r.proc.begun() {
		r.proc.abandon()
		<-r.proc.over()
	} else {
		_, err = w.stop(context.Background(), r)
	}
	w.forget(r)
	return err
}

// done ends a swap that came about, with the kernel's word for it.
func (w *swap) done(res Result) (Result, error) {
	in, err := w.InCharge()
	if err != nil {
		return res, &SwitchError{Target: w.target, Phase: w.phase, Err: err}
	}
	res.InCharge = in
	res.Total = time.Since(w.began)
	w.enter(PhaseEnabled)
	return res, nil
}

func (w *swap) enter(p Phase) {
	if w.phase == p {
		return
	}
	w.phase = p
	state, _ := w.kernel.State() // for information; the reading that counts reports its error
	w.tell(state)
}

func (w *swap) tell(state State) {
	if w.opt.Progress != nil {
		w.opt.Progress(Progress{Target: w.target, Phase: w.phase, State: state, Since: w.began, Time: time.Now()})
	}
}
