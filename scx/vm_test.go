// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package scx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/vmtest/guest"
)

// Under emulation everything takes about ten times as long.
const vmReady = 120 * time.Second

// vmSwitcher has the real schedulers, and those of extra, by name.
func vmSwitcher(t *testing.T, o Options, extra map[string]string) *Switcher {
	t.Helper()
	guest.SchedExt(t)
	await(t, vmReady, "state disabled before the test", func() bool { return guest.State(t) == "disabled" })
	return vmSwitcherNow(t, o, extra)
}

// vmSwitcherNow is vmSwitcher, whatever is in charge.
func vmSwitcherNow(t *testing.T, o Options, extra map[string]string) *Switcher {
	t.Helper()
	cat, err := NewCatalogue(CatalogueOptions{Dirs: []string{filepath.Dir(guest.Scheduler(t, "scx_rusty"))}, Paths: extra})
	if err != nil {
		t.Fatal(err)
	}
	o.Catalogue, o.Log = cat, testLog(t)
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = vmReady
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 20 * time.Second
	}
	s, err := NewSwitcher(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if got := guest.State(t); got != "disabled" {
			t.Errorf("after Close the kernel says %s", got)
		}
	})
	return s
}

// to switches and checks the kernel's word for it.
func to(t *testing.T, s *Switcher, name string, args ...string) Result {
	t.Helper()
	before, err := s.kernel.Read()
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Switch(t.Context(), Target{Name: name, Args: args})
	if err != nil {
		t.Fatalf("%+v\n%s", err, printed(err))
	}
	t.Logf("%s → %s: gap %v, total %v", res.From.Name, res.To.Name, res.Gap.Round(time.Millisecond), res.Total.Round(time.Millisecond))
	if name == EEVDF {
		if guest.State(t) != "disabled" || res.InCharge.Owner != OwnerKernel {
			t.Fatalf("state %s, %+v", guest.State(t), res.InCharge)
		}
		return res
	}
	after, err := s.kernel.Read()
	if err != nil {
		t.Fatal(err)
	}
	if after.State != StateEnabled || SchedulerName(after.Ops) != canonicalName(name) || after.EnableSeq != before.EnableSeq+1 {
		t.Fatalf("the kernel says %+v, before %+v", after, before)
	}
	if in := res.InCharge; in.Owner != OwnerAutosa || in.Name != canonicalName(name) || !exists(in.PID) {
		t.Fatalf("in charge: %+v", in)
	}
	return res
}

func printed(err error) string {
	var f *SwitchError
	if errors.As(err, &f) {
		return f.Output
	}
	return ""
}

func TestVMSwapsBetweenRealSchedulersAsTheKernelConfirms(t *testing.T) {
	guest.Long(t) // the daemon swaps the same ones in the short form
	var mu sync.Mutex
	var phases []Phase
	s := vmSwitcher(t, Options{Progress: func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
	}}, nil)
	to(t, s, "scx_rusty")
	for _, target := range []Target{{"bpfland", []string{"-s", "2000"}}, {"scx_lavd", []string{"--performance"}}, {"rusty", nil}, {"scx_lavd", []string{"--performance"}}} {
		// To load one of them takes seconds here, to register it tenths of one.
		if res := to(t, s, target.Name, target.Args...); res.Gap <= 0 || res.Gap > res.Total/2 || res.Ungated != "" {
			t.Errorf("%+v", res)
		}
	}
	again, err := s.Switch(t.Context(), Target{Name: "lavd", Args: []string{"--performance"}})
	if err != nil || !again.Unchanged {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	to(t, s, EEVDF)
	want := "preflight starting verifying enabled preflight loading stopping opening enabled preflight loading stopping opening enabled"
	var got []string
	mu.Lock()
	for _, p := range phases {
		got = append(got, string(p))
	}
	mu.Unlock()
	if joined := strings.Join(got, " "); !strings.HasPrefix(joined, want) {
		t.Errorf("phases %s", joined)
	}
}

