// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
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
// soon as it is there.
func (d *Daemon) Record(ctx context.Context, w io.Writer) error {
	t := &tape{ctx: ctx, records: make(chan recording.Record, tapeRecords)}
	gone := apiError(api.CodeUnavailable, "the daemon is stopping")
	select {
	case d.tapes <- t:
	case <-d.ended:
		return gone
	case <-ctx.Done():
		return nil
	}
	out, err := recording.NewWriter(w, d.recordingHeader())
	if err != nil {
		return err
	}
	var at int64
	for {
		select {
		case <-ctx.Done():
			return nil
		case r, ok := <-t.records:
			if !ok {
				return out.Close(at)
			}
			if s, is := r.(*recording.Sample); is {
				at = s.At
			}
			if err := out.Write(r); err != nil {
				return err
			}
			if len(t.records) == 0 {
				if err := out.Flush(); err != nil {
					return err
				}
			}
		}
	}
}

// recordingHeader says where and how recordings of this daemon are made.
func (d *Daemon) recordingHeader() recording.Header {
	return recording.Header{
		Autosa: d.opts.Version, Machine: describeMachine("/", d.kernel), Start: time.Now().UnixNano(),
		Interval: int64(d.opts.Config.CollectionInterval), Config: engine.WireConfig(d.opts.Config.AggregationWindow, d.policy),
	}
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
