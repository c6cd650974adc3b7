// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// foreigner starts a scheduler as somebody else would, in the cgroup given. stay
// has it ignore SIGTERM.
func (k *fakeKernel) foreigner(name, ops, cgroup string, seq int, stay bool) *exec.Cmd {
	k.t.Helper()
	trap := fmt.Sprintf("trap 'rm -rf %[1]s/root %[1]s/owner; echo disabled > %[1]s/state; exit 0' TERM", k.dir)
	if stay {
		trap = "trap '' TERM"
	}
	cmd := exec.Command("/bin/sh", "-c", trap+"; echo up; while :; do sleep 0.02; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 3)); err != nil {
		k.t.Fatal(err)
	}
	_ = os.RemoveAll(fmt.Sprintf("%s/%d", k.host.Proc, cmd.Process.Pid))
	putProcess(k.t, k.host.Proc, cmd.Process.Pid, 1, name, name+"\x00-k\x00", "0::"+cgroup+"\n", structOps)
	k.put("owner", fmt.Sprint(cmd.Process.Pid))
	k.enable(ops, seq)
	return cmd
}

// settled waits until it has been found out who runs the foreign scheduler.
func settled(t *testing.T, s *Switcher) InCharge {
	t.Helper()
	var in InCharge
	await(t, 20*time.Second, "the process", func() bool { in = inCharge(t, s); return in.Process != nil })
	return in
}

const session = "/user.slice/user-0.slice/session-1.scope"

func TestAForeignSchedulerIsRecognisedAndLeftAlone(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "")
	s := k.switcher(Options{})
	f := k.foreigner("scx_rusty", "rusty_1.1.4_x", session, 3, false)
	in := settled(t, s)
	if in.Owner != OwnerForeign || in.Name != "scx_rusty" || in.PID != f.Process.Pid || !slices.Equal(in.Args, []string{"-k"}) ||
		in.Process.Unit != "session-1.scope" || in.HandsOff == "" {
		t.Errorf("%+v, %+v", in, in.Process)
	}
	select {
	case <-s.Changes():
	case <-time.After(10 * time.Second):
		t.Error("that its process was found is not told")
	}
	for _, name := range []string{"lavd", EEVDF} {
		if _, err := s.Switch(t.Context(), Target{Name: name}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !exists(f.Process.Pid) || k.state() != "enabled" {
		t.Error("it was touched")
	}
}

func TestAnAdoptedSchedulerIsReplacedBehindTheGateAndNotFoughtWhenItComesBack(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "")
	s := k.switcher(Options{Adopt: true})
	f := k.foreigner("scx_rusty", "rusty_1.1.4_x", session, 3, false)
	first := inCharge(t, s)
	in := settled(t, s)
	if !in.Since.Equal(first.Since) {
		t.Errorf("in charge since %v, and once adopted since %v", first.Since, in.Since)
	}
	if in.Owner != OwnerAdopted || in.HandsOff != "" || in.PID != f.Process.Pid {
		t.Fatalf("%+v", in)
	}
	// What is in charge already need not be started.
	if res := mustSwitch(t, s, "rusty", "-k"); !res.Unchanged || !exists(f.Process.Pid) {
		t.Errorf("%+v", res)
	}
	res := mustSwitch(t, s, "lavd")
	if !res.From.Equal(Target{Name: "scx_rusty", Args: []string{"-k"}}) || res.Ungated != "" || res.Gap <= 0 || res.InCharge.Owner != OwnerAutosa {
		t.Errorf("%+v", res)
	}
	if err := f.Wait(); err != nil {
		t.Errorf("it did not end by SIGTERM in good order: %v", err)
	}
	mustSwitch(t, s, EEVDF)
	again := k.foreigner("scx_rusty", "rusty_1.1.4_x", session, 9, false)
	in = settled(t, s)
	if in.Owner != OwnerForeign || !strings.Contains(in.HandsOff, "came back after autosa had replaced it") {
		t.Errorf("%+v", in)
	}
	var refused *ForeignError
	if _, err := s.Switch(t.Context(), Target{Name: "lavd"}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "came back") {
		t.Errorf("%v", err)
	}
	if !exists(again.Process.Pid) {
		t.Error("it was fought")
	}
}

