// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"autosa/api"
	"autosa/vmtest/guest"
)

// A scheduler started by hand shows in the status with its process and is adopted; an
// order by mode replaces it, and the status has the mode.
// doctor, list and refusals say what they should of the real ones.
func TestVMOrderByModeReplacesAnAdoptedScheduler(t *testing.T) {
	guest.Long(t) // scx_lavd loads for minutes on an emulated CPU
	guest.SchedExt(t)
	byHand := guest.Start(t, guest.Scheduler(t, "scx_rusty"))
	guest.Await(t, startTimeout, "scx_rusty in charge", func() bool { return guest.State(t) == "enabled" })
	dir := t.TempDir()
	args := append(inVM(t, fmt.Sprintf("start_timeout_secs = %d\nforeign = \"adopt\"\n", int(startTimeout.Seconds()))), "--no-auto-switch", "--state-dir", dir)
	a := start(t, bin(t), args...)
	st := a.await(soon, "the foreign scheduler's process", func(st api.Status) bool { return st.Scheduler.Process != nil })
	if s := st.Scheduler; s.Owner != api.OwnerAdopted || s.Name != "scx_rusty" || s.PID != byHand.Cmd.Process.Pid || s.Process.Comm != "scx_rusty" || s.HandsOff != "" {
		t.Errorf("%+v, %+v", s, s.Process)
	}
	if text := a.mustRun("status"); !strings.Contains(text, "started by somebody else, adopted") || !strings.Contains(text, fmt.Sprint(byHand.Cmd.Process.Pid)) {
		t.Errorf("status:\n%s", text)
	}

	var list []api.Scheduler
	if err := json.Unmarshal([]byte(a.mustRun("list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Installed && (!e.Usable || e.ModesUnchecked != "") {
			t.Errorf("%s: usable %v, %s %s", e.Name, e.Usable, e.WhyNot, e.ModesUnchecked)
		}
		for _, m := range e.Modes {
			if m.WhyNot != "" { // what prepare.sh pins and what the catalogue says go together
				t.Errorf("%s %s in mode %s: %s", e.Name, e.Version, m.Name, m.WhyNot)
			}
		}
	}
	doctor, _, _ := a.run("doctor")
	t.Logf("doctor:\n%s", doctor)
	if !strings.Contains(doctor, "a scheduler can be held, loaded") || !strings.Contains(doctor, "started by somebody else and adopted") {
		t.Error("doctor does not say that the gate works and who is adopted")
	}

	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"rusty", "--mode", "gaming"}, api.ExitUsage, "scx_rusty has no mode gaming, only auto"},
		{[]string{"lavd", "--mode", "fast"}, api.ExitUsage, `there is no mode "fast"`},
		{[]string{"lavd", "--mode", "gaming", "--", "--balanced"}, api.ExitUsage, "--mode stands for all arguments"},
	} {
		if _, errOut, code := a.run(append([]string{"switch"}, c.args...)...); code != c.code || !strings.Contains(errOut, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, errOut)
		}
	}
	if byHand.Ended() {
		t.Fatal("a refused order ended what was in charge")
	}
	t.Log(a.mustRun("switch", "lavd", "--mode", "gaming"))
	gaming := []string{"--performance", "--pinned-slice-us", "500"}
	inMode := func(st api.Status) bool {
		return inCharge(st, "scx_lavd", "lavd_") && st.Scheduler.Mode == "gaming" && slices.Equal(st.Scheduler.Args, gaming)
	}
	st = a.await(soon, "scx_lavd in its mode", inMode)
	if st.LastSwap == nil || st.LastSwap.From != "scx_rusty" || st.LastSwap.Ungated != "" || st.LastSwap.GapSeconds <= 0 {
		t.Errorf("%+v", st.LastSwap)
	}
	guest.Await(t, soon, "the end of scx_rusty", byHand.Ended)
	if text := a.mustRun("status"); !strings.Contains(text, "mode gaming") {
		t.Errorf("status:\n%s", text)
	}
}
