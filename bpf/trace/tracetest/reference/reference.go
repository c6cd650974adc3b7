// SPDX-License-Identifier: Apache-2.0

// Package reference measures run-queue waits the classical way, with time
// stamps at wakeup and switch, and has an empty program for the floor of what a
// program at sched_switch costs. It is what the tracer is compared with, in
// tests and benchmarks; the product does not import it.
package reference

//go:generate go tool -modfile=../../../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type cell reference reference.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Werror -nostdinc -I../../../include

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Buckets is the number of a histogram's buckets; bucket i is that of
// workload.Histogram.
const Buckets = 48

// Reference is the loaded and attached reference tracer. Its methods, but for
// Close, may be called from any number of goroutines.
type Reference struct {
	programs referencePrograms
	maps     referenceMaps
	links    []link.Link
	mapped   []byte
	cells    []referenceCell // by CPU
}

// Load loads the reference tracer and attaches its three programs, at
// sched_wakeup, sched_wakeup_new and sched_switch. Close it.
func Load() (*Reference, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count possible CPUs: %w", err)
	}
	spec, err := loadReference()
	if err != nil {
		return nil, fmt.Errorf("read the reference tracer's object: %w", err)
	}
	spec.Maps[referenceMapCells].MaxEntries = uint32(cpus)
	var objs struct {
		OnWakeup    *ebpf.Program `ebpf:"on_wakeup"`
		OnWakeupNew *ebpf.Program `ebpf:"on_wakeup_new"`
		OnSwitch    *ebpf.Program `ebpf:"on_switch"`
		referenceMaps
	}
	if err := spec.LoadAndAssign(&objs, nil); err != nil {
		return nil, fmt.Errorf("load the reference tracer: %w", err)
	}
	r := &Reference{maps: objs.referenceMaps}
	r.programs.OnWakeup, r.programs.OnWakeupNew, r.programs.OnSwitch = objs.OnWakeup, objs.OnWakeupNew, objs.OnSwitch
	if err := r.start(cpus); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reference) start(cpus int) error {
	page, size := os.Getpagesize(), cpus*int(unsafe.Sizeof(referenceCell{}))
	var err error
	r.mapped, err = unix.Mmap(r.maps.Cells.FD(), 0, (size+page-1)&^(page-1), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the reference tracer's counters: %w", err)
	}
	r.cells = unsafe.Slice((*referenceCell)(unsafe.Pointer(unsafe.SliceData(r.mapped))), cpus)
	// The wakeups first: a switch finds the stamps that belong to it.
	for _, p := range r.attached() {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attach the reference tracer's %v: %w", p, err)
		}
		r.links = append(r.links, l)
	}
	return nil
}

func (r *Reference) attached() []*ebpf.Program {
	return []*ebpf.Program{r.programs.OnWakeup, r.programs.OnWakeupNew, r.programs.OnSwitch}
}

// Wait returns the histogram of the machine's run-queue waits since Load. A wait
// that began before is not in it. After Close it returns [os.ErrClosed].
func (r *Reference) Wait() ([Buckets]uint64, error) {
	var sum [Buckets]uint64
	if r.cells == nil {
		return sum, os.ErrClosed
	}
	for cpu := range r.cells {
		for i := range sum {
			sum[i] += atomic.LoadUint64(&r.cells[cpu].Wait[i])
		}
	}
	return sum, nil
}

// Switches returns how often a task left a CPU since Load, the idle task
// excepted. After Close it is 0.
func (r *Reference) Switches() (n uint64) {
	for cpu := range r.cells {
		n += atomic.LoadUint64(&r.cells[cpu].Switches)
	}
	return n
}

// Lost returns how many waits could not be measured since Load, because the
// kernel had no room for a time stamp. After Close it is 0.
func (r *Reference) Lost() (n uint64) {
	for cpu := range r.cells {
		n += atomic.LoadUint64(&r.cells[cpu].Unstored)
	}
	return n
}

// RunStats returns how often its three programs ran and how long they took, in
// all, while the kernel's BPF run-time statistics were on. A switch takes more
// than one run: divide the time by the switches of the same window.
func (r *Reference) RunStats() (runs uint64, nanos uint64, err error) {
	for _, p := range r.attached() {
		n, d, err := runStats(p)
		if err != nil {
			return 0, 0, err
		}
		runs += n
		nanos += d
	}
	return runs, nanos, nil
}

// Close detaches the programs and frees what they hold. Closing again does
// nothing.
func (r *Reference) Close() error {
	var errs []error
	for _, l := range r.links {
		errs = append(errs, l.Close())
	}
	r.links, r.cells = nil, nil
	if r.mapped != nil {
		errs = append(errs, unix.Munmap(r.mapped))
		r.mapped = nil
	}
	errs = append(errs, r.programs.Close(), r.maps.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the reference tracer: %w", err)
	}
	return nil
}

// Empty is an attached program that does nothing.
type Empty struct {
	program *ebpf.Program
	link    link.Link
}

// LoadEmpty attaches a program that does nothing to sched_switch. Close it.
func LoadEmpty() (*Empty, error) {
	spec, err := loadReference()
	if err != nil {
		return nil, fmt.Errorf("read the empty program: %w", err)
	}
	var objs struct {
		Empty *ebpf.Program `ebpf:"empty"`
	}
	if err := spec.LoadAndAssign(&objs, nil); err != nil {
		return nil, fmt.Errorf("load the empty program: %w", err)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: objs.Empty})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the empty program: %w", err), objs.Empty.Close())
	}
	return &Empty{program: objs.Empty, link: l}, nil
}

// RunStats returns how often the program ran and how long it took, while the
// kernel's BPF run-time statistics were on: what these themselves take.
func (e *Empty) RunStats() (runs uint64, nanos uint64, err error) { return runStats(e.program) }

// Close detaches and unloads the program. Closing again does nothing.
func (e *Empty) Close() error {
	if e.link == nil {
		return nil
	}
	err := errors.Join(e.link.Close(), e.program.Close())
	e.link = nil
	if err != nil {
		return fmt.Errorf("close the empty program: %w", err)
	}
	return nil
}

func runStats(p *ebpf.Program) (runs, nanos uint64, err error) {
	s, err := p.Stats()
	if err != nil {
		return 0, 0, fmt.Errorf("read the run time of %v: %w", p, err)
	}
	return s.RunCount, uint64(s.Runtime), nil
}
