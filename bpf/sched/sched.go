// SPDX-License-Identifier: Apache-2.0

// Package sched is autosa's own sched_ext scheduler: a BPF program that needs no
// installed package, and policies that change while it runs. What it does is
// told at the head of sched.bpf.c.
package sched

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

// Ops is the scheduler's name in /sys/kernel/sched_ext/root/ops.
const Ops = "autosa"

// Options configures a [Scheduler]. The zero value is useful.
type Options struct {
	// Policy is the one to begin with. "" means [Balanced].
	Policy Policy

	// caches names the last-level cache of each possible CPU, from 0 up. nil reads
	// it from /sys. For tests.
	caches []int
}

// Scheduler is the loaded scheduler. Its methods may be called from any number
// of goroutines. Close it to detach it and free what it holds; the kernel does
// so itself when the process ends.
type Scheduler struct {
	coll *ebpf.Collection
	ring *ringbuf.Reader
	done chan struct{} // closed when the reader of exits has ended
	exit Exit          // valid once done is closed
	out  bool          // exit is one; valid once done is closed

	// mu guards the mappings: held for reading while they are used, for writing by
	// Attach and Close. And link and closed.
	mu     sync.RWMutex
	knobs  *schedKnobs
	cpus   []schedCpuState
	maps   [][]byte // what is to be unmapped
	link   link.Link
	closed bool

	order sync.Mutex // one order at a time; taken after mu
}

// Load loads the scheduler into the kernel, which verifies it; scheduling stays
// as it is until Attach, also while another scheduler is in charge. It calls
// [Probe] first and returns its error, an [*UnsupportedError] (errors.Is
// [ErrNotSupported]) or a [*PermissionError] (errors.Is [os.ErrPermission]),
// when the scheduler cannot run here. A program that the verifier refuses is an
// [*ebpf.VerifierError] in the chain; %+v prints its whole log.
func Load(o Options) (*Scheduler, error) {
	if o.Policy == "" {
		o.Policy = Balanced
	}
	first, err := o.Policy.index()
	if err != nil {
		return nil, err
	}
	kernel, second, err := probe()
	if err != nil {
		return nil, err
	}
	if o.caches == nil {
		if o.caches, err = readCaches("/sys"); err != nil {
			return nil, err
		}
	}
	load := loadSched
	if second {
		load = loadSchedv2
	}
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("read the scheduler's object: %w", err)
	}
	llcs := countCaches(o.caches)
	if err := spec.Variables[schedVarNumLlcs].Set(uint32(len(llcs))); err != nil {
		return nil, fmt.Errorf("set the number of caches: %w", err)
	}
	if err := spec.Variables[schedVarKnob].Set(schedKnobs{Order: order(1, first), Policy: figures()}); err != nil {
		return nil, fmt.Errorf("set the policies: %w", err)
	}
	spec.Maps[schedMapCpus].MaxEntries = uint32(len(o.caches))
	spec.Maps[schedMapLlcs].MaxEntries = uint32(len(llcs))

	s := &Scheduler{done: make(chan struct{})}
	if s.coll, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: kernel}); err != nil {
		return nil, fmt.Errorf("load the scheduler: %w", explainPermission(err))
	}
	if err := s.start(o.caches, llcs); err != nil {
		if s.ring == nil {
			close(s.done)
		}
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// start maps what user space shares with the program and tells it the machine's
// caches.
func (s *Scheduler) start(caches []int, llcs []uint64) error {
	b, err := s.mmap(".data.knobs", int(unsafe.Sizeof(schedKnobs{})))
	if err != nil {
		return err
	}
	s.knobs = (*schedKnobs)(unsafe.Pointer(&b[0]))
	if b, err = s.mmap(schedMapCpus, len(caches)*int(unsafe.Sizeof(schedCpuState{}))); err != nil {
		return err
	}
	s.cpus = unsafe.Slice((*schedCpuState)(unsafe.Pointer(&b[0])), len(caches))
	for cpu, llc := range caches {
		s.cpus[cpu].Llc = uint32(llc)
	}
	if b, err = s.mmap(schedMapLlcs, len(llcs)*int(unsafe.Sizeof(schedLlc{}))); err != nil {
		return err
	}
	shared := unsafe.Slice((*schedLlc)(unsafe.Pointer(&b[0])), len(llcs))
	for i, n := range llcs {
		shared[i].Cpus = n
	}
	if s.ring, err = ringbuf.NewReader(s.coll.Maps[schedMapExits]); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	go s.awaitExit()
	return nil
}

func (s *Scheduler) mmap(name string, size int) ([]byte, error) {
	page := os.Getpagesize()
	b, err := unix.Mmap(s.coll.Maps[name].FD(), 0, (size+page-1)&^(page-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the scheduler's %s: %w", name, err)
	}
	s.maps = append(s.maps, b)
	return b, nil
}

// Attach puts the scheduler in charge. It takes some ten milliseconds, in which
// the kernel moves every task to it. Another scheduler in charge is EBUSY. What
// the kernel finds wrong only later ends it, see Done: /sys/kernel/sched_ext/state
// says whether it is in charge. It can be attached once; after Close it returns
// [os.ErrClosed].
func (s *Scheduler) Attach() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	if s.link != nil {
		return errors.New("attach the scheduler: it was attached before")
	}
	l, err := link.AttachStructOps(link.StructOpsOptions{Map: s.coll.Maps[schedMapAutosa]})
	if err != nil {
		return fmt.Errorf("attach the scheduler: %w", explainPermission(err))
	}
	s.link = l
	return nil
}

// SetPolicy changes how it schedules, in place: one store to memory that the
// program reads, no system call. Each CPU follows with the next turn that it
// gives, see Seen; turns under way end as they would have. A policy that is in
// force already is ordered again.
func (s *Scheduler) SetPolicy(p Policy) error {
	i, err := p.index()
	if err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return os.ErrClosed
	}
	s.order.Lock()
	defer s.order.Unlock()
	atomic.StoreUint64(&s.knobs.Order, order(s.generation()+1, i))
	return nil
}

