// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * The scheduler tracer: one program at sched_switch that looks at the task
 * leaving the CPU only. The kernel already keeps each task's run time and
 * run-queue wait; what changed since the task left a CPU the last time is its
 * wait, its run and, by subtraction, its sleep. No wakeup hook, no clock, no
 * atomics.
 *
 * Context: run queue lock held, interrupts off. A task leaves exactly one CPU
 * at a time, so what belongs to the task or to this CPU has one writer.
 */
#include "trace.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* How a task left a CPU the last time. */
enum {
	LEFT_PREEMPTED = 1 << 0,
	LEFT_IOWAIT = 1 << 1,
	LEFT_PRIMED = 1 << 2, /* not seen leaving; the baseline is prime()'s */
};

/* A task's baseline: the kernel's accounting when it left a CPU last. */
struct task_state {
	u64 exec;   /* sum_exec_runtime */
	u64 delay;  /* run_delay */
	u64 depart; /* when it left, rq clock; 0: that is not known */
	u64 cgroup; /* for which slot was looked up */
	u32 slot;
	u32 generation;
	u32 left;
	u32 cpu;
	u32 wakeups;
	u32 pcount; /* if primed: the arrivals it had then */
};

/* Types that no map names, kept in BTF for bpf2go. */
const struct event *event_type __attribute__((unused));
const enum loss *loss_type __attribute__((unused));
const enum event_kind *event_kind_type __attribute__((unused));

const volatile u32 num_cpus = 1;

struct knobs knob = {};

/* Written by begin(): whose events are skipped, and since when all is seen. */
u32 own_tgid = 0;
u64 since_ns = 0;

/* Slot * num_cpus + CPU; slot 0 is everyone without a slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, struct cell);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, struct cpu_state);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} tasks SEC(".maps");

/* cgroup id to slot, written by user space only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set before load */
	__type(key, u64);
	__type(value, u32);
} slots SEC(".maps");

/* cgroup ids without a slot, and the time their tasks ran. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} unknown SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18); /* set before load */
} events SEC(".maps");

static __always_inline u64 cgroup_of(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn->id;
}

/*
 * A token bucket on the run queue's clock. Tokens come gap apart; next is when
 * the coming one is due, and may run ahead of now by burst. A clock that went
 * back by more than that starts the bucket afresh.
 */
static __always_inline bool token(u64 *next, u64 now, u64 gap, u64 burst)
{
	s64 ahead = *next - now;

	if (ahead < 0 || ahead > (s64)(2 * burst + gap))
		*next = now;
	else if (ahead > (s64)burst)
		return false;
	*next += gap;
	return true;
}

/* How much of [from, to) the task had the CPU before it left. */
static __always_inline u64 overlap(const struct departure *d, u64 from, u64 to)
{
	if (d->from > from)
		from = d->from;
	if (d->to < to)
		to = d->to;
	return from < to ? to - from : 0;
}

/* And how much of that the one that it names had it. */
static __always_inline u64 own_overlap(const struct departure *d, u64 from, u64 to)
{
	u64 all = overlap(d, from, to);

	return d->run && d->run < all ? d->run : all;
}

/*
 * Who had the CPU while this event's task waited: of the tasks that left it
 * last, the one that ran most between the wakeup and the arrival. What is left
 * of that time, as far back as is remembered, the CPU was idle.
 */
static __noinline void name_holder(struct cpu_state *here, struct event *e)
{
	u64 to = e->arrival_ns, from = to - e->wait_ns, oldest = to, busy = 0, best = 0;
	u32 i, j;

	for (i = 0; i < NUM_DEPARTURES; i++) {
		struct departure *d = &here->last[i];
		u64 all = overlap(d, from, to), sum = 0;

		if (d->from < oldest)
			oldest = d->from;
		busy += all;
		/* Itself: no more than two clocks that differ. */
		if (!all || d->pid == e->pid)
			continue;
		for (j = 0; j < NUM_DEPARTURES; j++)
			if (here->last[j].pid == d->pid)
				sum += own_overlap(&here->last[j], from, to);
		if (sum <= best)
			continue;
		best = sum;
		e->holder_pid = d->pid;
		e->holder_tgid = d->tgid;
		e->holder_cgroup = d->cgroup;
		((u64 *)e->holder_comm)[0] = ((u64 *)d->comm)[0];
		((u64 *)e->holder_comm)[1] = ((u64 *)d->comm)[1];
	}
	e->holder_run_ns = best;
	if (oldest < from)
		oldest = from;
	if (to - oldest > busy)
		e->idle_ns = to - oldest - busy;
}