func TestVMSchedulerThatDoesNotComeUpGivesWayToThePrevious(t *testing.T) {
	guest.Long(t)
	dir := trustedDir(t)
	bad := func(name, body string) string {
		path := filepath.Join(dir, name)
		write(t, path, "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n"+body+"\n")
		if err := unix.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	liar := bad("scx_liar", `exec `+guest.Scheduler(t, "scx_bpfland"))
	s := vmSwitcher(t, Options{ReadyTimeout: 25 * time.Second}, map[string]string{
		"exits":  bad("scx_exits", `echo "Error: no such luck" >&2; exit 1`),
		"never":  bad("scx_never", `exec sleep 1000`),
		"flash":  liar, // registers as bpfland
		"broken": "/nonexistent/scx_broken",
	})
	args := []string{"--slice-us-underutil", "15000"}
	before := to(t, s, "rusty", args...)
	for _, c := range []struct {
		name   string
		target Target
		cause  error
		text   string
		// kept is true where the old one is not even stopped.
		kept bool
	}{
		{"wrong arguments", Target{Name: "scx_bpfland", Args: []string{"--no-such-option"}}, ErrExited, "status 2: error: unexpected argument", true},
		{"exits at once", Target{Name: "exits"}, ErrExited, "no such luck", true},
		{"never attaches", Target{Name: "never"}, ErrTimeout, "not come to its registration", true},
		{"registers under another name", Target{Name: "flash"}, nil, "registered as", false},
		{"missing", Target{Name: "broken"}, ErrUnusable, "does not exist", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Switch(t.Context(), c.target)
			t.Log(err)
			var failed *SwitchError
			if !errors.As(err, &failed) || c.cause != nil && !errors.Is(err, c.cause) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v, want %v with %q", err, c.cause, c.text)
			}
			if !failed.Returned || failed.ReturnErr != nil {
				t.Errorf("not returned: %v", failed.ReturnErr)
			}
			in, err := s.InCharge()
			if err != nil {
				t.Fatal(err)
			}
			if in.Name != "scx_rusty" || strings.Join(in.Args, " ") != strings.Join(args, " ") || in.Owner != OwnerAutosa || guest.State(t) != "enabled" {
				t.Errorf("in charge: %+v", in)
			}
			if kept := in.PID == before.InCharge.PID; kept != c.kept {
				t.Errorf("kept: %v", kept)
			}
			before.InCharge = in
		})
	}
}

func TestVMForeignSchedulerIsLeftAlone(t *testing.T) {
	guest.On(t, "6.18")
	s := vmSwitcher(t, Options{}, nil)
	foreign := guest.Start(t, guest.Scheduler(t, "scx_bpfland"))
	guest.Await(t, vmReady, "foreign bpfland", func() bool { return guest.State(t) == "enabled" })
	for _, target := range []string{"scx_rusty", EEVDF} {
		_, err := s.Switch(t.Context(), Target{Name: target})
		var f *ForeignError
		if !errors.As(err, &f) || !strings.HasPrefix(f.Ops, "bpfland") {
			t.Errorf("switch to %s: got %v", target, err)
		}
	}
	in, err := s.InCharge()
	if err != nil || in.Owner != OwnerForeign || in.Name != "scx_bpfland" {
		t.Errorf("in charge: %+v, %v", in, err)
	}
	if foreign.Ended() || guest.State(t) != "enabled" {
		t.Fatal("it was touched")
	}
	if err := foreign.Stop(); err != nil {
		t.Error(err)
	}
	await(t, vmReady, "disabled", func() bool { return guest.State(t) == "disabled" })
}

func TestVMForeignSchedulerOfTheSameNameThatWinsTheRaceIsNotTakenForOurs(t *testing.T) {
	guest.On(t, "7.2")
	foreign := make(chan *guest.Process, 1)
	var once sync.Once
	// Ours waits until the foreign one, started with it, has long registered.
	slow := script(t, "scx_bpfland", `[ "$1" = --version ] && exit 0; sleep 15; exec `+guest.Scheduler(t, "scx_bpfland"))
	s := vmSwitcher(t, Options{Progress: func(p Progress) {
		if p.Phase == PhaseVerifying {
			once.Do(func() { foreign <- guest.Start(t, guest.Scheduler(t, "scx_bpfland")) })
		}
	}}, map[string]string{"bpfland": slow})
	_, err := s.Switch(t.Context(), Target{Name: "bpfland"})
	t.Log(err)
	var f *ForeignError
	if !errors.As(err, &f) {
		t.Errorf("got %v", err)
	}
	p := <-foreign
	if p.Ended() || guest.State(t) != "enabled" {
		t.Error("the foreign one was touched")
	}
	if in, err := s.InCharge(); err != nil || in.Owner != OwnerForeign {
		t.Errorf("in charge: %+v, %v", in, err)
	}
	_ = p.Stop()
	await(t, vmReady, "disabled", func() bool { return guest.State(t) == "disabled" })
}

