// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/bpf/trace/tracetest/reference"
)

// scale is how much a stress test does: little in every run of the tests, much
// in `make soak`.
func scale[T any](short, long T) T {
	if os.Getenv("AUTOSA_SOAK") != "" {
		return long
	}
	return short
}

// switchLosses are the ways to lose a switch: each makes the counters differ by
// one from the kernel's.
var switchLosses = []string{"switch_no_storage", "switch_first_slice", "switch_backwards", "switch_no_cell", trace.LossRecursion}

func lostSwitches(t testing.TB, tracer *trace.Tracer) (n uint64) {
	t.Helper()
	all := losses(t, tracer)
	for _, name := range switchLosses {
		n += all[name]
	}
	return n
}

// ledger compares every switch that the tracer counted, or counted as lost, with
// those that another program saw at the same tracepoint.
type ledger struct {
	tracer  *trace.Tracer
	witness *reference.Reference
}

func openLedger(t testing.TB, tracer *trace.Tracer) ledger {
	t.Helper()
	witness, err := reference.Load()
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := witness.Close(); err != nil {
			t.Error(err)
		}
	})
	return ledger{tracer, witness}
}

// balance is a reading of both. The machine does not stand still meanwhile: the
// witness is read before and after.
type balance struct{ counted, lost, least, most uint64 }

func (l ledger) read(t testing.TB) (b balance) {
	t.Helper()
	b.least = l.witness.Switches()
	var s trace.Snapshot
	if err := l.tracer.Snapshot(&s); err != nil {
		t.Fatal(err)
	}
	for i := range s.Slots {
		b.counted += s.Slots[i].Switches
	}
	b.lost = lostSwitches(t, l.tracer)
	b.most = l.witness.Switches()
	return b
}

// settle checks that what was counted and what was lost between two readings add
// up to what the witness saw, and returns its count.
func (l ledger) settle(t testing.TB, before, after balance) uint64 {
	t.Helper()
	got := after.counted + after.lost - before.counted - before.lost
	// On each CPU one of the two programs may have run when the other had not.
	least, most, slack := after.least-before.most, after.most-before.least, uint64(l.tracer.CPUs())
	if got+slack < least || got > most+slack {
		t.Errorf("%d switches counted and %d lost, the machine made %d to %d", after.counted-before.counted, after.lost-before.lost, least, most)
	}
	return got
}

// A storm of short tasks: no task is missing, no task's storage stays.
func TestForkStormIsCountedToTheLastTaskAndLeavesNoStorage(t *testing.T) {
	const shells = 4
	n := scale(3_000, 100_000)
	tracer := load(t, trace.Options{})
	c := assign(t, tracer, 1)
	books := openLedger(t, tracer)
	objects := slabObjects(t)
	before := books.read(t)
	kernel := storm(t, c, shells, n/shells)
	after := books.read(t)
	all := books.settle(t, before, after)

	got, lost, tasks := cell(t, tracer, 1), after.lost-before.lost, uint64(n+shells)
	t.Logf("counted: %d tasks, %d switches of theirs (%d before their exits by the kernel), %d of the machine, %d lost",
		got.Forks, got.Switches, kernel, all, lost)
	if got.Forks > tasks || got.Forks+lost < tasks {
		t.Errorf("%d new tasks and %d losses, want %d", got.Forks, lost, tasks)
	}
	// The kernel tells a parent of its child's switches when it reaps it, which may
	// be before the child has left its CPU for good.
	if got.Switches+lost < kernel || got.Switches > kernel+tasks {
		t.Errorf("%d switches and %d losses, want the kernel's %d and at most one more a task", got.Switches, lost, kernel)
	}
	if n < 100_000 {
		return // a few thousand objects more or less are the machine's everyday
	}
	tracetest.Await(t, "the slabs to lose the ended tasks' storage", func() bool { return slabObjects(t) < objects+n/2 })
	t.Logf("counted: %+d objects in the kernel's slabs after %d tasks", slabObjects(t)-objects, n)
}

