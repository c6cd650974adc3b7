// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLostSchedulerIsReportedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(k *fakeKernel, pid int)
		body string
		kind EventKind
		text string
	}{
		"killed":  {func(_ *fakeKernel, pid int) { _ = unix.Kill(pid, unix.SIGKILL) }, "", EventDied, "killed by SIGKILL"},
		"ejected": {func(k *fakeKernel, _ int) { k.put("eject", "") }, "", EventEjected, "runnable task stall (sh[1] failed to run for 5.0s)"},
		"left":    {func(_ *fakeKernel, pid int) { _ = unix.Kill(pid, unix.SIGTERM) }, "", EventDied, "status 0"},
		// The code alone would call this a regular end.
		"ejected with status 0": {func(k *fakeKernel, _ int) { k.put("eject0", "") }, "", EventEjected, "runnable task stall"},
		"stays though ejected":  {func(k *fakeKernel, _ int) { _ = os.Remove(k.dir + "/owner"); k.disable() }, "", EventEjected, "its process stayed"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFakeKernel(t)
			k.scheduler("scx_rusty", "rusty_1.0.0_x", `register
while :; do sleep 0.02
	[ -e $K/eject ] && { rm -rf $K/root $K/owner; put state disabled; echo "Error: EXIT: runnable task stall (sh[1] failed to run for 5.0s)" >&2; exit 1; }
	[ -e $K/eject0 ] && { rm -rf $K/root $K/owner; put state disabled; echo "EXIT: runnable task stall" >&2; exit 0; }
done`)
			s := k.switcher(Options{ReadyTimeout: 2 * time.Second})
			pid := mustSwitch(t, s, "rusty", "-v").InCharge.PID
			// From the moment that it is gone until its event can be read, nothing is settled.
			early := make(chan bool, 1)
			go func() {
				for ; ; time.Sleep(100 * time.Microsecond) {
					in, err := s.InCharge()
					if len(s.Events()) > 0 || err != nil {
						early <- false
						return
					}
					if in.Owner == OwnerKernel && !in.Unsettled {
						early <- len(s.Events()) == 0
						return
					}
				}
			}()
			c.lose(k, pid)
			if <-early {
				t.Error("said to be settled before its event came")
			}
			select {
			case e := <-s.Events():
				if e.Kind != c.kind || e.PID != pid || e.Exit == nil || e.Exit.Requested && name != "stays though ejected" || !strings.Contains(e.Reason, c.text) || strings.Join(e.Target.Args, " ") != "-v" {
					t.Errorf("%+v, exit %+v", e, e.Exit)
				}
				if e.InCharge.Owner != OwnerKernel || e.Ops != "rusty_1.0.0_x" {
					t.Errorf("in charge %+v", e.InCharge)
				}
			case <-time.After(time.Minute):
				t.Fatal("no event")
			}
			if in := inCharge(t, s); in.Owner != OwnerKernel {
				t.Errorf("in charge %+v", in)
			}
			mustSwitch(t, s, EEVDF)
		})
	}
}

func TestReattachInTheSameProcessIsNoCrash(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", `register
while :; do sleep 0.02; [ -e $K/again ] && { rm $K/again; put state disabled; sleep 0.2; register; }; done`)
	s := k.switcher(Options{})
	before := mustSwitch(t, s, "rusty").InCharge
	k.put("again", "")
	select {
	case e := <-s.Events():
		if e.Kind != EventReattached || e.PID != before.PID || e.Exit != nil {
			t.Errorf("%+v", e)
		}
	case <-time.After(time.Minute):
		t.Fatal("no event")
	}
	in := inCharge(t, s)
	if in.Owner != OwnerAutosa || in.PID != before.PID || in.Kernel.EnableSeq != 2 || !in.Since.Equal(before.Since) {
		t.Errorf("%+v", in)
	}
	mustSwitch(t, s, EEVDF)
}

func TestCloseStopsOursAtAnyMoment(t *testing.T) {
	t.Run("in charge", func(t *testing.T) {
		k := newFakeKernel(t)
		k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
		s := k.switcher(Options{})
		pid := mustSwitch(t, s, "rusty").InCharge.PID
		if err := s.Close(t.Context()); err != nil || k.state() != "disabled" || exists(pid) {
			t.Errorf("%v, %s", err, k.state())
		}
		if _, ok := <-s.Events(); ok {
			t.Error("an ordered end was reported")
		}
		if _, err := s.Switch(t.Context(), Target{Name: "rusty"}); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
	t.Run("coming up", func(t *testing.T) {
		k := newFakeKernel(t)
		k.scheduler("scx_rusty", "rusty_1.0.0_x", "sleep 1000")
		verifying := make(chan struct{}, 100)
		s := k.switcher(Options{Progress: func(p Progress) {
			if p.Phase == PhaseVerifying {
				verifying <- struct{}{}
			}
		}})
		swapped := make(chan error, 1)
		go func() {
			_, err := s.Switch(context.Background(), Target{Name: "rusty"})
			swapped <- err
		}()
		<-verifying
		if err := s.Close(t.Context()); err != nil || k.state() != "disabled" {
			t.Errorf("%v, %s", err, k.state())
		}
		if err := <-swapped; !errors.Is(err, context.Canceled) {
			t.Errorf("the swap: %v", err)
		}
	})
	t.Run("foreign", func(t *testing.T) {
		k := newFakeKernel(t)
		s := k.switcher(Options{})
		k.enable("p2dq_1.0.0_x", 1)
		if err := s.Close(t.Context()); err != nil || k.state() != "enabled" {
			t.Errorf("%v, %s", err, k.state())
		}
	})
}

func TestStopThatTheKernelDoesNotConfirmIsAnError(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	s := k.switcher(Options{DisableTimeout: 200 * time.Millisecond, StopTimeout: 200 * time.Millisecond})
	mustSwitch(t, s, "rusty")
	// The process ends, and the kernel keeps its scheduler.
	if err := os.Remove(k.dir + "/owner"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(inCharge(t, s).PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := s.Switch(t.Context(), Target{Name: EEVDF})
	var failed *SwitchError
	if !errors.As(err, &failed) || !errors.Is(err, ErrTimeout) || failed.Phase != PhaseStopping {
		t.Errorf("got %v", err)
	}
	k.disable()
}
