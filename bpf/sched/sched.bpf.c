// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//go:build ignore

/*
 * autosa's own scheduler. A task that wakes goes to an idle CPU if there is one.
 * Else it waits in the queue of the last-level cache of the CPU that it was on,
 * ordered by the virtual time it has had: run time over weight, where a task's
 * weight is its share of its cgroup's, and so on up. A CPU that becomes free
 * takes the first task of its own cache's queue that may run on it, then of the
 * others'. What differs between policies is in struct policy.
 *
 * Each queue has a clock: the virtual time of the task that was taken from it
 * last. A task that comes is never far before it, however long it slept, nor
 * much more than a turn behind it, however long it ran while nobody waited.
 * Where caches have unequal work their clocks come apart, and CPUs of the one
 * ahead take tasks of the one behind.
 *
 * Every task waits where a CPU looks that may run it: a CPU looks first at the
 * queue of its own cache, tasks are queued by the CPU that the kernel has them
 * on, which is one they may use. Whoever queues a task wakes an idle CPU for it,
 * if one may run it: an idle CPU looks nowhere. A CPU that goes offline looks at
 * none of these queues any more: what waits for it is moved to the kernel's
 * global one, from which it still takes, to push it to another CPU. What waits
 * for seconds all the same goes first.
 *
 * Context: but for init_task, the cgroups' and init, run queue lock held,
 * interrupts off.
 */
#include "sched.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MSEC 1000000ULL
#define NICE_0_WEIGHT 100

/* Weights, in the kernel's unit of 100 for nice 0, have 16 bits of fraction. */
#define WEIGHT_SHIFT 16

#define MAX_DEPTH 16	      /* of cgroups with a weight */
#define MAX_GROUPS 65536      /* cgroups with a weight */
#define MAX_LAG (100 * MSEC)  /* of a task behind its queue's clock, run time */
#define MAX_DEBT (500 * MSEC) /* of a task before its queue's clock, run time */
#define LLC_LAG (50 * MSEC)   /* of a clock behind others, run time of a task at hand */
/* Bursts beyond are all the same. What a policy makes of it is less than MAX_LAG. */
#define MAX_BURST (20 * MSEC)
#define TICK (10 * MSEC)	 /* the coarsest: turns end at ticks */
#define SHARE_FRESH MSEC	 /* how long a cgroup's share is believed */
#define MAX_WAIT (3000 * MSEC)	 /* then a task goes first; the watchdog bites at 10 s */
#define SWEEP_EVERY (100 * MSEC) /* look for those */
#define SWEEP_TASKS 128		 /* at so many, from the end of the queue */
#define HEAD_TASKS 128		 /* of the beginning are looked at for one that may run here */

struct task_state {
	u64 vtime;   /* it has had */
	u64 key;     /* vtime and what the policy adds: its place */
	u64 weight;  /* its share at the last look, with fraction */
	u64 exec;    /* sum_exec_runtime that is in vtime */
	u64 burst;   /* run time since it woke, ns */
	u64 usual;   /* its average, ns */
	u64 since;   /* when it was queued */
	u64 group;   /* id of its cgroup */
	u32 counted; /* what its cgroup's demand has of it; 0: it does not want to run */
	u32 llc;     /* whose queue it is in */
	bool queued;
	bool known; /* its vtime means something */
};

/* A cgroup with a weight. The parent's id is 0 for the root, whose children compete with its tasks. */
struct group {
	struct bpf_spin_lock lock;
	u32 weight;
	u32 counted; /* what the parent's demand has of it */
	u32 reserved;
	s64 demand; /* the weights of its tasks and cgroups that want to run */
	u64 parent;
	u64 share;  /* its weight among all that want to run, with fraction */
	u64 shared; /* when that was */
};

/* Types that no map names, kept in BTF for bpf2go. */
const struct exit_record *exit_record_type __attribute__((unused));
const struct policy *policy_type __attribute__((unused));

const volatile u32 num_llcs = 1;

