// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/json"
	"fmt"
	"time"

	"autosa/workload"
)

// wireSample is a sample as it is written. The names are short because a group
// has many of them and there are many groups.
type wireSample struct {
	At       int64           `json:"at"`
	Offset   int64           `json:"offset_ns"`
	Skipped  string          `json:"skipped"`
	Time     int64           `json:"time_ns"`
	Interval int64           `json:"interval_ns"`
	CPUs     int             `json:"cpus"`
	Source   string          `json:"source"`
	Host     wireGroup       `json:"host"`
	Groups   List[wireGroup] `json:"groups"`
	PSI      wirePSI         `json:"psi"`
	CPU      wireCPUTime     `json:"cpu"`
	Events   wireEvents      `json:"events"`
	Tracer   wireTracer      `json:"tracer"`
}

type wireGroup struct {
	ID          uint64 `json:"id"`
	Name        Text   `json:"name"`
	Switches    uint64 `json:"sw"`
	Voluntary   uint64 `json:"vol"`
	Involuntary uint64 `json:"invol"`
	Run         int64  `json:"run_ns"`
	Wait        int64  `json:"wait_ns"`
	Sleep       int64  `json:"sleep_ns"`
	IOWait      int64  `json:"io_ns"`
	WaitHist    sparse `json:"wait_h"`
	RunHist     sparse `json:"run_h"`
	SleepHist   sparse `json:"sleep_h"`
	IOHist      sparse `json:"io_h"`
	Throttled   int64  `json:"throttled_ns"`
}

type wirePSI struct {
	Available  bool  `json:"available"`
	CPUSome    Float `json:"cpu_some"`
	CPUFull    Float `json:"cpu_full"`
	IOSome     Float `json:"io_some"`
	IOFull     Float `json:"io_full"`
	MemorySome Float `json:"memory_some"`
	MemoryFull Float `json:"memory_full"`
}

type wireCPUTime struct {
	User    Float `json:"user"`
	System  Float `json:"system"`
	Idle    Float `json:"idle"`
	IOWait  Float `json:"iowait"`
	IRQ     Float `json:"irq"`
	SoftIRQ Float `json:"softirq"`
	Steal   Float `json:"steal"`
}

type wireEvents struct {
	Worst     List[Event]      `json:"worst"`
	WaitedFor List[wireEdge]   `json:"waited_for"`
	Periods   List[wirePeriod] `json:"periods"`
	Received  uint64           `json:"received"`
}

type wireEdge struct {
	Waiter Text   `json:"waiter"`
	Holder Text   `json:"holder"`
	Count  uint64 `json:"count"`
	Total  int64  `json:"total_ns"`
}

type wirePeriod struct {
	PID    int   `json:"pid"`
	Comm   Text  `json:"comm"`
	Group  Text  `json:"group"`
	Mean   int64 `json:"mean_ns"`
	CV     Float `json:"cv"`
	Cycles int   `json:"cycles"`
}

type wireTracer struct {
	Source   string            `json:"source"`
	Reason   Text              `json:"reason"`
	Switches uint64            `json:"switches"`
	Losses   map[string]uint64 `json:"losses"`
	Nanos    Float             `json:"nanos_per_switch"`
	BPF      Float             `json:"bpf_share"`
	Daemon   Float             `json:"daemon_share"`
}

// sparse is a histogram as pairs of bucket and count, those with 0 left out.
type sparse workload.Histogram

// MarshalJSON writes [bucket, count, bucket, count, …].
func (h sparse) MarshalJSON() ([]byte, error) {
	pairs := make([]uint64, 0, 16)
	for i, n := range h {
		if n > 0 {
			pairs = append(pairs, uint64(i), n)
		}
	}
	return json.Marshal(pairs)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *sparse) UnmarshalJSON(b []byte) error {
	var pairs List[uint64]
	if err := json.Unmarshal(b, &pairs); err != nil {
		return err
	}
	if len(pairs)%2 != 0 {
		return fmt.Errorf("a histogram of %d numbers: they come in pairs", len(pairs))
	}
	*h = sparse{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] >= workload.NumBuckets {
			return fmt.Errorf("bucket %d of a histogram that has %d", pairs[i], workload.NumBuckets)
		}
		h[pairs[i]] = pairs[i+1]
	}
	return nil
}

// MarshalJSON writes the sample as docs/RECORDING.md has it.
func (s *Sample) MarshalJSON() ([]byte, error) {
	w := &s.Sample
	return marshal(wireSample{
		At: s.At, Offset: s.Offset, Skipped: s.Skipped,
		Time: Nanos(w.Time), Interval: int64(w.Interval), CPUs: w.CPUs, Source: string(w.Source),
		Host:   groupToWire(&w.Host),
		Groups: each(w.Groups, groupToWire),
		PSI: wirePSI{
			w.PSI.Available, Float(w.PSI.CPUSome), Float(w.PSI.CPUFull), Float(w.PSI.IOSome), Float(w.PSI.IOFull),
			Float(w.PSI.MemorySome), Float(w.PSI.MemoryFull),
		},
		CPU: wireCPUTime{
			Float(w.CPU.User), Float(w.CPU.System), Float(w.CPU.Idle), Float(w.CPU.IOWait), Float(w.CPU.IRQ),
			Float(w.CPU.SoftIRQ), Float(w.CPU.Steal),
		},
		Events: wireEvents{
			Worst: each(w.Events.Worst, func(e *workload.WaitEvent) Event { return EventOf(0, e) }),
			WaitedFor: each(w.Events.WaitedFor, func(e *workload.Edge) wireEdge {
				return wireEdge{Text(e.Waiter), Text(e.Holder), e.Count, int64(e.Total)}
			}),
			Periods: each(w.Events.Periods, func(p *workload.Period) wirePeriod {
				return wirePeriod{p.PID, Text(p.Comm), Text(p.Group), int64(p.Mean), Float(p.CV), p.Cycles}
			}),
			Received: w.Events.Received,
		},
		Tracer: wireTracer{
			string(w.Tracer.Source), Text(w.Tracer.Reason), w.Tracer.Switches, w.Tracer.Losses,
			Float(w.Tracer.Cost.NanosPerSwitch), Float(w.Tracer.Cost.BPFShare), Float(w.Tracer.Cost.DaemonShare),
		},
	})
}

