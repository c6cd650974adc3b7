// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"errors"

	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/policy"
	"autosa/recording"
	"autosa/workload"
)

var t0 = time.Unix(1_700_000_000, 123_456_789).UTC()

// run is a daemon's run as its engine sees it, drawn from a seed: work that
// changes, swaps that come about or fail, orders, schedulers that come and go.
type run struct {
	*rand.Rand
	engine   *Engine
	now      time.Time
	in       policy.Input
	mode     policy.Mode
	busy     int // the kind of work
	states   int // ticks between two recorded states
	recorded []recording.Record
	decided  []policy.Decision
}

func newRun(seed uint64) *run {
	c := policy.DefaultConfig()
	c.MinSwitchInterval = 3 * time.Second
	return &run{
		Rand: rand.New(rand.NewPCG(seed, 2)), engine: New(6*time.Second, c), now: t0, mode: policy.ModeAuto, states: 10,
		in: policy.Input{
			InCharge: policy.InCharge{Arm: policy.Default(), Owner: policy.OwnerKernel},
			WhyNot:   map[string]string{"scx_lavd": "", "scx_rusty": "", "scx_bpfland": "", "scx_flash": "no\xff sense"},
		},
	}
}

func (r *run) group(name string, id uint64) workload.Group {
	g := workload.Group{ID: id, Name: name, Switches: 1 + r.Uint64N(20000)}
	g.Voluntary = r.Uint64N(g.Switches)
	g.Involuntary = g.Switches - g.Voluntary
	g.Run, g.Wait = time.Duration(r.Int64N(int64(2*time.Second))), time.Duration(r.Int64N(int64(time.Second)))
	mean := []time.Duration{50 * time.Microsecond, 4 * time.Millisecond, 100 * time.Microsecond}[r.busy]
	for range 200 {
		g.RunHist.Observe(mean + time.Duration(r.Int64N(int64(mean))))
		g.WaitHist.Observe(time.Duration(r.Int64N(int64(mean))))
		g.SleepHist.Observe(time.Duration(r.Int64N(int64(20 * time.Millisecond))))
	}
	if r.busy == 2 {
		g.IOWait = time.Duration(r.Int64N(int64(3 * time.Second)))
	}
	return g
}

func (r *run) put(records ...recording.Record) { r.recorded = append(r.recorded, records...) }

// tick is one sample and what follows from it.
func (r *run) tick(n int) {
	r.now = r.now.Add(time.Second + time.Duration(r.Int64N(int64(time.Millisecond))))
	if r.IntN(20) == 0 {
		r.busy = r.IntN(3)
	}
	s := workload.Sample{Time: r.now.Add(time.Hour), Interval: time.Second, CPUs: 2, Source: workload.SourceBPF, Host: r.group(workload.HostName, 0)}
	for id := range uint64(r.IntN(6)) {
		s.Groups = append(s.Groups, r.group("/g", id))
	}
	rec := &recording.Sample{At: recording.Nanos(r.now), Offset: int64(time.Hour), Sample: s}
	if r.IntN(15) == 0 {
		rec.Skipped = "it holds a swap"
		r.put(rec)
		return
	}
	r.engine.Observe(r.now, &s)
	r.put(rec)
	r.in.Now = r.now
	switch r.IntN(40) {
	case 0:
		r.mode, r.in.Manual = policy.ModeManual, &policy.Order{Arm: policy.Arm{Scheduler: "scx_bpfland"}, Since: r.now}
	case 1, 2:
		r.mode, r.in.Manual = policy.ModeAuto, nil
	case 3:
		r.mode = policy.ModeRecommend
	}
	if r.IntN(10) == 0 {
		r.in.Holds = nil
	} else if r.IntN(10) == 0 {
		r.in.Holds = append(r.in.Holds, policy.Hold{Reason: "a \xff game", Since: r.now})
		if r.IntN(2) == 0 {
			r.in.Holds[len(r.in.Holds)-1].Until = r.now.Add(time.Duration(r.Int64N(int64(20 * time.Second))))
		}
	}
	d := r.engine.Decide(r.mode, r.in)
	r.put(WireInput(time.Hour, r.mode, r.in), WireDecision(&d))
	r.decided = append(r.decided, d)
	r.in.Failures, r.in.Forgive, r.in.Veto = nil, nil, nil
	switch r.IntN(30) {
	case 0:
		r.in.Versions = map[string]string{"scx_lavd": "1.\xfe", "scx_rusty": "1.\xfe"}
	case 1:
		r.in.Versions = nil
	case 2:
		r.in.Forgive = []string{"scx_rusty", "scx_lavd"}
	case 3:
		r.in.Veto = &policy.Veto{Arm: policy.Arm{Scheduler: "scx_lavd"}, Since: r.now}
	}
	if d.Action == policy.ActionSwap {
		r.in.LastSwap = r.now
		if r.IntN(4) == 0 {
			r.in.Failures = []policy.Failure{{Arm: d.Arm, Version: []string{"", "1.\xfe"}[r.IntN(2)], At: r.now, Reason: "it \xfe exited"}}
		} else {
			r.in.InCharge = policy.InCharge{Arm: d.Arm, Owner: policy.OwnerAutosa}
		}
	}
	if n%r.states == r.states-1 {
		r.put(r.engine.State(r.now, time.Hour))
	}
}

