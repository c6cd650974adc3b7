// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"slices"

	"autosa/api"
	"autosa/policy"
	"autosa/workload"
)

// The functions of this file turn what the packages say into the wire's words.
// JSON has no nil lists: what can be empty is made, so that clients need not
// tell null from [].

func apiWaits(s *workload.Sample) api.Waits {
	h := &s.Host
	w := api.Waits{
		RunQueueP50Seconds: h.WaitHist.Quantile(0.5).Seconds(),
		RunQueueP99Seconds: h.WaitHist.Quantile(0.99).Seconds(),
		IOP50Seconds:       h.IOHist.Quantile(0.5).Seconds(),
		IOP99Seconds:       h.IOHist.Quantile(0.99).Seconds(),
		Distributions:      s.Source == workload.SourceBPF,
	}
	if h.Run > 0 {
		w.WaitPerRun = h.Wait.Seconds() / h.Run.Seconds()
	}
	return w
}

func apiPSI(p workload.PSI) api.PSI {
	return api.PSI{
		Available: p.Available,
		CPUSome:   p.CPUSome, CPUFull: p.CPUFull,
		IOSome: p.IOSome, IOFull: p.IOFull,
		MemorySome: p.MemorySome, MemoryFull: p.MemoryFull,
	}
}

func apiEvents(e *workload.Events) api.Events {
	out := api.Events{
		Received:  e.Received,
		Throttled: e.Throttled, WaitThresholdSeconds: e.WaitThreshold.Seconds(), IOThresholdSeconds: e.IOThreshold.Seconds(),
		Worst:     make([]api.WaitEvent, 0, len(e.Worst)),
		WaitedFor: make([]api.Edge, 0, len(e.WaitedFor)),
		Periods:   make([]api.Period, 0, len(e.Periods)),
	}
	for _, w := range e.Worst {
		out.Worst = append(out.Worst, api.WaitEvent{
			PID: w.PID, Comm: w.Comm, Group: w.Group, CPU: w.CPU, WaitSeconds: w.Wait.Seconds(), IO: w.IO,
			HolderPID: w.HolderPID, HolderComm: w.HolderComm,
		})
	}
	for _, w := range e.WaitedFor {
		out.WaitedFor = append(out.WaitedFor, api.Edge{Waiter: w.Waiter, Holder: w.Holder, Count: w.Count, TotalSeconds: w.Total.Seconds()})
	}
	for _, p := range e.Periods {
		out.Periods = append(out.Periods, api.Period{PID: p.PID, Comm: p.Comm, Group: p.Group, MeanSeconds: p.Mean.Seconds(), CV: p.CV})
	}
	return out
}

func apiTracer(s *workload.Sample, resident uint64) api.Tracer {
	t := &s.Tracer
	out := api.Tracer{
		Source: t.Source, Reason: t.Reason, Switches: t.Switches, Losses: t.Losses,
		Cost: api.Cost{
			NanosPerSwitch: t.Cost.NanosPerSwitch, BPFCPURatio: t.Cost.BPFShare,
			DaemonCPURatio: t.Cost.DaemonShare, AgeSeconds: t.Cost.Age.Seconds(), ResidentBytes: resident,
		},
		BudgetRatio: t.Budget, Step: int(t.Step), StepName: t.Step.String(), StepReason: t.StepReason,
		CoveredRatio: s.CoveredTime().Seconds() / s.Interval.Seconds(),
		Slots:        t.Slots, SlotsUsed: t.SlotsUsed, MemoryBytes: t.MemoryBytes,
	}
	if out.Losses == nil {
		out.Losses = map[string]uint64{}
	}
	return out
}

// apiGroups sets each group's figures beside its class, and behind them those of
// all other groups together, which have no class; classes follow the groups'
// order, see classifier.Voter.Observe.
func apiGroups(s *workload.Sample, classes []workload.Classification) []api.Group {
	out := make([]api.Group, 0, len(s.Groups)+1)
	for i := range s.Groups {
		row := apiGroup(s, &s.Groups[i])
		if i < len(classes) {
			row.Class, row.Confidence = classes[i].Class, classes[i].Confidence
		}
		out = append(out, row)
	}
	if s.Other.Switches > 0 {
		row := apiGroup(s, &s.Other)
		row.Label, row.Kind = workload.OtherName, ""
		out = append(out, row)
	}
	return out
}

func apiGroup(s *workload.Sample, g *workload.Group) api.Group {
	f, n := workload.FeaturesOf(s, g), workload.ParseCgroup(g.Name)
	row := api.Group{
		Name: g.Name, Label: n.Label, Kind: n.Kind, Unit: n.Unit, Container: n.Container, Runtime: n.Runtime,
		CPUShare: f.Util, SwitchesPerSecond: float64(g.Switches) / s.CoveredTime().Seconds(),
		WaitP50Seconds: f.WaitP50.Seconds(), WaitP99Seconds: f.WaitP99.Seconds(),
		IOShare: f.IOShare, ThrottledShare: f.Throttled,
	}
	if g.Pressure.Available {
		psi := apiPSI(g.Pressure)
		row.PSI = &psi
	}
	if g.Disk.Available {
		seconds := s.Interval.Seconds()
		row.Disk = &api.Disk{
			ReadBytesPerSecond: float64(g.Disk.ReadBytes) / seconds, WriteBytesPerSecond: float64(g.Disk.WriteBytes) / seconds,
			ReadsPerSecond: float64(g.Disk.Reads) / seconds, WritesPerSecond: float64(g.Disk.Writes) / seconds,
		}
	}
	return row
}

func apiWorkload(c workload.Classification) api.Workload {
	return api.Workload{
		Class: c.Class, Confidence: c.Confidence, Probabilities: c.Probabilities,
		Reasons: list(c.Reasons), Since: c.Since,
	}
}

func apiDecision(d *policy.Decision) *api.Decision {
	out := &api.Decision{
		Time: d.Time, Arm: d.Arm.Scheduler, Args: list(d.Arm.Args), Action: string(d.Action), Reasons: list(d.Reasons),
		Alternatives: make([]api.Alternative, 0, len(d.Alternatives)), WouldChange: list(d.WouldChange),
		Class: d.Class, Confidence: d.Confidence,
	}
	for _, a := range d.Alternatives {
		out.Alternatives = append(out.Alternatives, api.Alternative{Arm: a.Arm.String(), WhyNot: a.WhyNot})
	}
	return out
}

// list is a copy that is never nil.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return slices.Clone(s)
}
