// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"autosa/bpf/sched"
)

// builtinPrefix begins the names of the built-in scheduler's arms; its policy
// follows: "builtin:latency".
const builtinPrefix = "builtin:"

// IsBuiltin reports whether a scheduler's name is that of the built-in one under
// some policy, which need not exist.
func IsBuiltin(name string) bool { return strings.HasPrefix(name, builtinPrefix) }

// builtinPolicy is the policy that an arm of the built-in scheduler names; ok is
// false where it names none that there is.
func builtinPolicy(name string) (p sched.Policy, ok bool) {
	rest, ok := strings.CutPrefix(name, builtinPrefix)
	p = sched.Policy(rest)
	return p, ok && slices.Contains(sched.Policies(), p)
}

// builtinWords are what `autosa list` says of each policy.
var builtinWords = map[sched.Policy]string{
	sched.Latency:    "autosa's own, tasks that run briefly first; for people, media and servers",
	sched.Balanced:   "autosa's own, brief tasks first with less force; for mixed work",
	sched.Throughput: "autosa's own, long turns in fair order; for computing and builds",
}

// builtinEntry describes the built-in scheduler under a policy.
func (c *Catalogue) builtinEntry(p sched.Policy) Entry {
	e := Entry{
		Name: builtinPrefix + string(p), Description: builtinWords[p], Version: sched.Version(), Ops: sched.Ops,
		Installed: true, Usable: true, Known: true, Watchdog: sched.Watchdog, CPUWeight: true,
		Notes: []string{"a change between its policies is no swap", "cpu.max and cpu.idle are not honoured"},
	}
	if err := c.probe(); err != nil {
		e.Usable, e.WhyNot = false, err.Error()
		e.Remedy = "see `autosa doctor`"
	}
	return e
}

// ownScheduler is what of [sched.Scheduler] is used; tests have one that needs no
// kernel.
type ownScheduler interface {
	Attach() error
	SetPolicy(p sched.Policy) error
	Generation() uint64
	Seen() []uint64
	Stats() (sched.Stats, error)
	Done() <-chan struct{}
	Exit() (sched.Exit, bool)
	Close() error
}

// probeOwn says whether the built-in scheduler can run here. The kernel's type
// information, which takes its time, is not looked at where there is no sched_ext.
func probeOwn() error {
	if !(Kernel{}).Supported() {
		return ErrNotSupported
	}
	return sched.Probe()
}

func loadOwn(p sched.Policy) (ownScheduler, error) {
	s, err := sched.Load(sched.Options{Policy: p})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// builtinError is why the built-in scheduler could not be loaded or registered.
type builtinError struct{ err error }

func (e *builtinError) Error() string { return e.err.Error() }
func (e *builtinError) Unwrap() error { return e.err }

// ending is what it comes to.
func (e *builtinError) ending() Ending {
	var v *ebpf.VerifierError
	switch {
	case errors.Is(e.err, unix.ENOMEM):
		return EndingMemory
	case errors.As(e.err, &v):
		return EndingVerifier
	case errors.Is(e.err, sched.ErrNotSupported), errors.Is(e.err, fs.ErrPermission):
		return EndingUnusable
	}
	return EndingLoad
}

// builtin is the built-in scheduler as a [child]. It lives in this process: the
// kernel drops it when this process ends, however it does.
type builtin struct {
	policy sched.Policy
	held   bool // it registers when open is called
	load   func(sched.Policy) (ownScheduler, error)
	log    *slog.Logger
	out    *output // its account of itself, in the words of other schedulers

	opened, closing chan struct{} // closed by open, and by whatever ends it
	openOnce        sync.Once
	closeOnce       sync.Once
	done            chan struct{} // closed when the kernel has dropped it

	mu        sync.Mutex
	own       ownScheduler // guarded by mu; nil before it was loaded
	attached  bool         // guarded by mu
	refused   error        // guarded by mu; complete after done
	requested bool         // guarded by mu
	exit      Exit         // guarded by mu; complete after done
}

func newBuiltin(p sched.Policy, held bool, load func(sched.Policy) (ownScheduler, error), log *slog.Logger) *builtin {
	return &builtin{
		policy: p, held: held, load: load, log: log, out: &output{log: log},
		opened: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
	}
}

// start loads it, which takes a second or so and is not cut short, and, unless it
// is held, begins to register it.
func (b *builtin) start(ctx context.Context) error {
	own, err := b.load(b.policy)
	if err != nil {
		err = &builtinError{err}
		b.refuse(err)
		b.ended(Exit{Code: 1})
		return err
	}
	b.mu.Lock()
	b.own = own
	b.mu.Unlock()
	if !b.held {
		b.open()
	}
	go b.live(own)
	return ctx.Err()
}

// live registers it when it may and follows it to its end; it is the only one to
// close it.
func (b *builtin) live(own ownScheduler) {
	exit := Exit{}
	select {
	case <-b.opened:
		if err := own.Attach(); err != nil {
			exit.Code = 1
			b.refuse(&builtinError{err})
			break
		}
		b.mu.Lock()
		b.attached = true
		b.mu.Unlock()
		select {
		case <-own.Done():
		case <-b.closing:
		}
	case <-b.closing:
	}
	if err := own.Close(); err != nil {
		fmt.Fprintf(b.out, "Error: %v\n", err)
		b.log.Warn("built-in scheduler", "err", err)
	}
	if e, out := own.Exit(); out {
		if e.Failed() {
			exit.Code = 1
		}
		// As the schedulers of the scx crates print it.
		fmt.Fprintf(b.out, "%s\nEXIT: %s\n", e.Dump, e)
	}
	b.ended(exit)
}

// refuse takes note of why it could not be loaded or registered.
func (b *builtin) refuse(err error) {
	var v *ebpf.VerifierError
	if errors.As(err, &v) {
		fmt.Fprintf(b.out, "%+v\n", v)
	}
	fmt.Fprintf(b.out, "Error: %v\n", err)
	b.mu.Lock()
	b.refused = err
	b.mu.Unlock()
}

// ended completes how it ended.
func (b *builtin) ended(e Exit) {
	b.out.close()
	text := b.out.text()
	b.mu.Lock()
	e.Builtin, e.Requested = true, b.requested
	e.Reason, e.Complaint = exitReason(text), complaint(text, e.Code != 0)
	b.exit, b.attached = e, false
	b.mu.Unlock()
	close(b.done)
}

// park: once loaded it waits by itself.
func (b *builtin) park(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func (b *builtin) open() { b.openOnce.Do(func() { close(b.opened) }) }

func (b *builtin) terminate() {
	b.mu.Lock()
	b.requested = true
	b.mu.Unlock()
	b.closeOnce.Do(func() { close(b.closing) })
}

// kill and destroy can do no more: the kernel drops it, or this process ends.
func (b *builtin) kill()    { b.terminate() }
func (b *builtin) destroy() { b.terminate() }

func (b *builtin) abandon() {
	b.terminate()
	if b.alive() && !b.begun() {
		b.ended(Exit{})
	}
}

func (b *builtin) begun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.own != nil
}

func (b *builtin) alive() bool {
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

func (b *builtin) over() <-chan struct{} { return b.done }

func (b *builtin) ending() Exit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.exit
}

func (b *builtin) refusal() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused
}