// record runs so many ticks, after some that were not recorded, and returns the
// recording.
func (r *run) record(t testing.TB, ticks int) []byte {
	t.Helper()
	for n := range 30 {
		r.tick(n)
	}
	r.recorded, r.decided = []recording.Record{r.engine.State(r.now, time.Hour)}, nil
	for n := range ticks {
		r.tick(n)
	}
	return file(t, r.recorded)
}

func file(t testing.TB, records []recording.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := recording.NewWriter(&b, recording.Header{})
	if err != nil {
		t.Fatal(err)
	}
	for i, rec := range records {
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
		if i%9 == 8 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(0); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func replayed(t testing.TB, in []byte, o ReplayOptions) (Result, error) {
	t.Helper()
	r, err := recording.NewReader(bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	return Replay(r, o)
}

// A recording that begins amid a run is replayed to the run's own decisions, and
// what the engine remembers is the run's at every state that was recorded.
func TestReplayComesToTheRunsOwnDecisions(t *testing.T) {
	kinds := map[policy.Action]int{}
	for seed := range uint64(5) {
		r := newRun(seed)
		in := r.record(t, 120)
		n := 0
		res, err := replayed(t, in, ReplayOptions{Step: func(s Step) error {
			if !equal(s.Decision, WireDecision(&r.decided[n])) {
				t.Errorf("seed %d, decision %d: %+v, the run had %+v", seed, n, s.Decision, r.decided[n])
			}
			kinds[r.decided[n].Action]++
			n++
			return nil
		}})
		if err != nil || res.Different+res.DifferentStates+res.Unsure+res.Lost > 0 || res.Compared != uint64(len(r.decided)) || res.States < 10 {
			t.Fatalf("seed %d: %d decisions in the run, replay: %+v %v", seed, len(r.decided), res, err)
		}
		if got, want := res.Host, r.engine.Host(); got.Confidence != want.Confidence || got.Class != want.Class || got.Probabilities != want.Probabilities {
			t.Errorf("seed %d: replay ends with %+v, the run with %+v", seed, got, want)
		}
	}
	if len(kinds) < 3 || kinds[policy.ActionSwap] < 10 {
		t.Errorf("the runs decided %v: too little to show anything", kinds)
	}
}

// Single events change nothing, wherever they stand.
func TestEventsChangeNoReplay(t *testing.T) {
	r := newRun(6)
	want, err := replayed(t, r.record(t, 60), ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var with []recording.Record
	for _, rec := range r.recorded {
		with = append(with, rec, &recording.Event{At: 1, LostBefore: 3}, &recording.Total{At: 1 << 62, Lost: 9})
	}
	got, err := replayed(t, file(t, with), ReplayOptions{})
	if err != nil || got.Compared != want.Compared || got.States != want.States || got.Different+got.DifferentStates+got.Unsure+got.Lost > 0 || got.Compared < 40 {
		t.Errorf("with events %+v %v, without %+v", got, err, want)
	}
}

func TestAnotherDecisionIsFoundAndSaid(t *testing.T) {
	r := newRun(1)
	r.record(t, 60)
	at := slices.IndexFunc(r.recorded[30:], func(rec recording.Record) bool { return rec.Type() == recording.TypeDecision }) + 30
	other := *r.recorded[at].(*recording.Decision)
	other.Reasons = append(slices.Clone(other.Reasons), "it is Tuesday")
	r.recorded[at] = &other
	res, err := replayed(t, file(t, r.recorded), ReplayOptions{})
	if err != nil || res.Different != 1 || res.First == nil || res.First.Recorded.Reasons[len(other.Reasons)-1] != "it is Tuesday" {
		t.Errorf("one decision was changed: %+v %v", res, err)
	}
}

// What was lost makes decisions unsure, never different, and only until the next
// recorded state.
func TestLossesMakeUnsureUntilTheNextState(t *testing.T) {
	var unsure, compared uint64
	r := newRun(5)
	in := r.record(t, 50)
	for seed := range uint64(30) {
		at := 1000 + r.IntN(len(in)-1000)
		bad := slices.Clone(in)
		switch seed % 3 {
		case 0:
			bad[at] ^= 1 + byte(r.IntN(255))
		case 1:
			bad = slices.Delete(bad, at, min(at+1+r.IntN(5000), len(bad)))
		case 2:
			bad = bad[:at]
		}
		res, err := replayed(t, bad, ReplayOptions{})
		if errors.Is(err, ErrNoState) {
			continue
		}
		if err != nil || res.Different+res.DifferentStates > 0 || res.Lost == 0 {
			t.Fatalf("seed %d: %+v %v", seed, res, err)
		}
		unsure += res.Unsure
		compared += res.Compared
	}
	if unsure == 0 || compared < 500 {
		t.Errorf("%d decisions were unsure, %d compared: too little to show anything", unsure, compared)
	}
}

func TestGapMakesUnsureUntilTheNextState(t *testing.T) {
	r := newRun(3)
	r.record(t, 60)
	n := len(r.recorded)
	cut := slices.Insert(slices.Delete(slices.Clone(r.recorded), n/2, n/2+7), n/2, recording.Record(&recording.Gap{Lost: 7}))
	res, err := replayed(t, file(t, cut), ReplayOptions{})
	if err != nil || res.Different > 0 || res.Unsure == 0 || res.Lost != 1 || !strings.Contains(res.Losses[0], "7 records") || res.Compared < 20 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestWhatIfDecidesWithAnotherConfiguration(t *testing.T) {
	in := newRun(7).record(t, 120)
	never, err := replayed(t, in, ReplayOptions{Adjust: func(c *policy.Config) { c.MinSwitchInterval = 24 * time.Hour }})
	if err != nil || never.Different == 0 {
		t.Errorf("with swaps a day apart: %+v %v", never, err)
	}
	if f := never.First; f.Decision.Action != "keep" || f.Recorded.Action == "keep" {
		t.Errorf("the first that differs: now %s, then %s", f.Decision.Action, f.Recorded.Action)
	}
	same, err := replayed(t, in, ReplayOptions{Adjust: func(*policy.Config) {}})
	if err != nil || same.Different != 0 {
		t.Errorf("with nothing changed: %+v %v", same, err)
	}
	if _, err := replayed(t, in, ReplayOptions{Adjust: func(c *policy.Config) { c.MinConfidence = 7 }}); err == nil {
		t.Error("a confidence of 7 was taken")
	}
}

func TestUntilAndStepEndAReplay(t *testing.T) {
	in := newRun(4).record(t, 60)
	all, _ := replayed(t, in, ReplayOptions{})
	res, err := replayed(t, in, ReplayOptions{Until: 20 * time.Second})
	if err != nil || res.Samples < 18 || res.Samples > 21 || all.Samples != 60 {
		t.Errorf("until 20 s: %+v %v", res, err)
	}
	enough := errors.New("enough")
	if _, err := replayed(t, in, ReplayOptions{Step: func(Step) error { return enough }}); !errors.Is(err, enough) {
		t.Errorf("a step that fails: %v", err)
	}
	if _, err := replayed(t, file(t, []recording.Record{&recording.Gap{}}), ReplayOptions{}); !errors.Is(err, ErrNoState) {
		t.Errorf("without a state: %v", err)
	}
}

// A state from somebody else must not be believed in.
func TestStateThatMakesNoSenseIsRefused(t *testing.T) {
	good := newRun(1).engine.State(t0, 0)
	for name, spoil := range map[string]func(*recording.State){
		"probabilities":   func(s *recording.State) { s.Host.Probabilities = s.Host.Probabilities[:3] },
		"a track":         func(s *recording.State) { s.Voter.Groups = recording.List[recording.Track]{{}} },
		"no backoff":      func(s *recording.State) { s.Config.Backoff = 0 },
		"an unknown mode": func(s *recording.State) { s.Config.Mode = "frantic" },
	} {
		bad := *good
		spoil(&bad)
		if _, err := Restore(&bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSteadyTimesAreWithoutMonotonicReadingAndZeroStaysZero(t *testing.T) {
	now := time.Now()
	c := NewClock(now)
	s := c.Steady(now.Add(time.Minute))
	if s != s.Round(0) || !s.Equal(now.Add(time.Minute).Round(0)) {
		t.Errorf("%v became %v", now.Add(time.Minute), s)
	}
	if !c.Steady(time.Time{}).IsZero() || !c.Wall(time.Time{}).IsZero() {
		t.Error("no time became one")
	}
	c.Tick(now.Add(time.Second))
	if c.Offset() != 0 || !c.Wall(s).Equal(s) {
		t.Errorf("nobody set the clock, and it is %v off", c.Offset())
	}
	c.offset = time.Hour
	if got := c.Wall(s); !got.Equal(s.Add(time.Hour)) {
		t.Errorf("with the clock an hour ahead: %v", got)
	}
}

var _ Source = (*recording.Reader)(nil)
