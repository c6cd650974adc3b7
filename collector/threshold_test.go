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
	// The buckets from 2.1 ms and from 4.2 ms on; 4 ms is as far as it goes.
	at2ms := workload.BucketOf(uint64(2200 * time.Microsecond))
	most := maxRaise * floor
	for name, tt := range map[string]struct {
		now   time.Duration
		waits *workload.Histogram
		want  time.Duration
	}{
		"nothing waits":                        {floor, waitsOf(0), floor},
		"few waits":                            {floor, waitsOf(100, 5*time.Millisecond), floor},
		"below the floor is raised to it":      {0, waitsOf(0), floor},
		"many short ones do not matter":        {floor, waitsOf(100_000, 500*time.Microsecond), floor},
		"too many: past their bucket, at once": {floor, waitsOf(401, 2200*time.Microsecond), bound(at2ms)},
		"as many as may be":                    {floor, waitsOf(400, 2200*time.Microsecond), floor},
		"too many and some longer ones":        {floor, waitsOf(300, 2200*time.Microsecond, 40*time.Millisecond), bound(at2ms)},
		"quiet again: down by one":             {bound(at2ms), waitsOf(10, 40*time.Millisecond), bound(at2ms - 1)},
		"half the limit below: down":           {bound(at2ms), waitsOf(200, 2200*time.Microsecond), bound(at2ms - 1)},
		"more than half below, enough here":    {bound(at2ms), waitsOf(150, 2200*time.Microsecond, 40*time.Millisecond), bound(at2ms)},
		"more than half below, too few here":   {bound(at2ms), waitsOf(300, 2200*time.Microsecond), bound(at2ms - 1)},
		"one bucket has them all: above it":    {bound(at2ms), waitsOf(5000, 2200*time.Microsecond), bound(at2ms)},
		"everything waits long: no further":    {floor, waitsOf(5000, time.Minute), most},
		"further than may be: back":            {time.Minute, waitsOf(5000, time.Minute), most},
	} {
		if got := nextThreshold(tt.now, floor, tt.waits, time.Second, 400); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if got := nextThreshold(floor, floor, waitsOf(401, 4*time.Millisecond), 2*time.Second, 400); got != floor {
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
			h[workload.BucketOf(uint64(100*time.Microsecond))+rng.IntN(20)] += uint64(rng.IntN(3000))
		}
		now := time.Duration(rng.Int64N(int64(10 * time.Millisecond)))
		for range 2 * workload.NumBuckets {
			now = nextThreshold(now, floor, &h, time.Second, 400)
		}
		if next := nextThreshold(now, floor, &h, time.Second, 400); next != now {
			t.Fatalf("moves from %v to %v after long: %v", now, next, h)
		}
		if now < floor || now > maxRaise*floor {
			t.Fatalf("rests at %v", now)
		}
		rate := atLeast(&h, now)
		if rate > 400 && now < maxRaise*floor {
			t.Errorf("%d events a second at %v: %v", rate, now, h)
		}
		if rate < enoughEvents && now > floor && atLeast(&h, max(boundBelow(now), floor)) <= 400 {
			t.Errorf("%d events a second at %v, and lower would do: %v", rate, now, h)
		}
	}
}
