// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * The task iterator: writes a record for each task when user space reads.
 * Nothing is attached to anything that happens. Context: a process's, under
 * RCU; the fields move while they are read.
 */
#include "tasks.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct seq_file;

static long (*const bpf_seq_write)(struct seq_file *m, const void *data, u32 len) = (void *)127;

struct bpf_iter_meta {
	struct seq_file *seq;
} __core;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __core;

struct thread_info___cpu {
	u32 cpu; /* since 5.18 on every machine; not without SMP */
} __core;

struct task_struct___more {
	struct thread_info___cpu thread_info;
	unsigned int __state; /* called state before 5.14 */
	int exit_state;
	unsigned int policy;
	int static_prio;
	unsigned long nvcsw;
	unsigned long nivcsw;
} __core;

/* Types that no map names, kept in BTF for bpf2go. */
const struct task_record *task_record_type __attribute__((unused));

SEC("iter/task")
int dump_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_struct___more *more = (void *)task;
	struct task_record r = {};

	if (!task)
		return 0;
	r.cgroup = task->cgroups->dfl_cgrp->kn->id;
	r.run_ns = task->se.sum_exec_runtime;
	r.wait_ns = task->sched_info.run_delay;
	r.arrivals = task->sched_info.pcount;
	r.voluntary = more->nvcsw;
	r.involuntary = more->nivcsw;
	r.start_ns = task->start_time;
	r.pid = task->pid;
	r.tgid = task->tgid;
	r.cpu = more->thread_info.cpu;
	r.state = more->__state;
	r.exit_state = more->exit_state;
	r.policy = more->policy;
	r.static_prio = more->static_prio;
	((u64 *)r.comm)[0] = *(u64 *)&task->comm[0];
	((u64 *)r.comm)[1] = *(u64 *)&task->comm[8];
	/* Without room the kernel makes some and calls again for this task. */
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
