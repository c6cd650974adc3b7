// SPDX-License-Identifier: Apache-2.0

// Package collector makes one [workload.Sample] a tick out of what the tracer
// counted, what its events add up to, pressure stall information and CPU
// accounting. Where the tracer cannot run it falls back to /proc and says why.
package collector

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"autosa/bpf/trace"
	"autosa/workload"
)

// Options configures a [Collector]. The zero value is useful.
type Options struct {
	// Logger gets what goes wrong, once each time it begins. nil: nobody.
	Logger *slog.Logger
	// Source is the source to use; SourceBPF then fails where the tracer cannot
	// run. Empty: the tracer, and /proc where it cannot run.
	Source workload.Source
	// Groups is how many cgroups a sample lists, the busiest ones. 0 means 64.
	Groups int
	// Slots, WaitThreshold and IOThreshold are those of [trace.Options].
	Slots                      int
	WaitThreshold, IOThreshold time.Duration
	// ProcRoot is where procfs is mounted. Empty: /proc.
	ProcRoot string
	// CgroupRoot is where the cgroup v2 hierarchy is mounted. Empty: found in
	// ProcRoot/self/mountinfo; a machine may have none.
	CgroupRoot string
}

const defaultGroups = 64

// ErrTooSoon is returned by [Collector.Collect] when hardly any time has passed
// since the sample before. What happened meanwhile goes into the next one.
var ErrTooSoon = errors.New("collected again within a millisecond")

const minInterval = time.Millisecond

// source is where task activity comes from: the tracer, /proc, a recording.
type source interface {
	// collect sets Host, Groups, Events and Tracer of a sample whose Interval,
	// CPUs, CPU and PSI are set, to what happened since the call before. An
	// error means that there is no sample.
	collect(s *workload.Sample) error
	close() error
}

// Collector takes samples. Its methods may be called concurrently.
type Collector struct {
	log     *slog.Logger
	machine *machine

	mu     sync.Mutex
	src    source
	cg     *cgroups
	last   time.Time // on the monotonic clock
	parts  parts
	closed bool
}

// New starts collecting: the first sample's interval begins now. Close it.
func New(o Options) (*Collector, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Groups <= 0 {
		o.Groups = defaultGroups
	}
	if o.ProcRoot == "" {
		o.ProcRoot = "/proc"
	}
	c := &Collector{log: o.Logger, parts: parts{log: o.Logger}}
	var err error
	if c.machine, err = newMachine(o.ProcRoot, &c.parts); err != nil {
		return nil, err
	}
	if c.cg, err = openCgroups(o.ProcRoot, o.CgroupRoot); err != nil {
		c.parts.report("cgroup names", err)
	}
	if c.src, err = c.open(o); err != nil {
		return nil, errors.Join(err, c.cg.close())
	}
	c.last = time.Now()
	return c, nil
}

// open opens the best source that works.
func (c *Collector) open(o Options) (source, error) {
	reason := "asked for"
	if o.Source != workload.SourceProcfs {
		src, err := newBPFSource(o, c.cg, &c.parts)
		if err == nil {
			return src, nil
		}
		if o.Source == workload.SourceBPF {
			return nil, err
		}
		reason = err.Error()
		c.log.Warn("the tracer cannot run here, falling back to /proc: totals only", "reason", reason)
	}
	return newProcfsSource(o, c.cg, c.machine, &c.parts, reason)
}

// Collect returns what happened since the sample before, or since New. The
// interval is taken from the monotonic clock; now is only the sample's time
// stamp. A part that cannot be read is left empty, and logged when that begins;
// an error means that the tasks' activity itself could not be read, or
// [ErrTooSoon].
func (c *Collector) Collect(now time.Time) (workload.Sample, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return workload.Sample{}, errors.New("collect a sample: collector is closed")
	}
	tick := time.Now()
	interval := tick.Sub(c.last)
	if interval < minInterval {
		return workload.Sample{}, ErrTooSoon
	}
	s := workload.Sample{Time: now, Interval: interval}
	c.machine.collect(&s)
	if err := c.src.collect(&s); err != nil {
		return workload.Sample{}, fmt.Errorf("collect a sample: %w", err)
	}
	s.Source = s.Tracer.Source
	s.Tracer.Cost.DaemonShare = c.machine.ownShare(&s)
	c.last = tick
	return s, nil
}

// Close detaches the tracer and frees everything. Closing again does nothing.
func (c *Collector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return errors.Join(c.src.close(), c.cg.close())
}

// parts remembers which parts of a sample fail, to say so once.
type parts struct {
	log     *slog.Logger
	failing map[string]bool
}

// report notes how a part went. It returns true when it went well.
func (p *parts) report(part string, err error) bool {
	switch {
	case err != nil && !p.failing[part]:
		if p.failing == nil {
			p.failing = make(map[string]bool)
		}
		p.failing[part] = true
		p.log.Warn("cannot be read, left out of samples", "part", part, "error", err)
	case err == nil && p.failing[part]:
		delete(p.failing, part)
		p.log.Info("can be read again", "part", part)
	}
	return err == nil
}

// traceOptions are the tracer's options.
func (o *Options) traceOptions() trace.Options {
	return trace.Options{Slots: o.Slots, WaitThreshold: o.WaitThreshold, IOThreshold: o.IOThreshold}
}
