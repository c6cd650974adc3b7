// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package scx

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/vmtest/guest"
)

// staleStats leaves a socket that refuses connections where schedulers make theirs.
func staleStats(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(statsSocket), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(statsSocket)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: statsSocket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := net.Dial("unix", statsSocket); err == nil {
		t.Fatal("the socket does not refuse connections")
	}
}

// A real scheduler that somebody starts by hand, beside a stale socket of
// statistics: heard of at once, known by its process, and left alone; adopted, it is
// replaced behind the gate, and not fought when it comes back.
func TestVMForeignSchedulerIsRecognisedAdoptedAndNotFought(t *testing.T) {
	guest.On(t, "7.2")
	leave := vmSwitcher(t, Options{}, nil)
	if err := leave.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := tryGate(t.Context(), leave.stateFile); err != nil {
		t.Errorf("the gate: %v", err)
	}
	staleStats(t)
	heard := make(chan uevent, 16)
	listenFor(t, heard)
	path := guest.Scheduler(t, "scx_rusty")
	p := guest.Start(t, path, "--slice-us-underutil", "15000")
	e := hear(t, heard)
	if e.action != "add" || SchedulerName(e.ops) != "scx_rusty" {
		t.Errorf("heard %+v", e)
	}
	select {
	case <-leave.Changes():
	case <-time.After(vmReady):
		t.Fatal("the switcher has not heard of it")
	}
	in := inCharge(t, leave)
	if in.Owner != OwnerForeign || in.Name != "scx_rusty" || in.Ops != e.ops {
		t.Errorf("on the first word of it: %+v", in)
	}
	var who *Process
	await(t, vmReady, "who runs it", func() bool { who = inCharge(t, leave).Process; return who != nil })
	if who.PID != p.Cmd.Process.Pid || who.Comm != "scx_rusty" || who.Exe != path || !slices.Equal(who.Args, []string{"--slice-us-underutil", "15000"}) || who.Manager != "" {
		t.Errorf("%+v, started as %d", who, p.Cmd.Process.Pid)
	}
	t.Logf("it is %+v", who)
	if _, err := leave.Switch(t.Context(), Target{Name: EEVDF}); !errors.Is(err, ErrForeign) {
		t.Errorf("left alone: %v", err)
	}

	s := vmSwitcherNow(t, Options{Adopt: true}, nil)
	await(t, vmReady, "its adoption", func() bool { return inCharge(t, s).Owner == OwnerAdopted })
	res := to(t, s, "scx_bpfland")
	if res.From.Name != "scx_rusty" || res.Ungated != "" || res.Gap <= 0 || res.Gap > res.Total/2 {
		t.Errorf("%+v", res)
	}
	await(t, vmReady, "the end of scx_rusty", p.Ended)
	if err := p.Stop(); err != nil {
		t.Errorf("it did not end in good order: %v", err)
	}
	if e := hear(t, heard); e.action != "remove" {
		t.Errorf("heard %+v", e)
	}
	to(t, s, EEVDF)
	again := guest.Start(t, path)
	await(t, vmReady, "its coming back", func() bool { in = inCharge(t, s); return in.Process != nil })
	if in.Owner != OwnerForeign || !strings.Contains(in.HandsOff, "came back") || in.PID != again.Cmd.Process.Pid {
		t.Errorf("%+v", in)
	}
	if err := again.Stop(); err != nil {
		t.Error(err)
	}
	await(t, vmReady, "the end", func() bool { return guest.State(t) == "disabled" })
}

// hear waits for the next event.
func hear(t *testing.T, heard <-chan uevent) uevent {
	t.Helper()
	select {
	case e := <-heard:
		return e
	case <-time.After(2 * vmReady):
		t.Fatal("no event has come")
	}
	return uevent{}
}

// listenFor hands on sched_ext's uevents as they come.
func listenFor(t *testing.T, heard chan<- uevent) {
	t.Helper()
	u, err := listenUevents()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := u.each(t.Context(), func(e uevent) { heard <- e }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-done })
}
