// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// WakeEdge is one kind of task, or an interrupt, waking another kind.
type WakeEdge struct {
	// Interrupt says that no task did it: Waker and WakerCgroup are then zero.
	Interrupt                bool
	Waker, Wakee             Comm
	WakerCgroup, WakeeCgroup uint64
	Count                    uint64
}

// WakeSample is what [SampleWakeups] saw.
type WakeSample struct {
	// Duration is for how long the probe was attached.
	Duration time.Duration
	// Wakeups were seen in all, Unnamed of them beyond the 4096 edges kept.
	Wakeups, Unnamed uint64
	// Edges are sorted by their counts, the largest first.
	Edges []WakeEdge
}

// SampleWakeups attaches the wakeup probe for d and reports who woke whom. It
// costs the machine up to some hundred ns for each wakeup and interrupt
// meanwhile and nothing afterwards. Device interrupts, softirqs and timers are
// told from tasks; other interrupts count as the task they interrupt, and on a
// kernel with PREEMPT_RT tasks may be taken for interrupts. Its errors are those
// of [Load], or ctx's when it ended first.
func SampleWakeups(ctx context.Context, d time.Duration) (sample WakeSample, err error) {
	types, err := probeTracepoints(
		tracepoint{name: "sched_waking", first: "task_struct", args: 1},
		tracepoint{name: "irq_handler_entry", args: 2}, tracepoint{name: "irq_handler_exit", args: 3},
		tracepoint{name: "softirq_entry", args: 1}, tracepoint{name: "softirq_exit", args: 1},
		tracepoint{name: "hrtimer_expire_entry", args: 2}, tracepoint{name: "hrtimer_expire_exit", args: 1},
	)
	if err != nil {
		return sample, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return sample, fmt.Errorf("count possible CPUs: %w", err)
	}
	spec, err := loadWakeups()
	if err != nil {
		return sample, fmt.Errorf("read the wakeup probe's object: %w", err)
	}
	spec.Maps[wakeupsMapDepths].MaxEntries = uint32(cpus)
	var objs wakeupsObjects
	if err := spec.LoadAndAssign(&objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return sample, fmt.Errorf("load the wakeup probe: %w", explainPermission(err))
	}
	defer func() {
		err = errors.Join(err, objs.Close())
		objs.wakeupsVariables = wakeupsVariables{} // unmaps them
	}()
	// An exit without its entry is harmless, an entry without its exit is not.
	sample.Duration, err = attached(ctx, d,
		objs.LeaveIrq, objs.LeaveSoftirq, objs.LeaveHrtimer, objs.EnterIrq, objs.EnterSoftirq, objs.EnterHrtimer, objs.OnWaking)
	if err != nil {
		return sample, err
	}
	var (
		key   wakeupsWakeEdge
		count uint64
	)
	for it := objs.Edges.Iterate(); ; {
		if !it.Next(&key, &count) {
			if err := it.Err(); err != nil {
				return sample, fmt.Errorf("read the wakeups: %w", err)
			}
			break
		}
		e := WakeEdge{
			Waker: *(*Comm)(unsafe.Pointer(&key.Waker)), Wakee: *(*Comm)(unsafe.Pointer(&key.Wakee)),
			WakerCgroup: key.WakerCgroup, WakeeCgroup: key.WakeeCgroup, Count: count,
		}
		e.Interrupt = e.Waker == Comm{} && e.WakerCgroup == 0
		sample.Edges = append(sample.Edges, e)
	}
	slices.SortFunc(sample.Edges, func(a, b WakeEdge) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Waker.String(), b.Waker.String()), cmp.Compare(a.Wakee.String(), b.Wakee.String()))
	})
	return sample, errors.Join(objs.Wakeups.Get(&sample.Wakeups), objs.Unnamed.Get(&sample.Unnamed))
}

// BlockOp is a kind of block request.
type BlockOp uint8

func (op BlockOp) String() string {
	return [...]string{"read", "write", "flush", "discard", "other"}[min(op, BlockOp(blockBlockOpBLOCK_OTHER))]
}

// BlockLatency is how long the requests of one kind took, from the start that
// the kernel notes to their end: the time in its queues included.
type BlockLatency struct {
	Op       BlockOp
	Requests uint64
	Total    time.Duration
	// Buckets are those of workload.Histogram.
	Buckets [48]uint64
}

