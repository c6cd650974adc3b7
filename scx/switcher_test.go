// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSwitchPutsOneAfterAnotherInCharge(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "")
	var phases []string
	s := k.switcher(Options{Progress: func(p Progress) {
		if n := len(phases); n == 0 || phases[n-1] != string(p.Phase) {
			phases = append(phases, string(p.Phase))
		}
	}})
	if in := inCharge(t, s); in.Name != EEVDF || in.Owner != OwnerKernel {
		t.Errorf("at first: %+v", in)
	}
	res := mustSwitch(t, s, "rusty", "-x")
	if res.Gap != 0 || res.From.Name != EEVDF || res.InCharge.Name != "scx_rusty" || res.InCharge.Owner != OwnerAutosa || !exists(res.InCharge.PID) {
		t.Errorf("%+v", res)
	}
	old := res.InCharge.PID
	_ = os.Remove(k.dir + "/left")
	res = mustSwitch(t, s, "scx_lavd", "--performance", "a b")
	if res.Gap <= 0 || res.Gap > res.Total || res.From.Name != "scx_rusty" || res.InCharge.Kernel.EnableSeq != 2 || exists(old) {
		t.Errorf("%+v", res)
	}
	if _, err := os.Stat(k.dir + "/left"); err != nil {
		t.Error("the old one was not asked to leave")
	}
	if in := inCharge(t, s); in.Ops != "lavd_1.0.0_x" || in.Since.IsZero() || strings.Join(in.Args, "|") != "--performance|a b" {
		t.Errorf("%+v", in)
	}
	if res := mustSwitch(t, s, "lavd", "--performance", "a b"); !res.Unchanged || res.InCharge.Kernel.EnableSeq != 2 {
		t.Errorf("the same again: %+v", res)
	}
	if res := mustSwitch(t, s, "lavd", "--balanced"); res.Unchanged || res.InCharge.Kernel.EnableSeq != 3 {
		t.Errorf("other arguments: %+v", res)
	}
	if res := mustSwitch(t, s, EEVDF); res.InCharge.Owner != OwnerKernel || res.Gap != 0 || k.state() != "disabled" {
		t.Errorf("%+v", res)
	}
	if res := mustSwitch(t, s, EEVDF); !res.Unchanged {
		t.Errorf("%+v", res)
	}
	want := "preflight starting verifying enabled preflight loading stopping opening enabled preflight enabled preflight loading stopping opening enabled preflight stopping enabled"
	if got := strings.Join(phases, " "); !strings.HasPrefix(got, want) {
		t.Errorf("phases %s", got)
	}
}

