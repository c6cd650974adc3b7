// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/api"
	"autosa/vmtest/guest"
)

// withoutSchedulers are the arguments of a daemon on a machine without an scx
// package. Swaps are an hour apart.
func withoutSchedulers(t *testing.T) []string {
	t.Helper()
	return append(append([]string{"--config", configWith(t, "start_timeout_secs = 240\n")}, quick...), "--min-switch-interval", "3600")
}

// builtinInCharge says whether autosa and the kernel agree that the built-in
// scheduler is in charge under a policy.
func builtinInCharge(st api.Status, policy string) bool {
	return inCharge(st, "builtin:"+policy, "autosa") && st.Builtin != nil && st.Builtin.Policy == policy
}

// With no scheduler installed autosa puts its own in charge, and then follows the
// work without a swap, though swaps are an hour apart: the kernel counts no
// enable. Killed, it leaves nothing behind; started again, it does what it was
// told before.
func TestVMBuiltinServesWhereNoSchedulerIsInstalled(t *testing.T) {
	guest.On(t, "7.2")
	guest.SchedExt(t)
	before := kernel()
	a := start(t, bin(t), withoutSchedulers(t)...)
	work := guest.Load(t, "spin", "-n", "2")
	st := a.await(swapTime, "the built-in scheduler under the policy for computing", func(st api.Status) bool { return builtinInCharge(st, "throughput") })
	if k := kernel(); k.EnableSeq != before.EnableSeq+1 || st.Swaps != 1 || st.FailedSwaps != 0 || st.LastSwap == nil || !st.LastSwap.OK || st.LastSwap.Cause != "auto" {
		t.Errorf("enable_seq was %d, the kernel says %+v, autosa %d swaps and %+v", before.EnableSeq, k, st.Swaps, st.LastSwap)
	}
	_ = work.Stop()
	adjustments := st.Builtin.Adjustments
	work = guest.Load(t, latencyLoad...)
	st = a.await(swapTime, "the policy for latency", func(st api.Status) bool { return builtinInCharge(st, "latency") })
	if k := kernel(); k.EnableSeq != before.EnableSeq+1 || st.Swaps != 1 || st.Builtin.Adjustments <= adjustments || st.Builtin.LastAdjustment == nil {
		t.Errorf("after the change of policy the kernel says %+v, autosa %d swaps and %+v; enable_seq was %d", k, st.Swaps, st.Builtin, before.EnableSeq+1)
	}
	st = a.await(soon, "all CPUs obeying", func(st api.Status) bool {
		return st.Builtin != nil && st.Builtin.CPUs > 0 && st.Builtin.ObeyingCPUs == st.Builtin.CPUs
	})
	if c := st.Builtin.Counts; c.Direct == 0 || c.Unknown != 0 {
		t.Errorf("counts %+v", c)
	}
	said, _ := json.Marshal(map[string]any{"scheduler": st.Scheduler, "builtin": st.Builtin, "decision": st.LastDecision})
	t.Logf("%s", said)
	_ = work.Stop()

	if out := a.mustRun("list"); !strings.Contains(out, "builtin:latency") || !strings.Contains(out, "in charge") {
		t.Errorf("autosa list:\n%s", out)
	}
	a.mustRun("switch", "eevdf")
	if k := kernel(); k.State != "disabled" {
		t.Errorf("after `autosa switch eevdf` the kernel says %+v", k)
	}
	a.mustRun("switch", "builtin:balanced")
	seq := kernel().EnableSeq
	var res api.SwitchResult
	if err := json.Unmarshal([]byte(a.mustRun("switch", "--json", "builtin:throughput")), &res); err != nil || !res.InPlace || !res.Swap.OK || res.Swap.EnableSeq != seq {
		t.Errorf("to another policy: %+v %v", res, err)
	}
	if k := kernel(); k.State != "enabled" || k.Ops != "autosa" || k.EnableSeq != seq {
		t.Errorf("after the change of policy the kernel says %+v, enable_seq was %d", k, seq)
	}

	a.end(syscall.SIGKILL, soon)
	awaitDisabled(t, soon)
	a.launch(withoutSchedulers(t)...)
	a.await(swapTime, "the operator's choice after the restart", func(st api.Status) bool { return builtinInCharge(st, "throughput") && st.Mode == api.ModeManual })
	if ps := a.end(syscall.SIGTERM, soon); ps.ExitCode() != 0 {
		t.Errorf("SIGTERM: %v", ps)
	}
	if k := kernel(); k.State != "disabled" {
		t.Errorf("after the daemon's end the kernel says %+v", k)
	}
}

// Beside a real scheduler: each is loaded before the other is stopped, both ways.
// CPUs that come and go eject nobody; SysRq-S does, and is the operator's veto.
func TestVMBuiltinAndARealSchedulerFollowEachOther(t *testing.T) {
	guest.Long(t) // three spinners beside what verifies programs: minutes
	guest.SchedExt(t)
	guest.Scheduler(t, "scx_rusty")
	a := startInVM(t, "--no-auto-switch")
	guest.Load(t, "spin", "-n", "3")
	seq := kernel().EnableSeq
	for _, s := range []struct{ order, name, prefix string }{
		{"builtin:latency", "builtin:latency", "autosa"}, {"rusty", "scx_rusty", "rusty"}, {"builtin:balanced", "builtin:balanced", "autosa"},
	} {
		var res api.SwitchResult
		if err := json.Unmarshal([]byte(a.mustRun("switch", "--json", s.order)), &res); err != nil || !res.Swap.OK || res.Swap.Ungated != "" || res.InPlace {
			t.Fatalf("switch %s: %+v %v", s.order, res, err)
		}
		st, err := a.status()
		seq++
		if err != nil || !inCharge(st, s.name, s.prefix) || kernel().EnableSeq != seq {
			t.Errorf("after switch %s: %v %+v, the kernel says %+v, want enable_seq %d", s.order, err, st.Scheduler, kernel(), seq)
		}
		t.Logf("%s → %s: %.3f s on EEVDF of %.3f s", res.Swap.From, res.Swap.To, res.Swap.GapSeconds, res.Swap.TotalSeconds)
	}

	const online = "/sys/devices/system/cpu/cpu1/online"
	set := func(value string) {
		t.Helper()
		if err := os.WriteFile(online, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set("1") })
	for range 2 {
		set("0")
		time.Sleep(2 * time.Second)
		set("1")
		time.Sleep(2 * time.Second)
	}
	if st, err := a.status(); err != nil || !builtinInCharge(st, "balanced") || kernel().EnableSeq != seq || st.Incidents != 0 {
		t.Errorf("after CPUs went and came: %v %+v, %d incidents, the kernel says %+v", err, st.Scheduler, st.Incidents, kernel())
	}

	if err := os.WriteFile("/proc/sysrq-trigger", []byte("S"), 0); err != nil {
		t.Fatal(err)
	}
	st := a.await(soon, "the veto", func(st api.Status) bool { return st.Veto != nil && st.LastIncident != nil })
	if st.LastIncident.Ending != "sysrq" || st.LastIncident.Scheduler != "builtin:balanced" || len(st.Quarantine) != 0 || st.Builtin != nil || kernel().State != "disabled" {
		t.Errorf("after SysRq-S: %+v, quarantine %+v, the kernel says %+v", st.LastIncident, st.Quarantine, kernel())
	}
}