struct knobs knob SEC(".data.knobs") = {};

u64 top = 0; /* the clock that is ahead */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, struct cpu_state);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set before load */
	__type(key, u32);
	__type(value, struct llc);
} llcs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_GROUPS);
	__type(key, u64);
	__type(value, struct group);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 128 << 10);
} exits SEC(".maps");

static __always_inline bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static __always_inline u64 at_least(u64 a, u64 b)
{
	return a < b ? b : a;
}

static __always_inline struct task_state *state_of(struct task_struct *p)
{
	return bpf_task_storage_get(&tasks, p, NULL, 0);
}

static __always_inline struct cpu_state *cpu_state(u32 cpu)
{
	return bpf_map_lookup_elem(&cpus, &cpu);
}

static __always_inline struct cpu_state *this_cpu(void)
{
	return cpu_state(bpf_get_smp_processor_id());
}

static __always_inline struct llc *llc_of(u32 llc)
{
	return bpf_map_lookup_elem(&llcs, &llc);
}

/* Each cache has two queues: the one in order, and one for those that waited too long. */
static __always_inline u64 ordered(u32 llc)
{
	return 2 * llc;
}

static __always_inline u64 overdue(u32 llc)
{
	return 2 * llc + 1;
}

/* The policy in force; this CPU says that it has seen it. */
static __always_inline const struct policy *obey(struct cpu_state *c)
{
	u64 order = *(volatile u64 *)&knob.order;
	u32 i = order & 0xff;

	c->seen = order;
	return &knob.policy[i < NUM_POLICIES ? i : 0];
}

/* Nanoseconds of run time as virtual time. */
static __always_inline u64 virtually(u64 ns, u64 weight)
{
	if (ns > 1000 * MSEC)
		ns = 1000 * MSEC;
	return ns * ((u64)NICE_0_WEIGHT << WEIGHT_SHIFT) / at_least(weight, 1);
}

/*
 * In a group more, or less, wants to run. If that is the first or was the last,
 * it is so in the group above too.
 */
static void change_demand(u64 id, s64 by)
{
	for (int i = 0; i < MAX_DEPTH && by; i++) {
		struct group *g = bpf_map_lookup_elem(&groups, &id);
		s64 was;

		if (!g || !g->parent)
			return;
		bpf_spin_lock(&g->lock);
		was = g->demand;
		g->demand = was + by;
		by = 0;
		if (!was) {
			by = g->weight;
			g->counted = g->weight;
		} else if (!g->demand) {
			by = -(s64)g->counted;
			g->counted = 0;
		}
		bpf_spin_unlock(&g->lock);
		id = g->parent;
	}
}

/* A task wants so much, in the group that it is in. */
static __always_inline void demand(struct task_state *t, u32 weight)
{
	change_demand(t->group, (s64)weight - t->counted);
	t->counted = weight;
}

/* A group's weight times, for each group above it, that one's weight over what wants to run in it. */
static u64 share_of(const struct group *g)
{
	u64 share = (u64)g->weight << WEIGHT_SHIFT, id = g->parent;

	for (int i = 0; i < MAX_DEPTH; i++) {
		struct group *above = bpf_map_lookup_elem(&groups, &id);
		s64 all;

		if (!above || !above->parent)
			break;
		all = above->demand;
		share = share * above->weight / at_least(all > 0 ? all : 0, g->weight);
		g = above;
		id = above->parent;
	}
	return share;
}

/* What a task weighs against all others, with fraction. */
static u64 weigh(struct task_struct *p, struct task_state *t)
{
	struct group *g = bpf_map_lookup_elem(&groups, &t->group);
	u64 weight = p->scx.weight, now = scx_bpf_now();
	s64 all;

	if (!g || !g->parent)
		return weight << WEIGHT_SHIFT;
	if (now - g->shared >= SHARE_FRESH) {
		g->share = share_of(g);
		g->shared = now;
	}
	all = g->demand;
	return at_least(g->share * weight / at_least(all > 0 ? all : 0, at_least(weight, 1)),
			1);
}

