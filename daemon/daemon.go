// SPDX-License-Identifier: Apache-2.0

// Package daemon is autosa at work: it owns the ticker, the goroutines and all
// state, lets samples flow through classifier and policy, carries the decisions
// out and publishes one immutable status a tick.
//
// One goroutine, the loop, owns everything that changes. A swap, which can take
// a minute, and the look at what is installed run beside it and report back over
// channels, so that the loop never waits for anything but its next event.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"autosa/api"
	"autosa/collector"
	"autosa/config"
	"autosa/policy"
	"autosa/scx"
)

const (
	// catalogueInterval is how often installed schedulers are looked for.
	catalogueInterval = 30 * time.Second
	// closeTimeout bounds the end: a scheduler's SIGTERM, SIGKILL and the
	// kernel's detach fit well into it.
	closeTimeout = 30 * time.Second
)

// Daemon is one running autosa. Its exported methods are safe for concurrent
// use; what they return is the caller's.
type Daemon struct {
	opts   Options
	log    *slog.Logger
	policy atomic.Pointer[policy.Config] // never changed once stored
	lock   *lock
	source sampler
	hands  hands // nil where schedulers cannot be changed
	list   lister
	kernel scx.Kernel
	store  *store
	// incidents are what went wrong; safe for concurrent use.
	incidents *incidents
	observe   string // why autosa can only observe; empty when it can act
	status    atomic.Pointer[api.Status]
	watchers  watchers
	traces    traces
	orders    chan order
	holds     chan holdOrder
	reloads   chan reload
	tapes     chan *tape
	calls     chan func(*loop)  // what others have the loop do, between its events
	phases    chan scx.Progress // steps of the swap under way
	stop      chan struct{}     // closed once, by the first Stop
	stopping  atomic.Bool
	ended     chan struct{} // closed when Run has returned
}

// New claims the machine for this daemon, loads the tracer and reads what the
// kernel is and has. It changes nothing about scheduling: that begins with Run.
// It returns [*AlreadyRunningError] when another daemon runs. A daemon that was
// made must be Run, or closed with Close.
func New(opts Options) (*Daemon, error) {
	pc, err := policyConfig(opts.Config)
	if err != nil {
		return nil, err
	}
	d := newDaemon(opts, pc)
	if err := d.claim(); err != nil {
		return nil, err
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.publish(d.first())
	return d, nil
}

// newDaemon makes a daemon without anything that reaches outside the process.
func newDaemon(opts Options, pc policy.Config) *Daemon {
	d := &Daemon{
		opts: opts, log: opts.Logger.With("component", "daemon"),
		store: newStore(opts.Config.StateDir), incidents: newIncidents(opts.Config.StateDir),
		orders: make(chan order), holds: make(chan holdOrder), reloads: make(chan reload), tapes: make(chan *tape), calls: make(chan func(*loop)),
		phases: make(chan scx.Progress, 16), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	d.policy.Store(&pc)
	return d
}

// open connects the daemon to the machine.
func (d *Daemon) open() error {
	c := d.opts.Config
	source, err := collector.New(collector.Options{
		Logger: d.opts.Logger.With("component", "collector"), Groups: c.Tracer.Groups, Slots: c.Tracer.Slots,
		EventsPerSecond: c.Tracer.EventsPerSecond, RingBytes: c.Tracer.RingBytes, WaitThreshold: c.Tracer.WaitThreshold, Budget: c.Tracer.Budget,
	})
	if err != nil {
		return fmt.Errorf("start the collector: %w", err)
	}
	d.source = source
	cat, err := NewCatalogue(c)
	if err != nil {
		return err
	}
	d.list = cat
	if d.observe = d.whyObserve(); d.observe != "" {
		return nil
	}
	sw, err := scx.NewSwitcher(scx.Options{
		Catalogue: cat, Kernel: d.kernel, Log: d.opts.Logger.With("component", "scx"),
		ReadyTimeout: c.StartTimeout, StopTimeout: c.StopTimeout, Progress: d.progressed,
		Leftovers: filepath.Join(c.StateDir, "leftovers.json"), Ungated: filepath.Join(c.StateDir, "ungated.json"),
		Adopt: c.Foreign == config.ForeignAdopt,
	})
	if err != nil {
		return fmt.Errorf("prepare to switch schedulers: %w", err)
	}
	if err := sw.Recover(); err != nil {
		d.log.Warn("recover", "err", err)
	}
	if err := sw.Listen(); err != nil {
		d.log.Warn("schedulers of others will be seen at the next tick only", "err", err)
	}
	d.hands = sw
	return nil
}

// progressed hands a step of a swap to the loop. It is for display only: where
// the loop is behind, the step is left out.
func (d *Daemon) progressed(p scx.Progress) {
	select {
	case d.phases <- p:
	default:
	}
}

// Run does the daemon's work until ctx ends or Stop is called, takes back what
// the daemon changed, and returns nil when that was proved. It may be called
// once.
func (d *Daemon) Run(ctx context.Context) error {
	defer close(d.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-d.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	l := newLoop(d)
	l.run(ctx)
	d.log.Info("stopping")
	return d.Close()
}

// Close gives up what New took: a scheduler of the daemon's own is stopped and
// the kernel's word for it awaited. Run calls it.
func (d *Daemon) Close() error {
	d.watchers.close()
	d.traces.close()
	var errs []error
	if d.hands != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := d.hands.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop the scheduler: %w", err))
		}
		d.hands = nil
	}
	if d.source != nil {
		errs = append(errs, d.source.Close())
		d.source = nil
	}
	if d.lock != nil {
		errs = append(errs, d.lock.release())
		d.lock = nil
	}
	return errors.Join(errs...)
}

// Status returns the newest status.
func (d *Daemon) Status() api.Status { return *d.status.Load() }

// Watch returns a channel that gets the newest status at once and each one
// published after it; a slow reader misses some. It is closed when ctx ends or
// the daemon stops.
func (d *Daemon) Watch(ctx context.Context) <-chan api.Status {
	return d.watchers.watch(ctx, d.Status())
}

// publish makes st what everybody sees. The loop calls it, and New before there
// is a loop.
func (d *Daemon) publish(st api.Status) {
	d.status.Store(&st)
	d.watchers.publish(st)
}

// first is the status before the first sample.
func (d *Daemon) first() api.Status {
	now := time.Now()
	st := api.Status{
		Version: d.opts.Version, PID: os.Getpid(), Mode: api.ModeObserve, ModeReason: d.observe, Since: now, Time: now,
		Kernel:    api.Kernel{Release: scx.Release(), SchedExt: d.kernel.Supported()},
		Scheduler: api.InCharge{Name: api.EEVDF, Args: []string{}, Since: now, Owner: api.OwnerKernel},
		Groups:    []api.Group{}, Quarantine: []api.Quarantine{}, Warnings: list(d.opts.Config.Warnings),
	}
	st.Workload.Reasons = list(st.Workload.Reasons)
	st.Events = api.Events{Worst: []api.WaitEvent{}, WaitedFor: []api.Edge{}, Periods: []api.Period{}}
	st.Tracer.Losses = map[string]uint64{}
	return st
}
