// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	"autosa/workload"
)

func TestVetoKeepsEverythingUntilALaterOrder(t *testing.T) {
	rusty := tabled(workload.Compute)
	in := Input{Now: t0, Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), WhyNot: allUsable(), Veto: &Veto{Arm: rusty, Since: t0.Add(-time.Hour)}}
	d, _ := Decide(DefaultConfig(), State{}, in)
	if d.Action != ActionKeep || !d.Arm.Equal(Default()) || !strings.Contains(strings.Join(d.Reasons, "\n"), "SysRq-S took scx_rusty out 1h0m0s ago") ||
		!strings.Contains(strings.Join(d.WouldChange, "\n"), "autosa auto") {
		t.Errorf("%+v", d)
	}
	in.Manual = &Order{Arm: rusty, Since: t0.Add(-2 * time.Hour)}
	if d, _ := Decide(DefaultConfig(), State{}, in); d.Action != ActionKeep || !d.Manual {
		t.Errorf("an order from before: %+v", d)
	}
	in.Manual.Since = t0
	if d, _ := Decide(DefaultConfig(), State{}, in); d.Action != ActionSwap || !d.Arm.Equal(rusty) {
		t.Errorf("an order given since: %+v", d)
	}
	in.Manual, in.Veto = nil, nil
	if d, _ := Decide(DefaultConfig(), State{}, in); d.Action != ActionSwap {
		t.Errorf("without the veto: %+v", d)
	}
}

func TestRestIsOfOneVersion(t *testing.T) {
	rusty := tabled(workload.Compute)
	in := Input{
		Now: t0, Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), WhyNot: allUsable(), Versions: map[string]string{"scx_rusty": "1.1.4"},
		Failures: []Failure{{Arm: rusty, Version: "1.1.4", At: t0.Add(-time.Second), Reason: "stall"}},
	}
	d, st := Decide(DefaultConfig(), State{}, in)
	if d.Arm.Equal(rusty) || len(st.Resting) != 1 || st.Resting[0].Version != "1.1.4" {
		t.Fatalf("%+v %+v", d, st)
	}
	in.Failures = nil
	in.Versions = map[string]string{"scx_rusty": "1.1.5"}
	if d, _ := Decide(DefaultConfig(), st, in); !d.Arm.Equal(rusty) || d.Action != ActionSwap {
		t.Errorf("another version: %+v", d)
	}
	// It fails too: an entry of its own, and the other one stays.
	in.Failures = []Failure{{Arm: rusty, Version: "1.1.5", At: t0, Reason: "stall"}}
	_, st = Decide(DefaultConfig(), st, in)
	if len(st.Resting) != 2 || st.Resting[0].Failures != 1 || st.Resting[1].Failures != 1 {
		t.Errorf("%+v", st.Resting)
	}
	// In charge for long, in the version that is there now.
	in.Failures, in.InCharge, in.LastSwap, in.Now = nil, running(rusty), t0.Add(time.Second), t0.Add(time.Hour)
	if _, st = Decide(DefaultConfig(), st, in); len(st.Resting) != 1 || st.Resting[0].Version != "1.1.4" {
		t.Errorf("forgiven: %+v", st.Resting)
	}
}

func TestForgivenIsForgottenBeforeWhatFailsNow(t *testing.T) {
	rusty := tabled(workload.Compute)
	in := Input{Now: t0, Host: host(workload.Compute, 0.9), InCharge: onEEVDF(), WhyNot: allUsable()}
	for i := range 3 {
		in.Failures = append(in.Failures, Failure{Arm: rusty, At: t0.Add(time.Duration(i-5) * time.Second)},
			Failure{Arm: tabled(workload.IO), At: t0.Add(time.Duration(i-5) * time.Second)})
	}
	_, st := Decide(DefaultConfig(), State{}, in)
	before := st
	in.Forgive, in.Failures = []string{"scx_rusty"}, []Failure{{Arm: rusty, At: t0}}
	_, st = Decide(DefaultConfig(), st, in)
	if len(st.Resting) != 2 || st.Resting[0].Failures != 3 || st.Resting[1].Failures != 1 || !st.Resting[1].Arm.Equal(rusty) {
		t.Errorf("%+v", st.Resting)
	}
	if before.Resting[0].Failures != 3 || !before.Resting[0].Arm.Equal(rusty) {
		t.Error("the state given was changed")
	}
}