/* A task pays for what it ran since the last time. */
static void charge(struct task_struct *p, struct task_state *t)
{
	u64 exec = p->se.sum_exec_runtime, ran = exec - t->exec;

	t->exec = exec;
	t->burst += ran;
	t->weight = weigh(p, t);
	t->vtime += virtually(ran, t->weight);
}

/* What a task's place is, by what it has had and by how long it will want the CPU. */
static __always_inline void set_key(struct task_state *t, const struct policy *pol)
{
	u64 burst = at_least(t->usual, t->burst);

	if (burst > MAX_BURST)
		burst = MAX_BURST;
	t->key = t->vtime + virtually(burst * pol->burst_percent / 100, t->weight);
}

/* What a task ran while nobody waited is forgiven, but for about a turn. */
static __always_inline void forgive(struct task_state *t, const struct llc *l,
				    const struct policy *pol)
{
	u64 last = l->clock + virtually(2 * pol->slice + TICK, t->weight);

	if (before(last, t->vtime))
		t->vtime = last;
}

/* Brings a task that comes into the neighbourhood of the queue's clock. */
static void place(struct task_struct *p, struct task_state *t, const struct llc *l,
		  const struct policy *pol, u64 enq_flags)
{
	u64 clock = l->clock, first, last;

	t->weight = weigh(p, t);
	first = clock -
		virtually(enq_flags & SCX_ENQ_WAKEUP ? pol->credit : MAX_LAG, t->weight);
	last = clock + virtually(MAX_DEBT, t->weight);
	if (!t->known)
		t->vtime = clock;
	else if (before(t->vtime, first))
		t->vtime = first;
	else if (before(last, t->vtime))
		t->vtime = last;
	t->known = true;
	set_key(t, pol);
}

static __always_inline void advance(struct llc *l, u64 to)
{
	if (before(l->clock, to))
		l->clock = to;
	if (num_llcs > 1 && before(top + MSEC, to))
		top = to;
}

/* A cache that had no work to queue has no claim to what others did meanwhile. */
static __always_inline void catch_up(struct llc *l, const struct task_state *t)
{
	u64 least = top - virtually(LLC_LAG, t->weight);

	if (num_llcs > 1 && before(l->clock, least))
		l->clock = least;
}

static __always_inline u64 turn(const struct policy *pol, const struct llc *l, u32 llc)
{
	s32 waiting = scx_bpf_dsq_nr_queued(ordered(llc));

	if (waiting <= 0)
		return pol->slice;
	return at_least(pol->slice * l->cpus / (l->cpus + waiting), pol->min_slice);
}

SEC("struct_ops/select_cpu")
s32 autosa_select_cpu(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, ctx[1], ctx[2], &idle);
	struct cpu_state *c = this_cpu(), *target = cpu_state(cpu);
	struct task_state *t = state_of(p);
	const struct policy *pol;
	struct llc *l;

	if (!idle || !c || !target || !t)
		return cpu;
	l = llc_of(target->llc);
	if (!l)
		return cpu;
	pol = obey(c);
	place(p, t, l, pol, SCX_ENQ_WAKEUP);
	forgive(t, l, pol);
	c->direct++;
	dsq_insert(p, SCX_DSQ_LOCAL, pol->slice, 0);
	return cpu;
}

/*
 * An idle CPU is woken for a task that has been queued, also for one that woke: a
 * CPU may have become idle since one was looked for.
 */
static __always_inline bool wake_idle(struct cpu_state *c, struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu < 0)
		return false;
	c->wakes++;
	scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	return true;
}

/* A task that woke takes its CPU from one that comes after it. */
static __always_inline void preempt(struct cpu_state *c, struct cpu_state *target, s32 cpu,
				    const struct task_state *t, const struct policy *pol)
{
	u64 ran = t->since - target->since;

	if ((s64)ran < 0 || ran < pol->preempt_after ||
	    !before(t->key, target->key + virtually(ran, target->weight)))
		return;
	c->preempts++;
	scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
}

