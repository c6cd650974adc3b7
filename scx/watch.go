// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// killTimeout is how long a process may take to be gone after SIGKILL.
	killTimeout = 5 * time.Second
	// watchEvery is how often a running scheduler's word is compared with the
	// kernel's. Its death is noticed at once.
	watchEvery = 500 * time.Millisecond
	// settleTime bounds the wait for the kernel's last words after a death.
	settleTime = 5 * time.Second
	// countEvery is how often its event counters are read: the kernel drops them
	// with the scheduler, and sums them over all CPUs for each reading.
	countEvery = 5 * time.Second
)

// stop ends a scheduler of ours: SIGTERM, after StopTimeout SIGKILL, then the
// kernel's word that it is out of charge, DisableTimeout after the process's end
// at the latest. gone is when the kernel first said so. When ctx ends it is
// killed at once. On return without an error nothing of it is left.
func (s *Switcher) stop(ctx context.Context, r *running) (gone time.Time, err error) {
	return s.stopThen(ctx, r, func() {})
}

// stopThen is stop, and calls then as soon as the kernel says that r is out of
// charge: its process may take a while longer to end. It returns after both.
func (s *Switcher) stopThen(ctx context.Context, r *running, then func()) (gone time.Time, err error) {
	s.mu.Lock()
	r.stopping = true
	s.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- s.endProcess(ctx, r) }()

	// sysfs cannot be waited on: look, finely, because the gap is counted from here.
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	var limit <-chan time.Time
	var readErr error
	for running := true; ; {
		if gone.IsZero() {
			var loaded bool
			if loaded, readErr = s.loaded(r, running); readErr == nil && !loaded {
				gone = time.Now()
				then()
			}
		}
		if !running && !gone.IsZero() {
			s.forget(r)
			return gone, nil
		}
		select {
		case err := <-ended:
			if err != nil {
				// It is not over: should it end yet, that is an event.
				s.mu.Lock()
				r.stopping = false
				s.mu.Unlock()
				return gone, err
			}
			running, ended = false, nil
			limit = time.After(s.opt.DisableTimeout)
		case <-limit:
			s.forget(r)
			if readErr != nil {
				return gone, readErr
			}
			return gone, fmt.Errorf("%w: its process ended and the kernel still has it %v later", ErrTimeout, s.opt.DisableTimeout)
		case <-look.C:
		}
	}
}

// loaded reports whether the kernel still has r's scheduler. Once the process is
// gone the kernel has closed its link, so what is enabled then under another
// count, or under another name, is somebody else's.
func (s *Switcher) loaded(r *running, alive bool) (bool, error) {
	ks, err := s.kernel.Read()
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !ks.Supported || ks.State == StateDisabled || r.held:
		return false, nil
	case alive:
		return true, nil
	case r.seq != 0:
		return ks.EnableSeq == r.seq, nil
	default:
		return !r.outrun && (r.entry.Ops == "" || ks.Ops == "" || opsMatch(ks.Ops, r.entry.Ops)), nil
	}
}

// endProcess ends r's process for certain: SIGTERM, SIGKILL to the scheduler,
// SIGKILL to its supervisor too. It returns an error only for a process that is
// stuck in the kernel.
func (s *Switcher) endProcess(ctx context.Context, r *running) error {
	p := r.proc
	p.terminate()
	if waitEnd(ctx, p, s.opt.StopTimeout) {
		return nil
	}
	if ctx.Err() == nil {
		s.log.Warn("scheduler did not end on SIGTERM, killing it", "scheduler", r.target.Name, "after", s.opt.StopTimeout)
		p.kill()
		if waitEnd(ctx, p, killTimeout) {
			return nil
		}
	}
	p.destroy()
	if waitEnd(context.Background(), p, killTimeout) {
		return nil
	}
	return fmt.Errorf("process %d of %s does not end on SIGKILL", p.PID(), r.target.Name)
}

// waitEnd reports whether p ended within d and before ctx.
func waitEnd(ctx context.Context, p child, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.over():
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return !p.alive()
}

// forget drops r, whose process has ended.
func (s *Switcher) forget(r *running) {
	s.mu.Lock()
	if s.current == r {
		s.current = nil
	}
	if s.pending == r {
		s.pending = nil
	}
	s.mu.Unlock()
	s.left.ended(r)
}

// watch follows a scheduler in charge until its process ends, and reports an end
// that nobody ordered.
func (s *Switcher) watch(r *running) {
	defer r.kmsg.close()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var counted time.Time // when the kernel's counters were last read
	var lost time.Time    // since when it has not been in charge
	hung := false         // it was killed because it stayed
	for {
		select {
		case <-r.proc.over():
			s.ended(r, hung)
			return
		case now := <-tick.C:
			switch in, err := s.inspect(r); {
			case err != nil:
				s.log.Warn("cannot see whether the scheduler is in charge", "scheduler", r.entry.Name, "err", err)
			case in:
				lost = time.Time{}
				if now.Sub(counted) > countEvery {
					counted = now
					if events, err := s.kernel.Events(); err == nil && len(events) > 0 {
						r.counters = events
					}
				}
			case lost.IsZero():
				lost = now
			case hung && now.Sub(lost) > s.opt.ReadyTimeout+killTimeout:
				r.proc.destroy()
			case !hung && now.Sub(lost) > s.opt.ReadyTimeout:
				// The kernel took it out, and it neither ends nor registers anew.
				s.log.Warn("scheduler is out of charge and its process stays, killing it", "scheduler", r.entry.Name, "pid", r.proc.PID())
				hung = true
				r.proc.kill()
			}
		}
	}
}

