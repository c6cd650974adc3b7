// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"cmp"
	"slices"

	"autosa/bpf/trace"
)

const (
	// drainSnapshots is for how many quiet snapshots a slot taken from its
	// cgroup waits before another gets it, so that no late count is misread.
	drainSnapshots = 2
	// aliveEvery is the number of ticks between looks at an idle cgroup.
	aliveEvery = 16
	// maxDemotions bounds how many slots are freed for busier cgroups a tick.
	maxDemotions = 8
	// demoteFactor is how much busier a cgroup must be to take another's slot.
	demoteFactor = 4
	// busyDecay is the weight of the past in a slot's mean run time a tick.
	busyDecay = 0.9
)

// assigner is the tracer's part that slots need.
type assigner interface {
	Assign(cgroup uint64, slot int) error
	Unassign(cgroup uint64) error
	Publish() error
}

type slotState int

const (
	slotFree slotState = iota
	slotUsed
	slotDraining // taken from its cgroup, which may still count in it
)

// slot is one of the tracer's counters and the cgroup that has it.
type slot struct {
	state slotState
	id    uint64
	name  string
	idle  int     // ticks without a switch
	busy  float64 // decaying mean of run time a tick, ns
}

// slotTable decides which cgroups have slots of their own: those that run most.
// It is told each tick what every slot did, then asked to rebalance.
type slotTable struct {
	tracer assigner
	slots  []slot // by number; 0 is the rest and not used here
	byID   map[uint64]int
	free   []int
	tick   int
	// limit is how many slots may be in use; the rest of the cgroups share slot 0.
	limit int
}

func newSlotTable(tracer assigner, n int) *slotTable {
	t := &slotTable{tracer: tracer, slots: make([]slot, n+1), byID: make(map[uint64]int), limit: n}
	for i := n; i >= 1; i-- {
		t.free = append(t.free, i)
	}
	return t
}

// ran notes what a slot did in this tick.
func (t *slotTable) ran(i int, switches, runNs uint64) {
	s := &t.slots[i]
	s.idle++
	if switches > 0 {
		s.idle = 0
	}
	s.busy = busyDecay*s.busy + (1-busyDecay)*float64(runNs)
}

// rebalance frees the slots of removed cgroups and gives slots to the busiest
// of unknown. When there are too few, the least busy make room for the much
// busier. It returns the first error of the tracer; what was done until then
// holds.
func (t *slotTable) rebalance(unknown []trace.Unknown, names cgroupNames) error {
	t.tick++
	var changed bool
	err := t.release(names, &changed)
	for err == nil && len(t.byID) > t.limit {
		err = t.drain(t.leastBusy(), &changed)
	}
	if err == nil {
		err = t.promote(unknown, names, &changed)
	}
	if changed {
		if perr := t.tracer.Publish(); err == nil {
			err = perr
		}
	}
	return err
}

// cgroupNames is what slots need to know about cgroups.
type cgroupNames interface {
	name(id uint64) (string, bool)
	alive(id uint64, name string) bool
}

// release frees drained slots and takes those of removed cgroups.
func (t *slotTable) release(names cgroupNames, changed *bool) error {
	for i := 1; i < len(t.slots); i++ {
		s := &t.slots[i]
		switch {
		case s.state == slotDraining && s.idle >= drainSnapshots:
			*s = slot{}
			t.free = append(t.free, i)
		case s.state == slotUsed && s.idle >= drainSnapshots && (t.tick+i)%aliveEvery == 0 &&
			!names.alive(s.id, s.name):
			if err := t.drain(i, changed); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain takes a slot from its cgroup.
func (t *slotTable) drain(i int, changed *bool) error {
	s := &t.slots[i]
	if err := t.tracer.Unassign(s.id); err != nil {
		return err
	}
	*changed = true
	delete(t.byID, s.id)
	s.state, s.idle = slotDraining, 0
	return nil
}

func (t *slotTable) promote(unknown []trace.Unknown, names cgroupNames, changed *bool) error {
	slices.SortFunc(unknown, func(a, b trace.Unknown) int {
		return cmp.Or(cmp.Compare(b.RunNs, a.RunNs), cmp.Compare(a.Cgroup, b.Cgroup))
	})
	var demotions int
	for _, u := range unknown {
		if _, ok := t.byID[u.Cgroup]; ok {
			continue // assigned just now, noted before that took effect
		}
		if len(t.free) == 0 || len(t.byID) >= t.limit {
			// Makes room for the next tick; by then it is noted again.
			if demotions++; demotions > maxDemotions {
				return nil
			}
			if ok, err := t.demote(float64(u.RunNs), changed); !ok {
				return err
			}
			continue
		}
		name, ok := names.name(u.Cgroup)
		if !ok {
			continue
		}
		i := t.free[len(t.free)-1]
		if err := t.tracer.Assign(u.Cgroup, i); err != nil {
			return err
		}
		*changed = true
		t.free = t.free[:len(t.free)-1]
		t.slots[i] = slot{state: slotUsed, id: u.Cgroup, name: name, busy: float64(u.RunNs)}
		t.byID[u.Cgroup] = i
	}
	return nil
}

// demote takes the slot of the least busy cgroup if it is far less busy than
// run ns a tick.
func (t *slotTable) demote(run float64, changed *bool) (bool, error) {
	least := t.leastBusy()
	if least == 0 || t.slots[least].busy*demoteFactor > run {
		return false, nil
	}
	return true, t.drain(least, changed)
}

// leastBusy returns the slot of the least busy cgroup, 0 where none has one.
func (t *slotTable) leastBusy() int {
	least := 0
	for i := 1; i < len(t.slots); i++ {
		if t.slots[i].state == slotUsed && (least == 0 || t.slots[i].busy < t.slots[least].busy) {
			least = i
		}
	}
	return least
}