SEC("struct_ops/enqueue")
void autosa_enqueue(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	u64 flags = ctx[1];
	s32 cpu = scx_bpf_task_cpu(p);
	struct cpu_state *c = this_cpu(), *target = cpu_state(cpu);
	struct task_state *t = state_of(p);
	const struct policy *pol;
	struct llc *l = target ? llc_of(target->llc) : NULL;

	if (!c || !l || !t) {
		if (c)
			c->unknown++;
		dsq_insert(p, SCX_DSQ_GLOBAL, TICK, flags);
		return;
	}
	pol = obey(c);
	if (scx_bpf_dsq_nr_queued(ordered(target->llc)) == 0)
		catch_up(l, t);
	place(p, t, l, pol, flags);
	/* One that is at it for longer than a turn waits for the next as all do. */
	if (p->flags & PF_KTHREAD && p->nr_cpus_allowed == 1 && flags & SCX_ENQ_WAKEUP) {
		c->kthreads++;
		dsq_insert(p, SCX_DSQ_LOCAL, pol->slice, flags | SCX_ENQ_PREEMPT);
		return;
	}
	t->llc = target->llc;
	t->queued = true;
	t->since = scx_bpf_now();
	c->enqueued++;
	scx_bpf_dsq_insert_vtime(p, ordered(t->llc), turn(pol, l, t->llc), t->key, flags);

	if (!wake_idle(c, p) && pol->preempt && flags & SCX_ENQ_WAKEUP)
		preempt(c, target, cpu, t, pol);
}

/* Moves who has waited too long to where they go first. */
static void sweep(struct cpu_state *c, struct llc *l, u32 llc)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	u64 now = scx_bpf_now();

	if ((s64)(now - l->swept) < (s64)SWEEP_EVERY)
		return;
	l->swept = now;
	bpf_iter_scx_dsq_new(&it, ordered(llc), SCX_DSQ_ITER_REV);
	for (int i = 0; i < SWEEP_TASKS && (p = bpf_iter_scx_dsq_next(&it)); i++) {
		struct task_state *t = state_of(p);

		if (!t || (s64)(now - t->since) < (s64)MAX_WAIT)
			continue;
		if (scx_bpf_dsq_move(&it, p, overdue(llc), 0))
			c->overdue++;
	}
	bpf_iter_scx_dsq_destroy(&it);
}

/* Whether somebody who may run here waits in the queue who comes before key. */
static bool comes_before(u32 llc, s32 cpu, u64 key)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	bool found = false;

	bpf_iter_scx_dsq_new(&it, ordered(llc), 0);
	for (int i = 0; i < HEAD_TASKS && (p = bpf_iter_scx_dsq_next(&it)); i++) {
		if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			continue;
		found = before(p->scx.dsq_vtime, key);
		break;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return found;
}

static __always_inline bool take(u32 llc)
{
	return dsq_move_to_local(overdue(llc)) || dsq_move_to_local(ordered(llc));
}

/* Takes from one other cache, in turn, if its clock is behind. */
static bool take_lagging(struct cpu_state *c, const struct llc *own)
{
	u32 llc = c->look_at + 1 < num_llcs ? c->look_at + 1 : 0;
	struct llc *other = llc_of(llc);

	c->look_at = llc;
	return other && llc != c->llc &&
		before(other->clock + virtually(LLC_LAG, c->weight), own->clock) && take(llc);
}

static bool take_any(const struct cpu_state *c)
{
	u32 llc = c->llc;

	for (u32 i = 1; i < num_llcs; i++) {
		llc = llc + 1 < num_llcs ? llc + 1 : 0;
		if (take(llc))
			return true;
	}
	return false;
}