// inspect reports whether r is in charge, and takes note when the same process
// has registered it anew.
func (s *Switcher) inspect(r *running) (bool, error) {
	ks, err := s.kernel.Read()
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	if r.stopping || ks.State != StateEnabled || !s.owns(r, ks) {
		in := r.stopping
		s.mu.Unlock()
		return in, nil
	}
	if ks.EnableSeq == r.seq {
		s.mu.Unlock()
		return true, nil
	}
	r.seq, r.ops = ks.EnableSeq, ks.Ops
	e := r.event(EventReattached)
	e.Ending, e.Ops, e.InCharge = EndingReattached, ks.Ops, s.attribute(ks)
	s.mu.Unlock()
	e.Kernel = r.kmsg.collect()
	e.Reason = kernelReason(e.Kernel)
	r.reborn = r.proc.prints().written()
	s.emit(e)
	return true, nil
}

// ended reports an unordered end. It first waits for the kernel's last words.
// hung says that the kernel had taken it out and the process stayed.
func (s *Switcher) ended(r *running, hung bool) {
	s.mu.Lock()
	ordered := r.stopping
	if !ordered {
		s.ending++
	}
	s.mu.Unlock()
	if ordered {
		return
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ending--
	}()
	look := time.NewTicker(5 * time.Millisecond)
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); <-look.C {
		if loaded, err := s.loaded(r, false); err == nil && !loaded {
			break
		}
	}
	look.Stop()
	s.forget(r)
	exit := r.proc.ending()
	s.mu.Lock()
	e := r.event(EventDied)
	s.mu.Unlock()
	e.Exit, e.Output, e.Kernel, e.Counters = &exit, r.proc.prints().text(), r.kmsg.collect(), r.counters
	known := s.evidence(r, r.kmsg, e.Kernel)
	known.CameUp = true
	if hung { // its end was autosa's doing: the kernel's word says why it was out of charge, or nothing does
		known.Err = ErrTimeout
	}
	e.Ending = known.Ending()
	if reason := known.loaderReason(); hung || reason != "" && !isCleanEnd(reason) || strings.Contains(kernelReason(e.Kernel), " disabled (") {
		e.Kind = EventEjected
	}
	if known.Err = nil; hung && kernelReason(e.Kernel) == "" && (known.loaderReason() == "" || isCleanEnd(known.loaderReason())) {
		known.Err = errStayed
	}
	e.Reason = known.Reason()
	in, err := s.InCharge()
	if err != nil {
		s.log.Warn("cannot see what is in charge", "err", err)
	}
	in.Unsettled = false // with this event
	e.InCharge = in
	s.log.Warn("scheduler lost", "scheduler", e.Target.Name, "kind", e.Kind, "ending", string(e.Ending), "exit", exit.String(), "reason", e.Reason, "in_charge", in.Name)
	s.emit(e)
}

// errStayed is why a scheduler was killed that was in charge no longer.
var errStayed = errors.New("taken out by the kernel, and its process stayed until it was killed")

// event begins an event about r. The caller holds mu.
func (r *running) event(kind EventKind) Event {
	return Event{
		Time: time.Now(), Kind: kind, Target: r.target, Ops: r.ops, PID: r.proc.PID(), Version: r.entry.Version, Path: r.entry.Path,
	}
}

// evidence is what is known of r's end, which has come. k is where lines were
// collected from.
func (s *Switcher) evidence(r *running, k *kmsg, lines []string) Evidence {
	exit, output := r.proc.ending(), r.proc.prints().since(r.reborn)
	exit.Reason = exitReason(output)
	config, _ := s.host.kernelConfig()
	e := Evidence{
		Ops: cmp.Or(r.entry.Ops, r.ops), Kernel: lines, Output: output, NoKernelConfig: config == "",
		OOMKilled: k.killed(r.proc.pids()...) || s.host.oomKills() > r.oomKills,
	}
	if r.proc.begun() {
		e.Exit = &exit
	}
	return e
}

// emit delivers an event.
func (s *Switcher) emit(e Event) {
	select {
	case s.events <- e:
	default:
		s.log.Error("nobody reads the scheduler's events, one is lost", "kind", e.Kind, "scheduler", e.Target.Name)
	}
}

// isCleanEnd reports whether a scheduler's exit reason is its own leaving.
func isCleanEnd(reason string) bool { return strings.HasPrefix(reason, cleanEnd) }
