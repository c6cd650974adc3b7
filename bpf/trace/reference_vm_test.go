// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package trace_test

import (
	"testing"
	"time"

	"autosa/vmtest/guest"
)

// guestSwitches is what an emulated machine gets done in a few seconds.
const guestSwitches = 10_000

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

func compareUnder(t *testing.T, scheduler string, args ...string) {
	t.Helper()
	guest.SchedExt(t)
	p := guest.Start(t, guest.Scheduler(t, scheduler), args...)
	guest.Await(t, 3*time.Minute, scheduler+" in charge", func() bool {
		if p.Ended() {
			t.Fatalf("%s ended: %s", scheduler, p.Output())
		}
		return guest.State(t) == "enabled"
	})
	ops := guest.Ops(t)
	compare(t, guestSwitches)
	if p.Ended() || guest.State(t) != "enabled" {
		t.Errorf("%s is not in charge any more: %s", ops, p.Output())
	}
	t.Logf("under %s", ops)
}
