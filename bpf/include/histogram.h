/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The histogram layout of workload.Histogram: 48 buckets, two an octave, from
 * 1.024 us to 17.2 s; the first also holds what is shorter, the last what is
 * longer.
 */
#ifndef AUTOSA_HISTOGRAM_H
#define AUTOSA_HISTOGRAM_H

#include "bpf.h"

#define NUM_BUCKETS 48

/*
 * The bucket of a duration in nanoseconds, always below NUM_BUCKETS. With v in
 * units of the first octave (1024 ns) its octave is floor(log2(v)), found by
 * halving; the bit below the leading one picks the half.
 */
static __always_inline u32 bucket_of(u64 ns)
{
	u64 half = ns >> 9; /* one bit more, for the half octave */
	u32 v, octave = 0;

	if (half < 2)
		return 0;
	if (half >= 1 << 25)
		return NUM_BUCKETS - 1;
	v = half;
	/* From here 2 <= v < 2^25, and octave becomes log2(v) - 1. */
	if (v >= 1 << 17) {
		v >>= 16;
		octave = 16;
	}
	if (v >= 1 << 9) {
		v >>= 8;
		octave += 8;
	}
	if (v >= 1 << 5) {
		v >>= 4;
		octave += 4;
	}
	if (v >= 1 << 3) {
		v >>= 2;
		octave += 2;
	}
	if (v >= 1 << 2) {
		v >>= 1;
		octave += 1;
	}
	v = 2 * octave + (v & 1);
	/* Always so; the verifier wants to see it, the compiler knows better. */
	asm volatile("" : "+r"(v));
	return v < NUM_BUCKETS ? v : NUM_BUCKETS - 1;
}

#endif /* AUTOSA_HISTOGRAM_H */
