/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of the kernel's sched_ext that autosa's scheduler uses: structures
 * cut down to the fields it touches, kfuncs, constants. Names and types count;
 * offsets are those of the running kernel. The constants have these values in
 * every kernel from 6.16 to 7.3, which a test compares with its BTF.
 */
#ifndef AUTOSA_SCHED_EXT_H
#define AUTOSA_SCHED_EXT_H

#include "bpf.h"

typedef int s32;

#define __ksym __attribute__((section(".ksyms")))

enum {
	PF_KTHREAD = 0x00200000,
	SCX_TASK_QUEUED = 1 << 0,
	SCX_KICK_IDLE = 1 << 0,
	SCX_KICK_PREEMPT = 1 << 1,
	SCX_DSQ_ITER_REV = 1 << 16,
};

#define SCX_ENQ_WAKEUP 1ULL
#define SCX_ENQ_PREEMPT (1ULL << 32)
#define SCX_DSQ_GLOBAL (1ULL << 63 | 1)
#define SCX_DSQ_LOCAL (1ULL << 63 | 2)

struct cpumask {
	unsigned long bits[1];
} __core;

struct kernfs_node {
	u64 id;
} __core;

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} __core;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
} __core;

struct sched_entity {
	u64 sum_exec_runtime; /* time on a CPU, ns; up to date when a task stops */
} __core;

struct sched_ext_entity {
	u32 flags;
	u32 weight; /* 1 to 10000, of nice 0: 100 */
	u64 slice;
	u64 dsq_vtime; /* its key in the queue that it waits in */
} __core;

struct task_struct {
	unsigned int flags;
	int nr_cpus_allowed;
	const struct cpumask *cpus_ptr;
	struct sched_entity se;
	struct sched_ext_entity scx;
} __core;

struct scx_init_task_args {
	bool fork;
	struct cgroup *cgroup;
} __core;

struct scx_cgroup_init_args {
	u32 weight;
} __core;

enum scx_exit_kind {
	SCX_EXIT_NONE = 0,
};

struct scx_exit_info {
	enum scx_exit_kind kind;
	s64 exit_code;
	const char *reason;
	char *msg;
	char *dump;
} __core;

struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cpu, struct task_struct *prev);
	void (*runnable)(struct task_struct *p, u64 enq_flags);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*quiescent)(struct task_struct *p, u64 deq_flags);
	void (*set_weight)(struct task_struct *p, u32 weight);
	s32 (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	s32 (*cgroup_init)(struct cgroup *cgrp, struct scx_cgroup_init_args *args);
	void (*cgroup_exit)(struct cgroup *cgrp);
	void (*cgroup_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	void (*cgroup_set_weight)(struct cgroup *cgrp, u32 weight);
	void (*cpu_online)(s32 cpu);
	void (*cpu_offline)(s32 cpu);
	s32 (*init)(void);
	void (*exit)(struct scx_exit_info *info);
	u32 timeout_ms;
	char name[128];
};

struct bpf_spin_lock {
	u32 val;
};

struct bpf_iter_scx_dsq {
	u64 opaque[6];
};

static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static long (*const bpf_probe_read_kernel_str)(void *to, u32 size,
					       const void *from) = (void *)115;

bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) __ksym;
s32 bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq, u64 flags) __ksym;
struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;
s32 scx_bpf_create_dsq(u64 dsq, s32 node) __ksym;
s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
			   bool *is_idle) __ksym;
s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) __ksym;
void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq, u64 slice, u64 vtime,
			      u64 enq_flags) __ksym;
bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it__iter, struct task_struct *p, u64 dsq,
		      u64 enq_flags) __ksym;
s32 scx_bpf_dsq_nr_queued(u64 dsq) __ksym;
void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym;
s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
u64 scx_bpf_now(void) __ksym;

/*
 * Since 7.1 the kernel has these in a second form beside the first, with which
 * the loader then cannot look up the first one; and since 7.2 it frowns on a
 * scheduler that writes a task's slice itself. The program is compiled twice.
 */
#ifdef V2
bool scx_bpf_dsq_insert___v2(struct task_struct *p, u64 dsq, u64 slice, u64 enq_flags) __ksym;
bool scx_bpf_dsq_move_to_local___v2(u64 dsq, u64 enq_flags) __ksym;
bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __ksym;
#define dsq_insert(p, dsq, slice, flags) scx_bpf_dsq_insert___v2(p, dsq, slice, flags)
#define dsq_move_to_local(dsq) scx_bpf_dsq_move_to_local___v2(dsq, 0)
#define task_set_slice(p, ns) scx_bpf_task_set_slice(p, ns)
#else
void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 enq_flags) __ksym;
bool scx_bpf_dsq_move_to_local(u64 dsq) __ksym;
#define dsq_insert(p, dsq, slice, flags) scx_bpf_dsq_insert(p, dsq, slice, flags)
#define dsq_move_to_local(dsq) scx_bpf_dsq_move_to_local(dsq)
#define task_set_slice(p, ns) ((p)->scx.slice = (ns))
#endif

#endif /* AUTOSA_SCHED_EXT_H */
