// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package trace_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/vmtest/guest"
	"autosa/workload"
)

func TestVMPingPongSwitchesAreTheKernels(t *testing.T) {
	guest.Tracing(t)
	pingPong(t)
}

func TestVMSpinnersWaitForEachOtherAndTheKernelAgrees(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12")
	spinners(t, 2)
	if !testing.Short() {
		spinners(t, 4)
	}
}

func TestVMNewTasksCountFromTheirFirstSlice(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12")
	TestNewTasksCountFromTheirFirstSlice(t)
}

func TestVMPromotionAndDemotionLoseNothingAndCountNothingTwice(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12")
	TestPromotionAndDemotionLoseNothingAndCountNothingTwice(t)
}

func TestVMWaitEventsNameWhoHeldTheCPU(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "7.3")
	// On emulated CPUs a moment is so long that who slips in may well have had the CPU for most of a wait: no proportions.
	waitsOfAVictim(t)
}

func TestVMExistingTasksCountFromTheirFirstSlice(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "7.3")
	TestExistingTasksCountFromTheirFirstSlice(t)
}

func TestVMPauseCountsNeitherRunNorWaitNorSleep(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "7.3")
	TestPauseCountsNeitherRunNorWaitNorSleep(t)
}

func TestVMMoreCgroupsThanSlotsSumUpToTheSystem(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.16")
	TestMoreCgroupsThanSlotsSumUpToTheSystem(t)
}

// Alone on its CPU a task waits, because its cgroup may use a fifth of it only.
// The kernel's wait has that in it; its events blame nobody for most of it.
func TestVMThrottledTaskHasNoHolderToBlame(t *testing.T) {
	guest.Tracing(t)
	guest.Long(t)
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	write := func(file, value string) {
		if err := os.WriteFile(filepath.Join(c.Path, file), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	write("../cgroup.subtree_control", "+cpu")
	write("cpu.max", "20000 100000")
	throttled := func() (n uint64, d time.Duration) {
		b, err := os.ReadFile(filepath.Join(c.Path, "cpu.stat"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var key string
			var value uint64
			if _, err := fmt.Sscan(line, &key, &value); err != nil {
				t.Fatal(err)
			}
			switch key {
			case "nr_throttled":
				n = value
			case "throttled_usec":
				d = time.Duration(value) * time.Microsecond
			}
		}
		return n, d
	}
	l := tracetest.Spin(t, c, quietCPU())
	tracetest.Await(t, "throttled 20 times", func() bool { n, _ := throttled(); return n >= 20 })
	l.Stop()
	n, held := throttled()
	want, got := kernelCounts(l), slotCounts(t, tracer, 1)
	var waited, idle, holder time.Duration
	events := 0
	for _, e := range drain(t, tracer) {
		if e.PID == l.PID() && e.Kind&trace.EventWait != 0 {
			events++
			waited += e.Wait
			idle += e.Idle
			holder += e.HolderRun
		}
	}
	t.Logf("throttled %d times for %v; waited %v; %d events of %v, %v idle, %v by holders",
		n, held, time.Duration(got.waitNs), events, waited, idle, holder)
	if got.waitNs > want.waitNs || float64(got.waitNs) < 0.99*float64(want.waitNs) || got.runNs > want.runNs {
		t.Errorf("counted %+v, the kernel %+v", got, want)
	}
	if time.Duration(got.waitNs) < held/2 {
		t.Errorf("waited %v, throttled for %v", time.Duration(got.waitNs), held)
	}
	// Others have the CPU for moments, and of a long wait not all is remembered.
	if events < 10 || idle == 0 || holder > waited/2 {
		t.Errorf("%d events of %v, of which the CPU was idle for %v and had by a holder for %v", events, waited, idle, holder)
	}
}

// Under a sched_ext scheduler the accounting is the same kernel's: it moves
// tasks between run queues through the same paths.
func TestVMCountsAreTheKernelsUnderSchedExt(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t) // the short form compares with the reference under three schedulers
	rusty := guest.Start(t, guest.Scheduler(t, "scx_rusty"))
	guest.Await(t, 2*time.Minute, "scx_rusty in charge", func() bool {
		if rusty.Ended() {
			t.Fatalf("scx_rusty ended: %s", rusty.Output())
		}
		return guest.State(t) == "enabled"
	})
	pingPong(t)
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	var loads []*tracetest.Load
	for range 3 {
		loads = append(loads, tracetest.Spin(t, c, quietCPU()))
	}
	time.Sleep(500 * time.Millisecond)
	got := spin(t, tracer, loads)
	t.Logf("%+v under %s", got, guest.Ops(t))
	if math.Abs(got.kernel-1) > 0.01 {
		t.Errorf("the tracer's wait is %.4f of the kernel's, want 1 within 1 %%", got.kernel)
	}
	if rusty.Ended() || guest.State(t) != "enabled" {
		t.Errorf("scx_rusty is not in charge any more: %s", rusty.Output())
	}
}

// A direct read waits for the disk's completion, which comes 5 ms after; what
// the machine adds to that, the reader measures itself.
func TestVMDirectReadIsAnIOWaitInItsBucket(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.12", "7.2")
	const completion = 5 * time.Millisecond
	tracer := load(t, trace.Options{IOThreshold: time.Millisecond})
	c := assign(t, tracer, 1)
	l := tracetest.Read(t, c, quietCPU(), guest.NullBlock(t))
	time.Sleep(2 * time.Second)
	l.Stop()
	got := cell(t, tracer, 1)
	reads := l.Durations()
	var hist, reference workload.Histogram
	for i, n := range got.Io {
		hist[i] = uint64(n)
	}
	for _, d := range reads {
		reference.Observe(d)
	}
	io, want := hist.Quantile(0.5), reference.Quantile(0.5)
	t.Logf("%d reads, p50 %v; %d I/O waits, p50 %v", len(reads), want, hist.Count(), io)
	if n := hist.Count(); len(reads) < 50 || math.Abs(float64(n)/float64(len(reads))-1) > 0.1 {
		t.Fatalf("%d I/O waits for %d reads", n, len(reads))
	}
	// A median beside a bucket's edge may fall to either side of it.
	if got, want := workload.BucketOf(uint64(io)), workload.BucketOf(uint64(want)); got < want-1 || got > want+1 {
		t.Errorf("median I/O wait %v is in bucket %d, the median read in %d", io, got, want)
	}
	if io < completion*9/10 {
		t.Errorf("median I/O wait %v, the disk takes %v", io, completion)
	}
	var named int
	for _, e := range drain(t, tracer) {
		if e.Cgroup == c.ID && e.Kind&trace.EventIO != 0 && e.Blocked >= completion*9/10 {
			named++
		}
	}
	if named == 0 {
		t.Error("no event for an I/O wait past the threshold")
	}
}
