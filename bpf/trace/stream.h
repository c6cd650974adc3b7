/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the stream's program and its user space share, see stream.bpf.c. These
 * definitions are the only ones: Go gets them from BTF through bpf2go.
 */
#ifndef AUTOSA_STREAM_H
#define AUTOSA_STREAM_H

#include "kernel.h"

/* What is known of a slice; the first two say how it ended. */
enum stream_flag {
	STREAM_PREEMPTED = 1 << 0,  /* left the CPU still runnable */
	STREAM_IOWAIT = 1 << 1,	    /* left it to wait for storage */
	STREAM_WOKEN = 1 << 2,	    /* it was blocked before, not preempted */
	STREAM_WOKEN_IO = 1 << 3,   /* on storage */
	STREAM_PARTIAL = 1 << 4,    /* began unseen: no wait, run or blocked */
	STREAM_NO_BLOCKED = 1 << 5, /* was blocked since before the stream began */
	STREAM_NEW = 1 << 6,	    /* the first slice of a new task */
};

/* One slice of a chosen task, from how it came to the CPU to how it left. */
struct stream_event {
	u64 time_ns;	/* when it left the CPU, CLOCK_MONOTONIC */
	u64 arrival_ns; /* when it got the CPU, on that CPU's rq clock */
	u64 wait_ns;
	u64 run_ns;
	u64 blocked_ns;
	u64 arrivals; /* times it has got a CPU in its life: a gap shows losses */
	u64 lost;     /* events of this CPU lost since the one before */
	u64 cgroup;
	u64 holder_cgroup;
	u32 pid;
	u32 tgid;
	u32 cpu;
	u32 flags;
	u32 holder_pid; /* who had the CPU before it; 0: idle */
	u32 next_pid;	/* who has it next; 0: idle */
	char comm[TASK_COMM_LEN];
	char holder_comm[TASK_COMM_LEN];
	char next_comm[TASK_COMM_LEN];
};

_Static_assert(sizeof(struct stream_event) == 144, "no padding leaks to user space");

/* Per-CPU state, written by its CPU only, interrupts off. */
struct stream_cpu {
	u64 holder_cgroup; /* the task that left the CPU last; pid 0: idle */
	char holder_comm[TASK_COMM_LEN];
	u32 holder_pid;
	u32 pad;
	u64 lost;	/* since the last event that got through */
	u64 ring_full;	/* events lost, in all */
	u64 no_storage; /* slices of which nothing could be remembered, in all */
	u64 reserved;
};

_Static_assert(sizeof(struct stream_cpu) == 64, "a cache line");

#endif /* AUTOSA_STREAM_H */