func (b *builtin) PID() int        { return 0 }
func (b *builtin) pids() []int     { return nil }
func (b *builtin) prints() *output { return b.out }

// holdsLink: the link is this process's own.
func (b *builtin) holdsLink(string) (holds, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attached, true
}

// set changes the policy in place.
func (b *builtin) set(p sched.Policy) error {
	b.mu.Lock()
	own, attached := b.own, b.attached
	b.mu.Unlock()
	if !attached {
		return ErrNotInCharge
	}
	return own.SetPolicy(p)
}

// Adjust changes the policy of the built-in scheduler while it is in charge: t
// names it under another policy. That is no swap: one store to memory that the
// program shares, and the kernel unregisters nothing. It returns what the kernel
// then says is in charge. Where the built-in scheduler is not in charge, as
// autosa's own, the error is [ErrNotInCharge] and nothing has changed; during a
// swap it is [ErrBusy]. It blocks for no longer than [Switcher.InCharge] does.
func (s *Switcher) Adjust(t Target) (InCharge, error) {
	select {
	case s.token <- struct{}{}:
	default:
		if s.life.Err() != nil {
			return InCharge{}, ErrClosed
		}
		return InCharge{}, ErrBusy
	}
	defer func() { <-s.token }()
	return s.adjust(t)
}

// adjust is [Switcher.Adjust] for whoever holds the token.
func (s *Switcher) adjust(t Target) (InCharge, error) {
	p, ok := builtinPolicy(t.Name)
	if !ok || len(t.Args) > 0 {
		return InCharge{}, fmt.Errorf("%w: %q with %d arguments is no policy of the built-in scheduler", ErrBadArgs, t.Name, len(t.Args))
	}
	ks, err := s.kernel.Read()
	if err != nil {
		return InCharge{}, err
	}
	s.mu.Lock()
	r := s.current
	ours := r != nil && s.attribute(ks).Owner == OwnerAutosa
	s.mu.Unlock()
	b, is := s.builtinOf(r)
	if !ours || !is {
		return InCharge{}, ErrNotInCharge
	}
	if err := b.set(p); err != nil {
		return InCharge{}, fmt.Errorf("adjust to %s: %w", t.Name, err)
	}
	s.mu.Lock()
	r.target = Target{Name: t.Name}
	s.mu.Unlock()
	return s.InCharge()
}

// builtinOf is the built-in scheduler behind r, if it is that.
func (s *Switcher) builtinOf(r *running) (*builtin, bool) {
	if r == nil {
		return nil, false
	}
	b, ok := r.proc.(*builtin)
	return b, ok
}

// BuiltinState is what the built-in scheduler says of itself while it is in
// charge.
type BuiltinState struct {
	Policy string
	// Generation counts the orders for a policy since it was loaded.
	Generation uint64
	// CPUs are those that have given a turn since it was loaded, Obeying those of
	// them that have since the last order. The others follow with their next turn.
	CPUs, Obeying int
	Stats         sched.Stats
}

// Builtin returns what the built-in scheduler counts; nil while it is not
// autosa's scheduler in charge. It makes no system call.
func (s *Switcher) Builtin() *BuiltinState {
	s.mu.Lock()
	r := s.current
	var name string
	if r != nil {
		name = r.target.Name
	}
	s.mu.Unlock()
	b, ok := s.builtinOf(r)
	if !ok {
		return nil
	}
	b.mu.Lock()
	own := b.own
	b.mu.Unlock()
	stats, err := own.Stats()
	if err != nil {
		return nil // it has just ended
	}
	st := &BuiltinState{Policy: strings.TrimPrefix(name, builtinPrefix), Generation: own.Generation(), Stats: stats}
	for _, seen := range own.Seen() {
		if seen > 0 {
			st.CPUs++
		}
		if seen == st.Generation {
			st.Obeying++
		}
	}
	return st
}