func TestAnAdoptedSchedulerGivesWayToEEVDF(t *testing.T) {
	k := newFakeKernel(t)
	s := k.switcher(Options{Adopt: true})
	f := k.foreigner("scx_rusty", "rusty_1.1.4_x", "/", 3, false)
	settled(t, s)
	if res := mustSwitch(t, s, EEVDF); res.Unchanged || res.From.Name != "scx_rusty" || res.InCharge.Owner != OwnerKernel {
		t.Errorf("%+v", res)
	}
	if err := f.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsManagedElsewhereIsNotAdopted(t *testing.T) {
	for name, c := range map[string]struct {
		cgroup string
		spoil  func(k *fakeKernel, pid int)
		says   string
	}{
		"a service":          {"/system.slice/scx.service", nil, "systemd unit scx.service"},
		"below scx_loader":   {session, func(k *fakeKernel, pid int) { k.parent(pid, "scx_loader") }, "scx_loader"},
		"below another one":  {session, func(k *fakeKernel, pid int) { k.parent(pid, "autosa") }, "another autosa"},
		"a strange command":  {session, func(k *fakeKernel, pid int) { write(t, fmt.Sprintf("%s/%d/cmdline", k.host.Proc, pid), "renamed") }, "arguments cannot be told"},
		"a container":        {"/docker/0123", nil, "cgroup /docker/0123"},
		"a user's own timer": {"/user.slice/user-1.slice/user@1.service/app.slice/x.service", nil, "systemd unit x.service"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFakeKernel(t)
			k.scheduler("scx_lavd", "lavd_1.0.0_x", "touch $K/ran")
			s := k.switcher(Options{Adopt: true})
			f := k.foreigner("scx_rusty", "rusty_1.1.4_x", c.cgroup, 3, false)
			if c.spoil != nil {
				c.spoil(k, f.Process.Pid)
			}
			in := settled(t, s)
			if in.Owner != OwnerForeign || !strings.Contains(in.HandsOff, c.says) {
				t.Errorf("%+v", in)
			}
			if _, err := s.Switch(t.Context(), Target{Name: "lavd"}); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if _, err := os.Stat(k.dir + "/ran"); err == nil || !exists(f.Process.Pid) {
				t.Error("something was started or stopped")
			}
		})
	}
}

// parent puts a process between pid and init.
func (k *fakeKernel) parent(pid int, comm string) {
	putProcess(k.t, k.host.Proc, 1<<22, 1, comm, comm+"\x00", "0::/\n")
	write(k.t, fmt.Sprintf("%s/%d/stat", k.host.Proc, pid),
		fmt.Sprintf("%d (scx_rusty) S %d %d 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 %d 0 0", pid, 1<<22, pid, 1000+pid))
}

func TestNobodyIsAdoptedWhoseProcessIsNotFound(t *testing.T) {
	k := newFakeKernel(t)
	s := k.switcher(Options{Adopt: true})
	k.enable("rusty_1.1.4_x", 3)
	if in := inCharge(t, s); in.Owner != OwnerForeign || !strings.Contains(in.HandsOff, "not known yet") {
		t.Errorf("%+v", in)
	}
	await(t, 3*identifyFor, "the end of the search", func() bool { return strings.Contains(inCharge(t, s).HandsOff, "cannot be found") })
	if _, err := s.Switch(t.Context(), Target{Name: EEVDF}); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	k.disable()
}

func TestAnAdoptedSchedulerThatStaysIsLeftAlone(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "")
	s := k.switcher(Options{Adopt: true, StopTimeout: 100 * time.Millisecond, DisableTimeout: 200 * time.Millisecond})
	f := k.foreigner("scx_rusty", "rusty_1.1.4_x", "/", 3, true)
	settled(t, s)
	_, err := s.Switch(t.Context(), Target{Name: "lavd"})
	var failed *SwitchError
	if !errors.As(err, &failed) || !errors.Is(err, ErrTimeout) || failed.Phase != PhaseStopping || !failed.Returned || failed.InCharge.Ops != "rusty_1.1.4_x" {
		t.Errorf("%+v", err)
	}
	if in := inCharge(t, s); in.Owner != OwnerForeign || !strings.Contains(in.HandsOff, "did not end when it was asked to") {
		t.Errorf("%+v", in)
	}
	if !exists(f.Process.Pid) {
		t.Error("it was killed")
	}
	if left := processes("/proc", func(p procStat) bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		return strings.Contains(string(b), k.bin+"/scx_lavd")
	}); len(left) > 0 {
		t.Errorf("still parked: %v", left)
	}
}

func TestASignalReachesNoLaterProcess(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "")
	s := k.switcher(Options{Adopt: true})
	f := k.foreigner("scx_rusty", "rusty_1.1.4_x", "/", 3, false)
	settled(t, s)
	write(t, fmt.Sprintf("%s/%d/stat", k.host.Proc, f.Process.Pid), fmt.Sprintf("%d (x) S 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5 0 0", f.Process.Pid))
	if _, err := s.Switch(t.Context(), Target{Name: "lavd"}); err == nil || !strings.Contains(err.Error(), "not the process that ran it any more") {
		t.Errorf("%v", err)
	}
	if !exists(f.Process.Pid) {
		t.Error("another process got the signal")
	}
}

func TestWhatWasAdoptedComesBackAsAutosasOwnWhenTheNextOneFails(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.1.4_x", `echo "$@" >> $K/args`)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "link; exit 3")
	s := k.switcher(Options{Adopt: true})
	k.foreigner("scx_rusty", "rusty_1.1.4_x", "/", 3, false)
	settled(t, s)
	_, err := s.Switch(t.Context(), Target{Name: "lavd"})
	var failed *SwitchError
	if !errors.As(err, &failed) || !failed.Returned || failed.InCharge.Owner != OwnerAutosa || failed.InCharge.Name != "scx_rusty" || failed.Gap <= 0 {
		t.Errorf("%+v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(k.dir, "args")); string(b) != "-k\n" {
		t.Errorf("started with %q", b)
	}
}
