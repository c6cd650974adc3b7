// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/api"
	"autosa/engine"
	"autosa/recording"
)

func TestARecordedEventIsTheLineThatTheTraceHad(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	length := func() float64 { return time.Duration(r.Int64N(int64(12 * 24 * time.Hour))).Seconds() }
	for range 1000 {
		want := api.TraceEvent{Kind: api.TraceWait, Time: time.Unix(0, r.Int64()).UTC(), Slice: &api.Slice{
			TraceTask: api.TraceTask{PID: 1 + r.IntN(9), Comm: "w\xff", Group: "/w"}, TGID: r.IntN(9), CPU: r.IntN(9),
			WaitSeconds: length(), RunSeconds: length(), BlockedSeconds: length(), Before: "sleep", Left: "preempted",
			Arrivals: r.Uint64(), LostBefore: r.Uint64N(3),
		}}
		if r.IntN(2) == 0 {
			want.Kind = api.TraceIO
		}
		if r.IntN(2) == 0 {
			want.Slice.Holder = &api.TraceTask{PID: 7, Comm: "h", Group: "/h"}
		}
		if r.IntN(2) == 0 {
			want.Slice.Next = &api.TraceTask{PID: 8, Comm: "n"}
		}
		rec := wireEvent(&want)
		if diff := cmp.Diff(want, RecordedEvent(rec)); diff != "" {
			t.Fatal(diff)
		}
		// The wait that a record names is the long one.
		if long := want.Slice.WaitSeconds; want.Kind == api.TraceWait && rec.Wait != nanos(long) || rec.IO && rec.Wait != nanos(want.Slice.BlockedSeconds) {
			t.Fatalf("%+v of %+v", rec, want.Slice)
		}
	}
}

func TestARecordingTakesSoManyEventsASecondAndInAll(t *testing.T) {
	at := time.Unix(1e9, 0)
	b := eventBudget{rate: 10, left: 25}
	taken := func(every time.Duration, n int) (got int) {
		for range n {
			at = at.Add(every)
			if b.take(at) {
				got++
			}
		}
		return got
	}
	if got := taken(0, 100); got != 10 {
		t.Errorf("%d at once, want a second's worth", got)
	}
	if got := taken(10*time.Millisecond, 100); got != 10 {
		t.Errorf("%d in a second, want 10", got)
	}
	at = at.Add(-time.Hour) // the wall clock was set
	if got := taken(0, 100); got != 0 {
		t.Errorf("%d when the clock went back", got)
	}
	at = at.Add(24 * time.Hour)
	if got := taken(time.Second, 100); got != 5 {
		t.Errorf("%d after 20 of 25", got)
	}
}

// What is not taken is counted with the next event of its CPU that is, together
// with what the kernel had lost there, and in the end.
func TestEventsThatAreTooManyAreCountedWhereTheyAreMissing(t *testing.T) {
	tape := &eventTape{
		records: make(chan recording.Record, 10), begun: make(chan struct{}), gone: make(chan struct{}),
		budget: eventBudget{rate: 1, left: 100}, missing: make(map[int]uint64),
	}
	at := time.Unix(1e9, 0)
	put := func(cpu int, lost uint64, after time.Duration) {
		at = at.Add(after)
		e := api.TraceEvent{Kind: api.TraceWait, Time: at, Slice: &api.Slice{CPU: cpu, LostBefore: lost}}
		if err := tape.Event(&e); err != nil {
			t.Fatal(err)
		}
	}
	put(0, 2, 0)           // taken
	put(0, 0, 0)           // not
	put(1, 5, 0)           // not
	put(0, 1, 0)           // not
	put(2, 0, time.Second) // taken
	put(0, 4, time.Second) // taken
	put(1, 0, time.Second) // taken
	put(1, 0, time.Second) // taken
	put(0, 3, 0)           // not, and nothing comes after it
	if err := tape.Event(&api.TraceEvent{Kind: api.TraceEnd, Time: at, End: &api.TraceTotal{Events: 9, Lost: 16, Unremembered: 1, Missed: 2}}); err != nil {
		t.Fatal(err)
	}
	close(tape.records)
	var got []uint64
	var total *recording.Total
	for r := range tape.records {
		switch r := r.(type) {
		case *recording.Event:
			got = append(got, r.LostBefore)
		case *recording.Total:
			total = r
		}
	}
	if diff := cmp.Diff([]uint64{2, 0, 4 + 1 + 2, 6, 0}, got); diff != "" {
		t.Error(diff)
	}
	want := &recording.Total{Time: recording.Nanos(at), Events: 5, Lost: 16 + 4, LeftOut: 4, Unremembered: 1, Missed: 2}
	if diff := cmp.Diff(want, total); diff != "" {
		t.Error(diff)
	}
	close(tape.gone)
	tape.records = nil
	if err := tape.Event(&api.TraceEvent{Kind: api.TraceEnd, End: &api.TraceTotal{}}); !errors.Is(err, errNobodyWrites) {
		t.Errorf("after the end of the one who writes: %v", err)
	}
}

// records reads a recording that has to be whole, to its end or where it was
// given up.
func records(t *testing.T, in []byte) (all []recording.Record, header recording.Header) {
	t.Helper()
	r, err := recording.NewReader(bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	header, _ = r.Header()
	for {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return all, header
		case errors.Is(err, recording.ErrCutOff):
		case err != nil:
			t.Fatal(err)
		default:
			all = append(all, rec)
		}
	}
}

