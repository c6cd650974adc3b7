// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/bpf/trace"
	"autosa/workload"
)

func byNumber(id uint64) string { return fmt.Sprintf("/%d", id) }

func nobodyHeld(string) bool { return false }

func comm(s string) (c trace.Comm) { copy(c[:], s); return c }

func waitOf(d time.Duration, waiter, holder uint64) *trace.Event {
	return &trace.Event{
		Kind: trace.EventWait, Wait: d, Cgroup: waiter, PID: int(waiter), Comm: comm("w"),
		HolderCgroup: holder, HolderPID: int(holder), HolderComm: comm("h"), HolderRun: d,
	}
}

func TestWorstWaitsAreTheLongestFirst(t *testing.T) {
	a := newAggregator()
	for _, ms := range []int{3, 9, 1, 7, 12, 5, 2, 8, 4, 11, 6, 10} {
		a.add(waitOf(time.Duration(ms)*time.Millisecond, 1, 2))
	}
	ev := a.take(byNumber, nobodyHeld)
	if len(ev.Worst) != 8 || ev.Received != 12 {
		t.Fatalf("%d worst of %d", len(ev.Worst), ev.Received)
	}
	for i, w := range ev.Worst {
		if want := time.Duration(12-i) * time.Millisecond; w.Wait != want {
			t.Errorf("place %d is %v, want %v", i, w.Wait, want)
		}
	}
	want := workload.WaitEvent{PID: 1, Comm: "w", Group: "/1", Wait: 12 * time.Millisecond, HolderPID: 2, HolderComm: "h", HolderGroup: "/2"}
	if ev.Worst[0] != want {
		t.Errorf("got %+v, want %+v", ev.Worst[0], want)
	}
	if again := a.take(byNumber, nobodyHeld); again.Received != 0 || again.Worst != nil || again.WaitedFor != nil {
		t.Errorf("taken twice: %+v", again)
	}
}

func TestIOWaitsFillWhatRunQueueWaitsLeave(t *testing.T) {
	a := newAggregator()
	for range 6 {
		a.add(waitOf(time.Millisecond, 1, 2))
	}
	for range 5 {
		a.add(&trace.Event{Kind: trace.EventIO, Blocked: time.Second, Cgroup: 3, HolderPID: 9})
	}
	ev := a.take(byNumber, nobodyHeld)
	var io int
	for _, w := range ev.Worst {
		if w.IO {
			io++
			if w.HolderPID != 0 || w.Wait != time.Second {
				t.Errorf("I/O wait %+v has a holder or the wrong time", w)
			}
		}
	}
	if len(ev.Worst) != 8 || io != 2 || !ev.Worst[0].IO {
		t.Errorf("%d waits with %d of I/O, want 8 with 2, longest first", len(ev.Worst), io)
	}
	if len(ev.WaitedFor) != 1 {
		t.Errorf("I/O waits make edges: %v", ev.WaitedFor)
	}
}

func TestEdgesSumWaitsAndNoneIsDroppedBeyondTheBound(t *testing.T) {
	a := newAggregator()
	var total time.Duration
	for i := range uint64(maxPairs + 100) {
		wait := time.Duration(i+1) * time.Microsecond
		a.add(waitOf(wait, i+1, 1<<40))
		total += wait
	}
	for range 3 {
		a.add(waitOf(time.Second, 5, 1<<40))
		total += time.Second
	}
	a.add(waitOf(time.Second, 6, 0)) // the CPU was idle: nobody to blame
	if len(a.pairs) > maxPairs+1 {
		t.Errorf("%d pairs kept", len(a.pairs))
	}
	var sum time.Duration
	for _, p := range a.pairs {
		sum += p.total
	}
	if sum != total {
		t.Errorf("pairs sum to %v, want %v", sum, total)
	}
	ev := a.take(byNumber, nobodyHeld)
	if len(ev.WaitedFor) != maxEdges {
		t.Fatalf("%d edges", len(ev.WaitedFor))
	}
	if want := (workload.Edge{Waiter: "/5", Holder: byNumber(1 << 40), Count: 4, Total: 3*time.Second + 5*time.Microsecond}); ev.WaitedFor[0] != want {
		t.Errorf("first edge %+v, want %+v", ev.WaitedFor[0], want)
	}
	if e := ev.WaitedFor[1]; e.Waiter != workload.OtherName || e.Count != 100 {
		t.Errorf("second edge %+v, want the 100 pairs beyond the bound", e)
	}
}