func TestSwitchThatFailsReturnsToThePreviousWithItsArguments(t *testing.T) {
	needGate(t)
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	// While they load; and, once they may register.
	k.scheduler("scx_lavd", "lavd_1.0.0_x", `echo "Error: no such luck" >&2; exit 1`)
	k.scheduler("scx_flash", "flash_1.0.0_x", "exec sleep 1000")
	k.scheduler("scx_bpfland", "bpfland_1.0.0_x", `trap "" TERM; while :; do sleep 0.02; done`)
	k.scheduler("scx_tickless", "tickless_1.0.0_x", `link; echo "Error: no such luck" >&2; exit 1`)
	k.scheduler("scx_rustland", "rustland_1.0.0_x", "link; exec sleep 1000")
	k.scheduler("scx_beerland", "beerland_1.0.0_x", `trap "" TERM; link; while :; do sleep 0.02; done`)
	install(t, k.bin, "scx_cosmos", "true")
	if err := os.Chmod(filepath.Join(k.bin, "scx_cosmos"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := k.switcher(Options{ReadyTimeout: 2 * time.Second, StopTimeout: time.Second})
	mustSwitch(t, s, "rusty", "-a", "-b")
	for name, c := range map[string]struct {
		cause error
		phase Phase
		text  string
		kept  bool // not even stopped
	}{
		"lavd":     {ErrExited, PhaseLoading, "exited with status 1: Error: no such luck", true},
		"flash":    {ErrTimeout, PhaseLoading, "not come to its registration", true},
		"bpfland":  {ErrTimeout, PhaseLoading, "in charge: scx_rusty", true},
		"tickless": {ErrExited, PhaseOpening, "exited with status 1: Error: no such luck", false},
		"rustland": {ErrTimeout, PhaseOpening, "the kernel says disabled", false},
		"beerland": {ErrTimeout, PhaseOpening, "in charge: scx_rusty", false},
		"cosmos":   {ErrUnusable, PhasePreflight, "not executable", true},
		"p2dq":     {ErrUnusable, PhasePreflight, "not installed", true},
	} {
		t.Run(name, func(t *testing.T) {
			before := inCharge(t, s)
			_, err := s.Switch(t.Context(), Target{Name: name})
			var failed *SwitchError
			if !errors.As(err, &failed) || !errors.Is(err, c.cause) || failed.Phase != c.phase || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v, want %v in %s with %q", err, c.cause, c.phase, c.text)
			}
			in := inCharge(t, s)
			if !failed.Returned || failed.ReturnErr != nil || failed.InCharge.Name != "scx_rusty" || in.Owner != OwnerAutosa || strings.Join(in.Args, " ") != "-a -b" {
				t.Errorf("%+v; in charge %+v", failed, in)
			}
			if kept := in.PID == before.PID; kept != c.kept {
				t.Errorf("kept: %v", kept)
			}
			if c.phase != PhasePreflight && failed.Exit == nil {
				t.Error("no exit")
			}
		})
	}
}

func TestSwitchThatFailsTwiceEndsOnEEVDF(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", `[ -e $K/once ] && exit 7; touch $K/once`)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "link; exit 1")
	s := k.switcher(Options{})
	mustSwitch(t, s, "rusty")
	_, err := s.Switch(t.Context(), Target{Name: "lavd"})
	var failed *SwitchError
	if !errors.As(err, &failed) || failed.Returned || failed.ReturnErr == nil || !strings.Contains(err.Error(), "status 7") || failed.InCharge.Owner != OwnerKernel {
		t.Errorf("%v: %+v", err, failed)
	}
	if k.state() != "disabled" {
		t.Errorf("the kernel says %s", k.state())
	}
}

func TestSchedulerThatRegistersUnderAnotherNameIsRefused(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "rusty_1.0.0_x", "")
	var s *Switcher
	s = k.switcher(Options{Progress: func(p Progress) {
		if p.Phase != PhaseVerifying {
			return
		}
		// The descriptors say that it is ours.
		s.mu.Lock()
		defer s.mu.Unlock()
		write(t, fmt.Sprintf("%s/%d/fdinfo/9", k.host.Proc, s.pending.proc.PID()), "link_type:\tstruct_ops\n")
	}})
	_, err := s.Switch(t.Context(), Target{Name: "lavd"})
	if err == nil || errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `registered as "rusty_1.0.0_x"`) {
		t.Errorf("got %v", err)
	}
	if in := inCharge(t, s); in.Owner != OwnerKernel || k.state() != "disabled" {
		t.Errorf("in charge %+v", in)
	}
}

func TestSchedulerOfTheRightNameThatIsNotOursIsForeign(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "sleep 1000")
	var s *Switcher
	s = k.switcher(Options{Progress: func(p Progress) {
		if p.Phase != PhaseVerifying || k.state() != "disabled" {
			return
		}
		// Our process has descriptors, none of them the scheduler's.
		s.mu.Lock()
		defer s.mu.Unlock()
		write(t, fmt.Sprintf("%s/%d/fdinfo/9", k.host.Proc, s.pending.proc.PID()), "link_type:\ttracing\n")
		k.enable("lavd_1.0.0_x", 7)
	}})
	_, err := s.Switch(t.Context(), Target{Name: "lavd"})
	if !errors.Is(err, ErrForeign) || k.state() != "enabled" || inCharge(t, s).Owner != OwnerForeign {
		t.Errorf("got %v", err)
	}
	k.disable()
}

