// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * Trace mode: every slice of chosen tasks, or the long waits among them, one by
 * one. Loaded only while somebody traces. It reads the kernel's own accounting
 * as trace.bpf.c does; a slice is reported when it ends.
 *
 * The kernel numbers a task's arrivals on a CPU (sched_info.pcount). What is
 * remembered of a task is good for exactly the arrival that follows it, and no
 * memory at all, all zeros, is right for the first one. So nothing has to be
 * known of when a task was born, nor of slices that went by unseen.
 *
 * Context of on_switch: run queue lock held, interrupts off, current is prev.
 */
#include "stream.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* cgroups nested deeper are matched by their own id only. */
#define MAX_LEVELS 32

static u64 (*const bpf_get_current_ancestor_cgroup_id)(int level) = (void *)123;

struct task_struct___state {
	unsigned int __state; /* called state before 5.14 */
} __core;

/* The kernel's accounting of a task as it was at its last arrival seen. */
struct past {
	u64 arrivals; /* pcount */
	u64 exec;     /* sum_exec_runtime */
	u64 delay;    /* run_delay */
	u64 depart;   /* when it left the CPU, rq clock; 0: unseen */
	u32 left;     /* STREAM_PREEMPTED or STREAM_IOWAIT */
	u32 pad;
};

/* Types that no map names, kept in BTF for bpf2go. */
const struct stream_event *stream_event_type __attribute__((unused));
const enum stream_flag *stream_flag_type __attribute__((unused));

/* The filter. Kinds that are given must all match. */
const volatile bool all_switches = false; /* else waits only */
const volatile bool by_pid = false;
const volatile bool by_cgroup = false;
const volatile u64 min_wait_ns = 0;
/* A name matches where it equals these under the mask; no mask: any name. */
const volatile u64 comm_mask[2] = {};
const volatile u64 comm_want[2] = {};

/* Whose slices are skipped: the tracer's own would beget each other. */
u32 own_tgid = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, struct stream_cpu);
} stream_cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct past);
} pasts SEC(".maps");

/* Thread and process ids. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, u8);
} stream_pids SEC(".maps");

/* Ids of cgroups, each of which stands for its descendants too. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set before load */
	__type(key, u64);
	__type(value, u8);
} stream_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set before load */
} stream_events SEC(".maps");

static __always_inline bool pid_or_name_differs(struct task_struct *task)
{
	u32 pid = task->pid, tgid = task->tgid;

	if (by_pid && !bpf_map_lookup_elem(&stream_pids, &pid) &&
	    !bpf_map_lookup_elem(&stream_pids, &tgid))
		return true;
	return (*(u64 *)&task->comm[0] & comm_mask[0]) != comm_want[0] ||
		(*(u64 *)&task->comm[8] & comm_mask[1]) != comm_want[1];
}

/* Is the current task in a chosen cgroup, or below one? */
static __always_inline bool in_chosen_cgroup(u64 own)
{
	if (bpf_map_lookup_elem(&stream_cgroups, &own))
		return true;
	for (int level = 0; level < MAX_LEVELS; level++) {
		u64 id = bpf_get_current_ancestor_cgroup_id(level);

		if (!id)
			return false;
		if (bpf_map_lookup_elem(&stream_cgroups, &id))
			return true;
	}
	return false;
}

static __always_inline bool chosen(struct task_struct *prev, u64 cgroup)
{
	if (pid_or_name_differs(prev) || (u32)prev->tgid == own_tgid)
		return false;
	return !by_cgroup || in_chosen_cgroup(cgroup);
}

/* What is measured of a slice. */
struct slice {
	u64 arrivals, arrival, wait, run, blocked;
	u32 flags;
};

/* Measures the slice that ends, and remembers what the next one begins with. */
static __always_inline void measure(struct task_struct *prev, struct past *past, u32 left,
				    struct slice *s)
{
	u64 exec = prev->se.sum_exec_runtime;
	u64 delay = prev->sched_info.run_delay;

	s->arrivals = prev->sched_info.pcount;
	s->arrival = prev->sched_info.last_arrival;
	s->flags = left;
	if (s->arrivals != past->arrivals + 1 || (s64)(exec - past->exec) < 0 ||
	    (s64)(delay - past->delay) < 0) {
		s->flags |= STREAM_PARTIAL;
		past->depart = 0;
		goto remember;
	}
	s->run = exec - past->exec;
	s->wait = delay - past->delay;
	if (!past->arrivals) {
		s->flags |= STREAM_NEW;
	} else if (!(past->left & STREAM_PREEMPTED)) {
		s->flags |= STREAM_WOKEN;
		if (past->left & STREAM_IOWAIT)
			s->flags |= STREAM_WOKEN_IO;
		if (!past->depart) {
			s->flags |= STREAM_NO_BLOCKED;
		} else {
			s->blocked = s->arrival - s->wait - past->depart;
			if ((s64)s->blocked < 0)
				s->blocked = 0;
		}
	}
	/* Now, on the run queue's clock; 0 would mean unseen. */
	past->depart = (s->arrival + s->run) | 1;
remember:
	past->arrivals = s->arrivals;
	past->exec = exec;
	past->delay = delay;
	past->left = left;
}

