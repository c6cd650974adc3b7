// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package trace_test

import (
	"testing"
	"time"

	"autosa/bpf/trace/tracetest"
	"autosa/vmtest/guest"
	"autosa/workload"
)

func TestVMWakeupsNameTheTaskOrTheInterrupt(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "7.2")
	wakeups(t, 2*time.Second)
	if !testing.Short() {
		callOff(t, 1)
	}
}

// The disk takes 5 ms for a request. Its reader is told a little later than the
// request ends.
func TestVMBlockLatencyIsTheDisks(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.18")
	const completion = 5 * time.Millisecond
	l := tracetest.Read(t, tracetest.NewCgroup(t), quietCPU(), guest.NullBlock(t))
	before := tracetest.Kernel(t)
	sample := blockSample(t, 2*time.Second)
	tracetest.AwaitKernel(t, before)
	var reads workload.Histogram
	for _, d := range l.Durations() {
		reads.Observe(d)
	}
	if len(sample.Ops) != 1 || sample.Ops[0].Op.String() != "read" || sample.Untimed > 2 {
		t.Fatalf("%+v, want reads only", sample)
	}
	op := sample.Ops[0]
	hist := workload.Histogram(op.Buckets)
	got, want := hist.Quantile(0.5), reads.Quantile(0.5)
	t.Logf("%d requests in %v, p50 %v, mean %v; %d reads in all, p50 %v", op.Requests, sample.Duration, got, op.Total/time.Duration(op.Requests), reads.Count(), want)
	if hist.Count() != op.Requests || op.Requests < 20 || op.Requests > reads.Count() {
		t.Errorf("%d requests, %d in the buckets, for %d reads", op.Requests, hist.Count(), reads.Count())
	}
	if op.Total < time.Duration(op.Requests)*completion*9/10 {
		t.Errorf("%d requests took %v, the disk takes %v for each", op.Requests, op.Total, completion)
	}
	if got < completion*9/10 || workload.BucketOf(uint64(got)) > workload.BucketOf(uint64(want))+1 {
		t.Errorf("median request %v, want between the disk's %v and the reader's %v", got, completion, want)
	}
}
