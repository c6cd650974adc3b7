// SPDX-License-Identifier: Apache-2.0

// Package trace loads the scheduler tracer, a CO-RE BPF program at
// sched_switch, and reads what it counts: for each (cgroup, CPU) the context
// switches and the distributions of run-queue wait, run, sleep and I/O-wait
// times, and single events through a ring buffer.
//
// The program compares the kernel's own accounting of the task that leaves a
// CPU with what it was when that task left a CPU the last time. So a wait shows
// at the end of the slice that follows it, and a task that never leaves its
// CPU is not seen. docs/TRACING.md has the limits.
package trace

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Options configures a [Tracer]. The zero value is useful.
type Options struct {
	// Slots is the number of cgroups that are counted apart at a time; all
	// others share slot 0. A slot costs 832 bytes of kernel memory for each
	// possible CPU. 0 means up to 255, fewer where that takes more than 4 MiB.
	Slots int
	// WaitThreshold and IOThreshold are the shortest run-queue and I/O waits
	// that become events. 0 means 4 ms and 20 ms.
	WaitThreshold, IOThreshold time.Duration
	// WaitEvents and CycleEvents limit the events a second and CPU, for waits
	// past a threshold and for sampled sleep-run cycles. 0 means 2000 over all
	// CPUs, but 10 to 500 each. Negative means none.
	WaitEvents, CycleEvents int
	// RingBytes is the size of the ring buffer, rounded up to a power of two
	// and at least a page. 0 means 256 KiB.
	RingBytes int
}

const (
	cellBytes     = int(unsafe.Sizeof(Cell{}))
	maxStatsBytes = 4 << 20
	maxSlots      = 255

	defaultWaitThreshold = 4 * time.Millisecond
	defaultIOThreshold   = 20 * time.Millisecond
	defaultRingBytes     = 256 << 10
	defaultEvents        = 2000 // over all CPUs
	// eventBurst is how much of a second's events may come at once.
	eventBurst = 250 * time.Millisecond
)

func (o Options) withDefaults(cpus int) Options {
	if o.Slots <= 0 {
		o.Slots = min(maxSlots, max(maxStatsBytes/(cellBytes*cpus)-1, 16))
	}
	if o.WaitThreshold <= 0 {
		o.WaitThreshold = defaultWaitThreshold
	}
	if o.IOThreshold <= 0 {
		o.IOThreshold = defaultIOThreshold
	}
	perCPU := min(max(defaultEvents/cpus, 10), 500)
	if o.WaitEvents == 0 {
		o.WaitEvents = perCPU
	}
	if o.CycleEvents == 0 {
		o.CycleEvents = perCPU
	}
	if o.RingBytes <= 0 {
		o.RingBytes = defaultRingBytes
	}
	size := os.Getpagesize()
	for size < o.RingBytes && size < 1<<30 {
		size *= 2
	}
	o.RingBytes = size
	return o
}

// Tracer is the loaded and attached tracer. Its methods may be called from any
// number of goroutines, except where they say otherwise. Close it to detach
// the program and free what it holds.
type Tracer struct {
	cpus  int
	slots int
	objs  traceObjects
	ring  *ringbuf.Reader
	// high is the highest slot that was ever assigned.
	high atomic.Uint32

	// mu guards the mappings: held for reading while they are read, for writing
	// by Close. And closed.
	mu     sync.RWMutex
	stats  []Cell     // slot * cpus + cpu
	perCPU []cpuState // by CPU
	maps   [][]byte   // what is to be unmapped
	closed bool

	// attached guards link, which is nil while the tracer is paused. It is taken
	// after mu.
	attached sync.Mutex
	link     link.Link

	// knobs guards want, from which the program's settings are made. It is taken
	// after mu.
	knobs sync.Mutex
	want  settings

	cost costMeter
}

type cpuState = traceCpuState

// Load loads the tracer into the kernel, takes every existing task's baseline
// and attaches the program. What tasks do from then on is counted, their first
// slice too; only of those that have a CPU at that moment is the slice under way
// left out, and counted as a loss. It calls [Probe] first
// and returns its error: an [*UnsupportedError] (errors.Is [ErrNotSupported])
// or a [*PermissionError] (errors.Is [os.ErrPermission]) when the tracer cannot
// run here. A program that the verifier refuses is an [*ebpf.VerifierError] in
// the chain; %+v prints its whole log.
func Load(o Options) (*Tracer, error) {
	types, err := probe()
	if err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count possible CPUs: %w", err)
	}
	o = o.withDefaults(cpus)

	spec, err := loadTrace()
	if err != nil {
		return nil, fmt.Errorf("read the tracer's object: %w", err)
	}
	if err := spec.Variables[traceVarNumCpus].Set(uint32(cpus)); err != nil {
		return nil, fmt.Errorf("set number of CPUs: %w", err)
	}
	spec.Maps[traceMapStats].MaxEntries = uint32((o.Slots + 1) * cpus)
	spec.Maps[traceMapCpus].MaxEntries = uint32(cpus)
	spec.Maps[traceMapSlots].MaxEntries = uint32(o.Slots)
	spec.Maps[traceMapEvents].MaxEntries = uint32(o.RingBytes)

	t := &Tracer{cpus: cpus, slots: o.Slots}
	if err := spec.LoadAndAssign(&t.objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return nil, fmt.Errorf("load the tracer: %w", explainPermission(err))
	}
	if err := t.start(o); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// start maps the counters, sets the knobs, primes the tasks and attaches the
// program.
func (t *Tracer) start(o Options) error {
	stats, err := t.mmap(t.objs.Stats, cellBytes)
	if err != nil {
		return err
	}
	t.stats = unsafe.Slice((*Cell)(unsafe.Pointer(&stats[0])), len(stats)/cellBytes)
	stateBytes := int(unsafe.Sizeof(cpuState{}))
	states, err := t.mmap(t.objs.Cpus, stateBytes)
	if err != nil {
		return err
	}
	t.perCPU = unsafe.Slice((*cpuState)(unsafe.Pointer(&states[0])), t.cpus)

	if t.ring, err = ringbuf.NewReader(t.objs.Events); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	err = t.set(func(s *settings) {
		*s = settings{
			wait: o.WaitThreshold, io: o.IOThreshold, waits: o.WaitEvents >= 0, cycles: o.CycleEvents >= 0, on: true,
			gaps: [2]uint64{gap(o.WaitEvents), gap(o.CycleEvents)}, generation: 1,
		}
	})
	if err != nil {
		return err
	}
	return t.attach()
}

// mmap maps a whole array map for reading.
func (t *Tracer) mmap(m *ebpf.Map, elem int) ([]byte, error) {
	page := os.Getpagesize()
	size := (int(m.MaxEntries())*elem + page - 1) &^ (page - 1)
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the tracer's %v: %w", m, err)
	}
	t.maps = append(t.maps, b)
	return b, nil
}

// Close detaches the program and frees its maps. Readers in ReadEvent return
// [os.ErrClosed]. Closing again does nothing.
func (t *Tracer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	var errs []error
	if t.link != nil { // nobody else holds mu
		errs = append(errs, t.link.Close())
		t.link = nil
	}
	errs = append(errs, t.cost.close())
	if t.ring != nil {
		errs = append(errs, t.ring.Close())
	}
	t.stats, t.perCPU = nil, nil
	for _, b := range t.maps {
		errs = append(errs, unix.Munmap(b))
	}
	t.maps = nil
	errs = append(errs, t.objs.Close())
	// The library unmaps variables when nothing refers to them any more.
	t.objs.traceVariables = traceVariables{}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the tracer: %w", err)
	}
	return nil
}
