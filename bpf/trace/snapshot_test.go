// SPDX-License-Identifier: Apache-2.0

package trace

import "testing"

// A CPU may have counted a switch and nothing else of it when its cell is read. The slot's last switch is no exception.
func TestSnapshotHasTheRestOfASwitchThatWasUnderWay(t *testing.T) {
	tracer := &Tracer{slots: 1, cpus: 2, stats: make([]Cell, 4)}
	tracer.high.Store(1)
	live := &tracer.stats[1*2+1]
	var s Snapshot
	take := func() Cell {
		t.Helper()
		if err := tracer.Snapshot(&s); err != nil {
			t.Fatal(err)
		}
		return s.Slots[1]
	}
	live.Switches = 1
	if c := take(); c.Switches != 1 || c.RunNs != 0 {
		t.Fatalf("snapshot %+v", c)
	}
	live.RunNs, live.Run[3] = 10, 1
	if c := take(); c.Switches != 1 || c.RunNs != 10 || c.Run[3] != 1 {
		t.Errorf("%d switches, run %d ns, %d in its bucket; want 1, 10 and 1", c.Switches, c.RunNs, c.Run[3])
	}
	live.RunNs = 99 // which no switch explains: the slot is not read again
	if c := take(); c.RunNs != 10 {
		t.Errorf("a slot that stands still was read again: run %d ns", c.RunNs)
	}
}
