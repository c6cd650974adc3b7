// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// Assign counts the tasks of a cgroup in a slot of their own from their next
// switches on, once [Tracer.Publish] was called. Where two cgroups have the same
// slot it counts both. What was counted before stays where it is, so the sum
// over slots is that of the machine at any time.
func (t *Tracer) Assign(cgroup uint64, slot int) error {
	if slot < 1 || slot > t.slots {
		return fmt.Errorf("assign slot %d of 1 to %d: %w", slot, t.slots, os.ErrInvalid)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return os.ErrClosed
	}
	if err := t.objs.Slots.Put(cgroup, uint32(slot)); err != nil {
		return fmt.Errorf("assign slot %d to cgroup %d: %w", slot, cgroup, err)
	}
	for high := t.high.Load(); uint32(slot) > high; high = t.high.Load() {
		t.high.CompareAndSwap(high, uint32(slot))
	}
	return nil
}

// Unassign makes a cgroup's tasks count in slot 0 from their next switches on,
// once [Tracer.Publish] was called. A cgroup without a slot is no error.
func (t *Tracer) Unassign(cgroup uint64) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return os.ErrClosed
	}
	if err := t.objs.Slots.Delete(cgroup); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("take the slot of cgroup %d: %w", cgroup, err)
	}
	return nil
}

// Publish makes every task look its slot up again at its next switch.
func (t *Tracer) Publish() error {
	return t.set(func(s *settings) {
		if s.generation++; s.generation == 0 {
			s.generation = 1
		}
	})
}

// Unknown is a cgroup without a slot whose tasks were seen.
type Unknown struct {
	Cgroup uint64
	// RunNs is the time its tasks ran since it was last returned. It serves to
	// rank: concurrent updates may be missing.
	RunNs uint64
}

// Unknown appends the cgroups that were seen without a slot to dst, in no
// order, and forgets them. At most 1024, those seen last, are kept.
func (t *Tracer) Unknown(dst []Unknown) ([]Unknown, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return dst, os.ErrClosed
	}
	var (
		cursor ebpf.MapBatchCursor
		ids    [64]uint64
		runs   [64]uint64
	)
	for {
		n, err := t.objs.Unknown.BatchLookupAndDelete(&cursor, ids[:], runs[:], nil)
		for i := range n {
			dst = append(dst, Unknown{Cgroup: ids[i], RunNs: runs[i]})
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return dst, nil
		case err != nil:
			return dst, fmt.Errorf("read cgroups without a slot: %w", err)
		}
	}
}
