/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the scheduler and its user space share. These definitions are the only
 * ones: Go gets them from BTF through bpf2go.
 */
#ifndef AUTOSA_SCHED_H
#define AUTOSA_SCHED_H

#include "sched_ext.h"

#define NUM_POLICIES 3

/* How to schedule. Durations in ns. */
struct policy {
	u64 slice;	   /* a turn while nobody waits */
	u64 min_slice;	   /* the shortest turn; it shrinks as tasks wait */
	u64 credit;	   /* how far before the clock a task that slept may be */
	u64 preempt_after; /* how long a task has its CPU before a wakeup may take it; 0: always */
	u32 preempt;	   /* whether wakeups do that */
	u32 burst_percent; /* how much of a usual burst counts against a task's place */
};

/*
 * All that user space writes while the scheduler runs. The last byte of order is
 * the policy in force, the rest the number of orders so far: one store is an order.
 */
struct knobs {
	u64 order;
	u64 reserved[7];
	struct policy policy[NUM_POLICIES];
};

/* Of one CPU. Counters are cumulative and written by that CPU only, interrupts off. */
struct cpu_state {
	u64 seen;     /* the order that it obeyed last */
	u64 key;      /* the place of the task that has the CPU, when it got it */
	u64 weight;   /* and its weight, with fraction */
	u64 since;    /* when that was */
	u32 llc;      /* its last-level cache; by user space, before the start */
	u32 look_at;  /* the cache whose queue it looks at next for its lag */
	u64 direct;   /* tasks sent to an idle CPU as they woke */
	u64 enqueued; /* tasks queued */
	u64 local;    /* tasks taken from its own cache's queue */
	u64 stolen;   /* tasks taken from other caches' queues */
	u64 kept;     /* turns that went on, since nobody came before */
	u64 kthreads; /* kernel threads of one CPU that went first */
	u64 preempts; /* CPUs taken from a task for one that woke */
	u64 wakes;    /* idle CPUs woken for a task in a queue */
	u64 overdue;  /* tasks that waited too long and went first */
	u64 unknown;  /* tasks without a record: the kernel's global queue had them */
	u64 reserved;
};

_Static_assert(sizeof(struct cpu_state) == 128, "whole cache lines");

/* A last-level cache: its queue's virtual clock and the CPUs that share it. */
struct llc {
	u64 clock;
	u64 swept; /* when its queue was last searched for tasks that wait too long */
	u64 cpus;  /* by user space, before the start */
	u64 reserved[5];
};

_Static_assert(sizeof(struct llc) == 64, "whole cache lines");

/* How it ended, once. */
struct exit_record {
	u64 kind;
	s64 code;
	char reason[128];
	char message[1024];
	char dump[32768];
};

#endif /* AUTOSA_SCHED_H */
