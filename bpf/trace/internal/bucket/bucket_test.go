// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"math/rand/v2"
	"testing"

	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

func TestKernelAndGoAgreeOnEveryBucket(t *testing.T) {
	tracetest.RequireTracer(t)
	p, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	values := []uint64{0, 1, 1023, 1024, 1 << 34, 1<<34 - 1, 1 << 35, 1 << 63, 1<<64 - 1}
	for i := range workload.NumBuckets {
		bound := workload.BucketBound(i)
		values = append(values, bound-1, bound, bound+1)
	}
	for shift := range 64 {
		for range 20 {
			values = append(values, rand.Uint64()>>shift)
		}
	}
	for _, ns := range values {
		got, err := p.Of(ns)
		if err != nil {
			t.Fatal(err)
		}
		if want := workload.BucketOf(ns); got != want {
			t.Errorf("%d ns is in bucket %d, in Go in %d", ns, got, want)
		}
	}
}
