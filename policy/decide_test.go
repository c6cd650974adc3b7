// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/workload"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// host is a classification that has been so for a minute.
func host(c workload.Class, confidence float64) workload.Classification {
	h := workload.Classification{Time: t0, Group: workload.HostName, Class: c, Confidence: confidence, Since: t0.Add(-time.Minute)}
	h.Probabilities[c] = confidence
	return h
}

// young is one that has been so for two seconds.
func young(c workload.Class, confidence float64) workload.Classification {
	h := host(c, confidence)
	h.Since = t0.Add(-2 * time.Second)
	return h
}

func allUsable() map[string]string {
	return map[string]string{"scx_lavd": "", "scx_rusty": "", "scx_bpfland": "", "scx_flash": ""}
}

func onEEVDF() InCharge { return InCharge{Default(), OwnerKernel} }

func running(a Arm) InCharge { return InCharge{a, OwnerAutosa} }

func tabled(c workload.Class) Arm { return DefaultTable()[c][0] }

func TestDecide(t *testing.T) {
	lavd, rusty := tabled(workload.Server), tabled(workload.Compute)
	for _, tt := range []struct {
		name   string
		cfg    func(*Config)
		state  State
		in     Input
		action Action
		arm    Arm
		// reason and would are parts of some reason and of something that would
		// change the decision.
		reason, would string
	}{
		{
			name: "compute puts scx_rusty in charge",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF()}, action: ActionSwap, arm: rusty,
			reason: "the host is compute (confidence 0.90)", would: "another kind of work",
		},
		{name: "batch puts scx_rusty in charge", in: Input{Host: host(workload.Batch, 0.9), InCharge: onEEVDF()}, action: ActionSwap, arm: rusty},
		{name: "io puts scx_bpfland in charge", in: Input{Host: host(workload.IO, 0.9), InCharge: onEEVDF()},
			action: ActionSwap, arm: Arm{"scx_bpfland", []string{"--slice-us", "20000"}}},
		{name: "interactive puts scx_lavd in charge", in: Input{Host: host(workload.Interactive, 0.9), InCharge: onEEVDF()}, action: ActionSwap, arm: lavd},
		{name: "media puts scx_lavd in charge", in: Input{Host: host(workload.Media, 0.9), InCharge: onEEVDF()}, action: ActionSwap, arm: lavd},
		{name: "server puts scx_lavd in charge", in: Input{Host: host(workload.Server, 0.9), InCharge: running(rusty)}, action: ActionSwap, arm: lavd},
		{name: "mixed puts scx_flash in charge", in: Input{Host: host(workload.Mixed, 0.9), InCharge: onEEVDF()},
			action: ActionSwap, arm: Arm{"scx_flash", []string{"--slice-us", "4096"}}},
		{
			name: "idle keeps the arm in charge",
			in:   Input{Host: host(workload.Idle, 1), InCharge: running(rusty)}, action: ActionKeep, arm: rusty,
			reason: "idle machine keeps", would: "work to do",
		},
		{
			name: "the same scheduler with the same arguments is no swap",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(rusty)}, action: ActionKeep, arm: rusty,
			reason: "in charge already",
		},
		{
			name: "the same scheduler with other arguments is a swap",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(Arm{Scheduler: "scx_rusty"})}, action: ActionSwap, arm: rusty,
		},
		{
			name: "two classes of one arm need no swap between them",
			in:   Input{Host: host(workload.Media, 0.9), InCharge: running(lavd)}, action: ActionKeep, arm: lavd,
		},
		{
			name: "below the minimum confidence nothing changes",
			in:   Input{Host: host(workload.Compute, 0.69), InCharge: onEEVDF()}, action: ActionKeep, arm: Default(),
			reason: "confidence 0.69 is below the minimum of 0.70", would: "a confidence of 0.70 or more",
		},
		{
			name: "the minimum confidence itself suffices",
			in:   Input{Host: host(workload.Compute, 0.7), InCharge: onEEVDF()}, action: ActionSwap, arm: rusty,
		},
		{
			name:   "a class that does not last yet changes nothing",
			in:     Input{Host: young(workload.Compute, 0.9), InCharge: onEEVDF()},
			action: ActionKeep, arm: Default(), reason: "the work has been so for 2s only; 5s are asked for", would: "compute staying for another 3s",
		},
		{
			name:  "a change between classes of one arm starts no new wait",
			state: State{Choice: Choice{lavd, t0.Add(-time.Minute)}},
			in:    Input{Host: young(workload.Media, 0.9), InCharge: onEEVDF()}, action: ActionSwap, arm: lavd,
		},
		{
			name:  "one between classes of different arms does",
			state: State{Choice: Choice{rusty, t0.Add(-time.Minute)}},
			in:    Input{Host: young(workload.Media, 0.9), InCharge: onEEVDF()}, action: ActionKeep, arm: Default(),
		},
		{
			name: "classes of one arm add up",
			in: Input{Host: func() workload.Classification {
				h := host(workload.Interactive, 0.4)
				h.Probabilities[workload.Media], h.Probabilities[workload.Server] = 0.2, 0.11
				return h
			}(), InCharge: onEEVDF()}, action: ActionSwap, arm: lavd, reason: "confidence 0.71 in the scheduler",
		},
		{
			name: "classes of other arms do not",
			in: Input{Host: func() workload.Classification {
				h := host(workload.Interactive, 0.6)
				h.Probabilities[workload.Mixed], h.Probabilities[workload.Idle] = 0.3, 0.1
				return h
			}(), InCharge: onEEVDF()}, action: ActionKeep, arm: Default(), reason: "confidence 0.60 is below",
		},
		{
			name: "inside the minimum interval nothing changes",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd), LastSwap: t0.Add(-299 * time.Second)}, action: ActionKeep, arm: lavd,
			reason: "the last swap was 4m59s ago; swaps are kept 5m0s apart", would: "in 1s",
		},
		{
			name: "after the minimum interval it does",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd), LastSwap: t0.Add(-300 * time.Second)}, action: ActionSwap, arm: rusty,
		},
		{
			name: "a last swap in the future is within the interval",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd), LastSwap: t0.Add(time.Hour)}, action: ActionKeep, arm: lavd,
		},
		{
			name: "a missing scheduler gives way to EEVDF",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd), WhyNot: map[string]string{"scx_lavd": ""}}, action: ActionSwap, arm: Default(),
			reason: "scx_rusty --slice-us-underutil 20000 is the choice for compute and cannot be used: not installed", would: "scx_rusty becoming usable",
		},
		{
			name: "an unusable one too, with the reason",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(),
				WhyNot: map[string]string{"scx_rusty": "the kernel has no sched_ext"}}, action: ActionKeep, arm: Default(),
			reason: "cannot be used: the kernel has no sched_ext",
		},
		{
			name: "a missing scheduler gives way to the next in the list",
			cfg:  func(c *Config) { c.Table[workload.Compute] = []Arm{{Scheduler: "scx_nowhere"}, lavd} },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF()}, action: ActionSwap, arm: lavd,
			reason: "scx_nowhere is the choice for compute and cannot be used: not installed",
		},
		{
			name: "EEVDF in a list is an arm like any other",
			cfg:  func(c *Config) { c.Table[workload.Compute] = []Arm{Default(), rusty} },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd)}, action: ActionSwap, arm: Default(),
		},
		{
			name: "a class without a list keeps the arm in charge",
			cfg:  func(c *Config) { delete(c.Table, workload.Compute) },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd)}, action: ActionKeep, arm: lavd,
			reason: "names no scheduler for compute", would: "an entry for compute",
		},
		{
			name: "a foreign scheduler is left alone",
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: InCharge{Arm{Scheduler: "scx_cosmos"}, OwnerForeign}}, action: ActionKeep, arm: Arm{Scheduler: "scx_cosmos"},
			reason: "started by somebody else", would: "scx_cosmos being stopped",
		},
		{
			name: "even against an order, which waits",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: InCharge{Arm{Scheduler: "scx_cosmos"}, OwnerForeign},
				Manual: &Order{Arm: lavd, Since: t0}}, action: ActionKeep, arm: Arm{Scheduler: "scx_cosmos"},
			reason: "the operator's order for scx_lavd --slice-max-us 5000 waits",
		},
		{
			name: "an order beats the class, the confidence and the interval",
			in: Input{Host: host(workload.Compute, 0.1), InCharge: running(rusty), LastSwap: t0.Add(-time.Second),
				Manual: &Order{Arm: lavd, Since: t0}}, action: ActionSwap, arm: lavd,
			reason: "ordered by the operator", would: "autosa auto",
		},
		{
			name: "an order that is fulfilled holds",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd),
				Manual: &Order{Arm: lavd, Since: t0}}, action: ActionKeep, arm: lavd, reason: "it is in charge",
		},
		{
			name: "an order for an unusable scheduler is not replaced by another choice",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd), WhyNot: map[string]string{"scx_rusty": "", "scx_lavd": ""},
				Manual: &Order{Arm: Arm{Scheduler: "scx_flash"}, Since: t0}}, action: ActionKeep, arm: lavd,
			reason: "scx_flash cannot be used: not installed",
		},
		{
			name: "an order for EEVDF needs nothing installed",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd), WhyNot: map[string]string{},
				Manual: &Order{Arm: Default(), Since: t0}}, action: ActionSwap, arm: Default(),
		},
		{
			name: "recommend says what auto would do",
			cfg:  func(c *Config) { c.Mode = ModeRecommend },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF()}, action: ActionRecommend, arm: rusty,
			reason: "this is a recommendation", would: "autosa switch scx_rusty",
		},
		{
			name: "recommend follows orders",
			cfg:  func(c *Config) { c.Mode = ModeRecommend },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), Manual: &Order{Arm: lavd, Since: t0}}, action: ActionSwap, arm: lavd,
		},
		{
			name: "manual without an order changes nothing",
			cfg:  func(c *Config) { c.Mode = ModeManual },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF()}, action: ActionKeep, arm: Default(),
			reason: "nothing changes without an order",
		},
		{
			name: "observe acts on nothing and says what it would do",
			cfg:  func(c *Config) { c.Mode = ModeObserve },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF()}, action: ActionKeep, arm: Default(),
			reason: "it would put scx_rusty --slice-us-underutil 20000 in charge",
		},
		{
			name: "observe does not follow orders",
			cfg:  func(c *Config) { c.Mode = ModeObserve },
			in:   Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), Manual: &Order{Arm: lavd, Since: t0}}, action: ActionKeep, arm: Default(),
			reason: "cannot follow the order",
		},
		{
			name: "an arm that just failed gives way",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: running(lavd),
				Failures: []Failure{{Arm: rusty, At: t0.Add(-10 * time.Second), Reason: "exit status 1"}}}, action: ActionSwap, arm: Default(),
			reason: "scx_rusty failed once, last 10s ago (exit status 1), and rests for another 50s", would: "in 50s, when its rest is over",
		},
		{
			name:  "after its rest it is tried again",
			state: State{Resting: []Rest{{Arm: rusty, Failures: 1, At: t0.Add(-time.Minute), Until: t0}}},
			in:    Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF()}, action: ActionSwap, arm: rusty,
		},
		{
			name:  "an order that came before the failure waits for the rest",
			state: State{Resting: []Rest{{Arm: rusty, Failures: 2, At: t0.Add(-time.Second), Until: t0.Add(time.Minute)}}},
			in: Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(),
				Manual: &Order{Arm: rusty, Since: t0.Add(-time.Hour)}}, action: ActionKeep, arm: Default(),
			reason: "failed 2 times in a row",
		},
		{
			name: "a hold keeps what is in charge",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(),
				Holds: []Hold{{Reason: "live demo", Since: t0, Until: t0.Add(9 * time.Minute)}}}, action: ActionKeep, arm: Default(),
			reason: "held for another 9m0s (live demo)", would: "in 9m0s, when the hold is over, or `autosa hold --release`",
		},
		{
			name: "a hold that is over does not",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(),
				Holds: []Hold{{Reason: "live demo", Since: t0.Add(-time.Hour), Until: t0}}}, action: ActionSwap, arm: rusty,
		},
		{
			name: "an order outranks a hold",
			in: Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), Manual: &Order{Arm: lavd, Since: t0},
				Holds: []Hold{{Reason: "until its holder ends", Since: t0}}}, action: ActionSwap, arm: lavd,
		},
		{
			name:  "an order that came after the failure does not",
			state: State{Resting: []Rest{{Arm: rusty, Failures: 2, At: t0.Add(-time.Second), Until: t0.Add(time.Minute)}}},
			in: Input{Host: host(workload.Compute, 0.9), InCharge: onEEVDF(),
				Manual: &Order{Arm: rusty, Since: t0}}, action: ActionSwap, arm: rusty,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := DefaultConfig()
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			if err := cfg.Validate(); err != nil {
				t.Fatal(err)
			}
			tt.in.Now = t0
			if tt.in.WhyNot == nil {
				tt.in.WhyNot = allUsable()
			}
			d, _ := Decide(cfg, tt.state, tt.in)
			if d.Action != tt.action || !d.Arm.Equal(tt.arm) {
				t.Errorf("decided %s %q, want %s %q", d.Action, d.Arm, tt.action, tt.arm)
			}
			if !anyContains(d.Reasons, tt.reason) {
				t.Errorf("no reason says %q: %q", tt.reason, d.Reasons)
			}
			if !anyContains(d.WouldChange, tt.would) {
				t.Errorf("nothing that would change it says %q: %q", tt.would, d.WouldChange)
			}
			if t.Failed() {
				t.Logf("%+v", d)
			}
		})
	}
}

