// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// foreign is what the Switcher knows of the scheduler that somebody else has put
// in charge. It belongs to Switcher.mu.
type foreign struct {
	// ops and seq are what it was seen as; another pair is another scheduler.
	ops string
	seq uint64
	// process is who runs it; nil until found, and where nobody can be told.
	process *Process
	looked  bool // the search is over
	stayed  bool // it was asked to end, and did not
}

// identifyFor bounds the search for who runs a scheduler: the kernel says enabled
// before the process has its link in hand.
const identifyFor = linkGrace

// Listen has the Switcher hear of schedulers that come and go at once, also of
// those that somebody else starts: [Switcher.Changes] says when. It is called
// once, before Close. Without it the kernel's state has to be read to know.
func (s *Switcher) Listen() error {
	u, err := listenUevents()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(ErrClosed, u.file.Close())
	}
	s.wg.Go(func() {
		if err := u.each(s.life, func(uevent) { s.changed() }); err != nil {
			s.log.Warn("no longer hears of schedulers at once", "err", err)
		}
	})
	return nil
}

// Changes gets a value when what is in charge may be another than before, or when
// it has been found out who runs it. Several changes may come as one.
func (s *Switcher) Changes() <-chan struct{} { return s.changes }

func (s *Switcher) changed() {
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// judge says who runs the foreign scheduler in charge, and whether autosa may
// replace it: it is adopted then. The caller holds mu.
func (s *Switcher) judge(in *InCharge) {
	ks := in.Kernel
	if ks.State != StateEnabled { // neither its name nor its process is settled
		in.HandsOff = "it is coming up or going"
		return
	}
	if s.foreign.ops != ks.Ops || s.foreign.seq != ks.EnableSeq {
		s.foreign = foreign{ops: ks.Ops, seq: ks.EnableSeq}
		if !s.closed {
			s.wg.Go(func() { s.identify(in.Name, ks.Ops, ks.EnableSeq) })
		}
	}
	f := &s.foreign
	if f.process != nil {
		p := *f.process
		in.Process, in.PID, in.Args = &p, p.PID, p.Args
	}
	if in.HandsOff = s.handsOff(in.Name); in.HandsOff == "" {
		in.Owner = OwnerAdopted
	}
}

// handsOff is why the foreign scheduler in charge is left alone; empty when it is
// adopted. The caller holds mu.
func (s *Switcher) handsOff(name string) string {
	f, p := &s.foreign, s.foreign.process
	switch {
	case !s.opt.Adopt:
		return "foreign schedulers are left alone"
	case p == nil && !f.looked:
		return "who runs it is not known yet"
	case p == nil:
		return "who runs it cannot be found"
	case p.Manager != "":
		return "it is run by " + p.Manager
	case p.CutArgs:
		return "its arguments cannot be told"
	case f.stayed:
		return fmt.Sprintf("process %d did not end when it was asked to", p.PID)
	case !s.replaced[name].IsZero():
		return "it came back after autosa had replaced it at " + s.replaced[name].Format(time.TimeOnly)
	}
	return ""
}

// identify looks for who runs a foreign scheduler, until it is found, is gone, or
// has been looked for long enough.
func (s *Switcher) identify(name, ops string, seq uint64) {
	ctx, cancel := context.WithTimeout(s.life, identifyFor)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		p, ok := holderOf(s.host.proc(), name, ops)
		s.mu.Lock()
		f := &s.foreign
		if f.ops != ops || f.seq != seq {
			s.mu.Unlock()
			return // another is in charge
		}
		if ok {
			f.process = &p
		}
		f.looked = ok || ctx.Err() != nil
		over := f.looked
		s.mu.Unlock()
		if over {
			s.changed()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// dismiss stops an adopted scheduler: SIGTERM to its process, once, and the
// kernel's word that it is gone, within StopTimeout and DisableTimeout. It is
// never killed: one that stays is left alone from then on. Like any stop it is not
// cut short once it has begun.
func (w *swap) dismiss(ctx context.Context, p *Process, seq uint64) (gone time.Time, err error) {
	named := fmt.Sprintf("%s (process %d, started by somebody else)", w.before.Name, p.PID)
	// A descriptor, so that the signal cannot reach a later process of that number.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return gone, fmt.Errorf("stop %s: %w", named, err)
	}
	defer unix.Close(fd)
	if !p.still(w.host.proc()) {
		return gone, fmt.Errorf("stop %s: it is not the process that ran it any more", named)
	}
	if err := ctx.Err(); err != nil {
		return gone, err
	}
	w.mu.Lock()
	w.replaced[w.before.Name] = time.Now()
	w.mu.Unlock()
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return gone, fmt.Errorf("stop %s: %w", named, err)
	}
	limit := time.NewTimer(w.opt.StopTimeout + w.opt.DisableTimeout)
	defer limit.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		ks, err := w.kernel.Read()
		if err == nil && (ks.State == StateDisabled || ks.EnableSeq != seq) {
			w.log.Info("an adopted scheduler was stopped", "scheduler", w.before.Name, "pid", p.PID)
			return time.Now(), nil
		}
		select {
		case <-limit.C:
			w.mu.Lock()
			if w.foreign.seq == seq {
				w.foreign.stayed = true
			}
			w.mu.Unlock()
			return gone, errors.Join(err, fmt.Errorf("%w: %s did not end within %v of SIGTERM; it is left alone from now on: stop it where it was started",
				ErrTimeout, named, w.opt.StopTimeout+w.opt.DisableTimeout))
		case <-look.C:
		}
	}
}
