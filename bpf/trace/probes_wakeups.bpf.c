// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * Who wakes whom, attached for a moment at a time. sched_waking happens in the
 * waker's context. Whether that is the current task or an interrupt above it is
 * told by the programs that count the interrupts under way on this CPU: device
 * interrupts, timers, softirqs. A wakeup by the idle task is one by an
 * interrupt: it has no other reason to wake anybody. Interrupts of other kinds
 * count as the task they interrupt.
 */
#include "probes.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;

const struct wake_edge *wake_edge_type __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct wake_edge);
	__type(value, u64);
} edges SEC(".maps");

/* Interrupts under way, by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, u32);
} depths SEC(".maps");

u64 wakeups = 0; /* seen */
u64 unnamed = 0; /* of these, of an edge that found no room */

static __always_inline u32 *depth_here(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&depths, &cpu);
}

static __always_inline int enter(void)
{
	u32 *depth = depth_here();

	if (depth)
		++*depth;
	return 0;
}

/* One that began before the probe was attached leaves without having entered. */
static __always_inline int leave(void)
{
	u32 *depth = depth_here();

	if (depth && *depth)
		--*depth;
	return 0;
}

SEC("tp_btf/irq_handler_entry")
int enter_irq(void *ctx __attribute__((unused)))
{
	return enter();
}

SEC("tp_btf/irq_handler_exit")
int leave_irq(void *ctx __attribute__((unused)))
{
	return leave();
}

SEC("tp_btf/softirq_entry")
int enter_softirq(void *ctx __attribute__((unused)))
{
	return enter();
}

SEC("tp_btf/softirq_exit")
int leave_softirq(void *ctx __attribute__((unused)))
{
	return leave();
}

SEC("tp_btf/hrtimer_expire_entry")
int enter_hrtimer(void *ctx __attribute__((unused)))
{
	return enter();
}

SEC("tp_btf/hrtimer_expire_exit")
int leave_hrtimer(void *ctx __attribute__((unused)))
{
	return leave();
}

SEC("tp_btf/sched_waking")
int on_waking(u64 *ctx)
{
	struct task_struct *wakee = (void *)ctx[0];
	struct task_struct *waker = bpf_get_current_task_btf();
	struct wake_edge edge = {};
	u32 *depth = depth_here();
	u64 one = 1, *count;

	__sync_fetch_and_add(&wakeups, 1);
	edge.wakee_cgroup = wakee->cgroups->dfl_cgrp->kn->id;
	copy_comm(edge.wakee, wakee->comm);
	if (waker->pid && depth && !*depth) {
		edge.waker_cgroup = waker->cgroups->dfl_cgrp->kn->id;
		copy_comm(edge.waker, waker->comm);
	}
	count = bpf_map_lookup_elem(&edges, &edge);
	if (!count) {
		long err = bpf_map_update_elem(&edges, &edge, &one, BPF_NOEXIST);

		if (!err)
			return 0;
		/* Another CPU was first, or there is no room. */
		count = bpf_map_lookup_elem(&edges, &edge);
		if (!count) {
			__sync_fetch_and_add(&unnamed, 1);
			return 0;
		}
	}
	__sync_fetch_and_add(count, 1);
	return 0;
}
