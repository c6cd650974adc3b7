// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

// crowdKey has this test binary run a crowd in the cgroups below a directory.
const crowdKey = "AUTOSA_COLLECTOR_CROWD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crowdKey); dir != "" {
		if err := runCrowd(dir); err != nil {
			fmt.Fprintln(os.Stderr, "crowd:", err)
		}
		os.Exit(1)
	}
	tracetest.Main(m)
}

// runCrowd puts a thread of its own into each of the cgroups below dir, says
// that it has, and has each of them wake now and then. It does not return.
func runCrowd(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	debug.SetMaxThreads(len(entries) + 10_000)
	failed := make(chan error)
	ready := make(chan struct{}, len(entries))
	n := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		n++
		file := filepath.Join(dir, e.Name(), "cgroup.threads")
		go func() {
			runtime.LockOSThread()
			if err := os.WriteFile(file, []byte(strconv.Itoa(unix.Gettid())), 0); err != nil {
				failed <- err
				return
			}
			ready <- struct{}{}
			period := unix.NsecToTimespec(int64(500 * time.Millisecond))
			for {
				_ = unix.Nanosleep(&period, nil)
			}
		}()
		select {
		case err := <-failed:
			return err
		case <-ready:
		}
	}
	fmt.Println("ready")
	return <-failed
}

// crowd makes n cgroups with a thread each that wakes twice a second.
func crowd(t testing.TB, n int) *tracetest.Cgroup {
	t.Helper()
	top := tracetest.NewCgroup(t)
	began := time.Now()
	for i := range n {
		path := filepath.Join(top.Path, fmt.Sprintf("worker-%05d.service", i))
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for end := time.Now().Add(time.Minute); os.Remove(path) != nil && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
		})
		if err := os.WriteFile(filepath.Join(path, "cgroup.type"), []byte("threaded"), 0); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(top.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), crowdKey+"="+top.Path, "GOGC=off")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // and never unlocked: Pdeathsig is of this thread
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var b [16]byte
	if k, err := out.Read(b[:]); err != nil || !bytes.HasPrefix(b[:k], []byte("ready")) {
		t.Fatalf("the crowd did not come about: %q, %v", b[:k], err)
	}
	t.Logf("%d cgroups made in %v", n, time.Since(began).Round(time.Millisecond))
	return top
}

// yardstick takes what it costs, on this machine and beside whatever else runs now, to read one file of every cgroup below top.
func yardstick(t testing.TB, top *tracetest.Cgroup) (used time.Duration) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(top.Path, "*", "cpu.stat"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cpu.stat below %s: %v", top.Path, err)
	}
	before := processTime(t)
	for _, p := range paths {
		if _, err := os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	return processTime(t) - before
}

// expense is what ticks took.
type expense struct {
	perTick  time.Duration // CPU time of the whole process
	ratio    float64       // the median of what ticks took, by what the yardstick took beside them
	wall     time.Duration
	heap     uint64
	resident uint64
}

// price takes n samples and returns what each took.
func price(t testing.TB, c *Collector, top *tracetest.Cgroup, n int, interval time.Duration) expense {
	t.Helper()
	var e expense
	var used, wall time.Duration
	var ratios []float64
	for range n {
		time.Sleep(interval)
		unit := yardstick(t, top)
		before, began := processTime(t), time.Now()
		if _, err := c.Collect(time.Now()); err != nil {
			t.Fatal(err)
		}
		wall += time.Since(began)
		tick := processTime(t) - before
		used += tick
		ratios = append(ratios, tick.Seconds()/unit.Seconds())
	}
	slices.Sort(ratios)
	e.ratio = ratios[len(ratios)/2]
	e.perTick, e.wall = used/time.Duration(n), wall/time.Duration(n)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	e.heap = m.HeapAlloc
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(b)); len(f) > 1 {
		pages, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		e.resident = pages * uint64(os.Getpagesize())
	}
	return e
}

func processTime(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A thousand cgroups are no reason for a tick to take long: it costs less than
// to read one file of each. The figure that is promised is held in the long
// form, where nothing else runs.
func TestATickIsCheapWithManyCgroups(t *testing.T) {
	tracetest.RequireTracer(t)
	sizes, n, interval := []int{1000}, 5, 200*time.Millisecond
	if soak() {
		sizes, n, interval = []int{10, 1000, 10_000}, 20, 500*time.Millisecond
	}
	for _, size := range sizes {
		for _, source := range []workload.Source{workload.SourceBPF, workload.SourceProcfs} {
			t.Run(fmt.Sprintf("%d/%s", size, source), func(t *testing.T) {
				if source == workload.SourceProcfs && !soak() {
					t.Skip("in the long form (AUTOSA_SOAK=1)")
				}
				top := crowd(t, size)
				c, err := New(Options{Source: source})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				price(t, c, top, 5, 200*time.Millisecond)
				e := price(t, c, top, n, interval)
				t.Logf("%d cgroups: a tick takes %v of CPU, %.2f of what it takes to read a file of each, %v in all; heap %d KiB, resident %d MiB",
					size, e.perTick, e.ratio, e.wall, e.heap>>10, e.resident>>20)
				if source == workload.SourceBPF && size >= 1000 && e.ratio > 1 {
					t.Errorf("a tick takes %.2f of what it takes to read a file of each cgroup, want less than one", e.ratio)
				}
				if limit := 5 * time.Millisecond; soak() && source == workload.SourceBPF && size <= 1000 && e.perTick > limit {
					t.Errorf("a tick takes %v of CPU, want at most %v", e.perTick, limit)
				}
				if e.heap > 32<<20 {
					t.Errorf("%d MiB of heap, want at most 32", e.heap>>20)
				}
			})
		}
	}
}
