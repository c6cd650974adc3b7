// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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

	quotas   *quotas
	details  *details
	sampling sampling
	reader   *eventReader
	meter    meter
	effort   *effort
}

func newBPFSource(o Options, cg *cgroups, m *machine, p *parts) (*bpfSource, error) {
	tracer, err := trace.Load(o.traceOptions())
	if err != nil {
		return nil, err
	}
	s := &bpfSource{
		tracer: tracer, cg: cg, parts: p, groups: o.Groups, quotas: newQuotas(cg), details: newDetails(cg),
	}
	s.table = newSlotTable(tracer, tracer.Slots())
	s.reader = readEvents(tracer)
	s.effort = newEffort(tracer, o, cg, m, p)
	return s, nil
}

func (s *bpfSource) close() error {
	s.effort.close()
	err := s.tracer.Close()
	return errors.Join(err, s.reader.wait())
}

func (s *bpfSource) collect(sample *workload.Sample) error {
	own := sample.Tracer.Cost.DaemonShare
	sample.Covered = s.effort.covered(sample.Interval)
	sample.Host.Name = workload.HostName
	if err := s.activity(sample); err != nil {
		return err
	}
	sample.Tracer.Source, sample.Tracer.Switches = cmp.Or(sample.Tracer.Source, workload.SourceBPF), s.seen
	sample.Tracer.Slots, sample.Tracer.SlotsUsed = s.table.limit, len(s.table.byID)
	if sample.Tracer.Losses == nil {
		sample.Tracer.Losses = make(map[string]uint64, len(trace.LossNames()))
	}
	s.parts.report("losses of the tracer", s.tracer.Losses(sample.Tracer.Losses))
	if s.effort.events() {
		s.parts.report("sampling of cycles", s.sampling.adapt(s.tracer, sample.Tracer.Losses, sample.Interval))
	}
	cost, err := s.tracer.Cost(time.Now())
	s.parts.report("cost of the tracer", err)
	sample.Tracer.Cost = s.meter.cost(sample, cost, time.Now())
	sample.Tracer.Cost.DaemonShare = own
	s.effort.next(sample)
	s.table.limit, s.quotas.tick = s.effort.slots(s.tracer.Slots()), s.quotas.tick+1
	return nil
}

// activity sets Host, Groups, Other and Events: from the tracer, and from /proc
// while it is paused.
func (s *bpfSource) activity(sample *workload.Sample) error {
	if s.effort.fallback != nil {
		return s.effort.fallback.collect(sample)
	}
	if err := s.tracer.Snapshot(&s.now); err != nil {
		return fmt.Errorf("read the tracer: %w", err)
	}
	busy := s.count(sample)
	s.now, s.before = s.before, s.now

	// Groups get their names before removed cgroups are forgotten.
	s.list(sample, busy)
	setOther(sample)
	s.parts.report("events", s.reader.flush(sample, s.cg.nameOr, s.quotas.held))
	sample.Events.WaitThreshold, sample.Events.IOThreshold = s.effort.thresholds()
	s.parts.report("slots of cgroups", s.rebalance())
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
	busy = busy[:min(len(busy), s.effort.groups(s.groups))]
	sample.Groups = make([]workload.Group, len(busy))
	for n, i := range busy {
		slot, g := &s.table.slots[i], &sample.Groups[n]
		g.ID, g.Name = slot.id, slot.name
		old := &trace.Cell{}
		if i < len(before.Slots) {
			old = &before.Slots[i]
		}
		addDelta(g, &now.Slots[i], old)
		g.Throttled = s.quotas.since(slot.name)
	}
	s.details.set(sample)
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

// setOther sets what the host did beyond the listed groups. No group may exceed
// the host.
func setOther(s *workload.Sample) {
	s.Other = s.Host
	s.Other.Name = workload.OtherName
	s.Other.Throttled, s.Other.Pressure, s.Other.Disk = 0, workload.PSI{}, workload.Disk{}
	o := &s.Other
	for n := range s.Groups {
		g := &s.Groups[n]
		o.Switches -= g.Switches
		o.Voluntary -= g.Voluntary
		o.Involuntary -= g.Involuntary
		o.Run -= g.Run
		o.Wait -= g.Wait
		o.Sleep -= g.Sleep
		o.IOWait -= g.IOWait
		for i := range o.WaitHist {
			o.WaitHist[i] -= g.WaitHist[i]
			o.RunHist[i] -= g.RunHist[i]
			o.SleepHist[i] -= g.SleepHist[i]
			o.IOHist[i] -= g.IOHist[i]
		}
	}
}

// meter reckons the price of an interval from the tracer's last measurement.
type meter struct {
	last  trace.Cost
	taken time.Time
}

// cost returns the price of a sample's interval.
func (m *meter) cost(s *workload.Sample, measured trace.Cost, now time.Time) workload.Cost {
	if measured != m.last {
		m.last, m.taken = measured, now
	}
	if measured.Runs == 0 {
		return workload.Cost{}
	}
	c := workload.Cost{NanosPerSwitch: measured.NanosPerRun(), Age: now.Sub(m.taken)}
	if s.Tracer.Source == workload.SourceBPF {
		c.BPFShare = c.NanosPerSwitch * float64(s.Host.Switches) / machineNanos(s)
	}
	return c
}

// machineNanos is the CPU time that the machine has in a sample's interval.
func machineNanos(s *workload.Sample) float64 { return float64(s.Interval) * float64(s.CPUs) }
