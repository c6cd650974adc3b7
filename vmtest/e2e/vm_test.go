// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/api"
	"autosa/vmtest/guest"
	"autosa/workload"
)

// An emulated machine needs up to half a minute to verify scx_lavd's programs,
// far more beside a load on a busy host.
const (
	startTimeout = 240 * time.Second
	swapTime     = startTimeout + time.Minute
	// soon is for what takes moments on a quiet machine: a test must not fail because the host looked away.
	soon = 2 * time.Minute
)

// latencyLoad leaves an emulated machine room: one that is full is batch work,
// whatever its parts.
var latencyLoad = []string{"server", "-n", "2", "-think", "20ms"}

// quick shortens autosa's intervals to the length of a test.
var quick = []string{"--collection-interval", "1", "--aggregation-window", "6", "--min-switch-interval", "5"}

func bin(t *testing.T) string {
	t.Helper()
	b := os.Getenv("AUTOSA_BIN")
	if b == "" {
		t.Fatal("AUTOSA_BIN is not set: this test runs in a guest that vmtest boots")
	}
	return b
}

// inVM are the arguments of every daemon here, with what config adds to the
// configuration file.
func inVM(t *testing.T, config string) []string {
	t.Helper()
	if config == "" {
		config = fmt.Sprintf("start_timeout_secs = %d\n", int(startTimeout.Seconds()))
	}
	return append([]string{"--scheduler-dir", os.Getenv("AUTOSA_SCX_DIR"), "--config", configWith(t, config)}, quick...)
}

func startInVM(t *testing.T, args ...string) *autosa {
	t.Helper()
	return start(t, bin(t), append(inVM(t, ""), args...)...)
}

// inCharge says whether autosa and the kernel agree that a scheduler whose ops
// begin with prefix is in charge and was started by autosa.
func inCharge(st api.Status, name, prefix string) bool {
	k := kernel()
	return st.Swap == nil && st.Scheduler.Name == name && st.Scheduler.Owner == api.OwnerAutosa &&
		k.State == "enabled" && strings.HasPrefix(k.Ops, prefix) && st.Scheduler.Ops == k.Ops
}

// A compute load, then a latency-sensitive one, then compute again: autosa puts
// scx_rusty, scx_lavd and scx_rusty in charge, by itself, each confirmed by the
// kernel; SIGTERM leaves the kernel's own scheduler and exit code 0. The run is
// recorded (not in the short matrix), and replays to the decisions that the daemon logged.
func TestVMAutoFollowsTheWorkload(t *testing.T) {
	guest.On(t, "6.18", "7.2")
	guest.SchedExt(t)
	guest.Scheduler(t, "scx_rusty")
	guest.Scheduler(t, "scx_lavd")
	before := kernel()
	a := startInVM(t)
	var tape *tape
	if !testing.Short() { // decoding takes its time on emulated CPUs
		tape = recordBeside(t, a)
	}

	steps := []struct {
		load         []string
		name, prefix string
		classes      []workload.Class
	}{
		{[]string{"spin", "-n", "2"}, "scx_rusty", "rusty", []workload.Class{workload.Compute, workload.Batch}},
		{latencyLoad, "scx_lavd", "lavd", []workload.Class{workload.Server, workload.Interactive, workload.Media}},
		{[]string{"spin", "-n", "2"}, "scx_rusty", "rusty", []workload.Class{workload.Compute, workload.Batch}},
	}
	seq := before.EnableSeq
	for i, s := range steps {
		work := guest.Load(t, s.load...)
		// How many swaps it takes is not asked for: while a machine this slow starts the daemon and the load, that work
		// may be taken for another kind first.
		st := a.await(swapTime, s.name+" in charge under "+strings.Join(s.load, " "), func(st api.Status) bool {
			return inCharge(st, s.name, s.prefix)
		})
		k := kernel()
		if k.EnableSeq <= seq || st.LastSwap == nil || st.LastSwap.EnableSeq != k.EnableSeq || st.LastSwap.To != s.name {
			t.Errorf("swap %d: enable_seq was %d, is %d, and autosa says %+v; want a swap to %s with the kernel's number", i, seq, k.EnableSeq, st.LastSwap, s.name)
		}
		if st.Swaps < uint64(i+1) || st.FailedSwaps != 0 {
			t.Errorf("swap %d: autosa counts %d swaps and %d failed ones", i, st.Swaps, st.FailedSwaps)
		}
		seq = k.EnableSeq
		if d := st.LastDecision; d == nil || len(d.Reasons) == 0 {
			t.Errorf("swap %d: no decision with reasons: %+v", i, d)
		}
		if len(st.Workload.Reasons) == 0 {
			t.Errorf("swap %d: the class %v has no reasons", i, st.Workload.Class)
		}
		if !slices.ContainsFunc(s.classes, func(c workload.Class) bool {
			return strings.Contains(strings.Join(st.LastSwap.Reasons, "\n"), "the host is "+c.String())
		}) {
			t.Errorf("swap %d: %v led to it because %q, want one of %v", i, s.load, st.LastSwap.Reasons, s.classes)
		}
		if st.LastSwap.Ungated != "" {
			t.Errorf("swap %d: %s was not loaded before %s was stopped: %s", i, s.name, st.LastSwap.From, st.LastSwap.Ungated)
		}
		if !st.LastSwap.OK || st.LastSwap.Cause != "auto" {
			t.Errorf("swap %d: %+v, want a confirmed automatic swap", i, st.LastSwap)
		}
		said, _ := json.Marshal(map[string]any{"scheduler": st.Scheduler, "workload": st.Workload, "decision": st.LastDecision, "swap": st.LastSwap})
		t.Logf("swap %d under %v: kernel says %+v; status: %s", i, s.load, k, said)
		_ = work.Stop()
	}

	if ps := a.end(syscall.SIGTERM, soon); ps.ExitCode() != 0 {
		t.Errorf("SIGTERM ended the daemon with %v, want exit 0", ps)
	}
	if k := kernel(); k.State != "disabled" {
		t.Errorf("after the daemon's end the kernel says %+v, want disabled", k)
	}
	if tape != nil {
		tape.check(t, a, len(steps))
	}
}

