// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * When the kernel leaves one sched_ext scheduler and when it has the next.
 *
 * All times are CLOCK_MONOTONIC, ns. bpf_scx_reg() and scx_disable_workfn() are
 * only ever called through pointers, so no compiler has inlined them: the first
 * registers a struct_ops map, the second, on a thread of the kernel's, does all
 * of the unregistering, from the first task that is kept from the old scheduler to the
 * state "disabled" (kernel/sched/ext.c, 6.12 to 7.3).
 */
#include "bpf.h"

struct sched_class;

struct task_struct {
	const struct sched_class *sched_class;
} __core;

static long (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;

/* Addresses of the kernel's, from /proc/kallsyms. */
volatile const u64 ext_class;	 /* ext_sched_class */
volatile const u64 idle_class;	 /* idle_sched_class */
volatile const u64 enable_state; /* scx_enable_state_var, an atomic_t */
/* SCX_ENABLED of enum scx_enable_state, by the kernel's type information. */
volatile const u32 enabled;

struct span {
	u64 last_old;	 /* the last switch to a task of the old scheduler's */
	u64 unreg_begin; /* first call */
	u64 unreg_end;	 /* last return */
	u64 reg_begin;	 /* last call */
	u64 reg_end;	 /* last return */
	u64 first_new; /* the first switch to a task of the new scheduler's, once it is enabled */
	u64 between;   /* switches between the two, to tasks that are not idle ones */
	u32 unregs;
	u32 regs;
	u32 refused; /* registrations that failed */
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct span);
} spans SEC(".maps");

static __always_inline struct span *span(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&spans, &zero);
}

SEC("tp_btf/sched_switch")
int at_switch(u64 *ctx)
{
	struct task_struct *next = (void *)ctx[2];
	u64 class = (u64)next->sched_class;
	struct span *s = span();
	u32 state = 0;

	if (!s || s->first_new || class == idle_class)
		return 0;
	if (!s->unreg_begin) {
		if (class == ext_class)
			s->last_old = bpf_ktime_get_ns();
		return 0;
	}
	if (class == ext_class && s->reg_begin) {
		bpf_probe_read_kernel(&state, sizeof(state), (void *)enable_state);
		if (state == enabled) {
			s->first_new = bpf_ktime_get_ns();
			return 0;
		}
	}
	__sync_fetch_and_add(&s->between, 1);
	return 0;
}

SEC("fentry/scx_disable_workfn")
int unreg_begins(u64 *ctx)
{
	struct span *s = span();

	if (!s || s->first_new)
		return 0;
	if (!s->unreg_begin)
		s->unreg_begin = bpf_ktime_get_ns();
	s->unregs++;
	return 0;
}

SEC("fexit/scx_disable_workfn")
int unreg_ends(u64 *ctx)
{
	struct span *s = span();

	if (s && s->unreg_begin && !s->first_new)
		s->unreg_end = bpf_ktime_get_ns();
	return 0;
}

SEC("fentry/bpf_scx_reg")
int reg_begins(u64 *ctx)
{
	struct span *s = span();

	if (!s || s->first_new)
		return 0;
	s->reg_begin = bpf_ktime_get_ns();
	s->regs++;
	return 0;
}

SEC("fexit/bpf_scx_reg")
int reg_ends(u64 *ctx)
{
	struct span *s = span();

	if (!s || s->reg_end)
		return 0;
	if ((int)ctx[2])
		s->refused++;
	else
		s->reg_end = bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
