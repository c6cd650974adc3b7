// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/bpf/trace/tracetest"
	"autosa/bpf/trace/tracetest/reference"
	"autosa/collector"
	"autosa/workload"
)

// churn makes cgroups with a task in each and removes them again.
type churn struct {
	dir      string
	names    map[uint64]string // by id
	switches uint64            // of the tasks, as the kernel told their parent
}

// begin starts n tasks, each in a cgroup of its own, and returns what lets them
// go on to their end and removes their cgroups.
func (c *churn) begin(t *testing.T, n int) (end func()) {
	t.Helper()
	gate, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	var tasks []*exec.Cmd
	for range n {
		path := filepath.Join(c.dir, "c"+strconv.Itoa(len(c.names)))
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		c.names[st.Ino] = "/" + filepath.Base(c.dir) + "/" + filepath.Base(path)
		dir, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/sh", "-c", "(:); read x; (:); (:)")
		cmd.Stdin = gate
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		dir.Close()
		tasks = append(tasks, cmd)
	}
	gate.Close()
	return func() {
		t.Helper()
		release.Close()
		for i, cmd := range tasks {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			c.switches += uint64(use.Nvcsw + use.Nivcsw)
			// The last task leaves its cgroup a moment after it was waited for.
			tracetest.Await(t, "an empty cgroup", func() bool {
				err := os.Remove(paths[i])
				if err != nil && !errors.Is(err, unix.EBUSY) {
					t.Fatal(err)
				}
				return err == nil
			})
		}
	}
}

// Thousands of cgroups come and go, far more than there are slots: samples go on, names are right, what was counted adds up
// to the machine's, and nothing piles up.
func TestCgroupsThatComeAndGoAreNamedRightAndCountedOnce(t *testing.T) {
	tracetest.RequireTracer(t)
	const batch = 50
	total := 300
	if os.Getenv("AUTOSA_SOAK") != "" {
		total = 10_000
	}
	col, err := collector.New(collector.Options{Source: workload.SourceBPF})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer func() {
		if err := col.Close(); err != nil {
			t.Error(err)
		}
	}()
	witness, err := reference.Load()
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer witness.Close()
	tracetest.PingPong(t, tracetest.NewCgroup(t), runtime.NumCPU()-1)
	c := &churn{dir: tracetest.NewCgroup(t).Path, names: make(map[uint64]string)}

	sample := func() (s workload.Sample, least, most uint64) {
		tracetest.Await(t, "a sample", func() bool {
			least = witness.Switches()
			s, err = col.Collect(time.Now())
			most = witness.Switches()
			if err != nil && !errors.Is(err, collector.ErrTooSoon) {
				t.Fatal(err)
			}
			return err == nil
		})
		return s, least, most
	}
	lost := func(s *workload.Sample) (n uint64) {
		for name, v := range s.Tracer.Losses {
			if strings.HasPrefix(name, "switch_") {
				n += v
			}
		}
		return n
	}
	c.begin(t, batch)() // opens what the runtime keeps
	c.switches = 0
	first, least0, most0 := sample()
	fds, heap := openFiles(t), heapBytes()

	var host uint64
	var seen, named int
	var last workload.Sample
	var least1, most1 uint64
	look := func() {
		last, least1, most1 = sample()
		host += last.Host.Switches
		for _, g := range last.Groups {
			want, ours := c.names[g.ID]
			if !ours {
				continue
			}
			seen++
			switch {
			case g.Name == want:
				named++
			case strings.HasPrefix(g.Name, "/"):
				t.Errorf("group %d is called %s, its name was %s", g.ID, g.Name, want)
			}
		}
	}
	for done := 0; done < total; done += batch {
		end := c.begin(t, batch)
		look() // gives them slots
		end()
		look() // after their end
	}
	losses := lost(&last) - lost(&first)
	got, slack := host+losses, uint64(runtime.NumCPU())
	t.Logf("counted: %d cgroups, %d switches of the machine and %d losses where a witness saw %d to %d, %d of short tasks; %d of %d listings named",
		total, host, losses, least1-most0, most1-least0, c.switches, named, seen)
	if got+slack < least1-most0 || got > most1-least0+slack {
		t.Errorf("%d switches and %d losses, the machine made %d to %d", host, losses, least1-most0, most1-least0)
	}
	if host+losses < c.switches {
		t.Errorf("%d switches and %d losses, the short tasks alone made %d", host, losses, c.switches)
	}
	if named == 0 || named < seen*9/10 {
		t.Errorf("%d of %d listings are named", named, seen)
	}
	// One is open while the kernel's run-time statistics are on, a second now and then.
	if now := openFiles(t); now > fds+1 {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
	// The test itself keeps a name a cgroup; the collector may keep some thousands.
	if grown, limit := int64(heapBytes())-int64(heap), int64(2<<20+512*total); grown > limit {
		t.Errorf("the heap grew by %d bytes over %d cgroups, expected at most %d", grown, total, limit)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