func TestVMKilledDaemonLeavesNoSchedulerBehind(t *testing.T) {
	guest.On(t, "6.18", "7.2")
	guest.SchedExt(t)
	guest.Scheduler(t, "scx_rusty")
	a := startInVM(t)
	a.mustRun("switch", "rusty")
	if k := kernel(); k.State != "enabled" || !strings.HasPrefix(k.Ops, "rusty") {
		t.Fatalf("after `autosa switch rusty` the kernel says %+v", k)
	}
	a.end(syscall.SIGKILL, soon)
	awaitDisabled(t, soon)
}

// A daemon killed while a scheduler is still loading must not leave one that
// attaches afterwards.
func TestVMDaemonKilledDuringASwapLeavesNoSchedulerBehind(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "6.18")
	guest.Scheduler(t, "scx_lavd")
	a := startInVM(t)
	client := exec.Command(a.bin, "switch", "lavd", "--socket", a.socket)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	a.await(soon, "a swap under way", func(st api.Status) bool { return st.Swap != nil })
	time.Sleep(time.Second) // into the load of its programs
	before := kernel()
	a.end(syscall.SIGKILL, soon)
	_ = client.Wait()
	for deadline := time.Now().Add(soon); ; time.Sleep(100 * time.Millisecond) {
		left := processes(t, "scx_lavd")
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v after the daemon was killed, scx_lavd still runs: %v", soon, left)
		}
	}
	if k := kernel(); k.State != "disabled" || k.EnableSeq != before.EnableSeq {
		t.Errorf("after the daemon was killed during a swap the kernel says %+v, before it was %+v", k, before)
	}
}

func TestVMManualChoiceHoldsSurvivesARestartAndAutoEndsIt(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "6.18")
	guest.Scheduler(t, "scx_rusty")
	a := startInVM(t)
	a.mustRun("switch", "scx_rusty", "--", "--slice-us-underutil", "15000")
	st := a.await(soon, "manual mode", func(st api.Status) bool { return st.Mode == api.ModeManual })
	if !inCharge(st, "scx_rusty", "rusty") || strings.Join(st.Scheduler.Args, " ") != "--slice-us-underutil 15000" {
		t.Errorf("after the switch: %+v", st.Scheduler)
	}
	work := guest.Load(t, latencyLoad...) // the table would have scx_lavd
	time.Sleep(10 * time.Second)
	if st, err := a.status(); err != nil || !inCharge(st, "scx_rusty", "rusty") || st.Swaps != 1 {
		t.Errorf("manual choice did not hold: %v %+v", err, st.Scheduler)
	}
	_ = work.Stop()
	if ps := a.end(syscall.SIGTERM, soon); ps.ExitCode() != 0 {
		t.Fatalf("SIGTERM: %v", ps)
	}
	awaitDisabled(t, soon)

	a.launch(inVM(t, "")...)
	a.await(swapTime, "the manual choice back after a restart", func(st api.Status) bool {
		return inCharge(st, "scx_rusty", "rusty") && st.Mode == api.ModeManual
	})
	a.mustRun("switch", "eevdf")
	if k := kernel(); k.State != "disabled" {
		t.Errorf("after `autosa switch eevdf` the kernel says %+v", k)
	}
	a.mustRun("auto")
	if st := a.await(soon, "auto mode", func(st api.Status) bool { return st.Mode == api.ModeAuto }); st.ModeReason != "" {
		t.Errorf("auto mode gives a reason for not being auto: %q", st.ModeReason)
	}
	a.mustRun("stop")
	if !ended(a.done) {
		t.Error("`autosa stop` returned while the daemon still runs")
	}
}

