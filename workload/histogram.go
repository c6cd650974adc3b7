// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"math"
	"math/bits"
	"time"
)

// NumBuckets is the number of buckets of a [Histogram]: 24 octaves from
// 1.024 µs to 17.2 s, two buckets an octave.
const NumBuckets = 48

// minShift is log2 of the lower bound, in ns, of the first bucket's octave.
const minShift = 10

// Histogram counts durations in buckets whose width is half an octave.
// Bucket i holds durations below BucketBound(i) that no lower bucket holds;
// the first also holds everything shorter, the last everything longer. The
// layout is that of the tracer's BPF cells.
type Histogram [NumBuckets]uint64

// BucketBound returns the exclusive upper bound of bucket i in nanoseconds:
// 1536, 2048, 3072, 4096, … 2^34. The last one is nominal, that bucket is open.
func BucketBound(i int) uint64 {
	if i%2 == 0 {
		return 3 << (minShift - 1 + i/2)
	}
	return 1 << (minShift + (i+1)/2)
}

// BucketOf returns the bucket that holds a duration of ns nanoseconds.
func BucketOf(ns uint64) int {
	if ns < 1<<minShift {
		return 0
	}
	shift := bits.Len64(ns) - 1
	i := 2*(shift-minShift) + int(ns>>(shift-1)&1)
	return min(i, NumBuckets-1)
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	h[BucketOf(uint64(max(d, 0)))]++
}

// Add adds o to h.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// Count returns the number of durations counted.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile returns the duration below which a share q (0 to 1) of the counted
// durations lie, interpolated geometrically within its bucket, and 0 for an
// empty histogram. The error is at most half an octave.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := min(max(q, 0), 1) * float64(total)
	var below float64
	for i, c := range h {
		if c == 0 {
			continue
		}
		if below+float64(c) >= rank {
			lo, hi := float64(1<<minShift), float64(BucketBound(i))
			if i > 0 {
				lo = float64(BucketBound(i - 1))
			}
			part := max(rank-below, 0) / float64(c)
			return time.Duration(lo * math.Pow(hi/lo, part))
		}
		below += float64(c)
	}
	return time.Duration(BucketBound(NumBuckets - 1))
}
