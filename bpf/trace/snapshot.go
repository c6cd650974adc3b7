// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"os"
	"sync/atomic"
)

// Cell is what the tasks of one slot did: cumulative since the tracer was
// loaded, never cleared. The sums do not wrap; the buckets wrap at 2^32, so
// subtract them as uint32. Bucket i is that of workload.Histogram. The C
// structure of that name is the definition and documents the fields.
type Cell = traceCell

// Snapshot holds the cells of a moment, summed over CPUs. The zero value is
// ready for use; give it to [Tracer.Snapshot] again and again to reuse its
// memory.
type Snapshot struct {
	// Slots is indexed by slot; slot 0 counts the tasks of all cgroups that
	// have no slot of their own. It ends with the highest slot ever assigned.
	Slots []Cell

	moving []bool // by slot: it had switched when it was read last, so that a switch may have been under way
}

// Slots returns the number of slots that can be assigned: 1 to Slots.
func (t *Tracer) Slots() int { return t.slots }

// CPUs returns the number of possible CPUs.
func (t *Tracer) CPUs() int { return t.cpus }

// Snapshot sums the counters over CPUs into s, without a system call. It does
// not stop the writers: a cell's fields may differ by the switches under way,
// and the next snapshot has what this one missed. s must be new or one that
// this tracer filled before: slots that did not switch since the snapshot before
// the last are not read again. After Close it returns [os.ErrClosed].
func (t *Tracer) Snapshot(s *Snapshot) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return os.ErrClosed
	}
	n := int(t.high.Load()) + 1
	for len(s.Slots) < n {
		s.Slots, s.moving = append(s.Slots, Cell{}), append(s.moving, false)
	}
	for slot := range n {
		cells := t.stats[slot*t.cpus : (slot+1)*t.cpus]
		var switches uint64
		for i := range cells {
			switches += atomic.LoadUint64(&cells[i].Switches)
		}
		sum := &s.Slots[slot]
		moved := sum.Switches != switches
		if moved || s.moving[slot] {
			s.moving[slot] = moved
			*sum = Cell{}
			for i := range cells {
				sum.add(&cells[i])
			}
		}
	}
	return nil
}

// SnapshotCPU copies one slot's cell of one CPU.
func (t *Tracer) SnapshotCPU(slot, cpu int) (Cell, error) {
	var c Cell
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case t.closed:
		return c, os.ErrClosed
	case slot < 0 || slot > t.slots || cpu < 0 || cpu >= t.cpus:
		return c, os.ErrInvalid
	}
	c.add(&t.stats[slot*t.cpus+cpu])
	return c, nil
}

// add adds a cell that the program may be writing. Every field is aligned, so a
// load never sees half of an update.
func (c *Cell) add(live *Cell) {
	if atomic.LoadUint64(&live.Switches) == 0 {
		return
	}
	c.Switches += atomic.LoadUint64(&live.Switches)
	c.Involuntary += atomic.LoadUint64(&live.Involuntary)
	c.Migrations += atomic.LoadUint64(&live.Migrations)
	c.Forks += atomic.LoadUint64(&live.Forks)
	c.RunNs += atomic.LoadUint64(&live.RunNs)
	c.WaitNs += atomic.LoadUint64(&live.WaitNs)
	c.SleepNs += atomic.LoadUint64(&live.SleepNs)
	c.IoNs += atomic.LoadUint64(&live.IoNs)
	for i := range c.Wait {
		c.Wait[i] += atomic.LoadUint32(&live.Wait[i])
		c.Run[i] += atomic.LoadUint32(&live.Run[i])
		c.Sleep[i] += atomic.LoadUint32(&live.Sleep[i])
		c.Io[i] += atomic.LoadUint32(&live.Io[i])
	}
}

// lossNames names the ways to lose something, in the order of enum loss. A
// name says what was lost and how.
var lossNames = [traceLossNUM_LOSSES]string{
	traceLossLOSS_NO_STORAGE:   "switch_no_storage",
	traceLossLOSS_FIRST_SLICE:  "switch_first_slice",
	traceLossLOSS_BACKWARDS:    "switch_backwards",
	traceLossLOSS_NO_CELL:      "switch_no_cell",
	traceLossLOSS_UNKNOWN_FULL: "cgroup_not_noted",
	traceLossLOSS_RING_FULL:    "event_ring_full",
	traceLossLOSS_WAIT_RATE:    "event_wait_rate",
	traceLossLOSS_CYCLE_RATE:   LossCycleRate,
}

// LossCycleRate is the name of the loss that tells to sample fewer tasks.
const LossCycleRate = "event_cycle_rate"

// LossRecursion is the name of the loss that the kernel itself counts: runs of
// the program skipped because it was already running on that CPU.
const LossRecursion = "switch_recursion"

// LossNames returns every name that [Tracer.Losses] uses.
func LossNames() []string { return append(lossNames[:len(lossNames):len(lossNames)], LossRecursion) }

// Losses sets, for every way to lose something, how often it happened since
// the tracer was loaded. dst keeps its other keys.
func (t *Tracer) Losses(dst map[string]uint64) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return os.ErrClosed
	}
	for i, name := range lossNames {
		var n uint64
		for cpu := range t.perCPU {
			n += atomic.LoadUint64(&t.perCPU[cpu].Loss[i])
		}
		dst[name] = n
	}
	stats, err := t.objs.OnSwitch.Stats()
	if err != nil {
		return err
	}
	dst[LossRecursion] = stats.RecursionMisses
	return nil
}
