// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest"
	"autosa/workload"
)

func traced(t *testing.T, o Options) *Collector {
	t.Helper()
	tracetest.RequireTracer(t)
	o.Source = workload.SourceBPF
	c, err := New(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func groupOf(s *workload.Sample, name string) *workload.Group {
	for i := range s.Groups {
		if s.Groups[i].Name == name {
			return &s.Groups[i]
		}
	}
	return nil
}

// awaitGroup takes samples until one lists the group.
func awaitGroup(t *testing.T, c *Collector, name string) workload.Group {
	t.Helper()
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		s := sample(t, c)
		if g := groupOf(&s, name); g != nil {
			return *g
		}
	}
	t.Fatalf("no sample lists group %s", name)
	return workload.Group{}
}

func lastCPU() int { return runtime.NumCPU() - 1 }

func TestSamplesOfAKnownLoadAddUpToTheKernelsAccounting(t *testing.T) {
	c := traced(t, Options{})
	cg := tracetest.NewCgroup(t)
	var loads []*tracetest.Load
	for range 2 {
		l := tracetest.Spin(t, cg, lastCPU())
		l.Prefer()
		loads = append(loads, l)
	}
	if g := awaitGroup(t, c, cg.Name); g.ID != cg.ID {
		t.Errorf("group has id %d, want %d", g.ID, cg.ID)
	}
	stopped := func() (run, wait time.Duration) {
		tracetest.StopAll(loads...)
		for _, l := range loads {
			r, w := l.Schedstat()
			run, wait = run+r, wait+w
		}
		return run, wait
	}
	run0, wait0 := stopped()
	sample(t, c)
	for _, l := range loads {
		l.Resume()
	}
	var sum workload.Group
	check := func(g *workload.Group, underWay uint64) {
		for _, n := range []uint64{g.Voluntary + g.Involuntary, g.WaitHist.Count(), g.RunHist.Count()} {
			if n > g.Switches+underWay || g.Switches > n+underWay {
				t.Errorf("%d switches = %d + %d, %d waits, %d runs", g.Switches, g.Voluntary, g.Involuntary, g.WaitHist.Count(), g.RunHist.Count())
			}
		}
	}
	add := func() {
		s := sample(t, c)
		g := groupOf(&s, cg.Name)
		if g == nil {
			return
		}
		check(g, 2) // its loads have one CPU: one at the sample's beginning, one at its end
		if g.Run > s.Host.Run || g.Wait > s.Host.Wait || g.Switches > s.Host.Switches {
			t.Errorf("group exceeds the host: %+v > %+v", g, s.Host)
		}
		sum.Run += g.Run
		sum.Wait += g.Wait
		sum.Switches += g.Switches
		sum.Voluntary += g.Voluntary
		sum.Involuntary += g.Involuntary
		sum.WaitHist.Add(&g.WaitHist)
		sum.RunHist.Add(&g.RunHist)
	}
	for range 6 {
		time.Sleep(400 * time.Millisecond)
		add()
	}
	run1, wait1 := stopped()
	add()
	check(&sum, 1) // the one that stopped the load at first
	t.Logf("run %v, the kernel's %v; wait %v, the kernel's %v", sum.Run, run1-run0, sum.Wait, wait1-wait0)
	for what, got := range map[string]float64{
		"run":  float64(sum.Run) / float64(run1-run0),
		"wait": float64(sum.Wait) / float64(wait1-wait0),
	} {
		if math.Abs(got-1) > 0.01 {
			t.Errorf("%s of the samples is %.4f of the kernel's", what, got)
		}
	}
}

func TestRemovedCgroupIsNamedInTheSampleAfterItsEnd(t *testing.T) {
	c := traced(t, Options{})
	cg := tracetest.NewCgroup(t)
	l := tracetest.PingPong(t, cg, lastCPU())
	awaitGroup(t, c, cg.Name)
	time.Sleep(50 * time.Millisecond)
	l.Kill()
	cg.Remove(t)
	s := sample(t, c)
	if g := groupOf(&s, cg.Name); g == nil || g.Switches == 0 {
		t.Errorf("the removed group's last switches are listed under no name: %v", names(s.Groups))
	}
}

func names(groups []workload.Group) (all []string) {
	for _, g := range groups {
		all = append(all, g.Name)
	}
	return all
}

func TestMoreCgroupsThanSlotsStillSumUpInTheHost(t *testing.T) {
	const slots, loads = 3, 8
	c := traced(t, Options{Slots: slots})
	var all []*tracetest.Load
	for range loads {
		all = append(all, tracetest.Sleep(t, tracetest.NewCgroup(t), lastCPU(), time.Millisecond))
	}
	// They take turns in the slots; each switch counts once, wherever.
	count := func() (n uint64) {
		for _, l := range all {
			l.Stop()
			v, i := l.Switches()
			n += v + i
		}
		return n
	}
	before := count()
	sample(t, c)
	for _, l := range all {
		l.Resume()
	}
	var host, groups uint64
	add := func() {
		s := sample(t, c)
		host += s.Host.Switches
		for _, g := range s.Groups {
			groups += g.Switches
		}
		addsUp(t, &s)
		if len(s.Groups) > slots {
			t.Errorf("%d groups with %d slots", len(s.Groups), slots)
		}
	}
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		add()
	}
	want := count() - before
	add()
	t.Logf("host %d, groups %d, the loads alone %d", host, groups, want)
	if host < want || groups > host || groups == 0 {
		t.Errorf("host has %d switches and its groups %d, the loads alone %d", host, groups, want)
	}
}

