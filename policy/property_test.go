// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"autosa/workload"
)

// world draws configurations, states and inputs from a seed, extreme ones
// among them.
type world struct{ *rand.Rand }

func (w world) arm() Arm {
	names := []string{EEVDF, "scx_lavd", "scx_rusty", "scx_bpfland", "scx_flash", "scx_nowhere", BuiltinLatency, BuiltinBalanced, BuiltinThroughput}
	a := Arm{Scheduler: names[w.IntN(len(names))]}
	if a.Scheduler != EEVDF && !IsBuiltin(a.Scheduler) && w.IntN(2) == 0 {
		a.Args = []string{"--x"}
	}
	return a
}

func (w world) time() time.Time {
	return t0.Add(time.Duration(w.Int64N(int64(20*time.Minute))) - 15*time.Minute)
}

func (w world) config() Config {
	c := DefaultConfig()
	modes := []Mode{ModeAuto, ModeAuto, ModeAuto, ModeRecommend, ModeManual, ModeObserve}
	c.Mode = modes[w.IntN(len(modes))]
	c.MinConfidence = w.Float64()
	c.MinSwitchInterval = time.Duration(w.Int64N(int64(10 * time.Minute)))
	c.MinClassAge = time.Duration(w.Int64N(int64(time.Minute)))
	if w.IntN(2) == 0 {
		c.Table = Table{}
		for _, class := range workload.Classes()[1:] {
			for range w.IntN(4) {
				c.Table[class] = append(c.Table[class], w.arm())
			}
		}
	}
	return c
}

func (w world) input() Input {
	in := Input{Now: t0, WhyNot: map[string]string{}}
	in.Host.Class = workload.Class(w.IntN(workload.NumClasses))
	in.Host.Confidence = []float64{0, w.Float64(), w.Float64(), 1, math.NaN()}[w.IntN(5)]
	rest := 1 - in.Host.Confidence
	for c := range in.Host.Probabilities {
		in.Host.Probabilities[c] = rest * w.Float64()
		rest -= in.Host.Probabilities[c]
	}
	in.Host.Since = w.time()
	in.InCharge = InCharge{w.arm(), OwnerAutosa}
	if w.IntN(6) == 0 {
		in.InCharge.Owner = OwnerForeign
	} else if in.InCharge.Arm.Scheduler == EEVDF {
		in.InCharge.Owner = OwnerKernel
	}
	for _, s := range []string{"scx_lavd", "scx_rusty", "scx_bpfland", "scx_flash", BuiltinLatency, BuiltinBalanced, BuiltinThroughput} {
		if w.IntN(4) != 0 {
			in.WhyNot[s] = []string{"", "", "broken"}[w.IntN(3)]
		}
	}
	if w.IntN(3) == 0 {
		in.Manual = &Order{w.arm(), w.time()}
	}
	if w.IntN(3) != 0 {
		in.LastSwap = w.time()
	}
	for w.IntN(6) == 0 {
		h := Hold{Reason: "a game", Since: w.time()}
		if w.IntN(2) == 0 {
			h.Until = w.time()
		}
		in.Holds = append(in.Holds, h)
	}
	for range w.IntN(3) {
		in.Failures = append(in.Failures, Failure{Arm: w.arm(), Version: []string{"", "1.0"}[w.IntN(2)], At: w.time(), Reason: "went down"})
	}
	if w.IntN(2) == 0 {
		in.Versions = map[string]string{"scx_lavd": "1.0", "scx_rusty": "1.1", BuiltinLatency: "1.0", BuiltinThroughput: "1.0"}
	}
	if w.IntN(8) == 0 {
		in.Forgive = []string{w.arm().Scheduler}
	}
	if w.IntN(8) == 0 {
		in.Veto = &Veto{w.arm(), w.time()}
	}
	return in
}