static __always_inline void emit(struct cpu_state *here, struct task_struct *prev, u32 cpu,
				 struct task_state *s, u32 kind, u64 arrival, u64 wait,
				 u64 blocked, u64 run)
{
	struct event *e;

	/* A wait may go out on a cycle's token, not the other way round. */
	if (kind & (EVENT_WAIT | EVENT_IO) &&
	    !token(&here->next_event[0], arrival + run, knob.event_gap_ns[0], knob.burst_ns)) {
		here->loss[LOSS_WAIT_RATE]++;
		kind &= EVENT_CYCLE;
	}
	if (kind == EVENT_CYCLE &&
	    !token(&here->next_event[1], arrival + run, knob.event_gap_ns[1], knob.burst_ns)) {
		here->loss[LOSS_CYCLE_RATE]++;
		return;
	}
	if (!kind)
		return;

	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		here->loss[LOSS_RING_FULL]++;
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->arrival_ns = arrival;
	e->wait_ns = wait;
	e->blocked_ns = blocked;
	e->run_ns = run;
	e->cgroup = s->cgroup;
	e->pid = prev->pid;
	e->tgid = prev->tgid;
	e->cpu = cpu;
	e->wakeups = s->wakeups;
	e->kind = kind;
	((u64 *)e->comm)[0] = *(u64 *)&prev->comm[0];
	((u64 *)e->comm)[1] = *(u64 *)&prev->comm[8];
	if (kind & EVENT_WAIT)
		name_holder(here, e);
	bpf_ringbuf_submit(e, wakeup_flag(&events));
}

/* Notes run time of a cgroup that has no slot. Sums may miss a race: they rank. */
static __always_inline void note_unknown(struct cpu_state *here, u64 cgroup, u64 run)
{
	u64 *sum = bpf_map_lookup_elem(&unknown, &cgroup);

	if (sum)
		*sum += run;
	else if (bpf_map_update_elem(&unknown, &cgroup, &run, BPF_ANY))
		here->loss[LOSS_UNKNOWN_FULL]++;
}

static __always_inline void look_up_slot(struct task_state *s, u64 cgroup, u32 generation)
{
	u32 *slot = bpf_map_lookup_elem(&slots, &cgroup);

	s->slot = slot ? *slot : 0;
	s->cgroup = cgroup;
	s->generation = generation;
}

/*
 * The run time leaves out interrupts and what the hypervisor stole: as long as
 * one task follows the other, the arrival of the next says better when the one
 * before left. Tells whether it did.
 */
static __always_inline bool had_until(struct cpu_state *here, u64 arrival)
{
	struct departure *d = &here->last[(here->departures - 1) % NUM_DEPARTURES];

	if (here->gap) {
		here->gap = 0;
		return false;
	}
	if (d->to < arrival)
		d->to = arrival;
	return true;
}

/* Remembers who had the CPU, for those who waited for it. */
static __always_inline void remember(struct cpu_state *here, struct task_struct *prev,
				     u64 cgroup, u64 from, u64 run, bool follows)
{
	struct departure *d = &here->last[(here->departures - 1) % NUM_DEPARTURES];
	u64 threshold = knob.wait_threshold_ns, to = from + run;
	bool brief = run < threshold / 32;

	if (brief && follows && here->brief && to - d->from < threshold / 2) {
		/* Many brief ones must not push out who had the CPU for long. */
		if (!d->run)
			d->run = d->to - d->from;
		d->to = to;
		if (d->pid == (u32)prev->pid) {
			d->run += run;
			return;
		}
		if (run <= d->run)
			return;
		d->run = run;
	} else {
		d = &here->last[here->departures++ % NUM_DEPARTURES];
		d->from = from;
		d->to = to;
		d->run = 0;
		here->brief = brief;
	}
	d->cgroup = cgroup;
	d->pid = prev->pid;
	d->tgid = prev->tgid;
	((u64 *)d->comm)[0] = *(u64 *)&prev->comm[0];
	((u64 *)d->comm)[1] = *(u64 *)&prev->comm[8];
}

/*
 * Whether the growth since the baseline is one whole slice of a task that was
 * not seen leaving a CPU before. Its sleep is not known: as if preempted.
 */
static __always_inline bool whole_slice(struct task_struct *prev, struct task_state *s,
					bool *is_new)
{
	u64 pcount = prev->sched_info.pcount;

	/* A new task has no past: its first slice counts in full. */
	*is_new = pcount == 1 && prev->start_time >= since_ns;
	if (*is_new)
		s->exec = s->delay = 0;
	else if (!(s->left & LEFT_PRIMED) || (u32)pcount != s->pcount + 1)
		return false;
	s->left = LEFT_PREEMPTED;
	return true;
}

static __always_inline void account(struct cpu_state *here, struct task_struct *prev, u32 cpu,
				    struct task_state *s, u64 cgroup, u32 left)
{
	u64 exec = prev->se.sum_exec_runtime;
	u64 delay = prev->sched_info.run_delay;
	u64 arrival = prev->sched_info.last_arrival;
	u64 from = arrival, run, wait, blocked = 0;
	u32 generation = knob.generation, kind = 0, index;
	bool is_new = false, follows;
	struct cell *c;