// BlockSample is what [SampleBlock] saw.
type BlockSample struct {
	// Duration is for how long the probe was attached.
	Duration time.Duration
	// Untimed are requests for which the kernel has kept no start time.
	Untimed uint64
	// Ops are the kinds that occurred.
	Ops []BlockLatency
}

// SampleBlock attaches the block latency probe for d. Nothing stays attached
// afterwards. Its errors are those of [Load], or ctx's when it ended first.
func SampleBlock(ctx context.Context, d time.Duration) (sample BlockSample, err error) {
	types, err := probeTracepoints(tracepoint{name: "block_rq_complete", first: "request", field: "start_time_ns", args: 3})
	if err != nil {
		return sample, err
	}
	var objs blockObjects
	if err := loadBlockObjects(&objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return sample, fmt.Errorf("load the block probe: %w", explainPermission(err))
	}
	defer func() {
		err = errors.Join(err, objs.Close())
		objs.blockVariables = blockVariables{} // unmaps them
	}()
	if sample.Duration, err = attached(ctx, d, objs.OnBlockComplete); err != nil {
		return sample, err
	}
	for op := range BlockOp(blockBlockOpNUM_BLOCK_OPS) {
		var raw blockBlockLatency
		if err := objs.Latencies.Lookup(uint32(op), &raw); err != nil {
			return sample, fmt.Errorf("read the latencies of %v requests: %w", op, err)
		}
		if raw.Requests == 0 {
			continue
		}
		l := BlockLatency{Op: op, Requests: raw.Requests, Total: time.Duration(raw.TotalNs)}
		for i, n := range raw.Buckets {
			l.Buckets[i] = uint64(n)
		}
		sample.Ops = append(sample.Ops, l)
	}
	return sample, objs.Untimed.Get(&sample.Untimed)
}

// attached attaches programs in this order, waits for d, and detaches them.
func attached(ctx context.Context, d time.Duration, programs ...*ebpf.Program) (lasted time.Duration, err error) {
	for _, p := range programs {
		l, lerr := link.AttachTracing(link.TracingOptions{Program: p})
		if lerr != nil {
			return 0, fmt.Errorf("attach %v: %w", p, explainPermission(lerr))
		}
		defer func() { err = errors.Join(err, l.Close()) }()
	}
	began := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return time.Since(began), fmt.Errorf("sample for %v: %w", d, context.Cause(ctx))
	}
	return time.Since(began), nil
}

// tracepoint is one that a probe needs: its number of arguments and, if named,
// the structure that the first one points to with a field of it.
type tracepoint struct {
	name         string
	first, field string
	args         int
}

// probeTracepoints is [probe] for the optional probes: what they attach to is
// asked of the kernel's type information, since arguments change over versions.
func probeTracepoints(points ...tracepoint) (*btf.Cache, error) {
	types, err := probe()
	if err != nil {
		return nil, err
	}
	kernel, err := types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's type information: %w", err)
	}
	for _, p := range points {
		if err := p.find(kernel); err != nil {
			return nil, err
		}
	}
	return types, nil
}

func (p tracepoint) find(kernel *btf.Spec) error {
	var def *btf.Typedef
	if err := kernel.TypeByName("btf_trace_"+p.name, &def); err != nil {
		return &UnsupportedError{Feature: "tracepoint " + p.name + " in its type information", Needs: "its subsystem built in", Err: err}
	}
	unknown := &UnsupportedError{Feature: "tracepoint " + p.name + " with the arguments that autosa knows", Needs: "another version of autosa, or of the kernel"}
	ptr, ok := def.Type.(*btf.Pointer)
	if !ok {
		return unknown
	}
	fn, ok := ptr.Target.(*btf.FuncProto)
	// The tracepoint's private data comes first. Arguments added at the end do
	// no harm.
	if !ok || len(fn.Params) < 1+p.args {
		return unknown
	}
	if p.first == "" {
		return nil
	}
	arg, ok := btf.UnderlyingType(fn.Params[1].Type).(*btf.Pointer)
	if !ok {
		return unknown
	}
	s, ok := btf.UnderlyingType(arg.Target).(*btf.Struct)
	if !ok || s.Name != p.first {
		return unknown
	}
	if p.field != "" && !memberOf(s.Members, p.field) {
		return &UnsupportedError{Feature: p.first + "." + p.field, Needs: "a kernel that keeps the start of block requests"}
	}
	return nil
}