// addsUp fails the test unless the groups and the rest are the host, to the last
// switch.
func addsUp(t *testing.T, s *workload.Sample) {
	t.Helper()
	sum := s.Other
	for i := range s.Groups {
		g := &s.Groups[i]
		sum.Switches += g.Switches
		sum.Voluntary += g.Voluntary
		sum.Involuntary += g.Involuntary
		sum.Run += g.Run
		sum.Wait += g.Wait
		sum.Sleep += g.Sleep
		sum.IOWait += g.IOWait
		sum.WaitHist.Add(&g.WaitHist)
		sum.RunHist.Add(&g.RunHist)
		sum.SleepHist.Add(&g.SleepHist)
		sum.IOHist.Add(&g.IOHist)
	}
	if sum.Name != workload.OtherName {
		t.Errorf("the rest is named %q", sum.Name)
	}
	sum.Name = s.Host.Name
	if d := cmp.Diff(s.Host, sum); d != "" {
		t.Errorf("groups and the rest are not the host (-host +sum):\n%s", d)
	}
	// What wrapped around below zero is no rest.
	if s.Other.Switches > s.Host.Switches || s.Other.Run < 0 || s.Other.Wait < 0 || s.Other.WaitHist.Count() > s.Host.WaitHist.Count() {
		t.Errorf("the rest is %+v", s.Other)
	}
}

func TestEdgesNameTheCulpritsGroup(t *testing.T) {
	c := traced(t, Options{WaitThreshold: time.Millisecond})
	culprit, victim := tracetest.NewCgroup(t), tracetest.NewCgroup(t)
	tracetest.Spin(t, culprit, lastCPU()).Prefer()
	tracetest.Spin(t, victim, lastCPU()).Prefer()
	time.Sleep(time.Second)
	s := sample(t, c)
	for _, e := range s.Events.WaitedFor {
		if e.Waiter == victim.Name { // the longest total comes first
			if e.Holder != culprit.Name || e.Count == 0 || e.Total < time.Duration(e.Count)*time.Millisecond {
				t.Errorf("the victim waited most for %+v, want %s", e, culprit.Name)
			}
			if len(s.Events.Worst) == 0 || s.Events.Received == 0 {
				t.Errorf("edges, but no worst waits: %+v", s.Events)
			}
			return
		}
	}
	t.Errorf("no edge of the victim: %+v", s.Events.WaitedFor)
}

