// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"autosa/api"
	"autosa/engine"
	"autosa/policy"
	"autosa/recording"
	"autosa/workload"
)

const (
	// tapeRecords bounds what waits for one who records: about half a minute.
	// Whoever is slower loses records, which is recorded as a gap.
	tapeRecords = 96
	// stateEvery is how many samples lie between two recorded states of the
	// engine: after a damage, replay takes up again there.
	stateEvery = 60
	// eventFlush is how long events may wait for the block that they are written
	// in.
	eventFlush = time.Second
)

// tape is one recording under way, between the loop and whoever writes it.
type tape struct {
	ctx     context.Context       // of whoever writes it
	records chan recording.Record // closed by the loop when the daemon ends
	lost    uint64                // since the last gap; the loop's
	samples int                   // since the last state; the loop's
}

// recorder is the loop's part of recording. Without tapes it costs nothing.
type recorder struct{ tapes []*tape }

// Record writes a recording of what the daemon measures, is given and decides
// from now on, until ctx ends or the daemon does; it then returns nil. A writer
// that is too slow loses records and delays nobody. Each sample is written as
// soon as it is there. Events that req asks for are those of a trace, and count
// as one that is under way; where that cannot begin, nothing is recorded.
func (d *Daemon) Record(ctx context.Context, req api.RecordRequest, w io.Writer) error {
	if err := req.Validate(); err != nil {
		return apiError(api.CodeBadRequest, "%v", err)
	}
	var events <-chan recording.Record
	endEvents := func() {}
	if req.Events {
		e, err := d.recordEvents(ctx, req.Trace())
		if err != nil {
			return err
		}
		defer e.close()
		events, endEvents = e.records, e.end
	}
	t := &tape{ctx: ctx, records: make(chan recording.Record, tapeRecords)}
	gone := apiError(api.CodeUnavailable, "the daemon is stopping")
	select {
	case d.tapes <- t:
	case <-d.ended:
		return gone
	case <-ctx.Done():
		return nil
	}
	out, err := recording.NewWriter(w, d.recordingHeader(req))
	if err != nil {
		return err
	}
	tw := tapeWriter{out: out, flushed: time.Now()}
	// The first record is a state. Before it nothing is written, and nothing
	// between an input and its decision.
	for apart := true; ; {
		next := events
		if apart {
			next = nil
		}
		select {
		case <-ctx.Done():
			if apart { // the loop sends what belongs to it at once
				if r, ok := <-t.records; ok {
					if err := tw.write(r); err != nil {
						return err
					}
				}
			}
			return tw.rest(events)
		case r, ok := <-t.records:
			if !ok {
				endEvents()
				return errors.Join(tw.rest(events), out.Close(tw.at))
			}
			if err := tw.write(r); err != nil {
				return err
			}
			if _, apart = r.(*recording.Input); apart || len(t.records) > 0 {
				continue
			}
			if err := tw.flush(); err != nil {
				return err
			}
		case e, ok := <-next:
			if !ok {
				events = nil
				continue
			}
			if err := tw.event(e); err != nil {
				return err
			}
		}
	}
}

// tapeWriter writes one recording.
type tapeWriter struct {
	out        *recording.Writer
	flushed    time.Time
	at, offset int64 // of the record before
}

func (w *tapeWriter) write(r recording.Record) error {
	switch r := r.(type) {
	case *recording.State:
		w.offset = r.Offset
	case *recording.Sample:
		w.at, w.offset = r.At, r.Offset
	}
	return w.out.Write(r)
}

// event writes an event, or their total. The trace has the wall clock only.
func (w *tapeWriter) event(r recording.Record) error {
	switch r := r.(type) {
	case *recording.Event:
		r.At = r.Time - w.offset
	case *recording.Total:
		r.At = r.Time - w.offset
	}
	if err := w.out.Write(r); err != nil || time.Since(w.flushed) < eventFlush {
		return err
	}
	return w.flush()
}

func (w *tapeWriter) flush() error {
	w.flushed = time.Now()
	return w.out.Flush()
}