SEC("struct_ops/dispatch")
void autosa_dispatch(u64 *ctx)
{
	s32 cpu = ctx[0];
	struct task_struct *prev = (void *)ctx[1];
	struct cpu_state *c = cpu_state(cpu);
	struct task_state *t = NULL;
	const struct policy *pol;
	struct llc *l;

	l = c ? llc_of(c->llc) : NULL;
	if (!l)
		return;
	sweep(c, l, c->llc);
	if (num_llcs > 1 && take_lagging(c, l)) {
		c->stolen++;
		return;
	}
	if (dsq_move_to_local(overdue(c->llc))) {
		c->local++;
		return;
	}
	pol = obey(c);
	if (prev && prev->scx.flags & SCX_TASK_QUEUED)
		t = state_of(prev);
	if (t) {
		charge(prev, t);
		set_key(t, pol);
	}
	if ((!t || comes_before(c->llc, cpu, t->key)) && dsq_move_to_local(ordered(c->llc))) {
		c->local++;
		return;
	}
	if (!t) {
		if (take_any(c))
			c->stolen++;
		return;
	}
	if (scx_bpf_dsq_nr_queued(ordered(c->llc)) == 0) {
		catch_up(l, t);
		forgive(t, l, pol);
		set_key(t, pol);
		/* No faster than time, whatever it weighs: it is the only one. */
		if (before(t->vtime, l->clock + pol->slice))
			advance(l, t->vtime);
		else
			advance(l, l->clock + pol->slice);
	}
	c->kept++;
	c->key = t->key;
	c->since = scx_bpf_now();
	task_set_slice(prev, turn(pol, l, c->llc));
}

SEC("struct_ops/runnable")
void autosa_runnable(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct task_state *t = state_of(p);

	if (t)
		demand(t, p->scx.weight);
}

SEC("struct_ops/quiescent")
void autosa_quiescent(u64 *ctx)
{
	struct task_state *t = state_of((void *)ctx[0]);

	if (t)
		demand(t, 0);
}

SEC("struct_ops/running")
void autosa_running(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct task_state *t = state_of(p);
	struct cpu_state *c = this_cpu();
	struct llc *l;

	if (!t || !c)
		return;
	t->exec = p->se.sum_exec_runtime;
	c->key = t->key;
	c->weight = t->weight;
	c->since = scx_bpf_now();
	if (!t->queued)
		return;
	t->queued = false;
	l = llc_of(t->llc);
	if (l)
		advance(l, t->vtime);
}

SEC("struct_ops/stopping")
void autosa_stopping(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct task_state *t = state_of(p);

	if (!t)
		return;
	charge(p, t);
	if (ctx[1])
		return;
	t->usual = (3 * t->usual + t->burst) / 4;
	t->burst = 0;
}

SEC("struct_ops/set_weight")
void autosa_set_weight(u64 *ctx)
{
	struct task_state *t = state_of((void *)ctx[0]);

	if (t && t->counted)
		demand(t, ctx[1]);
}

SEC("struct_ops.s/init_task")
s32 autosa_init_task(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct scx_init_task_args *args = (void *)ctx[1];
	struct task_state *t;

	t = bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return -12; /* ENOMEM */
	t->group = args->cgroup->kn->id;
	return 0;
}

SEC("struct_ops.s/cgroup_init")
s32 autosa_cgroup_init(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];
	struct scx_cgroup_init_args *args = (void *)ctx[1];
	struct cgroup_subsys_state *above = cgrp->self.parent;
	struct group g = { .weight = args->weight };
	u64 id = cgrp->kn->id;

	if (above)
		g.parent = above->cgroup->kn->id;
	return bpf_map_update_elem(&groups, &id, &g, BPF_ANY);
}

SEC("struct_ops.s/cgroup_exit")
void autosa_cgroup_exit(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];
	u64 id = cgrp->kn->id;

	bpf_map_delete_elem(&groups, &id);
}

SEC("struct_ops/cgroup_move")
void autosa_cgroup_move(u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct cgroup *to = (void *)ctx[2];
	struct task_state *t = state_of(p);
	u32 counted;

	if (!t)
		return;
	counted = t->counted;
	demand(t, 0);
	t->group = to->kn->id;
	demand(t, counted);
}

