// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package trace_test

import (
	"os"
	"testing"
	"time"

	"autosa/vmtest/guest"
)

// guestSwitches is what an emulated machine gets done in a few seconds.
const guestSwitches = 5_000

func TestVMWaitsAreThoseOfTheReference(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12")
	compare(t, guestSwitches)
}

func TestVMWaitsAreThoseOfTheReferenceUnderRusty(t *testing.T) {
	guest.On(t, "7.2")
	compareUnder(t, "scx_rusty")
}

func TestVMWaitsAreThoseOfTheReferenceUnderBpfland(t *testing.T) {
	guest.On(t, "6.18")
	compareUnder(t, "scx_bpfland")
}

// All CPUs are one domain, which has one queue: first in, first out.
func TestVMWaitsAreThoseOfTheReferenceUnderASharedQueue(t *testing.T) {
	guest.On(t, "6.16")
	compareUnder(t, "scx_rusty", "--cpumasks", "0x3", "--fifo-sched")
}

// compareUnder compares under a scheduler. The kernel may eject it meanwhile: on
// an emulated machine that is not run for a while tasks and CPUs look stalled.
func compareUnder(t *testing.T, scheduler string, args ...string) {
	t.Helper()
	guest.SchedExt(t)
	tolerateStalls(t)
	for range 3 {
		p := guest.Start(t, guest.Scheduler(t, scheduler), args...)
		guest.Await(t, 3*time.Minute, scheduler+" in charge", func() bool {
			if p.Ended() {
				t.Fatalf("%s ended: %s", scheduler, p.Output())
			}
			return guest.State(t) == "enabled"
		})
		t.Logf("under %s", guest.Ops(t))
		compare(t, guestSwitches)
		if !p.Ended() && guest.State(t) == "enabled" {
			return
		}
		t.Logf("%s was ejected amid the comparison", scheduler)
		_ = p.Stop() // how it ends is its own matter
		guest.Await(t, 3*time.Minute, "no scheduler", func() bool { return guest.State(t) == "disabled" })
	}
	t.Skipf("%s does not stay in charge: the machine is too slow", scheduler)
}

// tolerateStalls makes the guest's kernel wait longer before it calls a CPU
// stalled and ejects the scheduler for it.
func tolerateStalls(t *testing.T) {
	t.Helper()
	const path = "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout"
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := func(seconds []byte) {
		if err := os.WriteFile(path, seconds, 0); err != nil {
			t.Errorf("set the limit of CPU stalls: %v", err)
		}
	}
	set([]byte("300"))
	t.Cleanup(func() { set(before) })
}