func anyContains(all []string, part string) bool {
	return slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, part) })
}

func TestEveryAlternativeSaysWhyNot(t *testing.T) {
	in := Input{Now: t0, Host: host(workload.Compute, 0.8), InCharge: running(tabled(workload.IO)), WhyNot: allUsable(), LastSwap: t0.Add(-time.Minute)}
	in.Host.Probabilities[workload.Server] = 0.15
	in.WhyNot["scx_flash"] = "needs kernel 6.16"
	d, _ := Decide(DefaultConfig(), State{}, in)
	got := map[string]string{}
	for _, a := range d.Alternatives {
		got[a.Arm.String()] = a.WhyNot
	}
	want := map[string]string{
		"scx_rusty --slice-us-underutil 20000": "the choice for compute; it waits, as the reasons say",
		"scx_lavd --slice-max-us 5000":         "the choice for interactive (0.00), media (0.00), server (0.15)",
		"scx_flash --slice-us 4096":            "needs kernel 6.16",
		"builtin:latency":                      "not installed",
		"builtin:throughput":                   "not installed",
		"builtin:balanced":                     "not installed",
		"eevdf":                                "the last resort, when nothing else is usable",
	}
	for arm, why := range want {
		if got[arm] != why {
			t.Errorf("%s: %q, want %q", arm, got[arm], why)
		}
	}
	if len(got) != len(want) {
		t.Errorf("alternatives are %v", got)
	}
}

