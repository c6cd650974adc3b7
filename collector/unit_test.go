// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/bpf/trace"
	"autosa/workload"
)

// proc is a procfs of files.
type proc struct {
	t    *testing.T
	root string
}

func newProc(t *testing.T) *proc {
	t.Helper()
	p := &proc{t: t, root: t.TempDir()}
	p.write("stat", stat(100, 50, 1000, 10))
	p.write("self/mountinfo", "22 1 0:20 / /proc rw,relatime - proc proc rw\n")
	return p
}

func (p *proc) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *proc) remove(name string) {
	p.t.Helper()
	if err := os.RemoveAll(filepath.Join(p.root, name)); err != nil {
		p.t.Fatal(err)
	}
}

// stat is a /proc/stat of two CPUs, times in hundredths of a second.
func stat(user, system, idle, iowait int) string {
	return fmt.Sprintf("cpu  %d 0 %d %d %d 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nctxt 5\n",
		user, system, idle, iowait)
}

// thread writes a thread's files.
func (p *proc) thread(pid, tid int, run, wait, slices, voluntary, involuntary uint64) {
	dir := fmt.Sprintf("%d/task/%d/", pid, tid)
	p.write(dir+"schedstat", fmt.Sprintf("%d %d %d\n", run, wait, slices))
	p.write(dir+"status", fmt.Sprintf("Name:\tx\nvoluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t%d\n",
		voluntary, involuntary))
}