func TestVMKilledSchedulerIsReportedAndTheKernelIsBackOnEEVDF(t *testing.T) {
	guest.Long(t) // the short form has rows of the fault table
	s := vmSwitcher(t, Options{}, nil)
	for _, c := range []struct {
		name string
		kill func(pid int)
		kind EventKind
		text string
		end  Ending
	}{
		{"SIGKILL", func(pid int) { _ = unix.Kill(pid, unix.SIGKILL) }, EventDied, "SIGKILL", EndingKilled},
		{"SIGTERM by somebody else", func(pid int) { _ = unix.Kill(pid, unix.SIGTERM) }, EventDied, "status 0", EndingByUser},
		{"SysRq-S", func(int) {
			if out, err := exec.Command("sh", "-c", "echo S > /proc/sysrq-trigger").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}, EventEjected, "sysrq", EndingSysRq},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := to(t, s, "scx_rusty")
			c.kill(res.InCharge.PID)
			select {
			case e := <-s.Events():
				t.Logf("%s %s: %s; %v", e.Target.Name, e.Kind, e.Reason, e.Exit)
				if e.Kind != c.kind || e.Ending != c.end || e.Target.Name != "scx_rusty" || !strings.Contains(strings.ToLower(e.Reason+e.Exit.String()), strings.ToLower(c.text)) {
					t.Errorf("got %+v", e)
				}
				if e.InCharge.Owner != OwnerKernel {
					t.Errorf("in charge: %+v", e.InCharge)
				}
			case <-time.After(3 * time.Minute):
				t.Fatal("no event")
			}
			if got := guest.State(t); got != "disabled" {
				t.Errorf("the kernel says %s", got)
			}
		})
	}
}

func TestVMKilledDaemonLeavesTheKernelOnEEVDF(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "6.18")
	path := guest.Scheduler(t, "scx_rusty")
	for _, c := range []struct {
		name    string
		enabled bool // wait for the scheduler to be in charge first
	}{{"in charge", true}, {"while it loads", false}} {
		t.Run(c.name, func(t *testing.T) {
			await(t, vmReady, "disabled", func() bool { return guest.State(t) == "disabled" })
			cmd := exec.Command("/proc/self/exe", parentWord, "start", path)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "scheduler"); {
			}
			if c.enabled {
				guest.Await(t, vmReady, "enabled", func() bool { return guest.State(t) == "enabled" })
			} else {
				time.Sleep(time.Second)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			running := func() bool {
				return len(processes("/proc", func(p procStat) bool {
					exe, _ := filepath.EvalSymlinks("/proc/" + strconv.Itoa(p.pid) + "/exe")
					return exe == path
				})) > 0
			}
			guest.Await(t, vmReady, "state disabled and no scheduler", func() bool {
				return guest.State(t) == "disabled" && !running()
			})
		})
	}
}

// A swap that is given up while the next scheduler loads has changed nothing; once the old one is gone it ends on EEVDF.
func TestVMCancelledSwapEndsInADefinedState(t *testing.T) {
	guest.Long(t)
	for _, c := range []struct {
		phase Phase
		next  string
		after time.Duration
		owner Owner
		name  string
		state string
	}{
		{PhaseLoading, "scx_lavd", time.Second, OwnerAutosa, "scx_rusty", "enabled"},
		{PhaseOpening, "scx_bpfland", 0, OwnerKernel, EEVDF, "disabled"},
	} {
		t.Run(string(c.phase), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := vmSwitcher(t, Options{Progress: func(p Progress) {
				if p.Phase == c.phase && p.Target.Name == c.next {
					if c.after > 0 {
						time.AfterFunc(c.after, cancel)
					} else {
						cancel()
					}
				}
			}}, nil)
			pid := to(t, s, "scx_rusty").InCharge.PID
			_, err := s.Switch(ctx, Target{Name: c.next})
			var failed *SwitchError
			if !errors.Is(err, context.Canceled) || !errors.As(err, &failed) || failed.Phase != c.phase {
				t.Fatalf("got %v, want it to be cancelled while %s", err, c.phase)
			}
			in, err := s.InCharge()
			if err != nil || in.Owner != c.owner || in.Name != c.name || guest.State(t) != c.state || c.owner == OwnerAutosa && in.PID != pid {
				t.Errorf("in charge: %+v, %v; the kernel says %s", in, err, guest.State(t))
			}
			if left := processes("/proc", func(p procStat) bool {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
				return strings.Contains(string(b), c.next)
			}); len(left) > 0 {
				t.Errorf("half started: %v", left)
			}
		})
	}
}

func TestVMHiddenKernelConfigIsSaidBeforeTheSwap(t *testing.T) {
	guest.On(t, "6.18")
	s := vmSwitcher(t, Options{}, nil)
	s.host.Boot = t.TempDir()
	s.opt.Catalogue.host = s.host
	if path, _ := s.host.kernelConfig(); path != "" {
		t.Skipf("the guest's kernel shows its configuration in %s too", path)
	}
	_, err := s.Switch(t.Context(), Target{Name: "scx_lavd"})
	var u *UnusableError
	if !errors.As(err, &u) || !strings.Contains(u.Why, "configuration") || u.Remedy == "" {
		t.Errorf("got %v", err)
	}
}

func TestVMPreflightFindsAGuestFit(t *testing.T) {
	guest.SchedExt(t)
	s := vmSwitcher(t, Options{}, nil)
	for _, c := range Preflight(t.Context(), PreflightOptions{Catalogue: s.opt.Catalogue}) {
		t.Logf("%-5s %s: %s", c.Level, c.Name, c.Detail)
		if c.Level == LevelFail {
			t.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
}