// Events of this machine's kernel lie in the recording, each after the state
// that it begins with and none between an input and its decision, with their
// total behind them: when the daemon ends, and when the recording is given up.
func TestEventsAreRecordedToTheirTotalHoweverTheRecordingEnds(t *testing.T) {
	needTracer(t)
	for name, end := range map[string]func(b *bench, giveUp func()){
		"the daemon ends": func(b *bench, _ func()) { b.end() },
		"it is given up":  func(_ *bench, giveUp func()) { giveUp() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, benchConfig(t))
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			w, done := newGate(), make(chan error, 1)
			go func() {
				done <- b.Record(ctx, api.RecordRequest{Events: true, MinWait: time.Microsecond, Cgroups: []string{"/"}}, w)
			}()
			time.Sleep(200 * time.Millisecond) // events are there before the first state can be
			b.run()
			events := func() (n uint64) {
				r, err := recording.NewReader(bytes.NewReader(w.bytes()))
				for err == nil || errors.Is(err, recording.ErrDamaged) {
					_, err = r.Next()
				}
				if r != nil {
					n = r.Summary().Records[recording.TypeEvent]
				}
				return n
			}
			for deadline := time.Now().Add(2 * time.Minute); events() < 50; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d events within two minutes", events())
				}
			}
			b.more(stateEvery + 5)
			end(b, giveUp)
			if err := <-done; err != nil {
				t.Error(err)
			}
			all, header := records(t, w.bytes())
			if f := header.Filter; !header.Events || f == nil || f.MinWait != 1000 || len(f.Cgroups) != 1 || f.Cgroups[0] != "/" {
				t.Errorf("header %+v %+v", header.Events, header.Filter)
			}
			var n, lost uint64
			var total *recording.Total
			var with, without []recording.Record
			for i, r := range all {
				switch e := r.(type) {
				case *recording.Event:
					n++
					lost += e.LostBefore
					if i == 0 || all[i-1].Type() == recording.TypeInput || total != nil {
						t.Fatalf("record %d is an event behind %T, the total %v", i, all[max(i-1, 0)], total)
					}
					if e.At == 0 || time.Duration(e.Time-e.At).Abs() > time.Minute || max(e.Wait, e.Queued) < 1000 || e.PID == 0 || e.Group == "" || e.Left == "" {
						t.Fatalf("event %+v", e)
					}
				case *recording.Total:
					total = e
				default:
					without = append(without, r)
				}
				with = append(with, r)
			}
			if total == nil || total.Events != n || total.Lost < lost || total.Error != "" || total.At == 0 {
				t.Errorf("%d events, %d of these said to be missing; in the end %+v", n, lost, total)
			}
			a, errA := engine.Replay(&row{with}, engine.ReplayOptions{})
			o, errO := engine.Replay(&row{without}, engine.ReplayOptions{})
			if diff := cmp.Diff(o, a); diff != "" || errA != nil || errO != nil || a.Compared < stateEvery || a.Different+a.DifferentStates > 0 {
				t.Errorf("with events %+v %v, without %+v %v", a, errA, o, errO)
			}
		})
	}
}

// row is a source of records.
type row struct{ rest []recording.Record }

func (r *row) Next() (recording.Record, error) {
	if len(r.rest) == 0 {
		return nil, io.EOF
	}
	rec := r.rest[0]
	r.rest = r.rest[1:]
	return rec, nil
}

func TestARecordingWhoseEventsCannotBeginIsRefused(t *testing.T) {
	needTracer(t)
	b := newBench(t, benchConfig(t)).run()
	var refusal *api.Error
	for name, c := range map[string]struct {
		req  api.RecordRequest
		code api.Code
	}{
		"a filter without events": {api.RecordRequest{MinWait: time.Second}, api.CodeBadRequest},
		"no such cgroup":          {api.RecordRequest{Events: true, Cgroups: []string{"/no/such"}}, api.CodeBadRequest},
	} {
		w := newGate()
		if err := b.Record(t.Context(), c.req, w); !errors.As(err, &refusal) || refusal.Code != c.code || w.writes.Load() > 0 {
			t.Errorf("%s: %v, want %s; %d writes", name, err, c.code, w.writes.Load())
		}
	}
	b.traces.n = maxTraces
	if err := b.Record(t.Context(), api.RecordRequest{Events: true}, newGate()); !errors.As(err, &refusal) || refusal.Code != api.CodeConflict {
		t.Errorf("beside as many traces as there may be: %v, want a conflict", err)
	}
	b.traces.n = 0
	broken := errors.New("no space left on device")
	err := b.Record(t.Context(), api.RecordRequest{Events: true}, writerFunc(func([]byte) (int, error) { return 0, broken }))
	if !errors.Is(err, broken) || b.traces.n != 0 {
		t.Errorf("a writer that fails: %v, %d traces are left", err, b.traces.n)
	}
}

// A trace that breaks off leaves the recording and what it was worth.
func TestATraceThatBreaksOffIsSaidInTheTotal(t *testing.T) {
	tape := &eventTape{records: make(chan recording.Record, 1), gone: make(chan struct{}), missing: make(map[int]uint64), budget: eventBudget{rate: 1}}
	if err := tape.Event(&api.TraceEvent{Slice: &api.Slice{LostBefore: 3}}); err != nil {
		t.Fatal(err)
	}
	tape.broke(errors.New("read the stream: EIO"))
	if total := (<-tape.records).(*recording.Total); total.Error != "read the stream: EIO" || total.Time == 0 || total.Lost != 4 || total.LeftOut != 1 {
		t.Errorf("%+v", total)
	}
}