// decodeSample reads what MarshalJSON writes. Classification divides by the
// interval and the number of CPUs: they must be what the collector promises.
func decodeSample(payload []byte) (Record, error) {
	var w wireSample
	if err := json.Unmarshal(payload, &w); err != nil {
		return nil, err
	}
	if w.Interval <= 0 || w.CPUs <= 0 {
		return nil, fmt.Errorf("a sample of %v on %d CPUs", time.Duration(w.Interval), w.CPUs)
	}
	return &Sample{At: w.At, Offset: w.Offset, Skipped: w.Skipped, Sample: workload.Sample{
		Time: TimeOf(w.Time), Interval: time.Duration(w.Interval), CPUs: w.CPUs, Source: workload.Source(w.Source),
		Host:   groupFromWire(&w.Host),
		Groups: each(w.Groups, groupFromWire),
		PSI: workload.PSI{
			Available: w.PSI.Available, CPUSome: float64(w.PSI.CPUSome), CPUFull: float64(w.PSI.CPUFull),
			IOSome: float64(w.PSI.IOSome), IOFull: float64(w.PSI.IOFull),
			MemorySome: float64(w.PSI.MemorySome), MemoryFull: float64(w.PSI.MemoryFull),
		},
		CPU: workload.CPUTime{
			User: float64(w.CPU.User), System: float64(w.CPU.System), Idle: float64(w.CPU.Idle), IOWait: float64(w.CPU.IOWait),
			IRQ: float64(w.CPU.IRQ), SoftIRQ: float64(w.CPU.SoftIRQ), Steal: float64(w.CPU.Steal),
		},
		Events: workload.Events{
			Worst: each(w.Events.Worst, (*Event).waitEvent),
			WaitedFor: each(w.Events.WaitedFor, func(e *wireEdge) workload.Edge {
				return workload.Edge{Waiter: string(e.Waiter), Holder: string(e.Holder), Count: e.Count, Total: time.Duration(e.Total)}
			}),
			Periods: each(w.Events.Periods, func(p *wirePeriod) workload.Period {
				return workload.Period{
					PID: p.PID, Comm: string(p.Comm), Group: string(p.Group), Mean: time.Duration(p.Mean), CV: float64(p.CV), Cycles: p.Cycles,
				}
			}),
			Received: w.Events.Received,
		},
		Tracer: workload.TracerStats{
			Source: workload.Source(w.Tracer.Source), Reason: string(w.Tracer.Reason), Switches: w.Tracer.Switches, Losses: w.Tracer.Losses,
			Cost: workload.Cost{NanosPerSwitch: float64(w.Tracer.Nanos), BPFShare: float64(w.Tracer.BPF), DaemonShare: float64(w.Tracer.Daemon)},
		},
	}}, nil
}

func groupToWire(g *workload.Group) wireGroup {
	return wireGroup{
		ID: g.ID, Name: Text(g.Name), Switches: g.Switches, Voluntary: g.Voluntary, Involuntary: g.Involuntary,
		Run: int64(g.Run), Wait: int64(g.Wait), Sleep: int64(g.Sleep), IOWait: int64(g.IOWait),
		WaitHist: sparse(g.WaitHist), RunHist: sparse(g.RunHist), SleepHist: sparse(g.SleepHist), IOHist: sparse(g.IOHist),
		Throttled: int64(g.Throttled),
	}
}

func groupFromWire(g *wireGroup) workload.Group {
	return workload.Group{
		ID: g.ID, Name: string(g.Name), Switches: g.Switches, Voluntary: g.Voluntary, Involuntary: g.Involuntary,
		Run: time.Duration(g.Run), Wait: time.Duration(g.Wait), Sleep: time.Duration(g.Sleep), IOWait: time.Duration(g.IOWait),
		WaitHist: workload.Histogram(g.WaitHist), RunHist: workload.Histogram(g.RunHist),
		SleepHist: workload.Histogram(g.SleepHist), IOHist: workload.Histogram(g.IOHist),
		Throttled: time.Duration(g.Throttled),
	}
}

// EventOf is the record of a single event.
func EventOf(at int64, e *workload.WaitEvent) Event {
	return Event{
		At: at, PID: e.PID, Comm: Text(e.Comm), Group: Text(e.Group), CPU: e.CPU, Wait: int64(e.Wait), IO: e.IO,
		HolderPID: e.HolderPID, HolderComm: Text(e.HolderComm), HolderGroup: Text(e.HolderGroup),
	}
}

func (e *Event) waitEvent() workload.WaitEvent {
	return workload.WaitEvent{
		PID: e.PID, Comm: string(e.Comm), Group: string(e.Group), CPU: e.CPU, Wait: time.Duration(e.Wait), IO: e.IO,
		HolderPID: e.HolderPID, HolderComm: string(e.HolderComm), HolderGroup: string(e.HolderGroup),
	}
}

// each maps a list; nil stays nil.
func each[A, B any](in []A, f func(*A) B) []B {
	if in == nil {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = f(&in[i])
	}
	return out
}

// Nanos is a time as recordings hold it; the zero time is 0. Times outside the
// years 1678 to 2262 cannot be held.
func Nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// TimeOf is the inverse of [Nanos], in UTC.
func TimeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}