// check holds a decision to the promises of Decide's documentation.
func check(t *testing.T, cfg Config, before State, in Input, d Decision, after State) {
	t.Helper()
	usable := d.Arm.Scheduler == EEVDF
	if why, ok := in.WhyNot[d.Arm.Scheduler]; ok && why == "" {
		usable = true
	}
	bad := func(what string) { t.Errorf("%s\ncfg %+v\nin %+v\ndecided %+v", what, cfg, in, d) }
	if len(d.Reasons) == 0 {
		bad("no reasons")
	}
	if len(d.WouldChange) == 0 {
		bad("nothing would change it")
	}
	if d.Action == ActionKeep && !d.Arm.Equal(in.InCharge.Arm) {
		bad("keeps an arm that is not in charge")
	}
	for _, a := range d.Alternatives {
		if a.WhyNot == "" || a.Arm.Equal(d.Arm) {
			bad("an alternative is the arm itself or has no reason")
		}
	}
	inPlace := IsBuiltin(d.Arm.Scheduler) && IsBuiltin(in.InCharge.Arm.Scheduler) && in.InCharge.Owner == OwnerAutosa
	if d.Action == ActionSwap && inPlace || d.Action == ActionAdjust && !inPlace {
		bad("takes a change of policy for a swap, or a swap for one")
	}
	if d.Action != ActionKeep {
		switch {
		case in.InCharge.Owner == OwnerForeign:
			bad("acts on a foreign scheduler")
		case !usable:
			bad("acts towards an unusable arm")
		case d.Arm.Equal(in.InCharge.Arm):
			bad("acts towards the arm in charge")
		case cfg.Mode == ModeObserve:
			bad("acts in observe mode")
		}
	}
	// The most that can speak for the arm: all classes that name it, and all
	// that may have to do with EEVDF.
	sure := in.Host.Confidence
	for _, c := range workload.Classes() {
		if c != in.Host.Class && len(cfg.Table[c]) > 0 &&
			(d.Arm.Scheduler == EEVDF || slices.ContainsFunc(cfg.Table[c], d.Arm.Equal)) {
			sure += in.Host.Probabilities[c]
		}
	}
	if d.Action != ActionKeep && in.Manual == nil {
		switch {
		case (d.Action == ActionSwap || d.Action == ActionAdjust) && cfg.Mode != ModeAuto, d.Action == ActionRecommend && cfg.Mode != ModeRecommend:
			bad("acts in the wrong mode")
		case !(sure >= cfg.MinConfidence):
			bad("acts below the minimum confidence")
		case !inPlace && !in.LastSwap.IsZero() && in.Now.Sub(in.LastSwap) < cfg.MinSwitchInterval:
			bad("acts inside the minimum interval")
		case in.Now.Sub(in.Host.Since) < cfg.MinClassAge &&
			!(before.Choice.Arm.Equal(d.Arm) && in.Now.Sub(before.Choice.Since) >= cfg.MinClassAge):
			bad("acts on a young choice")
		case in.Host.Class == workload.Idle:
			bad("acts on idleness")
		case slices.ContainsFunc(in.Holds, func(h Hold) bool { return h.Until.IsZero() || h.Until.After(in.Now) }):
			bad("acts while it is held")
		case after.RestOf(d.Arm, in.Versions[d.Arm.Scheduler], in.Now) != nil:
			bad("acts towards an arm that rests")
		}
		for _, f := range in.Failures {
			if f.Arm.Equal(d.Arm) && f.Version == in.Versions[d.Arm.Scheduler] && in.Now.Sub(f.At) < cfg.Backoff && d.Arm.Scheduler != EEVDF {
				bad("acts towards an arm that just failed")
			}
		}
	}
	vetoed := in.Veto != nil && (in.Manual == nil || !in.Manual.Since.After(in.Veto.Since))
	if vetoed && d.Action != ActionKeep {
		bad("acts against the veto")
	}
	for _, r := range after.Resting {
		if slices.ContainsFunc(in.Forgive, r.names) && !slices.ContainsFunc(in.Failures, func(f Failure) bool { return r.Is(f.Arm, f.Version) }) {
			bad("remembers what was to be forgotten")
		}
	}
	if m := in.Manual; m != nil {
		if !d.Manual {
			bad("an order is in force and not followed")
		}
		if d.Action != ActionKeep && (d.Action == ActionRecommend || !d.Arm.Equal(m.Arm)) {
			bad("acts, and not on the order")
		}
		why, known := in.WhyNot[m.Arm.Scheduler]
		free := in.InCharge.Owner != OwnerForeign && cfg.Mode != ModeObserve &&
			(m.Arm.Scheduler == EEVDF || known && why == "") && after.RestOf(m.Arm, in.Versions[m.Arm.Scheduler], in.Now) == nil && !vetoed
		if free && !d.Arm.Equal(m.Arm) {
			bad("nothing is in the way of the order")
		}
	}
}

func TestDecideHoldsItsPromises(t *testing.T) {
	acted := map[Action]int{}
	for seed := range uint64(5_000) {
		w := world{rand.New(rand.NewPCG(seed, 0))}
		cfg := w.config()
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		var st State
		for range 3 {
			in := w.input()
			d, next := Decide(cfg, st, in)
			check(t, cfg, st, in, d, next)
			// As text: a confidence that is no number does not equal itself.
			d2, next2 := Decide(cfg, st, in)
			if got, want := fmt.Sprint(d2, next2), fmt.Sprint(d, next); got != want {
				t.Fatalf("the same input gave another decision:\n%s\n%s", want, got)
			}
			acted[d.Action]++
			st = next
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, a := range []Action{ActionKeep, ActionSwap, ActionRecommend, ActionAdjust} {
		if acted[a] < 125 {
			t.Errorf("only %d decisions were %s: the worlds do not try it", acted[a], a)
		}
	}
}

// A run over time: autosa follows its own decisions, schedulers fail at random.
func TestAutoKeepsSwapsApartOverARun(t *testing.T) {
	for seed := range uint64(15) {
		w := world{rand.New(rand.NewPCG(seed, 1))}
		cfg := DefaultConfig()
		in := Input{Now: t0, InCharge: onEEVDF(), WhyNot: allUsable(), Host: host(workload.Compute, 0.9)}
		var st State
		var last time.Time
		swaps := 0
		for range 3600 {
			in.Now = in.Now.Add(time.Second)
			if w.IntN(30) == 0 {
				in.Host = host(workload.Class(w.IntN(workload.NumClasses)), w.Float64())
				in.Host.Since = in.Now
			}
			var d Decision
			d, st = Decide(cfg, st, in)
			in.Failures = nil
			if d.Action != ActionSwap {
				continue
			}
			if !last.IsZero() && in.Now.Sub(last) < cfg.MinSwitchInterval {
				t.Fatalf("seed %d: swaps %v apart", seed, in.Now.Sub(last))
			}
			last, in.LastSwap = in.Now, in.Now
			swaps++
			if w.IntN(3) == 0 {
				in.Failures = []Failure{{Arm: d.Arm, At: in.Now, Reason: "did not attach"}}
				in.InCharge = onEEVDF()
			} else if in.InCharge = running(d.Arm); d.Arm.Scheduler == EEVDF {
				in.InCharge = onEEVDF()
			}
		}
		if swaps > 3600/300 {
			t.Fatalf("seed %d: %d swaps in an hour", seed, swaps)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	in := Input{Now: t0, Host: host(workload.Compute, 0.9), InCharge: running(tabled(workload.Compute)), WhyNot: allUsable()}
	cfg := DefaultConfig()
	b.ReportAllocs()
	for b.Loop() {
		Decide(cfg, State{}, in)
	}
}
