// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"autosa/bpf/trace"
	"autosa/workload"
)

// bpfSource reads the tracer.
type bpfSource struct {
	tracer *trace.Tracer
	cg     *cgroups
	parts  *parts
	groups int

	table   *slotTable
	now     trace.Snapshot // and the one before it; they take turns
	before  trace.Snapshot
	unknown []trace.Unknown
	seen    uint64 // switches since the tracer started

	sampling sampling
	reader   *eventReader
}

func newBPFSource(o Options, cg *cgroups, p *parts) (*bpfSource, error) {
	tracer, err := trace.Load(o.traceOptions())
	if err != nil {
		return nil, err
	}
	s := &bpfSource{tracer: tracer, cg: cg, parts: p, groups: o.Groups}
	s.table = newSlotTable(tracer, tracer.Slots())
	s.reader = readEvents(tracer)
	return s, nil
}

func (s *bpfSource) close() error {
	err := s.tracer.Close()
	return errors.Join(err, s.reader.wait())
}

func (s *bpfSource) collect(sample *workload.Sample) error {
	if err := s.tracer.Snapshot(&s.now); err != nil {
		return fmt.Errorf("read the tracer: %w", err)
	}
	sample.Host.Name = workload.HostName
	busy := s.count(sample)
	s.now, s.before = s.before, s.now

	// Groups get their names before removed cgroups are forgotten.
	s.list(sample, busy)
	s.parts.report("events", s.reader.flush(sample, s.cg.nameOr))
	s.parts.report("slots of cgroups", s.rebalance())

	sample.Tracer = workload.TracerStats{
		Source: workload.SourceBPF, Switches: s.seen, Losses: make(map[string]uint64, len(trace.LossNames())),
	}
	s.parts.report("losses of the tracer", s.tracer.Losses(sample.Tracer.Losses))
	s.parts.report("sampling of cycles", s.sampling.adapt(s.tracer, sample.Tracer.Losses, sample.Interval))
	cost, err := s.tracer.Cost(time.Now())
	s.parts.report("cost of the tracer", err)
	sample.Tracer.Cost.NanosPerSwitch = cost.NanosPerRun()
	if cost.Window > 0 {
		sample.Tracer.Cost.BPFShare = float64(cost.RunTime) / (float64(cost.Window) * float64(sample.CPUs))
	}
	return nil
}

// count adds every slot's activity to the host and returns the slots that were
// busy in this tick.
func (s *bpfSource) count(sample *workload.Sample) []int {
	var busy []int
	for i := range s.now.Slots {
		now, before := &s.now.Slots[i], &trace.Cell{}
		if i < len(s.before.Slots) {
			before = &s.before.Slots[i]
		}
		switches := now.Switches - before.Switches
		s.seen += switches
		if i > 0 {
			s.table.ran(i, switches, now.RunNs-before.RunNs)
		}
		if switches == 0 {
			continue
		}
		addDelta(&sample.Host, now, before)
		if i > 0 && s.table.slots[i].state != slotFree {
			busy = append(busy, i)
		}
	}
	return busy
}

// list adds the groups that ran longest, with what their quotas held back. It
// is called with now and before exchanged.
func (s *bpfSource) list(sample *workload.Sample, busy []int) {
	now, before := &s.before, &s.now
	ran := func(i int) (run uint64) {
		run = now.Slots[i].RunNs
		if i < len(before.Slots) {
			run -= before.Slots[i].RunNs
		}
		return run
	}
	slices.SortFunc(busy, func(a, b int) int { return cmp.Or(cmp.Compare(ran(b), ran(a)), cmp.Compare(a, b)) })
	busy = busy[:min(len(busy), s.groups)]
	sample.Groups = make([]workload.Group, len(busy))
	for n, i := range busy {
		slot, g := &s.table.slots[i], &sample.Groups[n]
		g.ID, g.Name = slot.id, slot.name
		old := &trace.Cell{}
		if i < len(before.Slots) {
			old = &before.Slots[i]
		}
		addDelta(g, &now.Slots[i], old)
		g.Throttled = slot.throttled.since(s.cg, slot.name)
	}
}

// rebalance looks for cgroups without a slot when tasks of such ran.
func (s *bpfSource) rebalance() error {
	s.unknown = s.unknown[:0]
	now, before := &s.before, &s.now // exchanged already
	if len(before.Slots) == 0 || now.Slots[0].Switches != before.Slots[0].Switches {
		var err error
		if s.unknown, err = s.tracer.Unknown(s.unknown); err != nil {
			return err
		}
	}
	if s.cg == nil {
		return nil
	}
	return s.table.rebalance(s.unknown, s.cg)
}