	if (!s->depart) {
		if (!whole_slice(prev, s, &is_new)) {
			here->loss[LOSS_FIRST_SLICE]++;
			goto restart;
		}
		s->cpu = cpu;
	}
	run = exec - s->exec;
	wait = delay - s->delay;
	if ((s64)run < 0 || (s64)wait < 0) {
		here->loss[LOSS_BACKWARDS]++;
		goto restart;
	}
	/* No arrival is noted of a task that was preempted amid going to sleep. */
	if ((s64)(s->depart - from) > 0)
		from = s->depart;
	follows = had_until(here, from);

	if (s->cgroup != cgroup || s->generation != generation)
		look_up_slot(s, cgroup, generation);
	index = s->slot * num_cpus + cpu;
	c = bpf_map_lookup_elem(&stats, &index);
	if (!c) {
		here->loss[LOSS_NO_CELL]++;
		goto baseline;
	}
	if (!s->slot)
		note_unknown(here, cgroup, run);

	c->switches++;
	c->involuntary += left & LEFT_PREEMPTED;
	c->run_ns += run;
	c->wait_ns += wait;
	c->run[bucket_of(run)]++;
	c->wait[bucket_of(wait)]++;
	if (s->cpu != cpu)
		c->migrations++;
	if (is_new)
		c->forks++;
	if (!(s->left & LEFT_PREEMPTED)) {
		blocked = arrival - wait - s->depart;
		if ((s64)blocked < 0)
			blocked = 0;
		s->wakeups++;
		if ((prev->pid & knob.sample_mask) == knob.sample_phase)
			kind = EVENT_CYCLE;
		if (s->left & LEFT_IOWAIT) {
			c->io_ns += blocked;
			c->io[bucket_of(blocked)]++;
			if (blocked >= knob.io_threshold_ns)
				kind |= EVENT_IO;
		} else {
			c->sleep_ns += blocked;
			c->sleep[bucket_of(blocked)]++;
		}
	}
	if (wait >= knob.wait_threshold_ns)
		kind |= EVENT_WAIT;
	if (kind && (u32)prev->tgid != own_tgid)
		emit(here, prev, cpu, s, kind, arrival, wait, blocked, run);

baseline:
	/* Now, on the run queue's clock; 0 would mean that it is not known. */
	s->depart = (from + run) | 1;
	s->left = left;
	remember(here, prev, cgroup, from, run, follows);
	goto out;

restart: /* How long the slice was is not known: leave out the next sleep. */
	s->depart = arrival | 1;
	s->left = LEFT_PREEMPTED;
	s->wakeups++; /* it may have been one: a gap */
	here->gap = 1;
out:
	s->exec = exec;
	s->delay = delay;
	s->cpu = cpu;
}

/* prev_state became an argument of the tracepoint in 5.18. */
SEC("tp_btf/sched_switch")
int on_switch(u64 *ctx)
{
	bool preempt = ctx[0];
	struct task_struct *prev = (void *)ctx[1];
	u32 prev_state = ctx[3];
	u32 cpu = bpf_get_smp_processor_id(), left = 0;
	struct task_state *s;
	struct cpu_state *here;

	here = bpf_map_lookup_elem(&cpus, &cpu);
	if (!here) /* Not reached: the array covers every possible CPU. */
		return 0;
	if (!prev->pid) {
		here->gap = 1;
		return 0;
	}
	/* A task may be preempted between setting its state and sleeping. */
	if (preempt || prev_state == TASK_RUNNING)
		left = LEFT_PREEMPTED;
	else if (core_bitfield(prev, in_iowait))
		left = LEFT_IOWAIT;

	s = bpf_task_storage_get(&tasks, prev, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (s) {
		account(here, prev, cpu, s, cgroup_of(prev), left);
	} else {
		here->loss[LOSS_NO_STORAGE]++;
		here->gap = 1;
	}
	return 0;
}

/*
 * Run over every task before on_switch() is attached: makes its storage, so
 * that the scheduler need not, and takes its baseline.
 *
 * Context: a system call; the task may be anywhere, on another CPU too. Of one
 * that has a CPU the baseline would fall amid a slice: none is taken. An arrival
 * meanwhile shows in pcount, the last thing that it changes.
 */
SEC("iter/task")
int prime(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_state *s;
	u64 pcount;

	if (!task)
		return 0;
	s = bpf_task_storage_get(&tasks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!s) /* The first switch creates it, and counts as lost. */
		return 0;

	pcount = task->sched_info.pcount;
	s->delay = task->sched_info.run_delay;
	s->exec = task->se.sum_exec_runtime;
	s->pcount = pcount;
	s->depart = 0;
	s->wakeups++; /* there may have been some: a gap */
	s->left = 0;
	if (core_field_exists(task, on_cpu) && core_bitfield(task, on_cpu))
		return 0;
	barrier();
	if (task->sched_info.pcount == pcount)
		s->left = LEFT_PRIMED;
	return 0;
}

/*
 * Run once by user space before prime(): notes its tgid as the kernel sees it,
 * outside namespaces, and the time. Tasks born from now on have no unseen past.
 */
SEC("syscall")
int begin(void *ctx __attribute__((unused)))
{
	own_tgid = bpf_get_current_pid_tgid() >> 32;
	since_ns = bpf_ktime_get_ns();
	return 0;
}
