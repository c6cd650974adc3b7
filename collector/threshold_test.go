// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"math/rand/v2"
	"testing"
	"time"

	"autosa/workload"
)

// waitsOf is a histogram of n waits of each duration.
func waitsOf(n int, ds ...time.Duration) *workload.Histogram {
	var h workload.Histogram
	for _, d := range ds {
		h[workload.BucketOf(uint64(d))] += uint64(n)
	}
	return &h
}

func TestNextThreshold(t *testing.T) {
	bound := func(i int) time.Duration { return time.Duration(workload.BucketBound(i)) }
	floor := time.Millisecond
	at4ms := workload.BucketOf(uint64(4 * time.Millisecond))
	for name, tt := range map[string]struct {
		now   time.Duration
		waits *workload.Histogram
		want  time.Duration
	}{
		"nothing waits":                            {floor, waitsOf(0), floor},
		"few waits":                                {floor, waitsOf(100, 5*time.Millisecond), floor},
		"below the floor is raised to it":          {0, waitsOf(0), floor},
		"many short ones do not matter":            {floor, waitsOf(100_000, 500*time.Microsecond), floor},
		"too many: past their bucket, at once":     {floor, waitsOf(401, 4*time.Millisecond), bound(at4ms)},
		"as many as may be":                        {floor, waitsOf(400, 4*time.Millisecond), floor},
		"too many and some longer ones":            {floor, waitsOf(300, 4*time.Millisecond, 40*time.Millisecond), bound(at4ms)},
		"quiet again: down by one":                 {bound(at4ms), waitsOf(10, 40*time.Millisecond), bound(at4ms - 1)},
		"half the limit below: down":               {bound(at4ms), waitsOf(200, 4*time.Millisecond), bound(at4ms - 1)},
		"more than half below, enough here":        {bound(at4ms), waitsOf(150, 4*time.Millisecond, 40*time.Millisecond), bound(at4ms)},
		"more than half below, too few here":       {bound(at4ms), waitsOf(300, 4*time.Millisecond), bound(at4ms - 1)},
		"one bucket has them all: above it":        {bound(at4ms), waitsOf(5000, 4*time.Millisecond), bound(at4ms)},
		"the last bucket: no further":              {lastBound, waitsOf(5000, time.Minute), lastBound},
		"everything waits long: not past the last": {floor, waitsOf(5000, time.Minute), lastBound},
	} {
		if got := nextThreshold(tt.now, floor, tt.waits, time.Second); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if got := nextThreshold(floor, floor, waitsOf(401, 4*time.Millisecond), 2*time.Second); got != floor {
		t.Errorf("%v for 200 waits a second, want the floor: it is the rate that counts", got)
	}
}

// A load that stays as it is has the threshold rest, at a rate that is neither a
// flood nor, if there is anything to report, too little.
func TestThresholdRestsUnderASteadyLoad(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	floor := time.Millisecond
	for range 1000 {
		var h workload.Histogram
		for range 1 + rng.IntN(6) {
			h[rng.IntN(workload.NumBuckets)] += uint64(rng.IntN(3000))
		}
		now := time.Duration(rng.Int64N(int64(10 * time.Second)))
		for range 2 * workload.NumBuckets {
			now = nextThreshold(now, floor, &h, time.Second)
		}
		if next := nextThreshold(now, floor, &h, time.Second); next != now {
			t.Fatalf("moves from %v to %v after long: %v", now, next, h)
		}
		if now < floor || now > lastBound {
			t.Fatalf("rests at %v", now)
		}
		rate := atLeast(&h, now)
		if rate > manyEvents && now < lastBound {
			t.Errorf("%d events a second at %v: %v", rate, now, h)
		}
		if rate < enoughEvents && now > floor && atLeast(&h, max(boundBelow(now), floor)) <= manyEvents {
			t.Errorf("%d events a second at %v, and lower would do: %v", rate, now, h)
		}
	}
}
