// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/api"
	"autosa/vmtest/guest"
)

// A real scheduler that goes without an order: each way is told apart and kept as
// an incident, the status says what is in charge, and nothing starts it again:
// neither after it was killed, nor after the operator's SysRq-S.
func TestVMSchedulerThatGoesIsAnIncidentAndNoRestartLoop(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t) // the short form has rows of the fault table
	guest.Scheduler(t, "scx_rusty")
	a := startInVM(t, "--no-auto-switch")

	// lose puts scx_rusty in charge, has it taken out, and returns what was kept.
	lose := func(ending string, take func(pid int), order ...string) api.Incident {
		t.Helper()
		a.mustRun(order...)
		st := a.await(soon, "scx_rusty in charge", func(st api.Status) bool { return inCharge(st, "scx_rusty", "rusty") && st.Scheduler.PID > 0 })
		seen := st.Incidents
		take(st.Scheduler.PID)
		st = a.await(soon, "EEVDF in charge and an incident", func(st api.Status) bool {
			return st.Scheduler.Name == api.EEVDF && st.Incidents == seen+1 && kernel().State == "disabled"
		})
		if in := st.LastIncident; in.Ending != ending || in.Scheduler != "scx_rusty" || in.InCharge != api.EEVDF || in.Phase != "" {
			t.Errorf("want %s, got %+v", ending, in)
		}
		return a.incident(st.LastIncident.ID)
	}
	signal := func(sig syscall.Signal) func(int) {
		return func(pid int) {
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
	}

	lose("stopped by somebody else", signal(syscall.SIGTERM), "switch", "rusty")
	if _, errOut, code := a.run("switch", "rusty"); code != api.ExitConflict || !strings.Contains(errOut, "quarantine") || !strings.Contains(errOut, "--force") {
		t.Errorf("switch to a quarantined scheduler: exit %d: %s", code, errOut)
	}
	killed := lose("killed", signal(syscall.SIGKILL), "switch", "--force", "rusty")
	if killed.Version == "" || killed.Path != guest.Scheduler(t, "scx_rusty") || killed.Kernel == "" || !strings.Contains(killed.Exit, "SIGKILL") ||
		len(killed.Samples) == 0 || killed.Output == "" {
		t.Errorf("%+v", killed)
	}
	st := a.await(soon, "a quarantine", func(st api.Status) bool { return len(st.Quarantine) > 0 })
	if q := st.Quarantine[0]; q.Scheduler != "scx_rusty" || q.Failures != 2 || q.Version != killed.Version || q.Until.Sub(q.Time).Round(time.Second) != 2*time.Minute {
		t.Errorf("quarantine: %+v", q)
	}

	if _, errOut, code := a.run("switch", "rusty", "--", "--no-such-option"); code != api.ExitFailed {
		t.Errorf("wrong argument: exit %d: %s", code, errOut)
	}
	st, err := a.status()
	if err != nil || st.LastIncident.Ending != "usage" || st.LastIncident.Phase == "" {
		t.Errorf("after a wrong argument: %+v %v", st.LastIncident, err)
	}
	a.incident(st.LastIncident.ID)

	if out := a.mustRun("quarantine", "clear", "rusty"); !strings.Contains(out, "2 entries") {
		t.Errorf("clear: %s", out)
	}
	sysrq := lose("sysrq", func(int) {
		if err := os.WriteFile("/proc/sysrq-trigger", []byte("S"), 0); err != nil {
			t.Fatal(err)
		}
	}, "switch", "rusty")
	if !strings.Contains(strings.Join(sysrq.KernelLog, "\n"), "disabled by sysrq-S") {
		t.Errorf("the kernel's log: %q", sysrq.KernelLog)
	}
	seq := kernel().EnableSeq
	st = a.await(soon, "the veto", func(st api.Status) bool { return st.Veto != nil })
	if len(st.Quarantine) > 0 || st.Mode != api.ModeManual {
		t.Errorf("mode %s, quarantine %+v", st.Mode, st.Quarantine)
	}
	// The order for it stands, and would be followed at the next tick.
	a.await(soon, "further ticks", func(now api.Status) bool { return now.Samples > st.Samples+10 })
	if k := kernel(); k.EnableSeq != seq || k.State != "disabled" {
		t.Errorf("started again after SysRq-S: %+v", k)
	}
	a.mustRun("auto")
	a.await(soon, "no veto after auto", func(st api.Status) bool { return st.Veto == nil })

	files, err := filepath.Glob(filepath.Join(a.dir, "state", "incidents", "*"))
	if err != nil || len(files) != 4 {
		t.Errorf("incident files: %v %v", files, err)
	}
	var list []api.Incident
	if err := json.Unmarshal([]byte(a.mustRun("incidents", "--json")), &list); err != nil || len(list) != 4 || !slices.IsSortedFunc(list,
		func(x, y api.Incident) int { return y.Time.Compare(x.Time) }) || list[0].Output != "" {
		t.Errorf("incidents: %+v %v", list, err)
	}
}

// incident asks for one with all that is known of it, and logs it.
func (a *autosa) incident(id uint64) api.Incident {
	a.t.Helper()
	var in api.Incident
	if err := json.Unmarshal([]byte(a.mustRun("incidents", "--json", fmt.Sprint(id))), &in); err != nil {
		a.t.Fatal(err)
	}
	a.t.Logf("incident %d, %s: reason %q, exit %q, kernel %q, counters %v\n%s", in.ID, in.Ending, in.Reason, in.Exit, in.KernelLog, in.Counters, tail(in.Output, 30))
	return in
}