// Every way in which a scheduler may not come up leaves the one in charge where
// it was, or puts it back, with the reason in the client's error and the status.
func TestVMSchedulerThatDoesNotComeUpLeavesTheOldOne(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "7.2")
	guest.Scheduler(t, "scx_rusty")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := func(name, body string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	script("scx_flash", "echo 'scx_flash: cannot do it today' >&2; exit 1", 0o755)
	script("scx_cosmos", "exec sleep 1000", 0o755)
	script("scx_p2dq", "exit 0", 0o644)
	a := start(t, bin(t), append(inVM(t, "start_timeout_secs = 30\n[schedulers.paths]\nscx_flash = \""+dir+"/scx_flash\"\n"),
		"--no-auto-switch", "--scheduler-dir", dir)...)
	a.mustRun("switch", "rusty")

	for _, c := range []struct {
		name, want string
		code       int
	}{
		{"scx_flash", "cannot do it today", api.ExitFailed},
		{"scx_cosmos", "30s", api.ExitFailed},
		{"scx_p2dq", "executable", api.ExitFailed},
		{"scx_tickless", "not installed", api.ExitFailed},
		{"scx_lavvd", "scx_lavd", api.ExitUsage},
	} {
		out, errOut, code := a.run("switch", c.name)
		if code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("switch %s: exit %d, want %d, and %q in:\n%s%s", c.name, code, c.code, c.want, out, errOut)
		}
		st, err := a.status()
		if err != nil || !inCharge(st, "scx_rusty", "rusty") || st.Mode != api.ModeManual {
			t.Errorf("after the failed switch to %s: %v mode %v %+v, kernel %+v", c.name, err, st.Mode, st.Scheduler, kernel())
		}
	}
	// Wrong arguments are for the real binary to refuse.
	_, errOut, code := a.run("switch", "rusty", "--", "--no-such-option")
	if code != api.ExitFailed || !strings.Contains(errOut, "no-such-option") {
		t.Errorf("switch with a wrong argument: exit %d: %s", code, errOut)
	}
	a.await(soon, "scx_rusty back in charge", func(st api.Status) bool { return inCharge(st, "scx_rusty", "rusty") })
}

func TestVMForeignSchedulerIsLeftAloneAndShown(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "7.2")
	path := guest.Scheduler(t, "scx_rusty")
	foreign := guest.Start(t, path)
	t.Cleanup(func() {
		_ = foreign.Stop()
		awaitDisabled(t, soon)
	})
	for deadline := time.Now().Add(soon); kernel().State != "enabled"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("scx_rusty by hand did not attach: %+v", kernel())
		}
	}
	seq := kernel().EnableSeq

	a := startInVM(t)
	st := a.await(soon, "the foreign scheduler seen", func(st api.Status) bool { return st.Scheduler.Owner == api.OwnerForeign })
	if st.Scheduler.Ops != kernel().Ops {
		t.Errorf("status shows ops %q, the kernel %q", st.Scheduler.Ops, kernel().Ops)
	}
	if _, errOut, code := a.run("switch", "bpfland"); code != api.ExitConflict || !strings.Contains(errOut, "rusty") {
		t.Errorf("switch over a foreign scheduler: exit %d: %s; want %d and its name", code, errOut, api.ExitConflict)
	}
	work := guest.Load(t, latencyLoad...)
	time.Sleep(10 * time.Second)
	_ = work.Stop()
	if k := kernel(); k.EnableSeq != seq || !strings.HasPrefix(k.Ops, "rusty") {
		t.Errorf("the foreign scheduler was touched: %+v, enable_seq was %d", k, seq)
	}
	if ps := a.end(syscall.SIGTERM, soon); ps.ExitCode() != 0 {
		t.Errorf("SIGTERM: %v", ps)
	}
	if k := kernel(); k.State != "enabled" || k.EnableSeq != seq {
		t.Errorf("autosa's end touched the foreign scheduler: %+v", k)
	}
}

func TestVMRecommendSaysWhatItWouldDoAndDoesNothing(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "7.2")
	guest.Scheduler(t, "scx_rusty")
	before := kernel()
	a := startInVM(t, "--no-auto-switch")
	guest.Load(t, "spin", "-n", "2")
	a.await(swapTime, "a recommendation of scx_rusty", func(st api.Status) bool {
		return st.Mode == api.ModeRecommend && st.LastDecision != nil && st.LastDecision.Action == "recommend" && st.LastDecision.Arm == "scx_rusty"
	})
	if k := kernel(); k.State != "disabled" || k.EnableSeq != before.EnableSeq {
		t.Errorf("recommend mode acted: %+v", k)
	}
}

func TestVMWithoutSchedExtItObserves(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/sched_ext"); err == nil {
		t.Skip("this kernel has sched_ext; the observe-only case runs on one without")
	}
	checkObserveMode(t, bin(t))
}

// awaitDisabled waits until the kernel has no sched_ext scheduler.
func awaitDisabled(t *testing.T, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for kernel().State != "disabled" {
		if time.Now().After(deadline) {
			t.Fatalf("sched_ext is not disabled within %v: %+v", within, kernel())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// processes returns the PIDs of the processes with this name.
func processes(t *testing.T, comm string) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == comm {
			pids = append(pids, filepath.Base(filepath.Dir(n)))
		}
	}
	return pids
}

func configWith(t *testing.T, body string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(p, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}
