/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One task as the task iterator of tasks.bpf.c writes it. Go gets it from BTF
 * through bpf2go.
 */
#ifndef AUTOSA_TASKS_H
#define AUTOSA_TASKS_H

#include "kernel.h"

struct task_record {
	u64 cgroup;
	u64 run_ns;	 /* on a CPU, in its life */
	u64 wait_ns;	 /* on run queues */
	u64 arrivals;	 /* times it got a CPU */
	u64 voluntary;	 /* switches away: it blocked */
	u64 involuntary; /* it was preempted */
	u64 start_ns;	 /* CLOCK_MONOTONIC */
	u32 pid;
	u32 tgid;
	u32 cpu; /* where it runs, or ran last */
	u32 state;
	u32 exit_state;
	u32 policy;
	u32 static_prio;
	u32 pad;
	char comm[TASK_COMM_LEN];
};

_Static_assert(sizeof(struct task_record) == 104, "no padding leaks to user space");

#endif /* AUTOSA_TASKS_H */
