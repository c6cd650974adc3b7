// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package trace_test

import (
	"os"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/vmtest/guest"
)

const cpu1Online = "/sys/devices/system/cpu/cpu1/online"

// setCPU1 switches a CPU off or on. It is on again at the test's end.
func setCPU1(t testing.TB, on bool) {
	t.Helper()
	value := []byte("0")
	if on {
		value = []byte("1")
	}
	if err := os.WriteFile(cpu1Online, value, 0); err != nil {
		t.Fatalf("CPU 1: %v", err)
	}
}

// The kernel moves a CPU's tasks away and gives them back: every switch is
// counted where it was made.
func TestVMCPUsGoingOfflineAndOnlineLoseNothing(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.18")
	t.Cleanup(func() { setCPU1(t, true) })
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	books := openLedger(t, tracer)
	loads := []*tracetest.Load{tracetest.PingPong(t, c, 0), tracetest.PingPong(t, c, 1), tracetest.Spin(t, c, 1)}
	kernel := func() (n uint64, run, wait time.Duration) {
		tracetest.StopAll(loads...)
		for _, l := range loads {
			v, i := l.Switches()
			r, w := l.Schedstat()
			n, run, wait = n+v+i, run+r, wait+w
		}
		return n, run, wait
	}
	time.Sleep(time.Second)
	n0, run0, wait0 := kernel()
	cell0, before := cell(t, tracer, 1), books.read(t)
	for _, l := range loads {
		l.Resume()
	}
	cycles := scale(4, 200)
	for range cycles {
		for _, on := range []bool{false, true} {
			setCPU1(t, on)
			from := cell(t, tracer, 1).Switches
			tracetest.Await(t, "the load to go on", func() bool { return cell(t, tracer, 1).Switches > from+100 })
		}
	}
	n1, run1, wait1 := kernel()
	cell1, after := cell(t, tracer, 1), books.read(t)
	all := books.settle(t, before, after)

	got, lost := cell1.Switches-cell0.Switches, after.lost-before.lost
	run, wait := time.Duration(cell1.RunNs-cell0.RunNs), time.Duration(cell1.WaitNs-cell0.WaitNs)
	t.Logf("counted: %d cycles off and on, %d switches of the load and %d of the machine, %d lost; run %v of the kernel's %v, wait %v of %v",
		cycles, got, all, lost, run, run1-run0, wait, wait1-wait0)
	if want := n1 - n0; got > want || got+lost < want {
		t.Errorf("%d switches and %d losses, want the kernel's %d", got, lost, want)
	}
	for what, ratio := range map[string]float64{
		"run": float64(run) / float64(run1-run0), "wait": float64(wait) / float64(wait1-wait0),
	} {
		if ratio < 0.99 || ratio > 1.01 {
			t.Errorf("%s is %.4f of the kernel's", what, ratio)
		}
	}
}

// Under emulation the short form is the same test.
func TestVMStormsAndFullBuffersLoseNothing(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "7.2")
	guest.Long(t)
	t.Run("forks", TestForkStormIsCountedToTheLastTaskAndLeavesNoStorage)
	t.Run("ring", TestRingBufferKeptFullLosesEventsOneByOneAndNothingElse)
	t.Run("snapshots", TestSnapshotsWhileEverythingChangesOnlyGrow)
	t.Run("cycles", TestAttachingAndDetachingLeavesNothingInTheKernelOrTheHeap)
}
