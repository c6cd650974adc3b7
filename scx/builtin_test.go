// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"autosa/bpf/sched"
)

// fakeOwn is a built-in scheduler that registers with a fakeKernel.
type fakeOwn struct {
	k    *fakeKernel
	done chan struct{}
	once sync.Once

	mu     sync.Mutex
	policy sched.Policy // guarded by mu, as what follows
	orders uint64
	exit   *sched.Exit
	closed bool
	refuse error // what Attach comes to
}

// owns has a switcher load such ones; it returns the one loaded last, and how
// many there were.
func (k *fakeKernel) owns(s *Switcher, prepare func(*fakeOwn)) (last func() (*fakeOwn, int)) {
	s.opt.Catalogue.probe = func() error { return nil }
	var mu sync.Mutex
	var all []*fakeOwn
	s.loadOwn = func(p sched.Policy) (ownScheduler, error) {
		o := &fakeOwn{k: k, done: make(chan struct{}), policy: p, orders: 1}
		if prepare != nil {
			prepare(o)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o)
		return o, nil
	}
	return func() (*fakeOwn, int) {
		mu.Lock()
		defer mu.Unlock()
		if len(all) == 0 {
			return nil, 0
		}
		return all[len(all)-1], len(all)
	}
}

func (o *fakeOwn) Attach() error {
	if o.refuse != nil {
		return o.refuse
	}
	if o.k.state() != "disabled" {
		return fmt.Errorf("attach the scheduler: %w", unix.EBUSY)
	}
	var seq int
	ks, err := Kernel{Root: o.k.host.Sys}.Read()
	if err == nil {
		seq = int(ks.EnableSeq)
	}
	o.k.enable(sched.Ops, seq+1)
	return err
}

// eject is the kernel's doing.
func (o *fakeOwn) eject(e sched.Exit) {
	o.mu.Lock()
	o.exit = &e
	o.mu.Unlock()
	o.k.disable()
	o.once.Do(func() { close(o.done) })
}

func (o *fakeOwn) SetPolicy(p sched.Policy) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.policy = p
	o.orders++
	return nil
}

func (o *fakeOwn) Generation() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.orders
}

func (o *fakeOwn) Seen() []uint64              { return []uint64{o.Generation(), 1, 0} }
func (o *fakeOwn) Stats() (sched.Stats, error) { return sched.Stats{Direct: 3}, nil }
func (o *fakeOwn) Done() <-chan struct{}       { return o.done }

func (o *fakeOwn) Exit() (sched.Exit, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.exit == nil {
		return sched.Exit{}, false
	}
	return *o.exit, true
}

func (o *fakeOwn) Close() error {
	o.mu.Lock()
	o.closed = true
	registered := o.exit == nil && o.refuse == nil && o.k.state() == "enabled"
	if registered {
		o.exit = &sched.Exit{Kind: sched.ExitUnregistered, Reason: cleanEnd}
	}
	o.mu.Unlock()
	if registered {
		if ks, err := (Kernel{Root: o.k.host.Sys}).Read(); err == nil && ks.Ops == sched.Ops {
			o.k.disable()
		}
	}
	o.once.Do(func() { close(o.done) })
	return nil
}

func TestBuiltinIsInTheCatalogueUnderEachPolicy(t *testing.T) {
	c := catalogue(t, CatalogueOptions{})
	c.probe = func() error { return nil }
	var names []string
	for _, e := range c.List(t.Context()) {
		if IsBuiltin(e.Name) {
			names = append(names, e.Name)
			if !e.Installed || !e.Usable || !e.Known || e.Version == "" || e.Description == "" || e.Ops != sched.Ops || e.Path != "" {
				t.Errorf("%+v", e)
			}
		}
	}
	if strings.Join(names, " ") != "builtin:latency builtin:balanced builtin:throughput" {
		t.Errorf("listed are %v", names)
	}
	c.probe = func() error {
		return &sched.UnsupportedError{Feature: "cgroups in sched_ext", Needs: "CONFIG_EXT_GROUP_SCHED"}
	}
	if e, err := c.Lookup(t.Context(), "builtin:latency"); err != nil || e.Usable || !strings.Contains(e.WhyNot, "CONFIG_EXT_GROUP_SCHED") {
		t.Errorf("where the kernel lacks something: %+v %v", e, err)
	}
	var unknown *UnknownError
	if _, err := c.Lookup(t.Context(), "builtin:latincy"); !errors.As(err, &unknown) || len(unknown.Close) == 0 || unknown.Close[0] != "builtin:latency" {
		t.Errorf("a policy that there is not: %v", err)
	}
}

