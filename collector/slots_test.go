// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"fmt"
	"testing"

	"autosa/bpf/trace"
)

// fakeTracer holds the assignments, fakeNames the cgroups that exist.
type fakeTracer struct {
	slots     map[uint64]int
	published int
	err       error
}

func (f *fakeTracer) Assign(id uint64, slot int) error {
	if f.err == nil {
		f.slots[id] = slot
	}
	return f.err
}
func (f *fakeTracer) Unassign(id uint64) error { delete(f.slots, id); return f.err }
func (f *fakeTracer) Publish() error           { f.published++; return nil }

type fakeNames map[uint64]bool

func (f fakeNames) name(id uint64) (string, bool)     { return fmt.Sprintf("/%d", id), f[id] }
func (f fakeNames) alive(id uint64, name string) bool { return f[id] }

// quiet lets ticks pass in which no slot does anything.
func quiet(t *testing.T, table *slotTable, names fakeNames, ticks int) {
	t.Helper()
	for range ticks {
		for i := 1; i < len(table.slots); i++ {
			table.ran(i, 0, 0)
		}
		if err := table.rebalance(nil, names); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBusiestUnknownCgroupsGetTheSlots(t *testing.T) {
	tr, names := &fakeTracer{slots: map[uint64]int{}}, fakeNames{1: true, 2: true, 3: true}
	table := newSlotTable(tr, 2)
	err := table.rebalance([]trace.Unknown{{Cgroup: 1, RunNs: 5}, {Cgroup: 2, RunNs: 50}, {Cgroup: 3, RunNs: 40}, {Cgroup: 9, RunNs: 99}}, names)
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.slots) != 2 || tr.slots[2] != 1 || tr.slots[3] != 2 || tr.published != 1 {
		t.Errorf("slots %v, published %d times; want cgroups 2 and 3, once", tr.slots, tr.published)
	}
	if err := table.rebalance(nil, names); err != nil || tr.published != 1 {
		t.Errorf("published again without a change (%v)", err)
	}
}

func TestSlotOfARemovedCgroupIsReusedOnlyAfterTwoQuietSnapshots(t *testing.T) {
	tr, names := &fakeTracer{slots: map[uint64]int{}}, fakeNames{1: true, 2: true}
	table := newSlotTable(tr, 1)
	if err := table.rebalance([]trace.Unknown{{Cgroup: 1, RunNs: 5}}, names); err != nil {
		t.Fatal(err)
	}
	delete(names, 1)
	for ticks := 0; len(tr.slots) > 0; ticks++ {
		if ticks > drainSnapshots+aliveEvery {
			t.Fatal("removed cgroup keeps its slot")
		}
		quiet(t, table, names, 1)
	}
	if table.slots[1].name != "/1" || table.slots[1].state != slotDraining {
		t.Errorf("slot %+v, want /1 draining: it may still count", table.slots[1])
	}
	// A late switch of the old cgroup starts the wait afresh.
	quiet(t, table, names, 1)
	table.ran(1, 1, 1)
	if err := table.rebalance([]trace.Unknown{{Cgroup: 2, RunNs: 5}}, names); err != nil {
		t.Fatal(err)
	}
	if len(tr.slots) != 0 || table.slots[1].state != slotDraining {
		t.Errorf("slot given away one quiet snapshot after the old cgroup counted in it")
	}
	quiet(t, table, names, 2)
	if err := table.rebalance([]trace.Unknown{{Cgroup: 2, RunNs: 5}}, names); err != nil {
		t.Fatal(err)
	}
	if tr.slots[2] != 1 {
		t.Errorf("slots %v, want cgroup 2 in slot 1", tr.slots)
	}
}

func TestBusyCgroupTakesAnIdleOnesSlotAndNotABusyOnes(t *testing.T) {
	tr, names := &fakeTracer{slots: map[uint64]int{}}, fakeNames{1: true, 2: true, 3: true}
	table := newSlotTable(tr, 2)
	newcomer := []trace.Unknown{{Cgroup: 3, RunNs: 1000}}
	if err := table.rebalance([]trace.Unknown{{Cgroup: 1, RunNs: 900}, {Cgroup: 2, RunNs: 800}}, names); err != nil {
		t.Fatal(err)
	}
	busy := func(run2 uint64) {
		t.Helper()
		table.ran(1, 1, 900)
		table.ran(2, min(run2, 1), run2)
		if err := table.rebalance(append([]trace.Unknown(nil), newcomer...), names); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		busy(800)
	}
	if tr.slots[1] == 0 || tr.slots[2] == 0 {
		t.Fatalf("slots %v: a busy cgroup lost its slot", tr.slots)
	}
	for range 50 {
		busy(0) // cgroup 2 does nothing any more
	}
	if tr.slots[1] == 0 || tr.slots[3] != 2 {
		t.Errorf("slots %v, want the newcomer in the idle cgroup's", tr.slots)
	}
}

func TestFailedAssignmentKeepsTheSlotFree(t *testing.T) {
	tr, names := &fakeTracer{slots: map[uint64]int{}, err: errors.New("full")}, fakeNames{1: true}
	table := newSlotTable(tr, 1)
	if err := table.rebalance([]trace.Unknown{{Cgroup: 1}}, names); !errors.Is(err, tr.err) {
		t.Errorf("error %v", err)
	}
	tr.err = nil
	if err := table.rebalance([]trace.Unknown{{Cgroup: 1}}, names); err != nil || tr.slots[1] != 1 {
		t.Errorf("%v, slots %v", err, tr.slots)
	}
}