// collector starts a collector over the files, with what it logs.
func (p *proc) collector(o Options) (*Collector, *bytes.Buffer) {
	p.t.Helper()
	var logged bytes.Buffer
	o.ProcRoot, o.Source = p.root, workload.SourceProcfs
	o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	c, err := New(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return c, &logged
}

// sample takes a sample.
func sample(t *testing.T, c *Collector) workload.Sample {
	t.Helper()
	time.Sleep(minInterval)
	s, err := c.Collect(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestProcfsTotalsAreTheDifferenceOfTwoReadings(t *testing.T) {
	p := newProc(t)
	cgroupRoot := t.TempDir()
	if err := os.Mkdir(filepath.Join(cgroupRoot, "web"), 0o755); err != nil {
		t.Fatal(err)
	}
	cgroup := func(name, text string) {
		if err := os.WriteFile(filepath.Join(cgroupRoot, "web", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files := func(usage, throttled, stalled, read int) {
		cgroup("cpu.max", "50000 100000\n")
		cgroup("cpu.stat", fmt.Sprintf("usage_usec %d\nthrottled_usec %d\n", usage, throttled))
		for _, f := range pressureFiles {
			cgroup(f, fmt.Sprintf("some avg10=0.00 total=%d\nfull avg10=0.00 total=%d\n", stalled, stalled/2))
		}
		cgroup("io.stat", fmt.Sprintf("8:0 rbytes=%d wbytes=1 rios=%d wios=2 dbytes=0\n8:16 rbytes=5 wbytes=5 rios=5 wios=5\n", read, read/512))
	}
	files(1000, 100, 0, 4096)
	p.thread(7, 7, 1000, 500, 10, 4, 6)
	p.thread(7, 8, 9000, 100, 3, 1, 1)
	p.thread(9, 9, 5, 5, 5, 5, 5)
	p.write("7/cgroup", "1:cpu:/v1\n0::/web\n")
	p.write("9/cgroup", "0::/\n")
	c, _ := p.collector(Options{CgroupRoot: cgroupRoot})

	p.thread(7, 7, 4000, 700, 14, 7, 7)
	p.thread(9, 10, 100, 20, 2, 1, 1) // a new thread
	sample(t, c)
	p.thread(7, 7, 5000, 900, 15, 8, 7)
	p.write("stat", strings.Replace(stat(100+200, 50+100, 1000+50, 10+5), "ctxt 5", "ctxt 105", 1))
	files(1007, 350, 1_000_000_000, 3*4096)
	s := sample(t, c)

	addsUp(t, &s)
	if s.Source != workload.SourceProcfs || s.Tracer.Reason == "" || s.CPUs != 2 {
		t.Errorf("source %q, reason %q, %d CPUs", s.Source, s.Tracer.Reason, s.CPUs)
	}
	if want := (workload.CPUTime{User: 2, System: 1, Idle: 0.5, IOWait: 0.05, ContextSwitches: 100}); !near(s.CPU, want) {
		t.Errorf("CPU time %+v, want %+v", s.CPU, want)
	}
	wantHost := workload.Group{
		Name: workload.HostName, Switches: 1, Voluntary: 1, Run: 3 * time.Second, Wait: 200, IOWait: 50 * time.Millisecond,
	}
	s.Host.Run, s.Host.IOWait = s.Host.Run.Round(time.Millisecond), s.Host.IOWait.Round(time.Millisecond)
	if d := cmp.Diff(wantHost, s.Host); d != "" {
		t.Errorf("host (-want +got):\n%s", d)
	}
	wantGroup := workload.Group{Name: "/web", Switches: 1, Voluntary: 1, Wait: 200, Throttled: 250 * time.Microsecond,
		// The kernel's account, not the sum over the threads that live.
		Run: 7 * time.Microsecond,
		// More than the interval is all of it; half of it would be as well.
		Pressure: workload.PSI{Available: true, CPUSome: 1, CPUFull: 1, IOSome: 1, IOFull: 1, MemorySome: 1, MemoryFull: 1},
		Disk:     workload.Disk{Available: true, ReadBytes: 8192, Reads: 16},
	}
	if len(s.Groups) != 1 {
		t.Fatalf("%d groups, want 1: %+v", len(s.Groups), s.Groups)
	}
	if s.Groups[0].ID == 0 {
		t.Error("group has no id")
	}
	s.Groups[0].ID = 0
	if d := cmp.Diff(wantGroup, s.Groups[0]); d != "" {
		t.Errorf("group (-want +got):\n%s", d)
	}
	if s.Tracer.Switches != 4+2+1 {
		t.Errorf("%d switches since the start, want 7", s.Tracer.Switches)
	}
}

func near(a, b workload.CPUTime) bool {
	eq := func(x, y float64) bool { return x-y < 1e-9 && y-x < 1e-9 }
	return eq(a.User, b.User) && eq(a.System, b.System) && eq(a.Idle, b.Idle) && eq(a.IOWait, b.IOWait) &&
		a.ContextSwitches == b.ContextSwitches
}

func TestProcfsCountsAReusedThreadIDFromZero(t *testing.T) {
	p := newProc(t)
	p.thread(7, 7, 1000, 500, 10, 4, 6)
	c, _ := p.collector(Options{})
	p.thread(7, 7, 30, 20, 2, 1, 1)
	if s := sample(t, c); s.Host.Switches != 2 || s.Host.Wait != 20 {
		t.Errorf("%d switches and %v wait, want 2 and 20ns", s.Host.Switches, s.Host.Wait)
	}
}

func TestProcfsTakesTheMachinesWaitFromSchedstatWhereThereIsOne(t *testing.T) {
	p := newProc(t)
	p.thread(7, 7, 1000, 500, 10, 4, 6)
	line := "version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 %d %d 9\ncpu1 0 0 0 0 0 0 1 1000 9\n"
	p.write("schedstat", fmt.Sprintf(line, 1, 500))
	c, _ := p.collector(Options{})
	p.write("schedstat", fmt.Sprintf(line, 1, 800))
	if s := sample(t, c); s.Host.Wait != 300 {
		t.Errorf("wait %v, want 300ns", s.Host.Wait)
	}
	p.write("schedstat", fmt.Sprintf(line, 1, 0)) // fewer: a CPU went off line
	if s := sample(t, c); s.Host.Wait != 0 {
		t.Errorf("wait %v after the sum went back, want 0", s.Host.Wait)
	}
}

func TestProcfsNamesThreadsThatItDidNotLookAt(t *testing.T) {
	p := newProc(t)
	for tid := range maxScan + 3 {
		p.write(fmt.Sprintf("7/task/%d/schedstat", tid+10), "1 1 1\n")
	}
	c, _ := p.collector(Options{})
	s := sample(t, c)
	if got := s.Tracer.Losses[lossNotScanned]; got != 6 { // three a scan
		t.Errorf("%d threads not scanned, want 6", got)
	}
}

func TestMachineWithoutPressureOrCgroupsIsFine(t *testing.T) {
	p := newProc(t)
	c, logged := p.collector(Options{})
	s := sample(t, c)
	if s.PSI != (workload.PSI{}) || len(s.Groups) != 0 {
		t.Errorf("pressure %+v, groups %v; want none", s.PSI, s.Groups)
	}
	if strings.Contains(logged.String(), "level=WARN msg=\"cannot") {
		t.Errorf("logged as a failure: %s", logged)
	}
}

func TestPressureIsTheShareOfTheInterval(t *testing.T) {
	p := newProc(t)
	write := func(total int) {
		for _, r := range psiResources {
			p.write("pressure/"+r, fmt.Sprintf("some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=%d\n",
				total, total/2))
		}
	}
	write(1000)
	m, err := newMachine(p.root, &parts{log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	write(501000)
	s := workload.Sample{Interval: time.Second}
	m.collect(&s)
	want := workload.PSI{Available: true, CPUSome: 0.5, CPUFull: 0.25, IOSome: 0.5, IOFull: 0.25, MemorySome: 0.5, MemoryFull: 0.25}
	if s.PSI != want {
		t.Errorf("pressure %+v, want %+v", s.PSI, want)
	}
	write(9000000) // more than the interval
	m.collect(&s)
	if s.PSI.CPUSome != 1 {
		t.Errorf("share %v, want at most 1", s.PSI.CPUSome)
	}
	write(0) // back
	m.collect(&s)
	if s.PSI.CPUSome != 0 {
		t.Errorf("share %v of a counter that went back, want 0", s.PSI.CPUSome)
	}
}

func TestFailingPartIsLoggedOnceAndTheSampleComesAllTheSame(t *testing.T) {
	p := newProc(t)
	for _, r := range psiResources {
		p.write("pressure/"+r, "some avg10=nonsense\n")
	}
	c, logged := p.collector(Options{})
	for range 3 {
		if s := sample(t, c); s.PSI.Available {
			t.Error("pressure that cannot be read is said to be available")
		}
	}
	const warning = "part=\"pressure stall information\""
	if n := strings.Count(logged.String(), warning); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, logged)
	}
	p.remove("pressure")
	sample(t, c)
	if n := strings.Count(logged.String(), warning); n != 2 {
		t.Errorf("recovery not logged:\n%s", logged)
	}
}

func TestWithoutTheHostPartThereIsNoSample(t *testing.T) {
	p := newProc(t)
	c, _ := p.collector(Options{})
	p.remove("stat")
	time.Sleep(minInterval)
	if _, err := c.Collect(time.Now()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want that /proc/stat is missing", err)
	}
	p.write("stat", stat(1, 1, 1, 1))
	sample(t, c)
}

func TestCollectTooSoonKeepsWhatHappenedForTheNextSample(t *testing.T) {
	p := newProc(t)
	p.thread(7, 7, 1000, 500, 10, 4, 6)
	c, _ := p.collector(Options{})
	p.thread(7, 7, 2000, 600, 11, 5, 6)
	c.last = time.Now().Add(time.Hour) // no time has passed
	if _, err := c.Collect(time.Now()); !errors.Is(err, ErrTooSoon) {
		t.Errorf("error %v, want ErrTooSoon", err)
	}
	c.last = time.Now().Add(-time.Second)
	s, err := c.Collect(time.Time{}) // the wall clock does not matter
	if err != nil || s.Host.Switches != 1 || s.Interval < time.Second || s.Interval > time.Minute {
		t.Errorf("%v: %d switches in %v, want 1 in a second", err, s.Host.Switches, s.Interval)
	}
}

func TestCounterWrapIsNoLoss(t *testing.T) {
	before := trace.Cell{Switches: 10, Involuntary: 4, RunNs: 100}
	now := trace.Cell{Switches: 15, Involuntary: 6, RunNs: 400}
	before.Wait[3], now.Wait[3] = 1<<32-2, 3
	var g workload.Group
	addDelta(&g, &now, &before)
	if g.Switches != 5 || g.Voluntary != 3 || g.Involuntary != 2 || g.Run != 300 || g.WaitHist[3] != 5 {
		t.Errorf("got %+v", g)
	}
	// Read amid a switch: one more preemption than switches.
	now = trace.Cell{Switches: 11, Involuntary: 6}
	g = workload.Group{}
	addDelta(&g, &now, &trace.Cell{Switches: 10, Involuntary: 4})
	if g.Switches != 1 || g.Involuntary != 1 || g.Voluntary != 0 {
		t.Errorf("got %d = %d + %d", g.Switches, g.Voluntary, g.Involuntary)
	}
}
