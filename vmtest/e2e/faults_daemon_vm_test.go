// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/scx"
	"autosa/vmtest/guest"
)

// Faults around the daemon, each with a daemon of its own; not in the short matrix.

// killedIn has what kills a switcher in each phase of a swap: the phase, and from where to where.
var killedIn = []struct {
	phase    scx.Phase
	from, to string
}{
	{scx.PhasePreflight, "scx_rusty", "scx_bpfland"},
	{scx.PhaseLoading, "scx_rusty", "scx_bpfland"},
	{scx.PhaseStopping, "scx_rusty", "scx_bpfland"},
	{scx.PhaseOpening, "scx_rusty", "scx_bpfland"},
	{scx.PhaseStarting, scx.EEVDF, "scx_rusty"},
	{scx.PhaseVerifying, scx.EEVDF, "scx_rusty"},
	{scx.PhaseReturning, "scx_rusty", "scx_flash"}, // one that registers under another name
	{scx.PhaseEnabled, "scx_rusty", "scx_bpfland"},
}

// What swaps is killed at the beginning of each phase: nothing of it, of a scheduler or of a supervisor is left, and the kernel is on
// EEVDF. It is the daemon's switcher in a process of its own, because no signal from outside can hit a phase of a millisecond.
func TestVMKilledInEveryPhaseOfASwapNothingIsLeft(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	f := newFaults(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f.script("scx_flash", "exec "+guest.Scheduler(t, "scx_bpfland"))
	done := 0
	for _, c := range killedIn {
		t.Run(string(c.phase), func(t *testing.T) {
			f.t = t
			cmd := exec.Command(self, killedWord, string(c.phase), c.from, c.to, filepath.Join(f.dir, "scx_flash"))
			out, err := cmd.CombinedOutput()
			if ws, ok := cmd.ProcessState.Sys().(interface{ Signaled() bool }); !ok || !ws.Signaled() {
				t.Fatalf("it was not killed in that phase: %v: %s", err, out)
			}
			awaitDisabled(t, soon)
			seq := kernel().EnableSeq
			guest.Await(t, soon, "no scheduler and no supervisor", func() bool { return len(f.left()) == 0 })
			f.sound()
			if k := kernel(); k.State != "disabled" || k.EnableSeq != seq {
				t.Errorf("later the kernel says %+v, it was on EEVDF with enable_seq %d", k, seq)
			}
			done++
		})
	}
	t.Logf("counted: killed in %d phases, %d processes left", done, len(f.left()))
}

// newFaults has no daemon.
func newFaults(t *testing.T) *faults {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &faults{t: t, dir: dir}
}

// left are the command lines of schedulers and supervisors.
func (f *faults) left() (all []string) {
	f.t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if line := strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")); err == nil && !strings.Contains(line, killedWord) &&
			(strings.Contains(line, scx.SuperviseWord) || strings.Contains(line, "/scx_")) && !strings.Contains(line, "--scheduler-dir") {
			all = append(all, line)
		}
	}
	return all
}

// A daemon that is killed in a swap counts that against the scheduler when it is started again, and starts nothing by itself.
func TestVMDaemonKilledInASwapRemembersTheAttempt(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	f := newFaults(t)
	f.script("scx_slow", "sleep 30; exec "+guest.Scheduler(t, "scx_bpfland"))
	args := append(inVM(t, ""), "--no-auto-switch", "--scheduler-dir", f.dir)
	f.autosa = newAutosa(t, bin(t))
	f.launch(args...)
	f.order("rusty")
	wait := f.begin("slow", scx.PhaseLoading)
	seq := kernel().EnableSeq
	f.end(unix.SIGKILL, soon)
	wait()
	awaitDisabled(t, soon)
	guest.Await(t, soon, "no scheduler and no supervisor", func() bool { return len(f.left()) == 0 })
	f.launch(args...)
	st := f.await(soon, "a status", func(st api.Status) bool { return st.Swap == nil && len(st.Quarantine) > 0 })
	if q := st.Quarantine[0]; q.Scheduler != "scx_slow" || q.Failures != 1 {
		t.Errorf("quarantine: %+v, want scx_slow's attempt", st.Quarantine)
	}
	f.sound()
	t.Logf("counted: enable_seq %d before, %d after; in charge %s", seq, kernel().EnableSeq, st.Scheduler.Name)
}

