// SPDX-License-Identifier: Apache-2.0

// Package collector makes one [workload.Sample] a tick out of what the tracer
// counted, what its events add up to, pressure stall information and CPU
// accounting. Where the tracer cannot run it falls back to /proc and says why.
package collector

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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
	// Slots is how many cgroups the tracer tells apart at a time, RingBytes the
	// size of its ring buffer; 0 as for [trace.Options].
	Slots, RingBytes int
	// WaitThreshold and IOThreshold are the shortest run-queue and I/O waits that
	// are ever reported one by one; the thresholds in force follow the load, from
	// these up. 0 means 1 ms and 20 ms.
	WaitThreshold, IOThreshold time.Duration
	// EventsPerSecond bounds the events of waits, and as many of sampled cycles,
	// over all CPUs. 0 means 2000.
	EventsPerSecond int
	// Budget is the share of the machine's CPU time that observing may take, the
	// tracer's program and this process together. Above it the tracer does less,
	// see [workload.Step]. 0: no limit.
	Budget float64
	// ProcRoot is where procfs is mounted. Empty: /proc.
	ProcRoot string
	// CgroupRoot is where the cgroup v2 hierarchy is mounted. Empty: found in
	// ProcRoot/self/mountinfo; a machine may have none.
	CgroupRoot string

	// maxScan bounds the threads that the fallback looks at in a tick.
	maxScan int
}

const (
	defaultGroups        = 64
	defaultWaitThreshold = time.Millisecond
	defaultIOThreshold   = 20 * time.Millisecond
	defaultEvents        = 2000
	minEventsPerCPU      = 10
)

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Groups = cmp.Or(max(o.Groups, 0), defaultGroups)
	o.WaitThreshold = cmp.Or(max(o.WaitThreshold, 0), defaultWaitThreshold)
	o.IOThreshold = cmp.Or(max(o.IOThreshold, 0), defaultIOThreshold)
	o.EventsPerSecond = cmp.Or(max(o.EventsPerSecond, 0), defaultEvents)
	o.ProcRoot = cmp.Or(o.ProcRoot, "/proc")
	o.maxScan = cmp.Or(o.maxScan, maxScan)
	return o
}

// ErrTooSoon is returned by [Collector.Collect] when hardly any time has passed
// since the sample before. What happened meanwhile goes into the next one.
var ErrTooSoon = errors.New("collected again within a millisecond")

const minInterval = time.Millisecond

// source is where task activity comes from: the tracer, /proc, a recording.
type source interface {
	// collect sets Host, Groups, Other, Events and Tracer of a sample whose
	// Interval, CPUs, CPU, PSI and Tracer.Cost.DaemonShare are set, to what
	// happened since the call before. An error means that there is no sample.
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
	o = o.withDefaults()
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
	// What it took to start is no cost of the first tick.
	c.machine.ownShare(&workload.Sample{Interval: time.Second, CPUs: 1})
	c.last = time.Now()
	return c, nil
}

// open opens the best source that works.
func (c *Collector) open(o Options) (source, error) {
	reason := "asked for"
	if o.Source != workload.SourceProcfs {
		src, err := newBPFSource(o, c.cg, c.machine, &c.parts)
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
	s.Tracer.Cost.DaemonShare = c.machine.ownShare(&s)
	if err := c.src.collect(&s); err != nil {
		return workload.Sample{}, fmt.Errorf("collect a sample: %w", err)
	}
	s.Source = s.Tracer.Source
	c.last = tick
	return s, nil
}

// SetBudget changes Options.Budget, from the next sample on.
func (c *Collector) SetBudget(share float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.src.(*bpfSource); ok {
		s.effort.budget.limit = share
	}
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

// traceOptions are the tracer's options, which limit events per CPU.
func (o *Options) traceOptions() trace.Options {
	perCPU := max(o.EventsPerSecond/runtime.NumCPU(), minEventsPerCPU)
	return trace.Options{
		Slots: o.Slots, WaitThreshold: o.WaitThreshold, IOThreshold: o.IOThreshold, RingBytes: o.RingBytes,
		WaitEvents: perCPU, CycleEvents: perCPU,
	}
}