func TestRestsDoubleAndAreForgiven(t *testing.T) {
	cfg := DefaultConfig()
	rusty := tabled(workload.Compute)
	in := Input{Now: t0, Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), WhyNot: allUsable()}
	var st State
	want := time.Minute
	for range 13 { // up to a day
		before := st
		in.Failures = []Failure{{Arm: rusty, At: in.Now, Reason: "did not attach"}}
		_, st = Decide(cfg, st, in)
		if len(before.Resting) > 0 && before.Resting[0].Failures == st.Resting[0].Failures {
			t.Fatal("the state given was changed")
		}
		if _, again := Decide(cfg, st, in); again.Resting[0].Failures != st.Resting[0].Failures {
			t.Fatal("a failure told twice counted twice")
		}
		if got := st.Resting[0].Until.Sub(in.Now); got != want {
			t.Fatalf("failure %d rests for %v, want %v", st.Resting[0].Failures, got, want)
		}
		want = min(2*want, cfg.MaxBackoff)
		in.Now = st.Resting[0].Until
	}
	// In charge at last: forgiven only after as long as the last rest.
	in.Failures = nil
	in.InCharge, in.LastSwap = running(rusty), in.Now.Add(time.Second)
	in.Now = in.LastSwap.Add(cfg.MaxBackoff - time.Second)
	if _, st = Decide(cfg, st, in); len(st.Resting) != 1 {
		t.Fatal("forgiven too early")
	}
	in.Now = in.Now.Add(time.Second)
	if _, st = Decide(cfg, st, in); len(st.Resting) != 0 {
		t.Fatal("not forgiven")
	}
}

