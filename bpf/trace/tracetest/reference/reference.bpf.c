// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * The classical way to measure run-queue waits, to compare the tracer with: a
 * task's time is noted when it becomes runnable and subtracted when it gets a
 * CPU. As fast as that can be done: time stamps in task storage, counters of
 * the CPU's own, no hash table, no atomics.
 *
 * Context of sched_switch: run queue lock held, interrupts off. The wakeups
 * have the task's pi_lock or its run queue's, interrupts off. A wakeup comes
 * before the switch that follows from it, so a stamp has one writer at a time.
 */
#include "histogram.h"
#include "kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What one CPU has seen: whole cache lines, written by that CPU only. */
struct cell {
	u64 switches; /* times a task other than idle left the CPU */
	u64 unstored; /* a stamp that could not be kept */
	u64 reserved[6];
	u64 wait[NUM_BUCKETS];
};

_Static_assert(sizeof(struct cell) == 448, "whole cache lines");

const struct cell *cell_type __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, struct cell);
} cells SEC(".maps");

/* When a task became runnable; 0: it has the CPU, or was not seen. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} stamps SEC(".maps");

static __always_inline struct cell *own_cell(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&cells, &cpu);
}

static __always_inline void runnable(struct task_struct *task, u64 now)
{
	u64 *stamp = bpf_task_storage_get(&stamps, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct cell *c;

	if (stamp) {
		*stamp = now;
		return;
	}
	c = own_cell();
	if (c)
		c->unstored++;
}

SEC("tp_btf/sched_wakeup")
int on_wakeup(u64 *ctx)
{
	runnable((void *)ctx[0], bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int on_wakeup_new(u64 *ctx)
{
	runnable((void *)ctx[0], bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_switch")
int on_switch(u64 *ctx)
{
	bool preempt = ctx[0];
	struct task_struct *prev = (void *)ctx[1], *next = (void *)ctx[2];
	u32 prev_state = ctx[3];
	u64 *stamp, now = bpf_ktime_get_ns();
	struct cell *c = own_cell();

	if (!c) /* Not reached: the array covers every possible CPU. */
		return 0;
	if (prev->pid) {
		c->switches++;
		if (preempt || prev_state == TASK_RUNNING)
			runnable(prev, now);
	}
	if (!next->pid)
		return 0;
	stamp = bpf_task_storage_get(&stamps, next, NULL, 0);
	if (!stamp || !*stamp)
		return 0;
	/* Clocks of two CPUs may differ by a little: no wait, then. */
	c->wait[bucket_of((s64)(now - *stamp) > 0 ? now - *stamp : 0)]++;
	*stamp = 0;
	return 0;
}

/* The floor of what any program at this place costs. */
SEC("tp_btf/sched_switch")
int empty(void *ctx __attribute__((unused)))
{
	return 0;
}
