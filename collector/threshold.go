// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"time"

	"autosa/workload"
)

const (
	// enoughEvents is how many events a second it takes to name who waited for
	// whom.
	enoughEvents = 20
	// maxRaise bounds how far above its floor a threshold goes. A crowd of very
	// long waits must not hide whom a neighbour makes wait for less: beyond that
	// the kernel's limit of events takes a sample of all.
	maxRaise = 4
)

// nextThreshold returns the wait from which events are reported next, given the
// one in force, the least one wanted, the distribution of all waits of the
// interval, and how many events a second are many: the lowest bucket's bound,
// and not below floor, past which at most that many can be expected.
//
// Up it goes at once and as far as need be, lest events flood. Down it goes
// when half as many would not be passed, or when fewer than enoughEvents are
// left, and one bucket at a time: a load at an edge does not move it to and fro.
// Where one bucket alone has more than many, the threshold stays above it,
// though few events be left. It never exceeds maxRaise times floor.
func nextThreshold(now, floor time.Duration, waits *workload.Histogram, interval time.Duration, many float64) time.Duration {
	now = min(max(now, floor), maxRaise*floor)
	seconds := interval.Seconds()
	if seconds <= 0 {
		return now
	}
	rate := func(t time.Duration) float64 { return float64(atLeast(waits, t)) / seconds }
	if rate(now) > many {
		for now < maxRaise*floor && now < lastBound && rate(now) > many {
			now = boundAbove(now)
		}
		return min(now, maxRaise*floor)
	}
	below := max(boundBelow(now), floor)
	if limit := rate(below); limit <= many/2 || rate(now) < enoughEvents && limit <= many {
		return below
	}
	return now
}

// lastBound is the highest threshold: what is longer has no bucket of its own.
var lastBound = time.Duration(workload.BucketBound(workload.NumBuckets - 2))

// atLeast counts the waits in the buckets that lie wholly at or above t, and
// all of the bucket that t lies within.
func atLeast(h *workload.Histogram, t time.Duration) uint64 {
	var n uint64
	for i := workload.BucketOf(uint64(t)); i < workload.NumBuckets; i++ {
		n += h[i]
	}
	return n
}

// boundAbove returns the lowest bucket bound above t.
func boundAbove(t time.Duration) time.Duration {
	return time.Duration(workload.BucketBound(workload.BucketOf(uint64(t))))
}

// boundBelow returns the highest bucket bound below t, 0 where there is none.
func boundBelow(t time.Duration) time.Duration {
	i := workload.BucketOf(uint64(max(t, 1) - 1))
	if i == 0 {
		return 0
	}
	return time.Duration(workload.BucketBound(i - 1))
}