func TestRestingArmsAreBounded(t *testing.T) {
	var st State
	in := Input{Now: t0, InCharge: onEEVDF()}
	for i := range 3 * maxResting {
		in.Failures = append(in.Failures, Failure{Arm: Arm{"scx_x", []string{strings.Repeat("x", i)}}, At: t0})
	}
	_, st = Decide(DefaultConfig(), st, in)
	if len(st.Resting) != maxResting {
		t.Errorf("%d arms rest, want at most %d", len(st.Resting), maxResting)
	}
}

func TestValidateNamesEveryMistake(t *testing.T) {
	c := Config{Mode: "sometimes", MinConfidence: 1.5, MinSwitchInterval: -1, Backoff: 0,
		Table: Table{workload.Idle: {Default()}, workload.IO: {{}, {EEVDF, []string{"-x"}}}}}
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"sometimes", "1.5", "-1ns", "backoff", "idle", "without a scheduler for io", "takes none"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not named: %v", part, err)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheTableNamesTheClassesOfAScheduler(t *testing.T) {
	if got := DefaultTable().Classes("scx_rusty"); !slices.Equal(got, []workload.Class{workload.Compute, workload.Batch}) {
		t.Errorf("scx_rusty: %v", got)
	}
	if got := DefaultTable().Classes(EEVDF); got != nil {
		t.Errorf("eevdf: %v", got)
	}
}