// rest writes what is left of the events, whose trace is at its end.
func (w *tapeWriter) rest(events <-chan recording.Record) error {
	if events == nil {
		return nil
	}
	for e := range events {
		if err := w.event(e); err != nil {
			return err
		}
	}
	return w.flush()
}

// recordingHeader says where and how recordings of this daemon are made.
func (d *Daemon) recordingHeader(req api.RecordRequest) recording.Header {
	h := recording.Header{
		Autosa: d.opts.Version, Machine: describeMachine("/", d.kernel), Start: time.Now().UnixNano(),
		Interval: int64(d.opts.Config.CollectionInterval), Config: engine.WireConfig(d.opts.Config.AggregationWindow, *d.policy.Load()),
		Events: req.Events,
	}
	if req.Events {
		h.Filter = &recording.Filter{MinWait: int64(cmp.Or(req.MinWait, defaultMinWait))}
		for _, c := range req.Cgroups {
			h.Filter.Cgroups = append(h.Filter.Cgroups, recording.Text(c))
		}
	}
	return h
}

// startTape begins a recording with the engine's state.
func (l *loop) startTape(t *tape) {
	t.records <- l.state(time.Now()) // there is room: nobody else sends
	l.rec.tapes = append(l.rec.tapes, t)
}

// endTapes ends every recording.
func (l *loop) endTapes() {
	for _, t := range l.rec.tapes {
		close(t.records)
	}
	l.rec.tapes = nil
}

func (l *loop) state(now time.Time) recording.Record {
	return l.engine.State(l.clock.Steady(now), l.clock.Offset())
}

// recordSample records a sample that the engine has taken in, or, with a reason,
// one that was kept from it.
func (l *loop) recordSample(now time.Time, s *workload.Sample, skipped string) {
	if len(l.rec.tapes) == 0 {
		return
	}
	l.put(now, true, &recording.Sample{
		At: recording.Nanos(l.clock.Steady(now)), Offset: int64(l.clock.Offset()), Skipped: skipped, Sample: *s,
	})
}

// recordDecision records what the engine has decided, and on what. The times of
// both are of the steady clock.
func (l *loop) recordDecision(mode policy.Mode, in policy.Input, d *policy.Decision) {
	if len(l.rec.tapes) == 0 {
		return
	}
	l.put(in.Now, false, engine.WireInput(l.clock.Offset(), mode, in), engine.WireDecision(d))
}

func (l *loop) recordSwap(s *api.Swap, gap, total time.Duration) {
	if len(l.rec.tapes) == 0 {
		return
	}
	l.put(s.Time, false, &recording.Swap{
		At: recording.Nanos(l.clock.Steady(s.Time)), From: recording.Text(s.From), Manual: s.Cause == "manual", OK: s.OK,
		To:    engine.WireArm(policy.Arm{Scheduler: s.To, Args: s.Args}),
		Error: recording.Text(s.Error), Ops: recording.Text(s.Ops), EnableSeq: s.EnableSeq, Gap: int64(gap), Total: int64(total),
	})
}

// put gives records of one event to every tape that has room for all of them,
// and a state after them where one is due. After a loss a tape gets the engine's
// state, which holds these records' effect, in their place.
func (l *loop) put(now time.Time, sample bool, records ...recording.Record) {
	l.rec.tapes = slices.DeleteFunc(l.rec.tapes, func(t *tape) bool { return t.ctx.Err() != nil })
	for _, t := range l.rec.tapes {
		if sample {
			t.samples++
		}
		room := cap(t.records) - len(t.records)
		switch {
		case room < len(records)+1, t.lost > 0 && room < cap(t.records)/2:
			t.lost += uint64(len(records))
		case t.lost > 0:
			t.records <- &recording.Gap{At: recording.Nanos(l.clock.Steady(now)), Lost: t.lost + uint64(len(records))}
			t.records <- l.state(now)
			t.lost, t.samples = 0, 0
		default:
			for _, r := range records {
				t.records <- r
			}
			if t.samples >= stateEvery {
				t.records <- l.state(now)
				t.samples = 0
			}
		}
	}
}
