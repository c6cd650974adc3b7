// SPDX-License-Identifier: Apache-2.0

package reference_test

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"autosa/bpf/trace/tracetest"
	"autosa/bpf/trace/tracetest/reference"
)

func TestMain(m *testing.M) { tracetest.Main(m) }

// A ping-pong on one CPU: each of its switches ends a wait.
func TestReferenceSeesALoadsSwitchesAndWaits(t *testing.T) {
	tracetest.RequireTracer(t)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	r, err := reference.Load()
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer r.Close()
	e, err := reference.LoadEmpty()
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer e.Close()
	l := tracetest.PingPong(t, tracetest.NewCgroup(t), runtime.NumCPU()-1)
	read := func() (waits, switches, load uint64) {
		l.Stop()
		wait, err := r.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range wait {
			waits += n
		}
		v, i := l.Switches()
		return waits, r.Switches(), v + i
	}
	tracetest.Await(t, "20000 switches of the load", func() bool { v, _ := l.Switches(); return v > 20000 })
	waits0, switches0, load0 := read()
	l.Resume()
	tracetest.Await(t, "100000 switches of the load", func() bool { v, _ := l.Switches(); return v > 100000 })
	waits1, switches1, load1 := read()

	waits, switches, load := waits1-waits0, switches1-switches0, load1-load0
	t.Logf("%d waits and %d switches on the machine, %d switches of the load; %d lost", waits, switches, load, r.Lost())
	// The machine's own switches are in them, too.
	if switches < load || waits < load*199/200 {
		t.Errorf("%d switches and %d waits of a load that switched %d times", switches, waits, load)
	}
	runs, nanos, err := r.RunStats()
	// Most switches follow a wakeup; a task that was preempted, or is woken while still on its way to sleep, has none.
	if err != nil || runs < load*3/2 || nanos == 0 {
		t.Errorf("%d runs in %d ns, %v, for %d switches and nearly as many wakeups", runs, nanos, err, load)
	}
	runs, nanos, err = e.RunStats()
	if err != nil || runs < load || nanos == 0 {
		t.Errorf("%d runs of the empty program in %d ns, %v", runs, nanos, err)
	}
	for range 2 {
		if err := errors.Join(r.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Wait(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("waits after close: %v", err)
	}
}
