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
 *
 * Every switch of the machine pays for on_switch(): what is rare is out of its
 * line, and on its stack is less than the 64 bytes from which on newer kernels
 * give a program a private one, with a longer way to it.
 */
#include "trace.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* How a task left a CPU the last time. */
enum {
	LEFT_PREEMPTED = 1 << 0,
	LEFT_IOWAIT = 1 << 1,
	LEFT_PRIMED = 1 << 2, /* not seen leaving; the baseline is prime()'s */
	LEFT_UNBORN = 1 << 3, /* not at all: this is its first slice */
};

/* A task's baseline: the kernel's accounting when it left a CPU last. */
struct task_state {
	u64 exec;	/* sum_exec_runtime */
	u64 delay;	/* run_delay */
	u64 depart;	/* when it left, rq clock; 0: that is not known */
	u64 cgroup;	/* for which the slot was looked up */
	u32 first_cell; /* of the slot: 0 is that of slot 0 only */
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
static __always_inline bool over_rate(u64 next, u64 now, u64 gap, u64 burst)
{
	u64 ahead = next - now;

	/* burst < ahead <= 2 * burst + gap, in one */
	return ahead - burst - 1 < burst + gap;
}

static __always_inline bool token(u64 *next, u64 now, u64 gap, u64 burst)
{
	if (over_rate(*next, now, gap, burst))
		return false;
	if (*next - now > 2 * burst + gap)
		*next = now;
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

/* Whether the cycles of this task are events. */
static __always_inline bool is_sampled(struct task_struct *task)
{
	return (task->pid & knob.sample_mask) == knob.sample_phase;
}

/* Tells user space of here->slice, as far as the rates allow. */
static __noinline void emit(struct cpu_state *here, struct task_struct *prev,
			    struct task_state *s)
{
	const struct slice *slice = &here->slice;
	u64 arrival = prev->sched_info.last_arrival, now = arrival + slice->run;
	u32 kind = 0;
	struct event *e;

	if (slice->wait >= knob.wait_threshold_ns)
		kind |= EVENT_WAIT;
	if (!(slice->was & LEFT_PREEMPTED)) {
		if (slice->was & LEFT_IOWAIT && slice->blocked >= knob.io_threshold_ns)
			kind |= EVENT_IO;
		if (is_sampled(prev))
			kind |= EVENT_CYCLE;
	}
	/* A wait may go out on a cycle's token, not the other way round. */
	if (kind & (EVENT_WAIT | EVENT_IO) &&
	    !token(&here->next_event[0], now, knob.event_gap_ns[0], knob.burst_ns)) {
		here->loss[LOSS_WAIT_RATE]++;
		kind &= EVENT_CYCLE;
	}
	if (kind == EVENT_CYCLE &&
	    !token(&here->next_event[1], now, knob.event_gap_ns[1], knob.burst_ns)) {
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
	e->wait_ns = slice->wait;
	e->blocked_ns = slice->blocked;
	e->run_ns = slice->run;
	e->cgroup = s->cgroup;
	e->pid = prev->pid;
	e->tgid = prev->tgid;
	e->cpu = s->cpu;
	e->wakeups = s->wakeups;
	e->kind = kind;
	((u64 *)e->comm)[0] = *(u64 *)&prev->comm[0];
	((u64 *)e->comm)[1] = *(u64 *)&prev->comm[8];
	if (kind & EVENT_WAIT)
		name_holder(here, e);
	bpf_ringbuf_submit(e, wakeup_flag(&events));
}

/* Notes run time of a cgroup that has no slot. Sums may miss a race: they rank. */
static __noinline void note_unknown(struct cpu_state *here, u64 cgroup, u64 run)
{
	u64 *sum = bpf_map_lookup_elem(&unknown, &cgroup);

	if (sum)
		*sum += run;
	else if (bpf_map_update_elem(&unknown, &cgroup, &run, BPF_ANY))
		here->loss[LOSS_UNKNOWN_FULL]++;
}

static __noinline void look_up_slot(struct task_state *s, u64 cgroup, u32 generation)
{
	u32 *slot = bpf_map_lookup_elem(&slots, &cgroup);

	s->first_cell = slot ? *slot * num_cpus : 0;
	s->cgroup = cgroup;
	s->generation = generation;
}

static __always_inline struct departure *latest(struct cpu_state *here)
{
	opaque(here); /* else the address of the ring takes a register, throughout */
	return &here->last[(u32)(here->departures - 1) % NUM_DEPARTURES];
}

/*
 * The run time leaves out interrupts and what the hypervisor stole: as long as
 * one task follows the other, the arrival of the next says better when the one
 * before left.
 */
static __always_inline void had_until(struct cpu_state *here, u64 arrival)
{
	struct departure *d = latest(here);

	if (!here->gap && d->to < arrival)
		d->to = arrival;
}

/* Remembers who had the CPU, for those who waited for it. */
static __always_inline void remember(struct cpu_state *here, struct task_struct *prev,
				     u64 cgroup, u64 from, u64 run)
{
	struct departure *d = latest(here);
	u64 threshold = knob.wait_threshold_ns, to = from + run;
	bool brief = run < threshold / 32;

	if (brief && !here->gap && here->brief && to - d->from < threshold / 2) {
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
		here->gap = 0;
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
static __noinline bool whole_slice(struct task_struct *prev, struct task_state *s)
{
	u64 pcount = prev->sched_info.pcount;

	/* A new task has no past: its first slice counts in full. */
	if (pcount == 1 && prev->start_time >= since_ns) {
		s->exec = s->delay = 0;
		s->left = LEFT_PREEMPTED | LEFT_UNBORN;
		return true;
	}
	if (!(s->left & LEFT_PRIMED) || (u32)pcount != s->pcount + 1)
		return false;
	s->left = LEFT_PREEMPTED;
	return true;
}

static __always_inline void account(struct cpu_state *here, struct task_struct *prev,
				    const u32 *cpu, struct task_state *s, u32 left)
{
	u64 depart = s->depart, total, wait, run, from, blocked;
	u32 index, was, io;
	struct cell *c;

	if (unlikely(!depart)) {
		if (!whole_slice(prev, s)) {
			here->loss[LOSS_FIRST_SLICE]++;
			goto restart;
		}
		s->cpu = *cpu;
	}
	index = s->first_cell + *cpu;
	c = bpf_map_lookup_elem(&stats, &index);

	total = prev->sched_info.run_delay;
	wait = total - s->delay;
	s->delay = total;
	total = prev->se.sum_exec_runtime;
	run = total - s->exec;
	s->exec = total;
	if (unlikely((s64)(run | wait) < 0)) {
		here->loss[LOSS_BACKWARDS]++;
		goto restart;
	}
	from = prev->sched_info.last_arrival;
	blocked = from - depart;
	/* No arrival is noted of a task that was preempted amid going to sleep. */
	if ((s64)blocked < 0)
		from = depart;
	blocked -= wait;
	/* Now, on the run queue's clock; 0 would mean that it is not known. */
	s->depart = (from + run) | 1;
	opaque(from); /* the sum is not worth a place on the stack */
	had_until(here, from);
	was = s->left;
	s->left = left;
	if (unlikely(!c))
		goto no_cell;

	c->switches++;
	c->involuntary += left & LEFT_PREEMPTED;
	c->run_ns += run;
	c->run[bucket_of(run)]++;
	c->wait_ns += wait;
	c->wait[bucket_of(wait)]++;
	if (unlikely(s->cpu != *cpu)) {
		c->migrations++;
		s->cpu = *cpu;
	}
	if (!(was & LEFT_PREEMPTED)) {
		s->wakeups++;
		if ((s64)blocked < 0)
			blocked = 0;
		io = was / LEFT_IOWAIT & 1;
		(&c->sleep_ns)[io] += blocked;
		(&c->sleep[bucket_of(blocked)])[io * NUM_BUCKETS]++;
		if (unlikely(blocked >= knob.io_threshold_ns)) {
			opaque(was);
			if (was & LEFT_IOWAIT)
				goto event;
		}
	} else {
		blocked = 0;
		if (unlikely(was & LEFT_UNBORN))
			c->forks++;
	}
	if (unlikely(wait >= knob.wait_threshold_ns))
		goto event;
	if (!(was & LEFT_PREEMPTED) && is_sampled(prev) && (u32)prev->tgid != own_tgid) {
		if (!over_rate(here->next_event[1], prev->sched_info.last_arrival + run,
			       knob.event_gap_ns[1], knob.burst_ns))
			goto event;
		here->loss[LOSS_CYCLE_RATE]++;
	}

baseline:
	remember(here, prev, s->cgroup, from, run);
	if (unlikely(!s->first_cell))
		note_unknown(here, s->cgroup, run);
	return;

event:
	if ((u32)prev->tgid == own_tgid)
		goto baseline;
	here->slice.from = from;
	here->slice.run = run;
	here->slice.wait = wait;
	here->slice.blocked = blocked;
	here->slice.was = was;
	emit(here, prev, s);
	from = here->slice.from;
	run = here->slice.run;
	goto baseline;

no_cell: /* Of slot 0 there always is. */
	here->loss[LOSS_NO_CELL]++;
	s->cpu = *cpu;
	goto baseline;

restart: /* How long the slice was is not known: leave out the next sleep. */
	s->depart = prev->sched_info.last_arrival | 1;
	s->left = LEFT_PREEMPTED;
	s->wakeups++; /* it may have been one: a gap */
	s->exec = prev->se.sum_exec_runtime;
	s->delay = prev->sched_info.run_delay;
	s->cpu = *cpu;
	here->gap = 1;
}

/* prev_state became an argument of the tracepoint in 5.18. */
SEC("tp_btf/sched_switch")
int on_switch(u64 *ctx)
{
	bool preempt = ctx[0];
	struct task_struct *prev = (void *)ctx[1];
	u64 prev_state = ctx[3], cgroup;
	u32 cpu = bpf_get_smp_processor_id(), left;
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
	else
		left = core_bitfield(prev, in_iowait) * LEFT_IOWAIT;

	s = bpf_task_storage_get(&tasks, prev, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (unlikely(!s)) {
		here->loss[LOSS_NO_STORAGE]++;
		here->gap = 1;
		return 0;
	}
	cgroup = cgroup_of(prev);
	if (unlikely(s->cgroup != cgroup || s->generation != knob.generation))
		look_up_slot(s, cgroup, knob.generation);
	account(here, prev, &cpu, s, left);
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
