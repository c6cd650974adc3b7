/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the optional probes of probes_*.bpf.c and their user space share. Go
 * gets it from BTF through bpf2go.
 */
#ifndef AUTOSA_PROBES_H
#define AUTOSA_PROBES_H

#include "histogram.h"
#include "kernel.h"

/* Who woke whom: names and cgroups. A waker without a name is an interrupt. */
struct wake_edge {
	u64 waker_cgroup;
	u64 wakee_cgroup;
	char waker[TASK_COMM_LEN];
	char wakee[TASK_COMM_LEN];
};

_Static_assert(sizeof(struct wake_edge) == 48, "a key without padding");

/* What a block device was asked to do; include/linux/blk_types.h. */
enum block_op {
	BLOCK_READ = 0,
	BLOCK_WRITE = 1,
	BLOCK_FLUSH = 2,
	BLOCK_DISCARD = 3,
	BLOCK_OTHER = 4,
	NUM_BLOCK_OPS = 5,
};

struct block_latency {
	u64 requests;
	u64 total_ns; /* from the request's start to its end */
	u32 buckets[NUM_BUCKETS];
};

#endif /* AUTOSA_PROBES_H */
