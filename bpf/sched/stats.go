// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"os"
	"sync/atomic"
)

// Stats are counts since Load, of one CPU or of all.
type Stats struct {
	Direct     uint64 // tasks sent to an idle CPU as they woke
	Enqueued   uint64 // tasks that had to wait in a queue
	Local      uint64 // tasks taken from the queue of the CPU's own last-level cache
	Stolen     uint64 // tasks taken from other caches' queues
	Kept       uint64 // turns that went on, since nobody came before
	Kthreads   uint64 // kernel threads bound to one CPU that went first
	Preempts   uint64 // CPUs taken from a task for one that woke
	Wakes      uint64 // idle CPUs woken for a task in a queue
	Overdue    uint64 // tasks that had waited for seconds and went first
	Unassigned uint64 // tasks that the program had no record of
}

func (s *Stats) add(o Stats) {
	s.Direct += o.Direct
	s.Enqueued += o.Enqueued
	s.Local += o.Local
	s.Stolen += o.Stolen
	s.Kept += o.Kept
	s.Kthreads += o.Kthreads
	s.Preempts += o.Preempts
	s.Wakes += o.Wakes
	s.Overdue += o.Overdue
	s.Unassigned += o.Unassigned
}

// Stats reads the counts of all CPUs together. After Close it returns
// [os.ErrClosed].
func (s *Scheduler) Stats() (Stats, error) {
	var sum Stats
	each, err := s.StatsByCPU()
	for _, c := range each {
		sum.add(c)
	}
	return sum, err
}

// StatsByCPU reads the counts of each possible CPU: what was done on it, also
// for others. After Close it returns [os.ErrClosed].
func (s *Scheduler) StatsByCPU() ([]Stats, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	all := make([]Stats, len(s.cpus))
	for i := range s.cpus {
		c := &s.cpus[i]
		all[i] = Stats{
			Direct:     atomic.LoadUint64(&c.Direct),
			Enqueued:   atomic.LoadUint64(&c.Enqueued),
			Local:      atomic.LoadUint64(&c.Local),
			Stolen:     atomic.LoadUint64(&c.Stolen),
			Kept:       atomic.LoadUint64(&c.Kept),
			Kthreads:   atomic.LoadUint64(&c.Kthreads),
			Preempts:   atomic.LoadUint64(&c.Preempts),
			Wakes:      atomic.LoadUint64(&c.Wakes),
			Overdue:    atomic.LoadUint64(&c.Overdue),
			Unassigned: atomic.LoadUint64(&c.Unknown),
		}
	}
	return all, nil
}