func TestEdgesAreOfNeighboursAndWeighTheHoldersRun(t *testing.T) {
	a := newAggregator()
	for range 5 {
		a.add(waitOf(time.Second, 1, 1)) // for its own kind
		a.add(waitOf(30*time.Millisecond, 1, 3))
		long := waitOf(time.Second, 1, 2) // who ran for little of it
		long.HolderRun = 10 * time.Millisecond
		a.add(long)
		a.add(waitOf(time.Second, 4, 3))
	}
	held := func(name string) bool { return name == "/4" }
	ev := a.take(byNumber, held)
	want := []workload.Edge{
		{Waiter: "/1", Holder: "/3", Count: 5, Total: 150 * time.Millisecond},
		{Waiter: "/1", Holder: "/2", Count: 5, Total: 50 * time.Millisecond},
	}
	if d := cmp.Diff(want, ev.WaitedFor); d != "" {
		t.Errorf("edges (-want +got):\n%s", d)
	}
	if ev.Throttled != 5 {
		t.Errorf("%d waits of throttled groups, want 5", ev.Throttled)
	}
}

// cycles feeds a task's wakeups.
func cycles(a *aggregator, pid int, cgroup uint64, first uint32, at ...time.Duration) {
	for i, w := range at {
		a.add(&trace.Event{Kind: trace.EventCycle, PID: pid, Cgroup: cgroup, Arrival: w + 5, Wait: 5, Wakeups: first + uint32(i)})
	}
}

func every(d time.Duration, n int) (at []time.Duration) {
	for i := range n {
		at = append(at, time.Second+time.Duration(i)*d)
	}
	return at
}

func TestPeriodsTellEvenWakeupsFromUneven(t *testing.T) {
	a := newAggregator()
	cycles(a, 10, 1, 1, every(16*time.Millisecond, 20)...)
	var uneven []time.Duration
	for i := range 20 {
		uneven = append(uneven, time.Second+time.Duration(i*i)*time.Millisecond)
	}
	cycles(a, 11, 1, 1, uneven...)
	cycles(a, 12, 2, 1, every(time.Millisecond, minRing)...) // one distance too few
	ev := a.take(byNumber, nobodyHeld)
	if len(ev.Periods) != 2 {
		t.Fatalf("periods %+v, want two", ev.Periods)
	}
	even, other := ev.Periods[0], ev.Periods[1]
	if even.PID != 10 || even.Mean != 16*time.Millisecond || even.CV > 0.01 || even.Cycles != 19 || even.Group != "/1" {
		t.Errorf("even task: %+v", even)
	}
	if other.PID != 11 || other.CV < workload.PeriodicCV {
		t.Errorf("uneven task: %+v", other)
	}
}

func TestLostCyclesAreNoLongDistances(t *testing.T) {
	a := newAggregator()
	at := every(10*time.Millisecond, 40)
	for i := range at {
		if i%10 != 9 {
			cycles(a, 10, 1, uint32(i+1), at[i])
		}
	}
	if p := a.take(byNumber, nobodyHeld).Periods; len(p) != 1 || p[0].Mean != 10*time.Millisecond || p[0].CV > 0.01 {
		t.Errorf("periods %+v, want 10ms, evenly", p)
	}
}

func TestAReusedProcessIDStartsAfresh(t *testing.T) {
	a := newAggregator()
	cycles(a, 10, 1, 100, every(10*time.Millisecond, 20)...)
	cycles(a, 10, 2, 1, every(50*time.Millisecond, 20)...)
	p := a.take(byNumber, nobodyHeld).Periods
	if len(p) != 1 || p[0].Mean != 50*time.Millisecond || p[0].Cycles != 19 || p[0].Group != "/2" {
		t.Errorf("periods %+v, want the new task's alone", p)
	}
}

func TestEveryCgroupsBusiestTaskComesBeforeSecondOnes(t *testing.T) {
	a := newAggregator()
	for i := range maxPeriods {
		cycles(a, 100+i, 1, 1, every(time.Millisecond, 30)...)
	}
	cycles(a, 50, 2, 1, every(20*time.Millisecond, 10)...)
	for _, p := range a.take(byNumber, nobodyHeld).Periods {
		if p.Group == "/2" {
			return
		}
	}
	t.Error("the tasks of one cgroup leave no room for another's")
}

func TestTasksFollowedAreBoundedAndForgotten(t *testing.T) {
	a := newAggregator()
	for pid := range 2 * maxTasks {
		cycles(a, pid, 1, 1, time.Second)
	}
	if len(a.tasks) != maxTasks {
		t.Errorf("%d tasks followed, want %d", len(a.tasks), maxTasks)
	}
	for range forgetTicks + 1 {
		a.take(byNumber, nobodyHeld)
	}
	if len(a.tasks) != 0 {
		t.Errorf("%d tasks not forgotten", len(a.tasks))
	}
}