// From EEVDF, beside and after a scheduler that is a process, and back: with the
// kernel's proof each time, held until the old one is gone.
func TestBuiltinIsSwappedAsOthersAre(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	var phases []string
	s := k.switcher(Options{Progress: func(p Progress) { phases = append(phases, string(p.Phase)) }})
	last := k.owns(s, nil)
	res := mustSwitch(t, s, "builtin:latency")
	if in := res.InCharge; in.Name != "builtin:latency" || in.Owner != OwnerAutosa || in.Ops != sched.Ops || in.Kernel.EnableSeq != 1 || in.PID != 0 || res.InPlace {
		t.Errorf("%+v", res)
	}
	if res = mustSwitch(t, s, "rusty"); res.From.Name != "builtin:latency" || res.Gap <= 0 || res.Ungated != "" || res.InCharge.Name != "scx_rusty" {
		t.Errorf("to a process: %+v", res)
	}
	if o, _ := last(); !o.closed {
		t.Error("the built-in one was not closed")
	}
	phases = nil
	if res = mustSwitch(t, s, "builtin:balanced"); res.From.Name != "scx_rusty" || res.Gap <= 0 || res.Ungated != "" || res.InCharge.Kernel.EnableSeq != 3 {
		t.Errorf("from a process: %+v", res)
	}
	if got := strings.Join(phases, " "); !strings.HasPrefix(got, "preflight loading stopping opening") {
		t.Errorf("phases %s", got)
	}
	if res = mustSwitch(t, s, EEVDF); res.InCharge.Owner != OwnerKernel || k.state() != "disabled" {
		t.Errorf("%+v", res)
	}
	select {
	case e := <-s.Events():
		t.Errorf("an end that was ordered is an event: %+v", e)
	default:
	}
}

func TestAChangeOfPolicyTouchesNothingElse(t *testing.T) {
	k := newFakeKernel(t)
	s := k.switcher(Options{})
	last := k.owns(s, nil)
	if _, err := s.Adjust(Target{Name: "builtin:latency"}); !errors.Is(err, ErrNotInCharge) || s.Builtin() != nil {
		t.Errorf("while it is not in charge: %v", err)
	}
	mustSwitch(t, s, "builtin:latency")
	in, err := s.Adjust(Target{Name: "builtin:throughput"})
	if o, n := last(); err != nil || in.Name != "builtin:throughput" || in.Owner != OwnerAutosa || in.Kernel.EnableSeq != 1 || n != 1 || o.policy != sched.Throughput {
		t.Errorf("%+v %v; %d loaded", in, err, n)
	}
	if b := s.Builtin(); b == nil || b.Policy != "throughput" || b.Generation != 2 || b.CPUs != 2 || b.Obeying != 1 || b.Stats.Direct != 3 {
		t.Errorf("%+v", b)
	}
	// A swap that is one of policies only is none.
	res := mustSwitch(t, s, "builtin:balanced")
	if _, n := last(); !res.InPlace || res.From.Name != "builtin:throughput" || res.InCharge.Name != "builtin:balanced" || res.InCharge.Kernel.EnableSeq != 1 || n != 1 {
		t.Errorf("%+v; %d loaded", res, n)
	}
	if res := mustSwitch(t, s, "builtin:balanced"); !res.Unchanged {
		t.Errorf("the same again: %+v", res)
	}
	for _, bad := range []Target{{Name: "scx_rusty"}, {Name: "builtin:fast"}, {Name: "builtin:latency", Args: []string{"-x"}}} {
		if _, err := s.Adjust(bad); !errors.Is(err, ErrBadArgs) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := s.Switch(t.Context(), Target{Name: "builtin:latency", Args: []string{"-x"}}); !errors.Is(err, ErrBadArgs) {
		t.Errorf("with arguments: %v", err)
	}
	s.token <- struct{}{}
	if _, err := s.Adjust(Target{Name: "builtin:latency"}); !errors.Is(err, ErrBusy) {
		t.Errorf("during a swap: %v", err)
	}
	<-s.token
}

func TestAnEjectedBuiltinIsAnEventWithTheKernelsAccount(t *testing.T) {
	for name, c := range map[string]struct {
		exit   sched.Exit
		ending Ending
		code   int
	}{
		"stall":   {sched.Exit{Kind: sched.ExitErrorStall, Reason: "runnable task stall", Message: "sh[42] failed to run for 10.016s", Dump: "CPU states\nEXIT: nonsense"}, EndingStall, 1},
		"error":   {sched.Exit{Kind: sched.ExitErrorBPF, Reason: "scx_bpf_error"}, EndingBPFError, 1},
		"runtime": {sched.Exit{Kind: sched.ExitError, Reason: "runtime error", Message: "soft lockup - CPU 1 stuck"}, EndingLockup, 1},
		"sysrq":   {sched.Exit{Kind: sched.ExitSysRq, Reason: "disabled by sysrq-S"}, EndingSysRq, 0},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFakeKernel(t)
			s := k.switcher(Options{})
			last := k.owns(s, nil)
			mustSwitch(t, s, "builtin:latency")
			if _, err := s.Adjust(Target{Name: "builtin:balanced"}); err != nil {
				t.Fatal(err)
			}
			o, _ := last()
			o.eject(c.exit)
			select {
			case e := <-s.Events():
				if e.Kind != EventEjected || e.Ending != c.ending || e.Target.Name != "builtin:balanced" || e.Version != sched.Version() || e.PID != 0 ||
					e.Exit == nil || !e.Exit.Builtin || e.Exit.Code != c.code || !strings.Contains(e.Reason, c.exit.Reason) || !strings.Contains(e.Output, c.exit.Dump) ||
					e.InCharge.Name != EEVDF {
					t.Errorf("%+v, exit %+v", e, e.Exit)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("no event")
			}
			if !o.closed || s.Builtin() != nil {
				t.Error("it was not closed")
			}
			if _, err := s.Adjust(Target{Name: "builtin:latency"}); !errors.Is(err, ErrNotInCharge) {
				t.Errorf("adjusted after its end: %v", err)
			}
		})
	}
}

