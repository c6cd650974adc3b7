// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	"autosa/workload"
)

func builtinArm(name string) Arm { return Arm{Scheduler: name} }

func onlyBuiltin() map[string]string {
	return map[string]string{BuiltinLatency: "", BuiltinBalanced: "", BuiltinThroughput: ""}
}

// With no scheduler installed the built-in one is what auto puts in charge.
func TestBuiltinServesEveryClassWhereNothingIsInstalled(t *testing.T) {
	for class, want := range map[workload.Class]string{
		workload.Interactive: BuiltinLatency, workload.Media: BuiltinLatency, workload.Server: BuiltinLatency,
		workload.Mixed: BuiltinBalanced, workload.IO: BuiltinBalanced,
		workload.Compute: BuiltinThroughput, workload.Batch: BuiltinThroughput,
	} {
		in := Input{Now: t0, Host: host(class, 0.9), InCharge: onEEVDF(), WhyNot: onlyBuiltin()}
		if d, _ := Decide(DefaultConfig(), State{}, in); d.Action != ActionSwap || !d.Arm.Equal(builtinArm(want)) {
			t.Errorf("%s: %s %s, want a swap to %s", class, d.Action, d.Arm, want)
		}
		for name := range allUsable() {
			in.WhyNot[name] = ""
		}
		if d, _ := Decide(DefaultConfig(), State{}, in); IsBuiltin(d.Arm.Scheduler) {
			t.Errorf("%s: %s though all others are installed", class, d.Arm)
		}
	}
}

// From one policy to another no interval counts; to anything else it does.
func TestAChangeOfPolicyIsNoSwap(t *testing.T) {
	in := Input{
		Now: t0, Host: host(workload.Compute, 0.9), InCharge: running(builtinArm(BuiltinLatency)), WhyNot: onlyBuiltin(),
		LastSwap: t0.Add(-time.Second),
	}
	d, _ := Decide(DefaultConfig(), State{}, in)
	if d.Action != ActionAdjust || !d.Arm.Equal(builtinArm(BuiltinThroughput)) || !strings.Contains(strings.Join(d.Reasons, "\n"), "is no swap") {
		t.Errorf("within the interval: %s %s because %q", d.Action, d.Arm, d.Reasons)
	}
	for name, change := range map[string]func(*Input, *Config){
		"unsure":       func(in *Input, _ *Config) { in.Host.Confidence = 0.5 },
		"too young":    func(in *Input, _ *Config) { in.Host = young(workload.Compute, 0.9) },
		"held":         func(in *Input, _ *Config) { in.Holds = []Hold{{Reason: "a game", Since: t0}} },
		"to be chosen": func(_ *Input, c *Config) { c.Mode = ModeManual },
	} {
		in, cfg := in, DefaultConfig()
		change(&in, &cfg)
		if d, _ := Decide(cfg, State{}, in); d.Action != ActionKeep {
			t.Errorf("%s: %s %s, want to keep", name, d.Action, d.Arm)
		}
	}
	in.Manual = &Order{Arm: builtinArm(BuiltinBalanced), Since: t0}
	if d, _ := Decide(DefaultConfig(), State{}, in); d.Action != ActionAdjust || !d.Manual {
		t.Errorf("an order: %+v", d)
	}
	in.Manual = nil
	in.WhyNot["scx_rusty"] = ""
	if d, _ := Decide(DefaultConfig(), State{}, in); d.Action != ActionKeep {
		t.Errorf("to a scheduler that is installed, within the interval: %s %s", d.Action, d.Arm)
	}
	// Somebody else's autosa has it: nobody's to adjust.
	in.InCharge = InCharge{builtinArm(BuiltinLatency), OwnerForeign}
	if d, _ := Decide(DefaultConfig(), State{}, in); d.Action != ActionKeep {
		t.Errorf("a foreign one: %s %s", d.Action, d.Arm)
	}
}

// Its policies are figures of one program: what ejected it under one keeps it
// out under all.
func TestBuiltinRestsAsOne(t *testing.T) {
	in := Input{
		Now: t0, Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), WhyNot: onlyBuiltin(),
		Failures: []Failure{{Arm: builtinArm(BuiltinLatency), At: t0.Add(-time.Second), Reason: "stall"}},
	}
	d, st := Decide(DefaultConfig(), State{}, in)
	if d.Action != ActionKeep || !d.Arm.Equal(Default()) || st.RestOf(builtinArm(BuiltinThroughput), "", t0) == nil {
		t.Errorf("after a stall under another policy: %s %s, resting %+v", d.Action, d.Arm, st.Resting)
	}
	in.Failures = []Failure{{Arm: builtinArm(BuiltinBalanced), At: t0, Reason: "stall"}}
	if _, st = Decide(DefaultConfig(), st, in); len(st.Resting) != 1 || st.Resting[0].Failures != 2 {
		t.Errorf("two failures are %+v", st.Resting)
	}
	in.Failures, in.Forgive = nil, []string{BuiltinThroughput}
	if d, st = Decide(DefaultConfig(), st, in); len(st.Resting) != 0 || d.Action != ActionSwap {
		t.Errorf("forgiven under a third name: %s, resting %+v", d.Action, st.Resting)
	}
}

func TestBuiltinTakesNoArguments(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Table[workload.Batch] = []Arm{{BuiltinLatency, []string{"-x"}}}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "builtin:latency arguments for batch") {
		t.Errorf("arguments for the built-in scheduler: %v", err)
	}
}
