// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needGate skips where there can be no gate.
func needGate(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a mount namespace and a filter of system calls")
	}
}

// stateFile is a kernel's state file that says enabled.
func stateFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	write(t, path, "enabled\n")
	return path
}

// park starts a program behind a gate and waits until it is held.
func park(t *testing.T, state, path string, args ...string) *process {
	t.Helper()
	needGate(t)
	p := spawned(t, state, path, args...)
	if err := errors.Join(p.start(t.Context()), p.park(t.Context(), time.Minute)); err != nil {
		t.Fatal(err)
	}
	return p
}

const tracingAnswered, structOpsAnswered = "link of type 23: bad file descriptor\n", "link of type 44: bad file descriptor\n"

func TestLoaderIsHeldAtItsRegistrationAndNowhereElse(t *testing.T) {
	p := park(t, stateFile(t), self(t), linkWord)
	await(t, time.Minute, "the tracing link's answer", func() bool { return p.out.text() == tracingAnswered })
	select {
	case <-p.done:
		t.Fatalf("it ended: %s", p.ending())
	case <-time.After(200 * time.Millisecond):
	}
	// A handler that runs meanwhile, and the call is made again.
	for range 3 {
		if err := unix.Kill(p.PID(), unix.SIGURG); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := p.out.text(); got != tracingAnswered {
		t.Errorf("not held: %q", got)
	}
	p.open()
	if exit := wait(t, p); exit.Code != 0 || p.out.text() != tracingAnswered+structOpsAnswered {
		t.Errorf("%s, printed %q", exit, p.out.text())
	}
}

func TestOpenGateStaysOpen(t *testing.T) {
	p := park(t, stateFile(t), script(t, "scx_x", self(t)+" "+linkWord+" && "+self(t)+" "+linkWord+" && echo twice"))
	p.open()
	if exit := wait(t, p); exit.Code != 0 || !strings.HasSuffix(p.out.text(), "twice\n") {
		t.Errorf("%s, printed %q", exit, p.out.text())
	}
}

func TestStateReadsDisabledUntilTheLoaderIsHeld(t *testing.T) {
	state := stateFile(t)
	link := self(t) + " " + linkWord + " >/dev/null"
	p := park(t, state, script(t, "scx_x", "cat "+state+"; "+link+"; cat "+state))
	if b, err := os.ReadFile(state); err != nil || string(b) != "enabled\n" {
		t.Errorf("outside: %q, %v", b, err)
	}
	// In place: to replace the file would take the mount with it.
	if err := os.WriteFile(state, []byte("enabling\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.open()
	wait(t, p)
	if got := p.out.text(); got != "disabled\nenabling\n" {
		t.Errorf("inside: %q", got)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), filepath.Dir(state)) {
		t.Errorf("it is mounted here: %v", err)
	}
}

func TestHeldLoaderThatIsToldToEndDoesNotRegister(t *testing.T) {
	// It ignores the signal, and reports what it was told.
	p := park(t, stateFile(t), script(t, "scx_x", `trap "" TERM; `+self(t)+" "+linkWord+`; echo "status $?"`))
	p.terminate()
	wait(t, p)
	if got, want := p.out.text(), tracingAnswered+"link of type 44: operation canceled\nstatus 1\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestHeldLoaderEndsWithItsSupervisor(t *testing.T) {
	p := park(t, stateFile(t), self(t), linkWord)
	if err := unix.Kill(p.group, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	await(t, time.Minute, "its end", func() bool { return !exists(p.PID()) })
	// The filter may have answered before the signal came, never the kernel.
	if got := p.out.text(); strings.Contains(got, structOpsAnswered) {
		t.Errorf("printed %q", got)
	}
}

func TestHeldLoaderEndsWithItsDaemon(t *testing.T) {
	needGate(t)
	state := stateFile(t)
	cmd := exec.Command("/proc/self/exe", parentWord, "park", state, self(t), linkWord)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for lines := bufio.NewScanner(out); pids["parked"] == 0 && lines.Scan(); {
		word, n, _ := strings.Cut(lines.Text(), " ")
		pids[word], _ = strconv.Atoi(n)
	}
	if pids["parked"] == 0 {
		t.Errorf("came as far as %v", pids)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, time.Minute, "the end of all", func() bool { return !exists(pids["supervisor"]) && !exists(pids["parked"]) })
}

func TestWithoutAGateNothingIsStarted(t *testing.T) {
	needGate(t)
	mark := filepath.Join(t.TempDir(), "ran")
	p := spawned(t, "/nonexistent/state", "/bin/touch", mark)
	var g *gateError
	if err := p.start(t.Context()); !errors.As(err, &g) || !strings.Contains(err.Error(), "/nonexistent/state") {
		t.Errorf("got %v", err)
	}
	if err := p.park(t.Context(), time.Minute); !errors.As(err, &g) {
		t.Errorf("got %v", err)
	}
	wait(t, p)
	if _, err := os.Stat(mark); err == nil {
		t.Error("it ran")
	}
}

// The old scheduler is in charge until the new one is ready.
func TestNextSchedulerLoadsWhileTheOldOneRuns(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	k.scheduler("scx_lavd", "lavd_1.0.0_x", `touch $K/loading; sleep 0.3; cp $K/root/ops $K/seen`)
	var at []string
	var s *Switcher
	s = k.switcher(Options{Progress: func(p Progress) {
		in, err := s.InCharge()
		if err != nil || in.Unsettled || in.Owner == OwnerForeign {
			t.Errorf("%s: %+v, %v", p.Phase, in, err)
		}
		at = append(at, string(p.Phase)+" "+in.Name)
	}})
	mustSwitch(t, s, "rusty")
	at = nil
	res := mustSwitch(t, s, "lavd")
	if res.Ungated != "" || res.Gap <= 0 || res.Gap > res.Total {
		t.Errorf("%+v", res)
	}
	if got, want := strings.Join(at[:4], ", "), "preflight scx_rusty, loading scx_rusty, stopping scx_rusty, opening "; !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
	if b, err := os.ReadFile(k.dir + "/seen"); err != nil || string(b) != "rusty_1.0.0_x\n" {
		t.Errorf("while it loaded the kernel said %q, %v", b, err)
	}
}

func TestSchedulerThatCannotBeHeldIsStartedAfterTheOldOne(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	// It has ways of its own to see that another one is in charge.
	k.scheduler("scx_lavd", "lavd_1.0.0_x", `echo started >>$K/starts; [ -e $K/owner ] && { echo "Error: Device or resource busy (os error 16)" >&2; exit 1; }`)
	s := k.switcher(Options{})
	starts := func() int {
		b, _ := os.ReadFile(k.dir + "/starts")
		return strings.Count(string(b), "started")
	}
	for i, want := range []int{2, 3} { // the second time it is known
		mustSwitch(t, s, "rusty")
		res := mustSwitch(t, s, "lavd")
		if !strings.Contains(res.Ungated, "resource busy") || res.Gap <= 0 || starts() != want {
			t.Errorf("swap %d: %+v, started %d times, want %d", i, res, starts(), want)
		}
	}
	// Another file of that name may do better.
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "true")
	mustSwitch(t, s, "rusty")
	if res := mustSwitch(t, s, "lavd"); res.Ungated != "" {
		t.Errorf("%+v", res)
	}
}

func TestWhereThereIsNoGateTheOldOneIsStoppedFirst(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "")
	s := k.switcher(Options{})
	s.stateFile = "/nonexistent/state"
	mustSwitch(t, s, "rusty")
	if res := mustSwitch(t, s, "lavd"); !strings.Contains(res.Ungated, "hide /nonexistent/state") && os.Geteuid() == 0 || res.Ungated == "" || res.Gap <= 0 {
		t.Errorf("%+v", res)
	}
}

func TestSchedulerIsLoadedAnewWhenCPUsComeOrGo(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	k.scheduler("scx_lavd", "lavd_1.0.0_x", `echo started >>$K/starts; [ $(wc -l <$K/starts) = 1 ] && put hotplug_seq 5`)
	k.scheduler("scx_flash", "flash_1.0.0_x", `put hotplug_seq $(($(cat $K/hotplug_seq) + 1))`)
	s := k.switcher(Options{})
	pid := mustSwitch(t, s, "rusty").InCharge.PID
	_, err := s.Switch(t.Context(), Target{Name: "flash"})
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "CPUs came or went") || inCharge(t, s).PID != pid {
		t.Errorf("got %v, in charge %+v", err, inCharge(t, s))
	}
	res := mustSwitch(t, s, "lavd")
	if b, err := os.ReadFile(k.dir + "/starts"); err != nil || string(b) != "started\nstarted\n" || res.Ungated != "" {
		t.Errorf("%q, %v, %+v", b, err, res)
	}
}

func TestOldSchedulerThatDiesWhileTheNextLoadsIsReplaced(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "while [ -e $K/owner ]; do sleep 0.02; done")
	var s *Switcher
	s = k.switcher(Options{Progress: func(p Progress) {
		if p.Phase == PhaseLoading {
			s.mu.Lock()
			pid := s.current.proc.PID()
			s.mu.Unlock()
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}})
	mustSwitch(t, s, "rusty")
	res := mustSwitch(t, s, "lavd")
	if res.InCharge.Name != "scx_lavd" || res.InCharge.Owner != OwnerAutosa {
		t.Errorf("%+v", res)
	}
	if e := <-s.Events(); e.Kind != EventDied || e.Target.Name != "scx_rusty" {
		t.Errorf("%+v", e)
	}
}
