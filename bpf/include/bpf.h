/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of the BPF program environment that autosa's programs use: types,
 * map declarations, helpers and CO-RE field access. It includes nothing, so an
 * object depends on the compiler alone and is the same wherever it is built.
 * Numbers are the kernel's ABI (include/uapi/linux/bpf.h).
 */
#ifndef AUTOSA_BPF_H
#define AUTOSA_BPF_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What was read before is read again after. */
#define barrier() asm volatile("" ::: "memory")

/* The compiler forgets what it knows about a variable, the verifier does not. */
#define opaque(x) asm volatile("" : "+r"(x))

/* Map declarations are read from BTF: a number is the length of an array. */
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_F_NO_PREALLOC = 1 << 0,
	BPF_F_MMAPABLE = 1 << 10,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
};

enum {
	BPF_RB_NO_WAKEUP = 1 << 0,
	BPF_RB_FORCE_WAKEUP = 1 << 1,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};

struct task_struct;

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value,
					 u64 flags) = (void *)2;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static void *(*const bpf_ringbuf_reserve)(void *ringbuf, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static u64 (*const bpf_ringbuf_query)(void *ringbuf, u64 flags) = (void *)134;
static void *(*const bpf_task_storage_get)(void *map, struct task_struct *task, void *value,
					   u64 flags) = (void *)156;

/* CO-RE: offsets of fields so marked are those of the running kernel. */
#define __core __attribute__((preserve_access_index))

enum {
	CORE_BYTE_OFFSET = 0,
	CORE_BYTE_SIZE = 1,
	CORE_EXISTS = 2,
	CORE_LSHIFT = 4,
	CORE_RSHIFT = 5,
};

/* Whether the running kernel's structure has the field. */
#define core_field_exists(ptr, field) __builtin_preserve_field_info((ptr)->field, CORE_EXISTS)

/*
 * The value of an unsigned bit field of a kernel structure, or of an integer
 * that is not as wide on every kernel. A plain read is relocated to the right
 * byte but keeps the compile-time bit and size.
 */
#define core_bitfield(ptr, field)                                                              \
	({                                                                                     \
		const char *__p = (const char *)(ptr) +                                        \
			__builtin_preserve_field_info((ptr)->field, CORE_BYTE_OFFSET);         \
		u64 __v = 0;                                                                   \
		opaque(__p);                                                                   \
		switch (__builtin_preserve_field_info((ptr)->field, CORE_BYTE_SIZE)) {         \
		case 1:                                                                        \
			__v = *(const u8 *)__p;                                                \
			break;                                                                 \
		case 2:                                                                        \
			__v = *(const u16 *)__p;                                               \
			break;                                                                 \
		case 4:                                                                        \
			__v = *(const u32 *)__p;                                               \
			break;                                                                 \
		case 8:                                                                        \
			__v = *(const u64 *)__p;                                               \
			break;                                                                 \
		}                                                                              \
		__v <<= __builtin_preserve_field_info((ptr)->field, CORE_LSHIFT);              \
		__v >>= __builtin_preserve_field_info((ptr)->field, CORE_RSHIFT);              \
		__v;                                                                           \
	})

/* Wakes a ring buffer's reader only from a quarter full; else it comes by itself. */
static __always_inline u64 wakeup_flag(void *ring)
{
	u64 used = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);

	if (used < bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 4)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

#endif /* AUTOSA_BPF_H */
