// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"autosa/bpf/sched"
)

// Options configure a [Switcher]. The zero value is useful but for Catalogue.
type Options struct {
	// Catalogue finds the schedulers. Required.
	Catalogue *Catalogue
	// Kernel is where its state is read.
	Kernel Kernel
	// Log gets what happens, and at debug level each line that schedulers print.
	// nil discards.
	Log *slog.Logger
	// ReadyTimeout bounds how long a scheduler may take from its start to the
	// kernel's confirmation: verifying large BPF programs takes its time. Default
	// 60 s.
	ReadyTimeout time.Duration
	// StopTimeout is how long a scheduler may take to end after SIGTERM before it
	// gets SIGKILL. Default 5 s.
	StopTimeout time.Duration
	// DisableTimeout bounds how long the kernel may take to say disabled after
	// the process ended. Default 10 s.
	DisableTimeout time.Duration
	// Leftovers is a file that remembers what schedulers have changed and leave
	// behind when they are killed, for [Switcher.Recover]; empty for none.
	Leftovers string
	// Adopt has schedulers that somebody else started by hand count as arms that may
	// be replaced; see [OwnerAdopted]. Otherwise none is ever touched.
	Adopt bool
	// Ungated is a file that remembers which binaries were seen not to load behind a
	// gate, for [Switcher.Recover]; empty for none.
	Ungated string
	// Progress is called at each step of a swap, on the goroutine of Switch. It
	// must not block and must not call the Switcher.
	Progress func(Progress)
}

// Switcher puts schedulers in charge, one swap at a time. All methods are safe
// for concurrent use. Close it to stop what it started.
type Switcher struct {
	opt    Options
	kernel Kernel
	log    *slog.Logger
	host   Host // what preflight looks at
	// stateFile is the kernel's, which a gate hides.
	stateFile string

	// token is taken by the swap under way, and for good by Close.
	token  chan struct{}
	life   context.Context // ends when Close begins
	quit   context.CancelFunc
	events chan Event
	wg     sync.WaitGroup // watchers

	mu      sync.Mutex
	current *running // guarded by mu; ours that was proved and has not ended
	pending *running // guarded by mu; ours that is coming up
	closed  bool     // guarded by mu
	ending  int      // guarded by mu; ended by themselves, their events not sent yet
	seen    sighting // guarded by mu
	// foreign is what is known of another manager's scheduler, replaced when autosa
	// last replaced one of that name. Guarded by mu.
	foreign  foreign
	replaced map[string]time.Time
	changes  chan struct{} // has room for one
	ungated  *ungated
	left     *leftovers
	// loadOwn loads the built-in scheduler.
	loadOwn func(sched.Policy) (ownScheduler, error)
}

// sighting is what was in charge at the last look.
type sighting struct {
	owner Owner
	ops   string
	seq   uint64
	since time.Time
}

// running is a scheduler that this Switcher started.
type running struct {
	target Target // written with Switcher.mu and the token held, so either is enough to read it
	entry  Entry
	proc   child
	kmsg   *kmsg // its own reading position; closed when it has ended
	// oomKills is the cgroup's count of processes killed for want of memory when
	// it was started.
	oomKills uint64
	// Of the goroutine that watches it: the kernel's counters, and how much it had
	// printed when it last registered itself anew, of its end before that.
	counters map[string]uint64
	reborn   int64

	// Guarded by Switcher.mu.
	ops      string
	seq      uint64    // enable_seq when it was last proved; 0 before
	since    time.Time // when it was first proved
	stopping bool      // its end is ordered, no event
	held     bool      // behind a gate: nothing that the kernel says is about it
	outrun   bool      // another manager's scheduler was registered before it
}

// eventBuffer bounds undelivered events. One arises per scheduler lost, and
// losing one takes a swap before it: a reader that keeps up with its own swaps
// misses none.
const eventBuffer = 64

// NewSwitcher makes a Switcher. It starts nothing and touches nothing.
func NewSwitcher(o Options) (*Switcher, error) {
	if o.Catalogue == nil {
		return nil, errors.New("switcher without a catalogue")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&o.ReadyTimeout, 60 * time.Second},
		{&o.StopTimeout, 5 * time.Second},
		{&o.DisableTimeout, 10 * time.Second},
	} {
		if *d.value < 0 {
			return nil, fmt.Errorf("negative timeout %v", *d.value)
		}
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	s := &Switcher{
		opt:    o,
		kernel: o.Kernel,
		log:    o.Log,
		host:   Host{Sys: o.Kernel.Root},
		token:  make(chan struct{}, 1),
		events: make(chan Event, eventBuffer),

		stateFile: o.Kernel.path("state"),
		replaced:  make(map[string]time.Time),
		changes:   make(chan struct{}, 1),
		loadOwn:   loadOwn,
	}
	s.ungated = newUngated(o.Ungated, o.Log)
	s.left = &leftovers{host: s.host, log: o.Log, file: o.Leftovers}
	s.life, s.quit = context.WithCancel(context.Background())
	return s, nil
}

