// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/* The tracer's histogram layout by itself, to be compared with Go's. */
#include "histogram.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("syscall")
int bucket(u64 *ns)
{
	return bucket_of(*ns);
}