static __always_inline void report(struct stream_cpu *here, struct task_struct *prev,
				   struct task_struct *next, u32 cpu, u64 cgroup,
				   struct slice *s)
{
	struct stream_event *e;

	e = bpf_ringbuf_reserve(&stream_events, sizeof(*e), 0);
	if (!e) {
		here->ring_full++;
		here->lost++;
		return;
	}
	e->time_ns = bpf_ktime_get_ns();
	e->arrival_ns = s->arrival;
	e->wait_ns = s->wait;
	e->run_ns = s->run;
	e->blocked_ns = s->blocked;
	e->arrivals = s->arrivals;
	e->lost = here->lost;
	e->cgroup = cgroup;
	e->holder_cgroup = here->holder_cgroup;
	e->pid = prev->pid;
	e->tgid = prev->tgid;
	e->cpu = cpu;
	e->flags = s->flags;
	e->holder_pid = here->holder_pid;
	e->next_pid = next->pid;
	copy_comm(e->comm, prev->comm);
	copy_comm(e->holder_comm, here->holder_comm);
	copy_comm(e->next_comm, next->comm);
	here->lost = 0;
	bpf_ringbuf_submit(e, wakeup_flag(&stream_events));
}

static __always_inline bool wanted(const struct slice *s)
{
	if (all_switches)
		return true;
	if (s->flags & STREAM_PARTIAL)
		return false;
	if (s->wait >= min_wait_ns)
		return true;
	return s->flags & STREAM_WOKEN_IO && s->blocked >= min_wait_ns;
}

static __always_inline void observe(struct stream_cpu *here, struct task_struct *prev,
				    struct task_struct *next, u32 cpu, u64 cgroup, u32 left)
{
	struct slice s = {};
	struct past *past;

	past = bpf_task_storage_get(&pasts, prev, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (past) {
		measure(prev, past, left, &s);
	} else {
		here->no_storage++;
		s.arrivals = prev->sched_info.pcount;
		s.arrival = prev->sched_info.last_arrival;
		s.flags = left | STREAM_PARTIAL;
	}
	if (wanted(&s))
		report(here, prev, next, cpu, cgroup, &s);
}

/* prev_state became an argument of the tracepoint in 5.18. */
SEC("tp_btf/sched_switch")
int on_stream_switch(u64 *ctx)
{
	bool preempt = ctx[0];
	struct task_struct *prev = (void *)ctx[1];
	struct task_struct *next = (void *)ctx[2];
	u32 prev_state = ctx[3];
	u32 cpu = bpf_get_smp_processor_id(), left = 0;
	struct stream_cpu *here;
	u64 cgroup;

	here = bpf_map_lookup_elem(&stream_cpus, &cpu);
	if (!here) /* Not reached: the array covers every possible CPU. */
		return 0;
	if (!prev->pid) {
		here->holder_pid = 0;
		return 0;
	}
	cgroup = prev->cgroups->dfl_cgrp->kn->id;
	if (chosen(prev, cgroup)) {
		/* A task may be preempted between setting its state and sleeping. */
		if (preempt || prev_state == TASK_RUNNING)
			left = STREAM_PREEMPTED;
		else if (core_bitfield(prev, in_iowait))
			left = STREAM_IOWAIT;
		observe(here, prev, next, cpu, cgroup, left);
	}
	here->holder_pid = prev->pid;
	here->holder_cgroup = cgroup;
	copy_comm(here->holder_comm, prev->comm);
	return 0;
}

/*
 * Remembers the tasks that sleep, so that the first slice of each counts.
 * Runs before on_stream_switch is attached. A task that runs or waits is left
 * out: its accounting moves.
 */
SEC("iter/task")
int prime(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct past past = {}, *p;

	if (!task || pid_or_name_differs(task))
		return 0;
	past.arrivals = task->sched_info.pcount;
	past.delay = task->sched_info.run_delay;
	past.exec = task->se.sum_exec_runtime;
	if (core_bitfield(task, in_iowait))
		past.left = STREAM_IOWAIT;
	/* It woke, or came back to sleep, meanwhile. */
	if (((struct task_struct___state *)task)->__state == TASK_RUNNING ||
	    past.arrivals != task->sched_info.pcount)
		return 0;
	p = bpf_task_storage_get(&pasts, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (p)
		*p = past;
	return 0; /* without memory its first slice is partial */
}

/* Run once by user space: its tgid as the kernel sees it, outside namespaces. */
SEC("syscall")
int note_stream_owner(void *ctx __attribute__((unused)))
{
	own_tgid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}