func TestForeignSchedulerIsNeverTouched(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	s := k.switcher(Options{})
	k.enable("p2dq_1.0.0_x", 1)
	for _, name := range []string{"rusty", EEVDF} {
		_, err := s.Switch(t.Context(), Target{Name: name})
		var f *ForeignError
		if !errors.As(err, &f) || !errors.Is(err, ErrForeign) || f.Ops != "p2dq_1.0.0_x" {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := inCharge(t, s)
	if in.Owner != OwnerForeign || in.Name != "scx_p2dq" || in.PID != 0 || k.state() != "enabled" {
		t.Errorf("%+v", in)
	}
	if again := inCharge(t, s); !again.Since.Equal(in.Since) {
		t.Error("since moves")
	}
	k.disable()
	mustSwitch(t, s, "rusty")
	// Ours has left, and another of the same name has come.
	if err := unix.Kill(inCharge(t, s).PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Events()
	k.enable("rusty_1.0.0_x", 3)
	if in := inCharge(t, s); in.Owner != OwnerForeign {
		t.Errorf("%+v", in)
	}
	k.disable()
}

func TestForeignSchedulerThatComesDuringTheSwapIsLeftInCharge(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "link; sleep 1000")
	s := k.switcher(Options{Progress: func(p Progress) {
		if (p.Phase == PhaseVerifying || p.Phase == PhaseOpening) && p.Target.Name == "scx_lavd" && k.state() == "disabled" {
			k.enable("p2dq_1.0.0_x", 5)
		}
	}})
	mustSwitch(t, s, "rusty")
	_, err := s.Switch(t.Context(), Target{Name: "lavd"})
	var failed *SwitchError
	if !errors.As(err, &failed) || !errors.Is(err, ErrForeign) || failed.InCharge.Owner != OwnerForeign || failed.Returned {
		t.Errorf("%v", err)
	}
	if k.state() != "enabled" {
		t.Error("it was touched")
	}
	k.disable()
}

func TestOnlyOneSwapRunsAtATime(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "sleep 1")
	verifying := make(chan struct{}, 100)
	s := k.switcher(Options{Progress: func(p Progress) {
		if p.Phase == PhaseVerifying {
			verifying <- struct{}{}
		}
	}})
	first := make(chan error, 1)
	go func() {
		_, err := s.Switch(context.Background(), Target{Name: "rusty"})
		first <- err
	}()
	<-verifying
	if _, err := s.Switch(t.Context(), Target{Name: EEVDF}); !errors.Is(err, ErrBusy) {
		t.Errorf("second: %v", err)
	}
	if in := inCharge(t, s); in.Owner == OwnerForeign {
		t.Errorf("during the swap: %+v", in)
	}
	if err := <-first; err != nil {
		t.Errorf("first: %v", err)
	}
}

func TestCancelledSwapEndsInADefinedState(t *testing.T) {
	for _, c := range []struct {
		phase   Phase
		want    string
		ungated bool
	}{
		{phase: PhasePreflight, want: "scx_rusty"}, // nothing was touched
		{phase: PhaseLoading, want: "scx_rusty"},
		{phase: PhaseStopping, want: EEVDF},
		{phase: PhaseOpening, want: EEVDF},
		{phase: PhaseStarting, want: EEVDF, ungated: true},
		{phase: PhaseVerifying, want: EEVDF, ungated: true},
		{phase: PhaseReturning, want: EEVDF},
	} {
		t.Run(string(c.phase), func(t *testing.T) {
			needGate(t)
			k := newFakeKernel(t)
			k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
			body := "sleep 0.3; link; sleep 0.3"
			if c.phase == PhaseReturning {
				body = "link; exit 1"
			}
			k.scheduler("scx_lavd", "lavd_1.0.0_x", body)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := k.switcher(Options{Progress: func(p Progress) {
				if p.Phase == c.phase && p.Target.Name == "scx_lavd" {
					cancel()
				}
			}})
			if c.ungated {
				s.stateFile = "/nonexistent/state"
			}
			mustSwitch(t, s, "rusty")
			_, err := s.Switch(ctx, Target{Name: "lavd"})
			var failed *SwitchError
			if !errors.As(err, &failed) {
				t.Fatalf("got %v", err)
			}
			in := inCharge(t, s)
			if in.Name != c.want || failed.InCharge.Name != c.want || failed.Returned != (c.want != EEVDF) {
				t.Errorf("in charge %+v after %v", in, err)
			}
			if left := processes("/proc", func(p procStat) bool {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
				return strings.Contains(string(b), k.bin+"/scx_lavd")
			}); len(left) > 0 {
				t.Errorf("half started: %v", left)
			}
			// And the next swap works.
			mustSwitch(t, s, EEVDF)
		})
	}
}

func TestWhatIsKnownBeforehandIsRefusedBeforehand(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", "touch $K/ran")
	s := k.switcher(Options{})
	many := make([]string, maxArgs+1)
	for name, c := range map[string]struct {
		target Target
		spoil  func(h *Host)
		want   error
	}{
		"unknown":         {Target{Name: "lavdd"}, nil, ErrUnknown},
		"NUL":             {Target{Name: "lavd", Args: []string{"a\x00b"}}, nil, ErrBadArgs},
		"too many":        {Target{Name: "lavd", Args: many}, nil, ErrBadArgs},
		"too long":        {Target{Name: "lavd", Args: []string{strings.Repeat("x", maxArgBytes+1)}}, nil, ErrBadArgs},
		"eevdf with args": {Target{Name: EEVDF, Args: []string{"-x"}}, nil, ErrBadArgs},
		"isolated CPUs":   {Target{Name: "lavd"}, func(h *Host) { write(t, h.Sys+"/devices/system/cpu/isolated", "1\n") }, ErrUnusable},
		"no permission":   {Target{Name: "lavd"}, func(h *Host) { caps(t, *h, capsNone) }, ErrNotPermitted},
		"no config":       {Target{Name: "lavd"}, func(h *Host) { h.Boot = t.TempDir() }, ErrUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			host := s.host
			if c.spoil != nil {
				s.host.Sys = k.host.Sys
				c.spoil(&s.host)
				s.opt.Catalogue.host = s.host
			}
			_, err := s.Switch(t.Context(), c.target)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			s.host, s.opt.Catalogue.host = host, host
			write(t, host.Sys+"/devices/system/cpu/isolated", "\n")
			caps(t, host, capsAll)
		})
	}
	s.kernel.Root = t.TempDir()
	if _, err := s.Switch(t.Context(), Target{Name: "lavd"}); !errors.Is(err, ErrNotSupported) {
		t.Errorf("without sched_ext: %v", err)
	}
	s.kernel.Root = k.host.Sys
	if _, err := os.Stat(k.dir + "/ran"); err == nil {
		t.Error("the scheduler ran")
	}
}

func TestLinkHolderIsFoundInTheGroup(t *testing.T) {
	proc := t.TempDir()
	put := func(pid, pgrp int, fds ...string) {
		write(t, fmt.Sprintf("%s/%d/stat", proc, pid), fmt.Sprintf("%d (x) S 1 %d 0", pid, pgrp))
		for i, fd := range fds {
			write(t, fmt.Sprintf("%s/%d/fdinfo/%d", proc, pid, i), fd)
		}
	}
	const link = "pos:\t0\nlink_type:\tstruct_ops\nlink_id:\t5\nmap_id:\t9\n"
	put(10, 10, "pos:\t0\n")
	put(11, 10, "pos:\t0\n", "link_type:\ttracing\n")
	put(12, 10, "pos:\t0\n", link)
	put(20, 20, link)
	for _, c := range []struct {
		pid, group   int
		holds, known bool
	}{{12, 10, true, true}, {11, 10, true, true}, {20, 20, true, true}, {11, 99, false, true}, {77, 99, false, false}} {
		if holds, known := holdsLink(proc, c.pid, c.group); holds != c.holds || known != c.known {
			t.Errorf("%d in %d: %v, %v", c.pid, c.group, holds, known)
		}
	}
}
