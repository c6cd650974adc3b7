// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"errors"
	"io"
	"maps"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
)

func openStream(t testing.TB, o trace.StreamOptions) *trace.Stream {
	t.Helper()
	tracetest.RequireTracer(t)
	s, err := trace.OpenStream(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// rest reads what a stream has, to its end.
func rest(t testing.TB, s *trace.Stream) []trace.StreamEvent {
	t.Helper()
	var all []trace.StreamEvent
	for {
		e, err := s.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// stop stops a stream and reads the rest.
func stop(t testing.TB, s *trace.Stream) ([]trace.StreamEvent, trace.StreamLoss) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	all := rest(t, s)
	lost, err := s.Lost()
	if err != nil {
		t.Fatal(err)
	}
	return all, lost
}

// between opens a stream of a stopped load, lets the load run for that many
// switches at least, stops it again, and returns how often the kernel says that
// each of its threads switched meanwhile.
func between(t testing.TB, l *tracetest.Load, o trace.StreamOptions, n uint64) (*trace.Stream, map[int]uint64) {
	t.Helper()
	l.Settle()
	before := l.SwitchesByThread()
	s := openStream(t, o)
	l.Resume()
	eventually(t, "the load switches", func() bool {
		for tid, now := range l.SwitchesByThread() {
			if now-before[tid] > n {
				return true
			}
		}
		return false
	})
	l.Settle()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	got := l.SwitchesByThread()
	for tid := range got {
		got[tid] -= before[tid]
	}
	return s, got
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func TestEverySwitchOfAPingPongAppearsExactlyOnce(t *testing.T) {
	tracetest.RequireTracer(t)
	l := tracetest.PingPong(t, tracetest.NewCgroup(t), quietCPU())
	time.Sleep(100 * time.Millisecond)
	s, want := between(t, l, trace.StreamOptions{PIDs: []int{l.PID()}, Switches: true, RingBytes: 256 << 20}, 2000)
	events, lost := stop(t, s)
	if lost != (trace.StreamLoss{}) {
		t.Fatalf("lost %+v from a ring with room", lost)
	}
	got := make(map[int]uint64)
	arrivals := make(map[int]uint64)
	for _, e := range events {
		got[e.PID]++
		if e.TGID != l.PID() || e.CPU != quietCPU() {
			t.Fatalf("event of somebody else, or elsewhere: %+v", e)
		}
		before := arrivals[e.PID]
		// A task preempted on its way to sleep comes back without the kernel noting it.
		unnoted := before != 0 && e.Arrivals == before && e.Partial
		if before != 0 && e.Arrivals != before+1 && !unnoted {
			t.Fatalf("arrival %d of thread %d follows %d", e.Arrivals, e.PID, before)
		}
		arrivals[e.PID] = e.Arrivals
		if e.Partial && !unnoted {
			t.Errorf("partial: %+v; the tasks slept when the stream was opened", e)
		}
	}
	// The kernel's counts have all threads, also those that did not switch.
	maps.DeleteFunc(want, func(_ int, n uint64) bool { return n == 0 })
	if !maps.Equal(got, want) {
		t.Errorf("switches by thread %v, the kernel's %v", got, want)
	}
}

func TestASliceNamesWhoHadTheCPUBeforeAndAfter(t *testing.T) {
	tracetest.RequireTracer(t)
	l := tracetest.PingPong(t, tracetest.NewCgroup(t), quietCPU())
	l.Prefer()
	time.Sleep(100 * time.Millisecond)
	s, _ := between(t, l, trace.StreamOptions{PIDs: []int{l.PID()}, Switches: true, RingBytes: 256 << 20}, 1000)
	events, _ := stop(t, s)
	var handed, ofEachOther int
	for i, e := range events[1:] {
		before := events[i]
		if before.NextPID != e.PID {
			continue // somebody came between
		}
		handed++
		if e.HolderPID == before.PID && e.HolderComm == before.Comm && e.HolderCgroup == before.Cgroup && before.NextComm == e.Comm {
			ofEachOther++
		}
		if e.Time.Before(before.Time) {
			t.Fatalf("time goes back on one CPU: %v after %v", e.Time, before.Time)
		}
	}
	// One that was next is there next, always: this is one CPU.
	if handed < 100 || ofEachOther != handed {
		t.Errorf("%d of %d handovers agree on both sides", ofEachOther, handed)
	}
	if d := time.Since(events[0].Time); d < 0 || d > time.Hour {
		t.Errorf("event of %v ago", d)
	}
}

func TestWhatAFullRingLostPlusWhatGotThroughIsTheKernelsCount(t *testing.T) {
	tracetest.RequireTracer(t)
	l := tracetest.PingPong(t, tracetest.NewCgroup(t), quietCPU())
	time.Sleep(100 * time.Millisecond)
	l.Settle()
	v, i := l.Switches()
	s := openStream(t, trace.StreamOptions{PIDs: []int{l.PID()}, Switches: true, RingBytes: 1})
	type read struct {
		events  []trace.StreamEvent
		carried uint64
	}
	done := make(chan read, 1)
	var told atomic.Uint64
	go func() { // a slow reader, so that losses lie among events
		var r read
		for {
			e, err := s.Read()
			if err != nil {
				done <- r
				return
			}
			r.events = append(r.events, e)
			r.carried += e.LostBefore
			told.Store(r.carried)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	l.Resume()
	eventually(t, "losses are told in the stream", func() bool { return told.Load() > 100 })
	l.Settle()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	r := <-done
	lost, err := s.Lost()
	if err != nil {
		t.Fatal(err)
	}
	v2, i2 := l.Switches()
	want := v2 + i2 - v - i
	t.Logf("%d got through, %+v lost, %d of these told in the stream; the kernel counted %d", len(r.events), lost, r.carried, want)
	if got := uint64(len(r.events)) + lost.RingFull; got != want || lost.NoStorage+lost.Missed != 0 {
		t.Errorf("%d events and %+v lost are not the kernel's %d switches", len(r.events), lost, want)
	}
	if lost.RingFull == 0 || r.carried == 0 || r.carried > lost.RingFull {
		t.Errorf("%d lost, %d of these told in the stream", lost.RingFull, r.carried)
	}
	// Each thread's arrivals say the same: what is missing between two events of
	// the one CPU is what the second one says was lost.
	var missing uint64
	arrivals := make(map[int]uint64)
	for _, e := range r.events {
		if before := arrivals[e.PID]; before != 0 && e.Arrivals > before {
			missing += e.Arrivals - before - 1
		}
		arrivals[e.PID] = e.Arrivals
	}
	if missing > r.carried {
		t.Errorf("%d are missing between events, %d told", missing, r.carried)
	}
}

func TestOnlyWaitsPastTheThresholdAreReported(t *testing.T) {
	const threshold = 2 * time.Millisecond
	tracetest.RequireTracer(t)
	c := tracetest.NewCgroup(t)
	a, b := tracetest.Spin(t, c, quietCPU()), tracetest.Spin(t, c, quietCPU())
	a.Prefer()
	b.Prefer()
	pair := tracetest.PingPong(t, c, 0)
	s := openStream(t, trace.StreamOptions{Cgroups: []uint64{c.ID}, MinWait: threshold, RingBytes: 64 << 20})
	time.Sleep(time.Second)
	events, _ := stop(t, s)
	byPID := make(map[int]int)
	for _, e := range events {
		if e.Wait < threshold && (!e.WokenIO || e.Blocked < threshold) {
			t.Errorf("no wait past %v: %+v", threshold, e)
		}
		if e.Partial || e.Cgroup != c.ID {
			t.Errorf("not asked for: %+v", e)
		}
		byPID[e.PID]++
	}
	if byPID[a.PID()] < 10 || byPID[b.PID()] < 10 {
		t.Errorf("waits of the two that share a CPU: %d and %d", byPID[a.PID()], byPID[b.PID()])
	}
	_ = pair
}

func TestFiltersChooseExactlyThoseTasks(t *testing.T) {
	tracetest.RequireTracer(t)
	mine, other := tracetest.NewCgroup(t), tracetest.NewCgroup(t)
	below := mine.Below(t, "below")
	sleepers := map[string]*tracetest.Load{
		"mine":  tracetest.Sleep(t, mine, 0, 5*time.Millisecond),
		"below": tracetest.Sleep(t, below, 0, 5*time.Millisecond),
		"other": tracetest.Sleep(t, other, 0, 5*time.Millisecond),
	}
	for _, tt := range []struct {
		name string
		o    trace.StreamOptions
		want []string
	}{
		{"a process", trace.StreamOptions{PIDs: []int{sleepers["mine"].PID()}}, []string{"mine"}},
		{"two processes", trace.StreamOptions{PIDs: []int{sleepers["mine"].PID(), sleepers["other"].PID()}}, []string{"mine", "other"}},
		{"a cgroup and what is below", trace.StreamOptions{Cgroups: []uint64{mine.ID}}, []string{"mine", "below"}},
		{"a cgroup below", trace.StreamOptions{Cgroups: []uint64{below.ID}}, []string{"below"}},
		{"a name", trace.StreamOptions{Comm: tracetest.SleeperComm}, []string{"mine", "below", "other"}},
		{"a prefix", trace.StreamOptions{Comm: tracetest.SleeperComm[:4] + "*"}, []string{"mine", "below", "other"}},
		{"a name that is a prefix only", trace.StreamOptions{Comm: tracetest.SleeperComm[:4]}, nil},
		{"a name in a cgroup", trace.StreamOptions{Comm: tracetest.SleeperComm, Cgroups: []uint64{other.ID}}, []string{"other"}},
		{"a process not in that cgroup", trace.StreamOptions{PIDs: []int{sleepers["mine"].PID()}, Cgroups: []uint64{other.ID}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Switches = true
			s := openStream(t, tt.o)
			time.Sleep(100 * time.Millisecond)
			events, _ := stop(t, s)
			seen := make(map[int]int)
			for _, e := range events {
				if tt.o.Comm == "" || e.Comm.String() == tracetest.SleeperComm {
					seen[e.TGID]++
				} else {
					t.Errorf("not of that name: %+v", e)
				}
			}
			for _, who := range tt.want {
				if seen[sleepers[who].PID()] == 0 {
					t.Errorf("no event of %q", who)
				}
				delete(seen, sleepers[who].PID())
			}
			if len(seen) > 0 {
				t.Errorf("events of processes %v too", seen)
			}
		})
	}
}

func TestACgroupMadeLaterIsBelowItsParent(t *testing.T) {
	tracetest.RequireTracer(t)
	c := tracetest.NewCgroup(t)
	s := openStream(t, trace.StreamOptions{Cgroups: []uint64{c.ID}, Switches: true})
	late := c.Below(t, "late")
	l := tracetest.Sleep(t, late, 0, time.Millisecond)
	time.Sleep(200 * time.Millisecond)
	events, _ := stop(t, s)
	news := 0
	for _, e := range events {
		if e.TGID == l.PID() && e.Cgroup == late.ID {
			if e.New {
				news++
			}
			if e.Partial {
				t.Errorf("a new task's slice is partial: %+v", e)
			}
		}
	}
	if news == 0 {
		t.Errorf("no first slice among %d events", len(events))
	}
}

// The bits are those of enum stream_flag.
func TestEveryFieldOfASliceIsDecoded(t *testing.T) {
	at := time.Unix(9, 0)
	want := trace.StreamEvent{
		Time: at, Arrival: 2, Wait: 3, Run: 4, Blocked: 5, Arrivals: 6, LostBefore: 7, Cgroup: 8, HolderCgroup: 9, PID: 10, TGID: 11, CPU: 12,
		HolderPID: 14, NextPID: 15, Comm: trace.Comm{'a'}, HolderComm: trace.Comm{'b'}, NextComm: trace.Comm{'c'},
	}
	for flags, is := range map[uint32]func(*trace.StreamEvent){
		0:      func(*trace.StreamEvent) {},
		1 << 0: func(e *trace.StreamEvent) { e.Left = trace.LeftPreempted },
		1 << 1: func(e *trace.StreamEvent) { e.Left = trace.LeftIOWait },
		1 << 2: func(e *trace.StreamEvent) { e.Woken = true },
		1 << 3: func(e *trace.StreamEvent) { e.WokenIO = true },
		1 << 4: func(e *trace.StreamEvent) { e.Partial = true },
		1 << 6: func(e *trace.StreamEvent) { e.New = true },
	} {
		e := want
		is(&e)
		if got := trace.DecodeStream(at, flags); got != e {
			t.Errorf("flags %#x: %+v, want %+v", flags, got, e)
		}
	}
	if trace.LeftSleep.String() != "sleep" || trace.LeftPreempted.String() != "preempted" || trace.LeftIOWait.String() != "io_wait" {
		t.Errorf("%v %v %v", trace.LeftSleep, trace.LeftPreempted, trace.LeftIOWait)
	}
}

func TestLossesAreThoseOfAllCPUs(t *testing.T) {
	s := openStream(t, trace.StreamOptions{Comm: "no-such-task"})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Lose(3, 5); err != nil {
		t.Fatal(err)
	}
	cpus := uint64(ebpf.MustPossibleCPU())
	lost, err := s.Lost()
	if err != nil || lost.RingFull != 3*cpus || lost.NoStorage != 5*cpus {
		t.Errorf("%+v, %v; want 3 and 5 of each of %d CPUs", lost, err, cpus)
	}
}

// The process that traces begets switches by reading them: it is left out where
// it was not asked for.
func TestTheProcessThatTracesIsLeftOutUnlessItWasAskedFor(t *testing.T) {
	nap := func() {
		for range 100 {
			time.Sleep(time.Millisecond)
		}
	}
	for _, asked := range []bool{true, false} {
		o := trace.StreamOptions{Switches: true, RingBytes: 64 << 20}
		if asked {
			o.PIDs = []int{os.Getpid()}
		}
		s := openStream(t, o)
		nap()
		events, _ := stop(t, s)
		own := 0
		for _, e := range events {
			if e.TGID == os.Getpid() {
				own++
			}
		}
		if asked != (own > 0) || len(events) == 0 {
			t.Errorf("asked for: %t; %d of %d events are its own", asked, own, len(events))
		}
	}
}

func TestBadFiltersAreNamed(t *testing.T) {
	for comm, says := range map[string]string{
		strings.Repeat("n", 16):  "15",
		strings.Repeat("é", 8):   "16 bytes",
		"a\x00b":                 "NUL",
		strings.Repeat("n", 20):  "20 bytes",
		strings.Repeat("n", 99):  "99 bytes",
		strings.Repeat("n*", 40): "79 bytes",
	} {
		_, err := trace.OpenStream(trace.StreamOptions{Comm: comm})
		var bad *trace.FilterError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want an error that says %s", comm, err, says)
		}
	}
}

func TestStreamsComeAndGoWithoutATrace(t *testing.T) {
	tracetest.RequireTracer(t)
	cycle := func() {
		s, err := trace.OpenStream(trace.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			for {
				if _, err := s.Read(); err != nil {
					done <- err
					return
				}
			}
		}()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("a reader of a closed stream got %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Lost(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("losses of a closed stream: %v", err)
		}
	}
	cycle()
	before := tracetest.Kernel(t)
	for range 8 {
		cycle()
	}
	tracetest.AwaitKernel(t, before)
}