SEC("struct_ops/cgroup_set_weight")
void autosa_cgroup_set_weight(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];
	u64 id = cgrp->kn->id;
	struct group *g = bpf_map_lookup_elem(&groups, &id);
	s64 by = 0;

	if (!g)
		return;
	bpf_spin_lock(&g->lock);
	g->weight = ctx[1];
	if (g->demand) {
		by = (s64)g->weight - g->counted;
		g->counted = g->weight;
	}
	bpf_spin_unlock(&g->lock);
	change_demand(g->parent, by);
}

static void push_out(s32 cpu, u64 dsq)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;

	bpf_iter_scx_dsq_new(&it, dsq, 0);
	while ((p = bpf_iter_scx_dsq_next(&it)))
		if (scx_bpf_task_cpu(p) == cpu)
			scx_bpf_dsq_move(&it, p, SCX_DSQ_GLOBAL, 0);
	bpf_iter_scx_dsq_destroy(&it);
}

/* Without these two the kernel ejects a scheduler when a CPU comes or goes. */
SEC("struct_ops.s/cpu_online")
void autosa_cpu_online(void)
{
}

/*
 * The kernel asks no more what the CPU shall run, and queues by itself what comes
 * to it. What it has let us queue before is given back. Not sleepable, since
 * queues are looked through under RCU.
 */
SEC("struct_ops/cpu_offline")
void autosa_cpu_offline(u64 *ctx)
{
	s32 cpu = ctx[0];
	struct cpu_state *c = cpu_state(cpu);

	if (!c)
		return;
	push_out(cpu, ordered(c->llc));
	push_out(cpu, overdue(c->llc));
}

SEC("struct_ops.s/init")
s32 autosa_init(void)
{
	for (u32 i = 0; i < num_llcs; i++) {
		s32 err = scx_bpf_create_dsq(ordered(i), -1);

		err = err ?: scx_bpf_create_dsq(overdue(i), -1);
		if (err)
			return err;
	}
	return 0;
}

SEC("struct_ops/exit")
void autosa_exit(u64 *ctx)
{
	struct scx_exit_info *info = (void *)ctx[0];
	struct exit_record *r = bpf_ringbuf_reserve(&exits, sizeof(*r), 0);

	if (!r)
		return;
	r->kind = info->kind;
	r->code = info->exit_code;
	if (bpf_probe_read_kernel_str(r->reason, sizeof(r->reason), info->reason) < 0)
		r->reason[0] = 0;
	if (bpf_probe_read_kernel_str(r->message, sizeof(r->message), info->msg) < 0)
		r->message[0] = 0;
	if (bpf_probe_read_kernel_str(r->dump, sizeof(r->dump), info->dump) < 0)
		r->dump[0] = 0;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

SEC(".struct_ops.link")
struct sched_ext_ops autosa = {
	.select_cpu = (void *)autosa_select_cpu,
	.enqueue = (void *)autosa_enqueue,
	.dispatch = (void *)autosa_dispatch,
	.runnable = (void *)autosa_runnable,
	.running = (void *)autosa_running,
	.stopping = (void *)autosa_stopping,
	.quiescent = (void *)autosa_quiescent,
	.set_weight = (void *)autosa_set_weight,
	.init_task = (void *)autosa_init_task,
	.cgroup_init = (void *)autosa_cgroup_init,
	.cgroup_exit = (void *)autosa_cgroup_exit,
	.cgroup_move = (void *)autosa_cgroup_move,
	.cgroup_set_weight = (void *)autosa_cgroup_set_weight,
	.cpu_online = (void *)autosa_cpu_online,
	.cpu_offline = (void *)autosa_cpu_offline,
	.init = (void *)autosa_init,
	.exit = (void *)autosa_exit,
	.timeout_ms = 10000,
	.name = "autosa",
};