// addDelta adds what happened between two cells to a group.
func addDelta(g *workload.Group, now, before *trace.Cell) {
	switches, involuntary := now.Switches-before.Switches, now.Involuntary-before.Involuntary
	// The cell may have been read amid a switch.
	involuntary = min(involuntary, switches)
	g.Switches += switches
	g.Involuntary += involuntary
	g.Voluntary += switches - involuntary
	g.Run += time.Duration(now.RunNs - before.RunNs)
	g.Wait += time.Duration(now.WaitNs - before.WaitNs)
	g.Sleep += time.Duration(now.SleepNs - before.SleepNs)
	g.IOWait += time.Duration(now.IoNs - before.IoNs)
	for i := range g.WaitHist {
		// The buckets are 32 bits wide and wrap.
		g.WaitHist[i] += uint64(now.Wait[i] - before.Wait[i])
		g.RunHist[i] += uint64(now.Run[i] - before.Run[i])
		g.SleepHist[i] += uint64(now.Sleep[i] - before.Sleep[i])
		g.IOHist[i] += uint64(now.Io[i] - before.Io[i])
	}
}

// throttle follows the throttled time of a cgroup.
type throttle struct {
	total time.Duration
	known bool
	skip  int
}

// throttleSkip is for how many ticks a cgroup without the CPU controller is
// not looked at again.
const throttleSkip = 16

// since returns the time held back since the call before.
func (t *throttle) since(cg *cgroups, name string) time.Duration {
	if t.skip > 0 {
		t.skip--
		return 0
	}
	total, ok, err := cg.throttled(name)
	if err != nil || !ok {
		// Removed meanwhile, or no controller: no quota to be held back by.
		t.skip, t.known = throttleSkip, false
		return 0
	}
	before, known := t.total, t.known
	t.total, t.known = total, true
	if !known {
		return 0
	}
	return max(total-before, 0)
}

// eventReader owns the goroutine that reads the ring buffer: on demand, and by
// itself when the kernel wakes it because the buffer fills.
type eventReader struct {
	tracer  *trace.Tracer
	flushed chan struct{}
	done    chan struct{}
	err     error // once done is closed

	mu  sync.Mutex
	agg *aggregator
}

func readEvents(tracer *trace.Tracer) *eventReader {
	r := &eventReader{
		tracer: tracer, agg: newAggregator(), flushed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go r.run()
	return r
}

func (r *eventReader) run() {
	defer close(r.done)
	var (
		rec trace.Record
		e   trace.Event
	)
	for {
		switch err := r.tracer.ReadEvent(&rec, &e); {
		case err == nil:
			r.mu.Lock()
			r.agg.add(&e)
			r.mu.Unlock()
		case errors.Is(err, trace.ErrFlushed):
			select {
			case r.flushed <- struct{}{}:
			default:
			}
		case errors.Is(err, os.ErrClosed):
			return
		default:
			r.err = err
			return
		}
	}
}

// flush reads what is in the ring buffer and sets the sample's events.
func (r *eventReader) flush(s *workload.Sample, name func(uint64) string) error {
	select {
	case <-r.flushed: // of a flush that was not waited for
	default:
	}
	if err := r.tracer.Flush(); err != nil {
		return err
	}
	select {
	case <-r.flushed:
	case <-r.done:
		return cmp.Or(r.err, os.ErrClosed)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Events = r.agg.take(name)
	return nil
}

// wait waits until the goroutine ended, after the tracer was closed.
func (r *eventReader) wait() error {
	<-r.done
	return r.err
}

// sampling follows the load with the share of tasks whose cycles are reported:
// one in 2^shift, all of them in turn.
type sampling struct {
	shift, phase uint
	ticks        int
	lost         uint64
}

const (
	maxShift = 12
	// phaseTicks is for how many ticks the same tasks are followed.
	phaseTicks = 2
	// tolerated is how many cycles a second may go beyond the rate.
	tolerated = 50
)

func (a *sampling) adapt(t *trace.Tracer, losses map[string]uint64, interval time.Duration) error {
	lost := losses[trace.LossCycleRate] - a.lost
	a.lost = losses[trace.LossCycleRate]
	a.ticks++
	shift, phase := a.shift, a.phase
	switch {
	case float64(lost) > tolerated*interval.Seconds():
		shift = min(shift+1, maxShift)
	case lost == 0 && shift > 0 && a.ticks%phaseTicks == 0:
		shift--
	}
	if a.ticks%phaseTicks == 0 {
		phase++
	}
	if phase &= 1<<shift - 1; shift == a.shift && phase == a.phase {
		return nil
	}
	a.shift, a.phase = shift, phase
	return t.SampleTasks(shift, phase)
}
