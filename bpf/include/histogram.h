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

/* The buckets of 0 to 15 times 512 ns, half the first octave: 4 bits each. */
#define FIRST_BUCKETS 0x5555444433221000ULL

/* If v is not below the power of two, it loses octaves, whose buckets are counted. */
#define LOWER(v, buckets, power, octaves)                                                      \
	asm volatile("if %0 < %2 goto +2; %0 >>= %3; %1 += %4"                                 \
		     : "+r"(v), "+r"(buckets)                                                  \
		     : "i"(power), "i"(octaves), "i"(2 * (octaves)))

/*
 * The bucket of a duration in nanoseconds, always below NUM_BUCKETS. Short ones,
 * below 8.192 us, are the most there are where it matters what this takes: a
 * table has their buckets. The others are first brought there, by whole octaves.
 * Assembly, because the compiler makes two branches of each step's one.
 */
static __always_inline u32 bucket_of(u64 ns)
{
	u64 v = ns >> 9, before = 0;

	if (likely(v < 1 << 4))
		return (FIRST_BUCKETS >> (4 * v)) & 15;
	if (v >= 1 << 25)
		return NUM_BUCKETS - 1;
	LOWER(v, before, 1 << 13, 12);
	LOWER(v, before, 1 << 7, 6);
	LOWER(v, before, 1 << 4, 3);
	v = before + ((FIRST_BUCKETS >> (4 * v)) & 15);
	/* Always so; the verifier wants to see it, the compiler knows better. */
	opaque(v);
	return v < NUM_BUCKETS ? v : NUM_BUCKETS - 1;
}

#endif /* AUTOSA_HISTOGRAM_H */
