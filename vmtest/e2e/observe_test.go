// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/api"
	"autosa/bpf/trace"
	"autosa/workload"
)

// checkObserveMode is what holds on every kernel without sched_ext: autosa
// watches and says so, refuses to swap with its own exit code, and doctor names
// what is missing.
func checkObserveMode(t *testing.T, bin string) {
	a := start(t, bin, "--collection-interval", "1", "--aggregation-window", "4")
	spin := exec.Command("sh", "-c", "while :; do :; done")
	if err := spin.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spin.Process.Kill(); _ = spin.Wait() })

	st := a.await(2*time.Minute, "observe mode with a class and waits", func(st api.Status) bool {
		return st.Samples >= 4 && st.Workload.Confidence > 0 && st.Tracer.Switches > 0
	})
	if st.Mode != api.ModeObserve || !strings.Contains(st.ModeReason, "sched_ext") {
		t.Errorf("mode %q because %q, want observe because of sched_ext", st.Mode, st.ModeReason)
	}
	if st.Kernel.SchedExt || st.Scheduler.Name != api.EEVDF || st.Scheduler.Owner != api.OwnerKernel {
		t.Errorf("kernel %+v, scheduler %+v, want EEVDF on a kernel without sched_ext", st.Kernel, st.Scheduler)
	}
	switch err := trace.Probe(); {
	case err == nil && (st.Tracer.Source != workload.SourceBPF || !st.Waits.Distributions || st.Waits.RunQueueP99Seconds <= 0):
		t.Errorf("tracer %+v, waits %+v, want the BPF tracer's distributions", st.Tracer, st.Waits)
	case err != nil && (st.Tracer.Source != workload.SourceProcfs || st.Tracer.Reason != err.Error() || st.Waits.Distributions || st.Waits.WaitPerRun <= 0):
		t.Errorf("tracer %+v, waits %+v, want what /proc says, without distributions, because %v", st.Tracer, st.Waits, err)
	}
	if d := st.LastDecision; d != nil && d.Action == "swap" {
		t.Errorf("decided to swap where it cannot: %+v", d)
	}

	if _, errOut, code := a.run("switch", "rusty"); code != api.ExitUnsupported || !strings.Contains(errOut, "sched_ext") {
		t.Errorf("switch: exit %d, want %d and the reason: %s", code, api.ExitUnsupported, errOut)
	}
	out, errOut, code := a.run("doctor")
	if code != api.ExitUnsupported || !strings.Contains(out, "CONFIG_SCHED_CLASS_EXT") {
		t.Errorf("doctor: exit %d, want %d, and the missing option named:\n%s%s", code, api.ExitUnsupported, out, errOut)
	}
	if out := a.mustRun("status"); !strings.Contains(out, "observe") || !strings.Contains(out, "sched_ext") {
		t.Errorf("status does not say that and why it only observes:\n%s", out)
	}

	_, errOut, code = a.run("start", "--socket", filepath.Join(t.TempDir(), "other.sock"), "--state-dir", t.TempDir())
	if code != api.ExitConflict || !strings.Contains(errOut, strconv.Itoa(a.cmd.Process.Pid)) {
		t.Errorf("second daemon: exit %d, want %d and PID %d: %s", code, api.ExitConflict, a.cmd.Process.Pid, errOut)
	}
	if ps := a.end(syscall.SIGTERM, time.Minute); ps.ExitCode() != 0 {
		t.Errorf("SIGTERM ended the daemon with %v, want exit 0", ps)
	}
	if _, errOut, code := a.run("status"); code != api.ExitNoDaemon || !strings.Contains(errOut, "autosa start") ||
		strings.Count(strings.TrimSpace(errOut), "\n") != 0 {
		t.Errorf("status without a daemon: exit %d, want %d and one line that says how to start it: %q", code, api.ExitNoDaemon, errOut)
	}
}
