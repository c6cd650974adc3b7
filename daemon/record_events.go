// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"math"
	"time"

	"autosa/api"
	"autosa/recording"
)

const (
	// recordedRate is how many events a second a recording takes, after a
	// second's worth at once.
	recordedRate = 1000
	// maxRecordedEvents is how many it takes in all.
	maxRecordedEvents = 4_000_000
	// eventRecords is how many events wait for whoever writes them. When these
	// are too many, they wait in the kernel, which counts what it has no room for.
	eventRecords = 256
)

// eventTape is the single events of one recording, between the trace that makes
// them and whoever writes them. It is the trace's [api.TraceSink].
type eventTape struct {
	records chan recording.Record // closed when no more come
	begun   chan struct{}         // closed with the trace's first word
	gone    chan struct{}         // closed by whoever writes when it does not any more
	ended   chan struct{}         // closed when the trace has ended, with err
	err     error
	end     context.CancelFunc // ends the trace: what is left of it still comes
	budget  eventBudget
	missing map[int]uint64 // by CPU, since the event of that CPU before
	written uint64
	leftOut uint64
	told    uint64 // lost by the kernel, as events say
}

var errNobodyWrites = errors.New("nobody writes the recording any more")

// recordEvents begins a trace, and returns when that has begun.
func (d *Daemon) recordEvents(ctx context.Context, req api.TraceRequest) (*eventTape, error) {
	t := &eventTape{
		records: make(chan recording.Record, eventRecords), begun: make(chan struct{}), gone: make(chan struct{}), ended: make(chan struct{}),
		budget: eventBudget{rate: recordedRate, left: maxRecordedEvents}, missing: make(map[int]uint64),
	}
	ctx, t.end = context.WithCancel(ctx)
	go func() {
		defer close(t.records)
		defer close(t.ended)
		if t.err = d.Trace(ctx, req, t); t.err != nil && t.isBegun() {
			t.broke(t.err)
		}
	}()
	select {
	case <-t.begun:
		return t, nil
	case <-t.ended:
		if t.err == nil || t.isBegun() { // both came
			return t, nil
		}
		t.end()
		return nil, t.err
	}
}

// close ends the trace, gives up what is left of it and waits for its end.
func (t *eventTape) close() {
	t.end()
	close(t.gone)
	<-t.ended
}

func (t *eventTape) isBegun() bool {
	select {
	case <-t.begun:
		return true
	default:
		return false
	}
}

// Event records an event, or counts it with the next one of its CPU.
func (t *eventTape) Event(e *api.TraceEvent) error {
	switch {
	case e.End != nil:
		return t.put(t.total(e.End, e.Time))
	case e.Slice == nil:
		return nil
	}
	cpu := e.Slice.CPU
	t.told += e.Slice.LostBefore
	if !t.budget.take(e.Time) {
		t.leftOut++
		t.missing[cpu] += 1 + e.Slice.LostBefore
		return nil
	}
	rec := wireEvent(e)
	rec.LostBefore += t.missing[cpu]
	delete(t.missing, cpu)
	t.written++
	return t.put(rec)
}

// Flush says that the trace has begun.
func (t *eventTape) Flush() error {
	if !t.isBegun() {
		close(t.begun)
	}
	return nil
}

func (t *eventTape) put(r recording.Record) error {
	select {
	case t.records <- r:
		return nil
	case <-t.gone:
		return errNobodyWrites
	}
}

// broke records that the trace has broken off. What was lost after the last
// event is then not known.
func (t *eventTape) broke(err error) {
	total := t.total(&api.TraceTotal{Lost: t.told}, time.Now())
	total.Error = recording.Text(err.Error())
	_ = t.put(total) // fails where whoever wrote is gone
}

func (t *eventTape) total(end *api.TraceTotal, at time.Time) *recording.Total {
	return &recording.Total{
		Time: recording.Nanos(at), Events: t.written, Lost: end.Lost + t.leftOut, LeftOut: t.leftOut,
		Unremembered: end.Unremembered, Missed: end.Missed,
	}
}

// eventBudget says how many events a recording takes.
type eventBudget struct {
	rate int    // a second, and so many at once
	left uint64 // in all
	room time.Duration
	last time.Time
}

// take says whether there is room for an event at that time.
func (b *eventBudget) take(at time.Time) bool {
	// From the zero time on, which is longer ago than a second.
	b.room = min(b.room+max(at.Sub(b.last), 0), time.Second)
	b.last = at
	price := time.Second / time.Duration(b.rate)
	if b.left == 0 || b.room < price {
		return false
	}
	b.left--
	b.room -= price
	return true
}

// wireEvent is a line of a trace as recordings hold it. Its At is left to
// whoever knows the steady clock.
func wireEvent(e *api.TraceEvent) *recording.Event {
	s := e.Slice
	r := &recording.Event{
		PID: s.PID, Comm: recording.Text(s.Comm), Group: recording.Text(s.Group), CPU: s.CPU, TGID: s.TGID,
		Time: recording.Nanos(e.Time), IO: e.Kind == api.TraceIO, Run: nanos(s.RunSeconds),
		Before: s.Before, Left: s.Left, Arrivals: s.Arrivals, LostBefore: s.LostBefore,
	}
	if r.Wait, r.Blocked = nanos(s.WaitSeconds), nanos(s.BlockedSeconds); r.IO {
		r.Wait, r.Blocked, r.Queued = r.Blocked, 0, r.Wait
	}
	if h := s.Holder; h != nil {
		r.HolderPID, r.HolderComm, r.HolderGroup = h.PID, recording.Text(h.Comm), recording.Text(h.Group)
	}
	if n := s.Next; n != nil {
		r.NextPID, r.NextComm = n.PID, recording.Text(n.Comm)
	}
	return r
}

// RecordedEvent is a recorded event as the line that a trace had for it, its
// time in UTC.
func RecordedEvent(r *recording.Event) api.TraceEvent {
	wait, blocked, kind := r.Wait, r.Blocked, api.TraceWait
	if r.IO {
		wait, blocked, kind = r.Queued, r.Wait, api.TraceIO
	}
	s := &api.Slice{
		TraceTask: api.TraceTask{PID: r.PID, Comm: string(r.Comm), Group: string(r.Group)},
		TGID:      r.TGID, CPU: r.CPU,
		WaitSeconds: time.Duration(wait).Seconds(), RunSeconds: time.Duration(r.Run).Seconds(), BlockedSeconds: time.Duration(blocked).Seconds(),
		Before: r.Before, Left: r.Left, Arrivals: r.Arrivals, LostBefore: r.LostBefore,
	}
	if r.HolderPID != 0 {
		s.Holder = &api.TraceTask{PID: r.HolderPID, Comm: string(r.HolderComm), Group: string(r.HolderGroup)}
	}
	if r.NextPID != 0 {
		s.Next = &api.TraceTask{PID: r.NextPID, Comm: string(r.NextComm)}
	}
	return api.TraceEvent{Kind: kind, Time: recording.TimeOf(r.Time), Slice: s}
}

// RecordedTotal is the line that ends recorded events.
func RecordedTotal(r *recording.Total) api.TraceEvent {
	return api.TraceEvent{Kind: api.TraceEnd, Time: recording.TimeOf(r.Time), End: &api.TraceTotal{
		Events: r.Events, Lost: r.Lost, LeftOut: r.LeftOut, Unremembered: r.Unremembered, Missed: r.Missed,
	}}
}

// nanos is exact for what [time.Duration.Seconds] makes of less than twelve days.
func nanos(seconds float64) int64 { return int64(math.Round(seconds * 1e9)) }
