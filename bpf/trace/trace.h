/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the tracer's program and its user space share. These definitions are
 * the only ones: Go gets them from BTF through bpf2go.
 */
#ifndef AUTOSA_TRACE_H
#define AUTOSA_TRACE_H

#include "histogram.h"
#include "kernel.h"

/*
 * What the tasks of one cgroup did on one CPU: cumulative, never cleared,
 * written by that CPU only. The buckets may wrap, the sums do not.
 */
struct cell {
	u64 switches;	 /* times a task left the CPU */
	u64 involuntary; /* of these, preempted: still runnable */
	u64 migrations;	 /* of these, had left another CPU the time before */
	u64 forks;	 /* of these, the first of a new task */
	u64 run_ns;	 /* on the CPU */
	u64 wait_ns;	 /* on a run queue */
	u64 sleep_ns;	 /* blocked, but not on storage */
	u64 io_ns;	 /* blocked with in_iowait set */
	u32 wait[NUM_BUCKETS];
	u32 run[NUM_BUCKETS];
	u32 sleep[NUM_BUCKETS];
	u32 io[NUM_BUCKETS];
};

_Static_assert(sizeof(struct cell) == 832, "whole cache lines, as documented");
_Static_assert(&((struct cell *)0)->io_ns == &((struct cell *)0)->sleep_ns + 1 &&
		       &((struct cell *)0)->io[0] == &((struct cell *)0)->sleep[NUM_BUCKETS],
	       "on storage or not is an index");

/* Ways to lose something; each has a counter per CPU. Names are in snapshot.go. */
enum loss {
	LOSS_NO_STORAGE,   /* task storage could not be created: a switch */
	LOSS_FIRST_SLICE,  /* no baseline: a slice that was under way, or several */
	LOSS_BACKWARDS,	   /* the kernel's accounting went backwards: a switch */
	LOSS_NO_CELL,	   /* slot or CPU out of range: a switch */
	LOSS_UNKNOWN_FULL, /* a cgroup without a slot could not be noted */
	LOSS_RING_FULL,	   /* no room in the ring buffer: an event */
	LOSS_WAIT_RATE,	   /* a wait event over the rate */
	LOSS_CYCLE_RATE,   /* a sampled cycle over the rate */
	NUM_LOSSES,
};

/*
 * A task that had the CPU, and when: on the rq clock. Tasks that had it briefly,
 * one right after the other, share one of these: it names the one that ran most
 * of them, as far as it can be told.
 */
struct departure {
	u64 from;
	u64 to;
	u64 run; /* of the named one, if others share; else 0: all the time */
	u64 cgroup;
	u32 pid;
	u32 tgid;
	char comm[TASK_COMM_LEN];
	u64 reserved; /* to a whole cache line */
};

#define NUM_DEPARTURES 8 /* a power of two */

/* A slice that has an event, as account() leaves it to emit(). */
struct slice {
	u64 from;
	u64 run;
	u64 wait;
	u64 blocked;
	u32 was; /* how the task left a CPU before */
};

/* Per-CPU state, written by its CPU only, interrupts off. */
struct cpu_state {
	u64 departures;	   /* of tasks, ever; the next one's place in the ring */
	u32 gap;	   /* since, the CPU was idle or a task had it that is not remembered */
	u32 brief;	   /* the last of them had it briefly */
	u64 next_event[2]; /* token buckets, one a budget: when the next is due */
	u64 reserved[4];
	struct departure last[NUM_DEPARTURES]; /* a ring of who left last */
	u64 loss[NUM_LOSSES];
	struct slice slice;
	u64 unused[3];
};

_Static_assert(sizeof(struct cpu_state) == 704, "whole cache lines");

/* What an event is about, in event.kind; one switch may be all of them. */
enum event_kind {
	EVENT_WAIT = 1 << 0,  /* a run-queue wait past the threshold */
	EVENT_IO = 1 << 1,    /* an I/O wait past the threshold */
	EVENT_CYCLE = 1 << 2, /* a sampled sleep-run cycle */
};

/*
 * One switch of a task away from a CPU: it slept for blocked_ns, waited for
 * wait_ns on a run queue, and ran for run_ns. Its wakeup was at arrival_ns -
 * wait_ns. Of the tasks that left that CPU last, the holder is the one that had
 * it for most of the wait.
 */
struct event {
	u64 arrival_ns; /* when it got the CPU, on that CPU's rq clock */
	u64 wait_ns;
	u64 blocked_ns; /* 0 when it was preempted, not asleep, before */
	u64 run_ns;
	u64 cgroup;
	u64 holder_cgroup;
	u64 holder_run_ns; /* how much of the wait the holder had the CPU */
	u64 idle_ns;	   /* how much of it nobody had, as far as remembered */
	u32 pid;
	u32 tgid;
	u32 cpu;
	u32 holder_pid; /* 0: nobody had the CPU, or it is not remembered */
	u32 holder_tgid;
	u32 wakeups; /* of this task so far: a gap shows lost cycles */
	u32 kind;
	u32 reserved;
	char comm[TASK_COMM_LEN];
	char holder_comm[TASK_COMM_LEN];
};

_Static_assert(sizeof(struct event) == 128, "no padding leaks to user space");

/* What user space sets while the program runs. */
struct knobs {
	u64 wait_threshold_ns; /* waits from here on are events */
	u64 io_threshold_ns;
	u64 burst_ns;	     /* depth of the token buckets, in time */
	u64 event_gap_ns[2]; /* their spacing: waits, cycles */
	u32 generation;	     /* of the slots map; never 0 */
	u32 sample_mask;     /* cycles of tasks with (pid & mask) == phase */
	u32 sample_phase;
};

#endif /* AUTOSA_TRACE_H */