// The probabilities of an arm's classes are added in one order: with the
// minimum between two of the sums that other orders give, every decision is the
// same, whatever the order in which a map is walked.
func TestConfidenceInAnArmIsTheSameSumEveryTime(t *testing.T) {
	cfg := DefaultConfig()
	lavd := cfg.Table[workload.Server]
	cfg.Table = Table{workload.Interactive: lavd, workload.Media: lavd, workload.Server: lavd}
	in := Input{Now: t0, Host: host(workload.Server, 0.3), InCharge: InCharge{Arm: Default(), Owner: OwnerKernel},
		WhyNot: map[string]string{lavd[0].Scheduler: ""}}
	in.Host.Probabilities[workload.Interactive], in.Host.Probabilities[workload.Media] = 0.1, 0.2
	const one, other = 0.3 + 0.1, 0.3 + 0.2
	a, b := float64(one), float64(other)
	if a+0.2 == b+0.1 {
		t.Fatal("the order of these does not matter: the test shows nothing")
	}
	cfg.MinConfidence = max(a+0.2, b+0.1)
	first, _ := Decide(cfg, State{}, in)
	for range 200 {
		if d, _ := Decide(cfg, State{}, in); d.Action != first.Action {
			t.Fatalf("the same input led to %q and to %q", first.Action, d.Action)
		}
	}
}
