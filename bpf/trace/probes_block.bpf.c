// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * How long block requests take, attached for a moment at a time, from the start
 * time that the kernel keeps in the request. The tracepoint comes once for each
 * part of a request that completes; the last part ends it. Context: any,
 * interrupts too.
 */
#include "probes.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define REQ_OP_MASK 0xff

struct request {
	u32 cmd_flags;
	u32 __data_len;	   /* bytes still to be done, this part included */
	u64 start_time_ns; /* CLOCK_MONOTONIC; 0 where nobody wants to know */
} __core;

const struct block_latency *block_latency_type __attribute__((unused));
const enum block_op *block_op_type __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NUM_BLOCK_OPS);
	__type(key, u32);
	__type(value, struct block_latency);
} latencies SEC(".maps");

u64 untimed = 0; /* requests without a start time */

SEC("tp_btf/block_rq_complete")
int on_block_complete(u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	u32 bytes = ctx[2], op = rq->cmd_flags & REQ_OP_MASK;
	u64 start = rq->start_time_ns, now, ns;
	struct block_latency *l;

	if (bytes < rq->__data_len)
		return 0;
	if (!start) {
		__sync_fetch_and_add(&untimed, 1);
		return 0;
	}
	now = bpf_ktime_get_ns();
	ns = now > start ? now - start : 0; /* the block layer caches its clock */
	if (op > BLOCK_OTHER)
		op = BLOCK_OTHER;
	l = bpf_map_lookup_elem(&latencies, &op);
	if (!l) /* Not reached: the array has every op. */
		return 0;
	__sync_fetch_and_add(&l->requests, 1);
	__sync_fetch_and_add(&l->total_ns, ns);
	__sync_fetch_and_add(&l->buckets[bucket_of(ns)], 1);
	return 0;
}