// A disk that is full takes nothing from what autosa does: the incident is kept in memory, and the status says that it is there only.
func TestVMFullDiskTakesNoIncidentAway(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	f := newFaults(t)
	f.autosa = newAutosa(t, bin(t))
	state := filepath.Join(f.autosa.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=128k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(state, unix.MNT_DETACH) })
	f.launch(append(inVM(t, ""), "--no-auto-switch")...)
	full, err := os.Create(filepath.Join(state, "full"))
	for err == nil {
		_, err = full.Write(make([]byte, 4096))
	}
	if !strings.Contains(err.Error(), unix.ENOSPC.Error()) {
		t.Fatalf("fill the disk: %v", err)
	}
	f.lose("rusty", sends(unix.SIGKILL))
	st := f.settled()
	if st.Incidents != 1 || st.LastIncident.Ending != string(scx.EndingKilled) || !strings.Contains(strings.Join(st.Warnings, "\n"), unix.ENOSPC.Error()) {
		t.Errorf("%d incidents, last %+v, warnings %q", st.Incidents, st.LastIncident, st.Warnings)
	}
	if in := f.incident(st.LastIncident.ID); in.Output == "" {
		t.Errorf("an incident without what the scheduler printed: %+v", in)
	}
	f.sound()
	if err := os.Remove(full.Name()); err != nil {
		t.Fatal(err)
	}
	f.mustRun("quarantine", "clear", "--all")
	f.lose("rusty", sends(unix.SIGKILL))
	if files, err := filepath.Glob(filepath.Join(state, "incidents", "*")); err != nil || len(files) != 1 {
		t.Errorf("once there is room again: %v %v", files, err)
	}
	if ps := f.end(unix.SIGTERM, soon); ps.ExitCode() != 0 {
		t.Errorf("SIGTERM: %v", ps)
	}
	t.Logf("counted: incidents %s and %s, the first in memory, the second on the disk", scx.EndingKilled, scx.EndingKilled)
}

// Every file of the state directory damaged: each is kept aside, the status says so, and swaps and incidents work.
func TestVMDamagedStateIsKeptAsideAndNothingIsLost(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	f := newFaults(t)
	f.autosa = newAutosa(t, bin(t))
	state := filepath.Join(f.autosa.dir, "state")
	damaged := []string{"state.json", "quarantine.json", "incidents/incident-000007.json"}
	if err := os.MkdirAll(filepath.Join(state, "incidents"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range damaged {
		if err := os.WriteFile(filepath.Join(state, name), bytes.Repeat([]byte{0xff, 0, '{'}, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.launch(append(inVM(t, ""), "--no-auto-switch")...)
	st := f.settled()
	for _, name := range damaged {
		aside, err := filepath.Glob(filepath.Join(state, name) + ".damaged-*")
		if err != nil || len(aside) != 1 || !strings.Contains(strings.Join(st.Warnings, "\n"), filepath.Base(name)) {
			t.Errorf("%s: kept aside as %v (%v), warnings %q", name, aside, err, st.Warnings)
		}
	}
	f.lose("rusty", sends(unix.SIGKILL))
	st = f.settled()
	if st.LastIncident.Ending != string(scx.EndingKilled) || st.LastIncident.ID != 8 {
		t.Errorf("the incident is %+v, want number 8, after the damaged one", st.LastIncident)
	}
	f.sound()
	t.Logf("counted: %d damaged files kept aside, incident %d %s", len(damaged), st.LastIncident.ID, st.LastIncident.Ending)
}

// A second daemon refuses, with the first one's PID, whatever its socket and state; the first one is not disturbed.
func TestVMSecondDaemonRefuses(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	f := newFaults(t)
	f.autosa = startInVM(t, "--no-auto-switch")
	before := f.order("rusty")
	dir := t.TempDir()
	cmd := exec.Command(f.bin, append([]string{"start", "--socket", filepath.Join(dir, "second.sock"), "--state-dir", dir}, inVM(t, "")...)...)
	cmd.Env = withoutSettings()
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err == nil || code != api.ExitConflict || !strings.Contains(string(out), fmt.Sprint(f.cmd.Process.Pid)) {
		t.Errorf("the second daemon: exit %d (%v), want %d and the PID %d: %s", code, err, api.ExitConflict, f.cmd.Process.Pid, out)
	}
	st := f.settled()
	if !f.inCharge(st, "rusty") || st.Scheduler.PID != before.Scheduler.PID || st.Incidents != before.Incidents {
		t.Errorf("the first daemon says %+v, before %+v", st.Scheduler, before.Scheduler)
	}
	f.sound()
	t.Logf("counted: a second daemon, exit %d", cmd.ProcessState.ExitCode())
}

// Where no process can be made there is no swap, and what is in charge stays.
func TestVMNoRoomForAProcessLeavesTheOldScheduler(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	f := newFaults(t)
	f.autosa = startInVM(t, "--no-auto-switch")
	before := f.order("rusty")
	cg := f.cgroup("pids", "pids")
	f.write(filepath.Join(cg, "cgroup.procs"), fmt.Sprint(f.cmd.Process.Pid))
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", f.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// A few are left for threads of the daemon's own: a Go program does not survive that there is none.
	f.write(filepath.Join(cg, "pids.max"), fmt.Sprint(len(threads)+3))
	out, errOut, code := f.autosa.run("switch", "bpfland")
	if code != api.ExitFailed {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	st := f.settled()
	if !f.inCharge(st, "rusty") || st.Scheduler.PID != before.Scheduler.PID || st.Incidents != before.Incidents+1 {
		t.Errorf("%+v is in charge, before %+v; %d incidents", st.Scheduler, before.Scheduler, st.Incidents)
	}
	in := f.incident(st.LastIncident.ID)
	f.sound()
	f.write(filepath.Join(cg, "pids.max"), "max")
	f.order("bpfland")
	t.Logf("counted: no room for a process, incident %s: %s", in.Ending, strings.TrimSpace(errOut))
	time.Sleep(time.Second)
}
