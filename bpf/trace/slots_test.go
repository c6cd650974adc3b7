// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
)

func TestCgroupWithoutSlotCountsInSlotZeroAndIsNoted(t *testing.T) {
	tracer := load(t, trace.Options{})
	c := tracetest.NewCgroup(t)
	before := cell(t, tracer, 0).Switches
	l := tracetest.PingPong(t, c, quietCPU())
	time.Sleep(200 * time.Millisecond)
	l.Stop()
	v, i := l.Switches()
	if got := cell(t, tracer, 0).Switches - before; got < v+i {
		t.Errorf("slot 0 has %d switches, the load alone %d", got, v+i)
	}
	unknown, err := tracer.Unknown(nil)
	if err != nil {
		t.Fatal(err)
	}
	var run time.Duration
	for _, u := range unknown {
		if u.Cgroup == c.ID {
			run = time.Duration(u.RunNs)
		}
	}
	if want, _ := l.Schedstat(); run < want*9/10 || run > want*11/10 {
		t.Errorf("noted run time %v, the kernel's is %v", run, want)
	}
	if unknown, _ = tracer.Unknown(nil); hasCgroup(unknown, c.ID) {
		t.Error("noted again although it was stopped")
	}
}

func hasCgroup(all []trace.Unknown, id uint64) bool {
	for _, u := range all {
		if u.Cgroup == id {
			return true
		}
	}
	return false
}

// The load's cgroup goes from slot 0 to slot 1 and back all the time. Every
// other cgroup counts in slot 2, so that 0 and 1 together are the load.
func TestPromotionAndDemotionLoseNothingAndCountNothingTwice(t *testing.T) {
	tracer := load(t, trace.Options{})
	c := tracetest.NewCgroup(t)
	assigned := make(map[uint64]bool)
	for _, id := range tracetest.AllCgroups(t) {
		if id != c.ID {
			assigned[id] = true
			if err := tracer.Assign(id, 2); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tracer.Publish(); err != nil {
		t.Fatal(err)
	}
	l := tracetest.PingPong(t, c, quietCPU())
	time.Sleep(200 * time.Millisecond)
	l.Stop()
	if _, err := tracer.Unknown(nil); err != nil {
		t.Fatal(err)
	}
	v0, i0 := l.Switches()
	before := [2]uint64{cell(t, tracer, 0).Switches, cell(t, tracer, 1).Switches}
	l.Resume()
	for n := range 100 {
		change := tracer.Unassign(c.ID)
		if n%2 == 0 {
			change = tracer.Assign(c.ID, 1)
		}
		if err := errors.Join(change, tracer.Publish()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Millisecond)
	}
	l.Stop()
	v1, i1 := l.Switches()
	in0, in1 := cell(t, tracer, 0).Switches-before[0], cell(t, tracer, 1).Switches-before[1]
	unknown, err := tracer.Unknown(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range unknown {
		if assigned[u.Cgroup] {
			t.Errorf("cgroup %d counts in slot 0 although it has another", u.Cgroup)
		} else if u.Cgroup != c.ID {
			t.Skipf("cgroup %d began meanwhile and counts in slot 0 too", u.Cgroup)
		}
	}
	want := v1 - v0 + i1 - i0
	t.Logf("%d + %d switches, the kernel's %d", in0, in1, want)
	if in0+in1 != want {
		t.Errorf("%d + %d switches in slots 0 and 1, want the kernel's %d", in0, in1, want)
	}
	if in0 < want/10 || in1 < want/10 {
		t.Errorf("%d and %d switches: one slot has hardly any", in0, in1)
	}
}

// Six cgroups take turns in three slots, two with slots that others have too.
// Every other cgroup of the machine counts in a fourth slot: so the sum over the
// rest is what the kernel counted of the loads' tasks, to the nanosecond.
func TestMoreCgroupsThanSlotsSumUpToTheSystem(t *testing.T) {
	for attempt := 1; !sumsUp(t); attempt++ {
		if attempt == attempts {
			t.Skip("other cgroups begin all the time and count in slot 0 too")
		}
	}
}

// sumsUp is false when it cannot be told.
func sumsUp(t *testing.T) bool {
	const others, turns = 4, 60
	all := tracetest.AllCgroups(t)
	tracer := load(t, trace.Options{Slots: len(all) + 64})
	var loads []*tracetest.Load
	known := make(map[uint64]bool)
	for n := range 6 {
		c := tracetest.NewCgroup(t)
		known[c.ID] = true
		if n%2 == 0 {
			loads = append(loads, tracetest.PingPong(t, c, n%runtime.NumCPU()))
		} else {
			loads = append(loads, tracetest.Crowd(t, c, n%runtime.NumCPU(), 10))
		}
	}
	defer func() {
		for _, l := range loads {
			l.Kill()
		}
	}()
	tracetest.StopAll(loads...)
	for _, id := range all { // from before the loads'
		if err := tracer.Assign(id, others); err != nil {
			t.Fatal(err)
		}
	}
	if err := tracer.Publish(); err != nil {
		t.Fatal(err)
	}
	if _, err := tracer.Unknown(nil); err != nil {
		t.Fatal(err)
	}
	before, base := kernelCounts(loads...), slotCounts(t, tracer, 0, 1, 2, 3)
	for _, l := range loads {
		l.Resume()
	}
	for turn := range turns {
		l := loads[turn%len(loads)]
		change := tracer.Assign(l.Cgroup().ID, 1+turn%3)
		if turn%4 == 3 {
			change = tracer.Unassign(l.Cgroup().ID)
		}
		if err := errors.Join(change, tracer.Publish()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Millisecond)
	}
	tracetest.StopAll(loads...)
	want, got := kernelCounts(loads...).since(before), slotCounts(t, tracer, 0, 1, 2, 3).since(base)
	unknown, err := tracer.Unknown(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range unknown {
		if !known[u.Cgroup] {
			return false
		}
	}
	t.Logf("%+v", got)
	if got != want {
		t.Errorf("slots 0 to 3 have %+v, the kernel's tasks %+v", got, want)
	}
	return true
}

func TestSlotsOutOfRangeAreRefused(t *testing.T) {
	tracer := load(t, trace.Options{Slots: 3})
	for _, slot := range []int{-1, 0, 4} {
		if err := tracer.Assign(1, slot); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("assign slot %d: %v", slot, err)
		}
	}
	if got := tracer.Slots(); got != 3 {
		t.Errorf("%d slots, want 3", got)
	}
}

func TestCloseLeavesNoDescriptorOrMappingBehind(t *testing.T) {
	tracetest.RequireTracer(t)
	var kept []*trace.Tracer // or the garbage collector closes what Close forgot
	defer func() { runtime.KeepAlive(kept) }()
	cycle := func() {
		tracer, err := trace.Load(trace.Options{})
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, tracer)
		// Within the window in which statistics are on.
		if _, err := tracer.Cost(time.Now()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := tracer.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		if err := tracer.Snapshot(&trace.Snapshot{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("snapshot after close: %v", err)
		}
		if err := tracer.Publish(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("publish after close: %v", err)
		}
		if err := tracer.Flush(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("flush after close: %v", err)
		}
	}
	cycle() // opens what the runtime keeps
	before := descriptors(t)
	for range 3 {
		cycle()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	// The garbage collector unmaps what belonged to variables.
	after := bpfMappings(t)
	for end := time.Now().Add(time.Minute); after > 0 && time.Now().Before(end); after = bpfMappings(t) {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if after > 0 {
		t.Errorf("%d mappings of BPF maps left", after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func bpfMappings(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "anon_inode:bpf")
}
