// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * A sched_ext scheduler that goes wrong on purpose, in a way that is told before
 * it is loaded or while it runs. Until then every task waits in the kernel's one
 * shared queue, first come, first served.
 */
#include "sched_ext.h"

#define SLICE 5000000ULL /* ns */

struct task_struct___comm {
	char comm[16];
} __core;

void scx_bpf_error_bstr(char *fmt, u64 *data, u32 data__sz) __ksym;

/* The verifier is to refuse the program. */
volatile const bool reject;

/* Written by user space while it runs. */
volatile bool give_up;
volatile bool forget; /* tasks named "forgotten" are never given a CPU again */

char why[] = "it was told to";

/* What the kernel says of its end; kind is written last. */
volatile u32 exit_kind;
char exit_reason[64];
char exit_message[128];

/* Without it the kernel gives a task that wakes to an idle CPU by itself, past enqueue. */
SEC("struct_ops/select_cpu")
s32 broken_select_cpu(u64 *ctx)
{
	return ctx[1];
}

SEC("struct_ops/enqueue")
void broken_enqueue(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	const char *comm = ((struct task_struct___comm *)p)->comm;
	u64 none = 0;

	if (reject && *(volatile u64 *)ctx[1])
		return; /* the flags are no address */
	if (give_up)
		scx_bpf_error_bstr(why, &none, sizeof(none));
	if (forget && *(u64 *)comm == 0x6574746f67726f66ULL) /* "forgotte" */
		return;
	dsq_insert(p, SCX_DSQ_GLOBAL, SLICE, ctx[1]);
}

SEC("struct_ops/exit")
void broken_exit(u64 *ctx)
{
	struct scx_exit_info *info = (void *)ctx[0];

	bpf_probe_read_kernel_str(exit_reason, sizeof(exit_reason), info->reason);
	bpf_probe_read_kernel_str(exit_message, sizeof(exit_message), info->msg);
	barrier();
	exit_kind = info->kind;
}

SEC(".struct_ops.link")
struct sched_ext_ops broken = {
	.select_cpu = (void *)broken_select_cpu,
	.enqueue = (void *)broken_enqueue,
	.exit = (void *)broken_exit,
	.timeout_ms = 5000,
	.name = "broken",
};

char LICENSE[] SEC("license") = "Dual BSD/GPL";
