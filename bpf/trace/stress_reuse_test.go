// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
)

func TestAttachingAndDetachingLeavesNothingInTheKernelOrTheHeap(t *testing.T) {
	tracetest.RequireTracer(t)
	n := scale(4, 1000)
	seen := make(map[string]bool)
	cycle := func() {
		tracer, err := trace.Load(trace.Options{})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		var s trace.Snapshot
		if err := tracer.Snapshot(&s); err != nil {
			t.Error(err)
		}
		open := bpfObjects(t)
		if len(open) < 5 {
			t.Errorf("the tracer has only %v open", open)
		}
		for _, id := range open {
			seen[id] = true
		}
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
		// At once: the garbage collector would close what Close forgets.
		if left := bpfObjects(t); len(left) > 0 {
			t.Errorf("Close has left %v open", left)
		}
	}
	for range 2 {
		cycle() // opens what the runtime and the library keep
	}
	held, heap := descriptors(t), heapBytes()
	for range n {
		cycle()
	}
	if after := descriptors(t); after != held {
		t.Errorf("%d descriptors before %d cycles, %d after", held, n, after)
	}
	grown := int64(heapBytes()) - int64(heap)
	if limit := int64(1<<20 + 256*n); grown > limit { // the ids seen are kept here
		t.Errorf("the heap grew by %d bytes in %d cycles", grown, n)
	}
	// The kernel frees them a little later.
	tracetest.Await(t, "the kernel to free what was loaded", func() bool {
		for id := range seen {
			if !exists(t, id) {
				delete(seen, id)
				continue
			}
			return false
		}
		return true
	})
	tracetest.Await(t, "mappings of BPF maps to go", func() bool { runtime.GC(); return bpfMappings(t) == 0 })
	t.Logf("counted: %d cycles, heap %+d bytes", n, grown)
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bpfObjects lists the programs, maps and links that this process has open, as
// in "prog_id 12".
func bpfObjects(t testing.TB) (ids []string) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fdinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile("/proc/self/fdinfo/" + f.Name())
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(b)) {
			switch k, v, _ := strings.Cut(line, ":"); k {
			case "prog_id", "map_id", "link_id":
				ids = append(ids, k+" "+strings.TrimSpace(v))
			}
		}
	}
	return ids
}

// exists tells whether the kernel still has an object of [bpfObjects].
func exists(t testing.TB, object string) bool {
	t.Helper()
	kind, number, _ := strings.Cut(object, " ")
	id, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	var handle interface{ Close() error }
	switch kind {
	case "prog_id":
		handle, err = ebpf.NewProgramFromID(ebpf.ProgramID(id))
	case "map_id":
		handle, err = ebpf.NewMapFromID(ebpf.MapID(id))
	default:
		handle, err = link.NewFromID(link.ID(id))
	}
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		t.Fatalf("open %s: %v", object, err)
	}
	handle.Close()
	return true
}

// What several readers see never goes back while the program writes, slots
// change hands and everything else of the tracer is used.
func TestSnapshotsWhileEverythingChangesOnlyGrow(t *testing.T) {
	tracer := load(t, trace.Options{Slots: 4})
	c := assign(t, tracer, 1)
	other := tracetest.NewCgroup(t)
	l := tracetest.PingPong(t, c, quietCPU())
	tracetest.Fork(t, other, quietCPU())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	worker := func(f func(n int) error) {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Microsecond):
				}
				if err := f(n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		var s trace.Snapshot
		var last []trace.Cell
		worker(func(int) error {
			if err := tracer.Snapshot(&s); err != nil {
				return err
			}
			for i := range last {
				if err := grew(&last[i], &s.Slots[i]); err != nil {
					return fmt.Errorf("slot %d: %w", i, err)
				}
			}
			last = append(last[:0], s.Slots...)
			return nil
		})
	}
	worker(func(n int) error {
		change := tracer.Unassign(other.ID)
		if n%2 == 0 {
			change = tracer.Assign(other.ID, 2+n/2%3)
		}
		return errors.Join(change, tracer.Publish())
	})
	worker(func(int) error {
		_, err := tracer.Unknown(nil)
		_, costErr := tracer.Cost(time.Now())
		return errors.Join(err, costErr, tracer.Losses(make(map[string]uint64)))
	})
	time.Sleep(scale(time.Second, time.Minute))
	tracetest.Await(t, "1,000 switches of the load", func() bool { return cell(t, tracer, 1).Switches >= 1000 })
	close(stop)
	wg.Wait()

	l.Stop()
	got := cell(t, tracer, 1)
	var runs, waits uint64
	for i := range got.Run {
		runs, waits = runs+uint64(got.Run[i]), waits+uint64(got.Wait[i])
	}
	t.Logf("counted: %d switches of the load", got.Switches)
	if runs != got.Switches || waits != got.Switches {
		t.Errorf("%d switches, %d runs and %d waits in the histograms of a load that stands still", got.Switches, runs, waits)
	}
}

// grew returns what is less in the second of two readings of a cell.
func grew(before, after *trace.Cell) error {
	sums := func(c *trace.Cell) [8]uint64 {
		return [...]uint64{c.Switches, c.Involuntary, c.Migrations, c.Forks, c.RunNs, c.WaitNs, c.SleepNs, c.IoNs}
	}
	a, b := sums(before), sums(after)
	for i := range a {
		if b[i] < a[i] {
			return fmt.Errorf("sum %d went from %d to %d", i, a[i], b[i])
		}
	}
	for i := range before.Run {
		if after.Run[i] < before.Run[i] || after.Wait[i] < before.Wait[i] || after.Sleep[i] < before.Sleep[i] || after.Io[i] < before.Io[i] {
			return fmt.Errorf("bucket %d went back", i)
		}
	}
	return nil
}