func TestTracerStatsAreComplete(t *testing.T) {
	c := traced(t, Options{})
	var s workload.Sample
	for range 12 {
		time.Sleep(200 * time.Millisecond)
		if s = sample(t, c); s.Tracer.Cost.NanosPerSwitch > 0 {
			break
		}
	}
	if s.Tracer.Source != workload.SourceBPF || s.Tracer.Reason != "" || s.Tracer.Switches == 0 {
		t.Errorf("tracer %+v", s.Tracer)
	}
	for _, name := range trace.LossNames() {
		if _, ok := s.Tracer.Losses[name]; !ok {
			t.Errorf("loss %s is not listed", name)
		}
	}
	if cost := s.Tracer.Cost; cost.NanosPerSwitch <= 0 || cost.BPFShare <= 0 || cost.BPFShare > 0.5 || cost.DaemonShare <= 0 {
		t.Errorf("cost %+v", cost)
	}
	if s.CPUs != runtime.NumCPU() && os.Getenv("GOMAXPROCS") == "" {
		t.Logf("%d CPUs on line, %d usable by this process", s.CPUs, runtime.NumCPU())
	}
}

func TestCollectingConcurrentlyCountsEverySwitchOnce(t *testing.T) {
	c := traced(t, Options{})
	cg := tracetest.NewCgroup(t)
	l := tracetest.PingPong(t, cg, lastCPU())
	awaitGroup(t, c, cg.Name)
	l.Stop()
	v0, i0 := l.Switches()
	sample(t, c)
	l.Resume()
	var (
		mu  sync.Mutex
		sum uint64
		wg  sync.WaitGroup
	)
	add := func(s *workload.Sample) {
		if g := groupOf(s, cg.Name); g != nil {
			mu.Lock()
			sum += g.Switches
			mu.Unlock()
		}
	}
	for range 4 {
		wg.Go(func() {
			for range 50 {
				time.Sleep(3 * time.Millisecond)
				if s, err := c.Collect(time.Now()); err == nil {
					add(&s)
				} else if !errors.Is(err, ErrTooSoon) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l.Stop()
	v1, i1 := l.Switches()
	s := sample(t, c)
	add(&s)
	if want := v1 - v0 + i1 - i0; sum != want {
		t.Errorf("%d switches, want %d", sum, want)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	tracetest.RequireTracer(t)
	cycle := func() {
		c, err := New(Options{Source: workload.SourceBPF})
		if err != nil {
			t.Fatal(err)
		}
		sample(t, c)
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		if _, err := c.Collect(time.Now()); err == nil {
			t.Error("collected after Close")
		}
	}
	cycle()
	running := goleak.IgnoreCurrent()
	before := descriptors(t)
	for range 3 {
		cycle()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	goleak.VerifyNone(t, running)
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

const unprivilegedKey = "AUTOSA_TEST_UNPRIVILEGED"

func TestWithoutCapabilitiesTotalsAreCollectedAndTheReasonNamesThem(t *testing.T) {
	if os.Getenv(unprivilegedKey) != "" {
		unprivileged(t)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), unprivilegedKey+"=1")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "unprivileged: ok") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func unprivileged(t *testing.T) {
	if _, err := New(Options{Source: workload.SourceBPF}); err == nil {
		t.Fatal("the tracer was loaded without capabilities")
	}
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for end := processTime(t) + 200*time.Millisecond; processTime(t) < end; {
	}
	s := sample(t, c)
	for _, want := range []string{"CAP_BPF", "CAP_PERFMON"} {
		if !strings.Contains(s.Tracer.Reason, want) {
			t.Errorf("reason %q does not name %s", s.Tracer.Reason, want)
		}
	}
	if s.Source != workload.SourceProcfs || s.Host.Switches == 0 || s.Host.Run < 100*time.Millisecond {
		t.Errorf("source %s, host %+v", s.Source, s.Host)
	}
	if !t.Failed() {
		fmt.Println("unprivileged: ok")
	}
}

// BenchmarkCollect is the price of a tick.
func BenchmarkCollect(b *testing.B) {
	tracetest.RequireTracer(b)
	for _, source := range []workload.Source{workload.SourceBPF, workload.SourceProcfs} {
		b.Run(string(source), func(b *testing.B) {
			c, err := New(Options{Source: source})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ReportAllocs()
			for b.Loop() {
				c.last = c.last.Add(-minInterval)
				if _, err := c.Collect(time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
