/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel structures that autosa's programs read, cut down to the fields
 * they read. Only names and types count: CO-RE fills in the running kernel's
 * offsets when a program is loaded.
 */
#ifndef AUTOSA_KERNEL_H
#define AUTOSA_KERNEL_H

#include "bpf.h"

#define TASK_COMM_LEN 16
#define TASK_RUNNING 0

/* Under CONFIG_SCHED_INFO; what /proc/PID/schedstat prints. */
struct sched_info {
	unsigned long pcount;		 /* times it got a CPU */
	unsigned long long run_delay;	 /* time spent waiting on run queues, ns */
	unsigned long long last_arrival; /* when it last got a CPU, rq clock, ns */
} __core;

struct sched_entity {
	u64 sum_exec_runtime; /* time on a CPU, ns; up to date at sched_switch */
} __core;

struct kernfs_node {
	u64 id; /* the inode number that user space sees */
} __core;

struct cgroup {
	struct kernfs_node *kn;
} __core;

struct css_set {
	struct cgroup *dfl_cgrp; /* the task's cgroup in the v2 hierarchy */
} __core;

struct task_struct {
	int pid;
	int tgid;
	char comm[TASK_COMM_LEN];
	int on_cpu;	/* it has a CPU; one byte as of 7.2, may be missing without SMP */
	u64 start_time; /* CLOCK_MONOTONIC, ns */
	unsigned in_iowait : 1;
	struct sched_info sched_info;
	struct sched_entity se;
	struct css_set *cgroups;
} __core;

/* What an iterator over tasks is called with; no task at the end. */
struct bpf_iter__task {
	void *meta;
	struct task_struct *task;
} __core;

static __always_inline void copy_comm(char *to, const char *from)
{
	((u64 *)to)[0] = *(u64 *)&from[0];
	((u64 *)to)[1] = *(u64 *)&from[8];
}

#endif /* AUTOSA_KERNEL_H */