// storm runs shells in a cgroup that fork n times each, and returns the
// switches of all these tasks as the kernel told the shells' parent.
func storm(t testing.TB, c *tracetest.Cgroup, shells, n int) (switches uint64) {
	t.Helper()
	dir, err := os.Open(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var started []*exec.Cmd
	for range shells {
		cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do (:); i=$((i+1)); done", n))
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		if err := cmd.Start(); err != nil {
			t.Error(err)
			break
		}
		started = append(started, cmd)
	}
	for _, cmd := range started {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		// Of the shell and of all children that it has waited for.
		use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		switches += uint64(use.Nvcsw + use.Nivcsw)
	}
	return switches
}

// slabObjects counts the kernel's objects in the size classes that a task's
// storage is allocated from.
func slabObjects(t testing.TB) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		t.Skipf("no slabs to count: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "kmalloc-") {
			continue
		}
		active, err := strconv.Atoi(f[1])
		size, serr := strconv.Atoi(f[3])
		if err != nil || serr != nil {
			t.Fatalf("/proc/slabinfo: %q", line)
		}
		if size >= 64 && size <= 512 {
			n += active
		}
	}
	return n
}

// Every cycle that finds the ring buffer full is counted, and only these; the
// counters do not notice.
func TestRingBufferKeptFullLosesEventsOneByOneAndNothingElse(t *testing.T) {
	tracer := load(t, trace.Options{RingBytes: 1, CycleEvents: 1 << 20, WaitEvents: -1})
	// This process makes no events, so its cycles are counted apart.
	own := assign(t, tracer, 2)
	enter(t, own)
	c := assign(t, tracer, 1)
	books := openLedger(t, tracer)
	l := tracetest.PingPong(t, c, quietCPU())
	full := func() uint64 { return losses(t, tracer)["event_ring_full"] }
	tracetest.Await(t, "the ring buffer to be full", func() bool { return full() > 0 })

	l.Stop()
	v0, i0 := l.Switches()
	load0, before, from := cell(t, tracer, 1), books.read(t), readRing(t, tracer)
	l.Resume()
	time.Sleep(scale(time.Second, time.Minute))
	l.Stop()
	v1, i1 := l.Switches()
	load1, after, to := cell(t, tracer, 1), books.read(t), readRing(t, tracer)

	cycles := to.cycles - from.cycles
	least, most, slack := to.least-from.most, to.most-from.least, uint64(tracer.CPUs())
	t.Logf("counted: %d cycles while it was full, %d to %d losses; %d switches of the load", cycles, least, most, load1.Switches-load0.Switches)
	if cycles < 1000 || cycles+slack < least || cycles > most+slack {
		t.Errorf("%d cycles found the ring buffer full, %d to %d are counted as lost", cycles, least, most)
	}
	if got, want := load1.Switches-load0.Switches, v1-v0+i1-i0; got != want {
		t.Errorf("%d switches of the load, want the kernel's %d", got, want)
	}
	books.settle(t, before, after)

	// It goes on as soon as somebody reads.
	if n := len(drain(t, tracer)); n == 0 || n > os.Getpagesize()/32 {
		t.Errorf("%d events in a ring buffer of a page that was full", n)
	}
	l.Resume()
	tracetest.Await(t, "new events once it was read", func() bool { return len(drain(t, tracer)) > 0 })
}

// ringReading is how many cycles should have made an event, and how many
// events were lost before and after they were counted.
type ringReading struct{ cycles, least, most uint64 }

func readRing(t testing.TB, tracer *trace.Tracer) (r ringReading) {
	t.Helper()
	lost := func() uint64 {
		all := losses(t, tracer)
		return all["event_ring_full"] + all[trace.LossCycleRate]
	}
	r.least = lost()
	var s trace.Snapshot
	if err := tracer.Snapshot(&s); err != nil {
		t.Fatal(err)
	}
	for slot := range s.Slots {
		if slot == 2 {
			continue // this process
		}
		for i := range s.Slots[slot].Sleep {
			r.cycles += uint64(s.Slots[slot].Sleep[i]) + uint64(s.Slots[slot].Io[i])
		}
	}
	r.most = lost()
	return r
}

// enter moves this process into a cgroup until the test ends.
func enter(t testing.TB, c *tracetest.Cgroup) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, home, ok := strings.Cut("\n"+string(b), "\n0::")
	if !ok {
		t.Skipf("this process is in no cgroup of version 2: %s", b)
	}
	root := strings.TrimSuffix(c.Path, c.Name)
	move := func(to string) error { return os.WriteFile(to+"/cgroup.procs", []byte("0"), 0) }
	if err := move(c.Path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := move(root + strings.TrimSpace(home)); err != nil {
			t.Error(err)
		}
	})
}