// Recover puts back what schedulers of an earlier process have left behind, if
// that was killed together with them, and remembers which binaries cannot be
// loaded behind a gate. It is called before the first swap.
func (s *Switcher) Recover() error { return errors.Join(s.left.recover(), s.ungated.load(time.Now())) }

// Events delivers what happens to autosa's scheduler outside swaps. The channel
// is closed by Close.
func (s *Switcher) Events() <-chan Event { return s.events }

// InCharge reads what the kernel says is in charge, and says whose it is. It
// works during a swap too and is cheap enough for every tick.
func (s *Switcher) InCharge() (InCharge, error) {
	ks, err := s.kernel.Read()
	if err != nil {
		return InCharge{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attribute(ks), nil
}

// attribute says whose a state is. The caller holds mu.
func (s *Switcher) attribute(ks KernelState) InCharge {
	in := InCharge{Name: EEVDF, Ops: ks.Ops, Owner: OwnerForeign, Kernel: ks}
	var ours *running
	switch {
	case !ks.Supported || ks.State == StateDisabled:
		in.Owner = OwnerKernel
	case s.current != nil && !(s.current.stopping && s.pending != nil) && s.owns(s.current, ks):
		ours = s.current
	case s.pending != nil && s.owns(s.pending, ks):
		ours = s.pending
	}
	if ours != nil {
		in.Owner = OwnerAutosa
		in.Name, in.Args, in.PID = ours.target.Name, ours.target.Args, ours.proc.PID()
	}
	if in.Owner == OwnerForeign {
		in.Name = s.opt.Catalogue.SchedulerName(ks.Ops)
		s.judge(&in)
	}
	in.Unsettled = s.ending > 0 || s.current != nil && !s.current.stopping && ours != s.current
	owner := in.Owner
	if owner == OwnerAdopted { // the same scheduler as before it was known who runs it
		owner = OwnerForeign
	}
	if now := (sighting{owner: owner, ops: in.Ops, seq: ks.EnableSeq}); !s.seen.same(now) {
		now.since = time.Now()
		s.seen = now
	}
	in.Since = s.seen.since
	if ours != nil && !ours.since.IsZero() {
		in.Since = ours.since
	}
	return in
}

// same compares what is in charge. For EEVDF the count of enables says nothing.
func (a sighting) same(b sighting) bool {
	return !a.since.IsZero() && a.owner == b.owner && a.ops == b.ops && (a.seq == b.seq || a.owner == OwnerKernel)
}

// owns reports whether the loaded scheduler is r's: the one proved, or by the
// same process registered anew, or on its way up. The caller holds mu.
func (s *Switcher) owns(r *running, ks KernelState) bool {
	if r.seq != 0 && ks.EnableSeq == r.seq && (ks.State != StateEnabling || opsMatch(ks.Ops, opsBase(r.ops))) {
		return true
	}
	if !r.proc.alive() || r.entry.Ops != "" && ks.Ops != "" && !opsMatch(ks.Ops, r.entry.Ops) {
		return false
	}
	if ks.State != StateEnabled {
		return true // a link cannot exist yet
	}
	holds, known := r.proc.holdsLink(s.host.proc())
	return holds || !known
}

// Close stops autosa's scheduler, also one that is just coming up, and proves
// that the kernel says disabled. A swap under way is cancelled first. ctx bounds
// the wait: what it leaves running ends with this process. Calls after the first
// return nil at once.
func (s *Switcher) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.quit()

	select {
	case s.token <- struct{}{}: // kept
	case <-ctx.Done():
		return fmt.Errorf("close: wait for the swap under way: %w", ctx.Err())
	}
	var err error
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r != nil {
		if _, err = s.stop(ctx, r); err != nil {
			err = fmt.Errorf("close: stop %s: %w", r.target.Name, err)
		}
	}
	watched := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(s.events)
		close(watched)
	}()
	select {
	case <-watched:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("close: %w", ctx.Err()))
	}
	return err
}

// Bounds on arguments: far above what any scheduler takes.
const (
	maxArgs     = 256
	maxArgBytes = 64 << 10
)

func checkArgs(args []string) error {
	if len(args) > maxArgs {
		return fmt.Errorf("%w: %d arguments, at most %d are allowed", ErrBadArgs, len(args), maxArgs)
	}
	total := 0
	for i, a := range args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("%w: argument %d holds a NUL byte", ErrBadArgs, i+1)
		}
		total += len(a)
	}
	if total > maxArgBytes {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadArgs, total, maxArgBytes)
	}
	return nil
}