// Policy is the one in force; "" after Close.
func (s *Scheduler) Policy() Policy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ""
	}
	return policies[atomic.LoadUint64(&s.knobs.Order)&0xff].name
}

// Generation counts the orders: 1 after Load, one more with each SetPolicy; 0
// after Close.
func (s *Scheduler) Generation() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return 0
	}
	return s.generation()
}

// generation is Generation. The caller holds mu.
func (s *Scheduler) generation() uint64 { return atomic.LoadUint64(&s.knobs.Order) >> 8 }

// order is the word that the program reads.
func order(generation uint64, policy int) uint64 { return generation<<8 | uint64(policy) }

// Seen is, by CPU, the generation of the order that it obeyed last; 0 where it
// has not queued a task yet. A CPU without work follows when it has some. After
// Close it returns nil.
func (s *Scheduler) Seen() []uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil
	}
	seen := make([]uint64, len(s.cpus))
	for i := range s.cpus {
		seen[i] = atomic.LoadUint64(&s.cpus[i].Seen) >> 8
	}
	return seen
}

// exitWait bounds how long Close waits for the kernel's account of the end.
const exitWait = 10 * time.Second

// Close detaches the scheduler, so that the kernel's own takes over before it
// returns, and frees what it holds. Closing again does nothing.
func (s *Scheduler) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.link != nil {
		errs = append(errs, s.link.Close())
		select {
		case <-s.done:
		case <-time.After(exitWait):
			errs = append(errs, errors.New("the kernel gave no account of its end"))
		}
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	<-s.done
	s.knobs, s.cpus = nil, nil
	for _, b := range s.maps {
		errs = append(errs, unix.Munmap(b))
	}
	s.maps = nil
	s.coll.Close()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the scheduler: %w", err)
	}
	return nil
}
