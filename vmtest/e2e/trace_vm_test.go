// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/vmtest/guest"
)

// Under a sched_ext scheduler the trace is as whole as under the kernel's own,
// and spinners that share CPUs are seen to wait for each other.
func TestVMTraceIsWholeUnderSchedExt(t *testing.T) {
	guest.On(t, "6.18")
	guest.SchedExt(t)
	guest.Scheduler(t, "scx_rusty")
	a := startInVM(t)
	a.mustRun("switch", "rusty")
	a.await(swapTime, "scx_rusty in charge", func(st api.Status) bool { return inCharge(st, "scx_rusty", "rusty") })
	checkTraceIsWhole(t, a)

	load := guest.Load(t, "spin", "-n", "4")
	tr := a.trace("--min-wait", "1ms", "--duration", "10m")
	named := 0
	for deadline := time.Now().Add(soon); named < 5; {
		e, ok := tr.next()
		if !ok || time.Now().After(deadline) {
			t.Fatalf("%d waits with a holder: %s", named, tr.stderr.String())
		}
		s := e.Slice
		if s == nil || s.Partial || s.WaitSeconds < 0.001 && e.Kind == api.TraceWait {
			t.Fatalf("line %+v %+v", e, s)
		}
		if e.Kind == api.TraceWait && s.Holder != nil {
			named++
		}
	}
	if load.Ended() {
		t.Errorf("the load ended: %s", load.Output())
	}
	if k := kernel(); !strings.HasPrefix(k.Ops, "rusty") {
		t.Errorf("%+v: scx_rusty is not in charge any more", k)
	}
}

func TestVMTraceWithoutADaemonTracesByItself(t *testing.T) {
	guest.On(t, "6.12")
	checkTraceWithoutADaemon(t, bin(t))
}