func TestABuiltinThatDoesNotComeUpLeavesWhatWasThere(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	s := k.switcher(Options{ReadyTimeout: 2 * time.Second})
	mustSwitch(t, s, "rusty", "-a")
	for name, c := range map[string]struct {
		load   error
		own    func(*fakeOwn)
		ending Ending
		phase  Phase
		cause  error
	}{
		"not loaded":     {load: fmt.Errorf("load the scheduler: %w", unix.EINVAL), ending: EndingLoad, phase: PhaseLoading, cause: unix.EINVAL},
		"no memory":      {load: fmt.Errorf("load the scheduler: %w", unix.ENOMEM), ending: EndingMemory, phase: PhaseLoading, cause: unix.ENOMEM},
		"rejected":       {load: fmt.Errorf("load the scheduler: %w", &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"R1 invalid", "processed 7 insns (limit 1000000)"}}), ending: EndingVerifier, phase: PhaseLoading, cause: unix.EINVAL},
		"not registered": {own: func(o *fakeOwn) { o.refuse = fmt.Errorf("attach the scheduler: %w", unix.EINVAL) }, ending: EndingLoad, phase: PhaseOpening, cause: unix.EINVAL},
		"outrun":         {own: func(o *fakeOwn) { o.refuse = fmt.Errorf("attach the scheduler: %w", unix.EBUSY) }, ending: EndingForeign, phase: PhaseOpening, cause: ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			k.owns(s, c.own)
			if c.load != nil {
				s.loadOwn = func(sched.Policy) (ownScheduler, error) { return nil, c.load }
			}
			_, err := s.Switch(t.Context(), Target{Name: "builtin:latency"})
			var failed *SwitchError
			if !errors.As(err, &failed) || !errors.Is(err, c.cause) || failed.Phase != c.phase || failed.Ending != c.ending || failed.Version != sched.Version() {
				t.Fatalf("got %v (%+v), want %s in %s", err, failed, c.ending, c.phase)
			}
			if c.ending == EndingForeign { // the old one is not forced upon whoever came first
				if failed.Returned {
					t.Error("returned to the old one over a foreign scheduler")
				}
				mustSwitch(t, s, "rusty", "-a")
				return
			}
			if in := inCharge(t, s); !failed.Returned || in.Name != "scx_rusty" || in.Owner != OwnerAutosa || strings.Join(in.Args, " ") != "-a" {
				t.Errorf("%+v; in charge %+v", failed, in)
			}
		})
	}
}

// A swap that is cancelled leaves nothing half started, wherever it is.
func TestACancelledSwapToTheBuiltinLeavesNothing(t *testing.T) {
	k := newFakeKernel(t)
	s := k.switcher(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	last := k.owns(s, func(*fakeOwn) { cancel() })
	_, err := s.Switch(ctx, Target{Name: "builtin:latency"})
	var failed *SwitchError
	if !errors.As(err, &failed) || failed.Ending != EndingStopped || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if o, n := last(); n != 1 || !o.closed || k.state() != "disabled" {
		t.Errorf("%d loaded, closed %t, the kernel says %s", n, o.closed, k.state())
	}
	if in := inCharge(t, s); in.Name != EEVDF || in.Unsettled {
		t.Errorf("%+v", in)
	}
}
