// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package sched

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"autosa/vmtest/guest"
)

// Under emulation everything takes about ten times as long, and more beside other work.
const soon = 2 * time.Minute

// The object's numbers of the kernel's are this kernel's.
func TestVMConstantsAreTheKernels(t *testing.T) {
	guest.SchedExt(t)
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	for enum, want := range map[string]map[string]uint64{
		"scx_ent_flags":    {"SCX_TASK_QUEUED": 1},
		"scx_kick_flags":   {"SCX_KICK_IDLE": 1, "SCX_KICK_PREEMPT": 2},
		"scx_enq_flags":    {"SCX_ENQ_WAKEUP": 1, "SCX_ENQ_PREEMPT": 1 << 32},
		"scx_dsq_id_flags": {"SCX_DSQ_GLOBAL": 1<<63 | 1, "SCX_DSQ_LOCAL": 1<<63 | 2},
		"scx_exit_kind": {
			"SCX_EXIT_UNREG": uint64(ExitUnregistered), "SCX_EXIT_UNREG_BPF": uint64(ExitByBPF),
			"SCX_EXIT_UNREG_KERN": uint64(ExitByKernel), "SCX_EXIT_SYSRQ": uint64(ExitSysRq), "SCX_EXIT_ERROR": uint64(ExitError),
			"SCX_EXIT_ERROR_BPF": uint64(ExitErrorBPF), "SCX_EXIT_ERROR_STALL": uint64(ExitErrorStall),
		},
	} {
		var e *btf.Enum
		if err := kernel.TypeByName(enum, &e); err != nil {
			t.Errorf("%s: %v", enum, err)
			continue
		}
		for name, value := range want {
			if !slices.Contains(e.Values, btf.EnumValue{Name: name, Value: value}) {
				t.Errorf("%s is not %#x in %s", name, value, enum)
			}
		}
	}
}

func TestVMTakesChargeObeysAndGivesBack(t *testing.T) {
	guest.SchedExt(t)
	files := openFiles(t)
	seq := enableSeq(t)
	began := time.Now()
	s, err := Load(Options{Policy: Throughput})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer s.Close()
	loaded := time.Now()
	if st := guest.State(t); st != "disabled" {
		t.Fatalf("state %s after Load", st)
	}
	if err := s.Attach(); err != nil {
		t.Fatal(err)
	}
	t.Logf("load %v, attach %v", loaded.Sub(began).Round(time.Millisecond), time.Since(loaded).Round(time.Millisecond))
	if st, ops := guest.State(t), guest.Ops(t); st != "enabled" || ops != Ops {
		t.Fatalf("state %s, ops %q", st, ops)
	}
	if got := enableSeq(t); got != seq+1 {
		t.Errorf("enable_seq went from %d to %d", seq, got)
	}
	second, err := Load(Options{})
	if err != nil {
		t.Fatalf("a second one beside it: %+v", err)
	}
	if err := second.Attach(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("attaching a second one: %v, want EBUSY", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}

	// Idle but for this: what a change costs.
	t.Logf("p99 of a policy change %v", writeP99(t, s))

	spinners := spin(t, 3)
	sleeper := guest.Start(t, "/bin/sh", "-c", "while :; do sleep 0.05; done")
	for _, p := range Policies() {
		if err := s.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		if s.Policy() != p {
			t.Errorf("policy %s after an order for %s", s.Policy(), p)
		}
		want := s.Generation()
		guest.Await(t, soon, fmt.Sprintf("every CPU obeys %s", p), func() bool {
			return !slices.ContainsFunc(s.Seen(), func(g uint64) bool { return g != want })
		})
		before := runtimes(t, spinners)
		guest.Await(t, soon, "all spinners go on", func() bool {
			for i, r := range runtimes(t, spinners) {
				if r < before[i]+50*time.Millisecond {
					return false
				}
			}
			return true
		})
	}
	if got := enableSeq(t); got != seq+1 {
		t.Errorf("enable_seq is %d after policy changes, was %d", got, seq+1)
	}
	if sleeper.Ended() {
		t.Error("the sleeper has ended")
	}
	stats, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", stats)
	if stats.Direct == 0 || stats.Enqueued == 0 || stats.Local == 0 || stats.Unassigned != 0 {
		t.Errorf("stats %+v", stats)
	}

	began = time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("close %v", time.Since(began).Round(time.Millisecond))
	if st := guest.State(t); st != "disabled" {
		t.Errorf("state %s after Close", st)
	}
	if e, ok := s.Exit(); !ok || e.Kind != ExitUnregistered || e.Failed() || e.Reason == "" {
		t.Errorf("exit %+v, %t", e, ok)
	}
	if _, err := s.Stats(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Stats after Close: %v", err)
	}
	before := runtimes(t, spinners)
	guest.Await(t, soon, "the kernel's own runs all", func() bool {
		for i, r := range runtimes(t, spinners) {
			if r == before[i] {
				return false
			}
		}
		return true
	})
	if got := openFiles(t); !slices.Equal(got, files) {
		t.Errorf("open files before: %v, after: %v", files, got)
	}
}

// writeP99 is the least of the rounds' 99th percentiles: the emulated CPU stops
// at times for others' sake. What is promised is held in the long form.
func writeP99(t *testing.T, s *Scheduler) time.Duration {
	best := time.Hour
	for range 10 {
		var all []time.Duration
		for i := range 500 {
			began := time.Now()
			if err := s.SetPolicy(Policies()[i%len(policies)]); err != nil {
				t.Fatal(err)
			}
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		best = min(best, all[len(all)*99/100])
	}
	limit := 20 * time.Microsecond
	if guest.VirtualTime() {
		limit = 40 * time.Microsecond // 5,000 instructions
	}
	if best >= limit && !testing.Short() {
		t.Errorf("p99 of a policy change is %v in the best of ten rounds", best)
	}
	return best
}

func TestVMEqualSpinnersGetEqualTime(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	s := attached(t, Options{})
	spinners := spin(t, 5)
	for _, p := range Policies() {
		if err := s.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		fair(t, string(p), spinners, 8*time.Second)
	}
}

// Two CPUs that are told to have a cache each: three spinners get the same all
// the same, since the caches take from each other, and not at every turn.
func TestVMTwoCachesAreUsedAsTwoAndSharedFairly(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	s := attached(t, Options{caches: []int{0, 1}})
	spinners := spin(t, 3)
	fair(t, "three on two caches", spinners, 16*time.Second)
	stats, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", stats)
	if stats.Stolen == 0 || stats.Local < stats.Stolen {
		t.Errorf("%d taken from the own cache's queue, %d from the other's", stats.Local, stats.Stolen)
	}
}

func fair(t *testing.T, what string, all []*guest.Process, total time.Duration) {
	t.Helper()
	settle(t, what, all, total, 0.05, func(share []float64) float64 {
		want := 1 / float64(len(share))
		return max(slices.Max(share)/want-1, 1-slices.Min(share)/want)
	})
}

func TestVMNiceAndCgroupWeightsAreHonoured(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	s := attached(t, Options{})
	ratio := func(t *testing.T, what string, heavy, light []*guest.Process, want float64) {
		t.Helper()
		settle(t, what, append(slices.Clone(heavy), light...), 6*time.Second, 0.1, func(share []float64) float64 {
			var h, l float64
			for i, x := range share {
				if i < len(heavy) {
					h += x
				} else {
					l += x
				}
			}
			return math.Abs(h/l/want - 1)
		})
	}
	for _, p := range Policies() {
		if err := s.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		// As the kernel has it, nice 5 weighs 33 where nice 0 weighs 100.
		t.Run("nice "+string(p), func(t *testing.T) {
			ratio(t, "nice 0 to nice 5, on one CPU", pinned(t, spin(t, 1), 1), pinned(t, spin(t, 1, "nice", "-n", "5"), 1), 100.0/33)
		})
		t.Run("cgroups "+string(p), func(t *testing.T) {
			ratio(t, "cgroup of 300 with two tasks to one of 100 with six", inCgroup(t, cgroup(t, "", 300), spin(t, 2)),
				inCgroup(t, cgroup(t, "", 100), spin(t, 6)), 3)
		})
	}
	t.Run("changed in place", func(t *testing.T) {
		above := cgroup(t, "", 100)
		a, b := cgroup(t, above, 100), cgroup(t, above, 100)
		heavy, light := inCgroup(t, a, spin(t, 2)), inCgroup(t, b, spin(t, 3))
		ratio(t, "equal cgroups", heavy, light, 1)
		write(t, filepath.Join(a, "cpu.weight"), "300")
		ratio(t, "one of them made 300", heavy, light, 3)
		inCgroup(t, a, light)
		ratio(t, "all in one", heavy, light, 2.0/3)
	})
}

// Beside tasks so heavy that its share is nothing, a task runs before the
// watchdog bites.
func TestVMTheLightestTaskProgresses(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	s := attached(t, Options{Policy: Throughput})
	pinned(t, spin(t, 3), 1)
	light := pinned(t, spin(t, 1, "nice", "-n", "19"), 1)
	from := runtimes(t, light)[0]
	guest.Await(t, soon, "nice 19 beside three of nice 0", func() bool { return runtimes(t, light)[0] > from+20*time.Millisecond })

	heavy := pinned(t, spin(t, 3, "nice", "-n", "-20"), 1)
	hogs := runtimes(t, heavy)
	turns := arrivals(t, light[0])
	guest.Await(t, soon, "nice 19 beside three of nice -20", func() bool { return arrivals(t, light[0]) >= turns+3 })
	stats, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v; the heavy ones ran %v meanwhile", stats, runtimes(t, heavy)[0]-hogs[0])
	if stats.Overdue == 0 {
		t.Error("nobody was overdue")
	}
}

func TestVMPinnedTasksRunWhereverTheyAreSent(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	attached(t, Options{caches: []int{0, 1}})
	spin(t, 3)
	moved := spin(t, 1)
	for i := range 20 {
		cpu := i % 2
		pinned(t, moved, cpu)
		from := runtimes(t, moved)[0]
		guest.Await(t, soon, fmt.Sprintf("it runs on CPU %d", cpu), func() bool { return runtimes(t, moved)[0] > from+10*time.Millisecond })
		if got := processor(t, moved[0]); got != cpu {
			t.Errorf("it is on CPU %d, may run on %d only", got, cpu)
		}
	}
}

// Tasks that may use one CPU alone share it, however many others stand before
// them in the queue of their cache.
func TestVMTasksBoundToCPUsOfOneCacheShareTheirs(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	s := attached(t, Options{})
	pinned(t, spin(t, 12), 0)
	two := pinned(t, spin(t, 2), 1)
	fair(t, "two on CPU 1 beside twelve on CPU 0", two, 6*time.Second)
	if stats, err := s.Stats(); err != nil || stats.Overdue > 0 {
		t.Errorf("%+v %v: somebody had to wait until the guard helped", stats, err)
	}
}

// A CPU that goes has tasks in the queue that may run nowhere else: they go with
// it, to where the kernel sends them. It comes back, and is used.
func TestVMComingAndGoingCPUsEjectNobody(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "6.18")
	s := attached(t, Options{caches: []int{0, 1}})
	seq := enableSeq(t)
	const online = "/sys/devices/system/cpu/cpu1/online"
	t.Cleanup(func() { write(t, online, "1") })
	spinners := spin(t, 5)
	for range 3 {
		for _, value := range []string{"0", "1"} {
			if value == "0" {
				pinned(t, spinners[:2], 1) // the kernel frees them when the CPU goes
			}
			write(t, online, value)
			before := runtimes(t, spinners)
			guest.Await(t, soon, "all spinners run with cpu1/online "+value, func() bool {
				for i, r := range runtimes(t, spinners) {
					if r < before[i]+10*time.Millisecond {
						return false
					}
				}
				return true
			})
		}
	}
	if e, out := s.Exit(); out || enableSeq(t) != seq || guest.Ops(t) != Ops {
		t.Errorf("ops %q, enable_seq %d, was %d; exit %v", guest.Ops(t), enableSeq(t), seq, e)
	}
}

func TestVMSysRqEndsItAndItSaysSo(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "7.2")
	s := attached(t, Options{})
	write(t, "/proc/sysrq-trigger", "S")
	select {
	case <-s.Done():
	case <-time.After(soon):
		t.Fatal("no account of the end")
	}
	e, ok := s.Exit()
	t.Logf("%+v", e)
	if !ok || e.Kind != ExitSysRq || e.Failed() || !strings.Contains(strings.ToLower(e.Reason), "sysrq") {
		t.Errorf("exit %+v, %t", e, ok)
	}
	guest.Await(t, soon, "state disabled", func() bool { return guest.State(t) == "disabled" })
}

// attached is a scheduler in charge until the test ends.
func attached(t *testing.T, o Options) *Scheduler {
	t.Helper()
	s, err := Load(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if e, out := s.Exit(); out && e.Failed() {
			t.Errorf("it was ejected: %v\n%s", e, e.Dump)
		}
	})
	if err := s.Attach(); err != nil {
		t.Fatal(err)
	}
	return s
}

// spin starts n single-threaded processes that never sleep, through the program
// named if any.
func spin(t *testing.T, n int, through ...string) []*guest.Process {
	t.Helper()
	var all []*guest.Process
	argv := slices.Concat([]string{"/usr/bin/env"}, through, []string{"/bin/sh", "-c", "while :; do :; done"})
	for range n {
		all = append(all, guest.Start(t, argv[0], argv[1:]...))
	}
	for _, p := range all {
		guest.Await(t, soon, "the shell spins", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.Cmd.Process.Pid))
			return err == nil && string(b) == "sh\n"
		})
	}
	return all
}

func pinned(t *testing.T, all []*guest.Process, cpu int) []*guest.Process {
	t.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	for _, p := range all {
		if err := unix.SchedSetaffinity(p.Cmd.Process.Pid, &set); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// cgroup makes a cgroup of a weight, below another or at the top.
func cgroup(t *testing.T, above string, weight int) string {
	t.Helper()
	if above == "" {
		above = "/sys/fs/cgroup"
	}
	write(t, filepath.Join(above, "cgroup.subtree_control"), "+cpu")
	path, err := os.MkdirTemp(above, "autosa-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		guest.Await(t, soon, "cgroup empty", func() bool { return os.Remove(path) == nil })
	})
	write(t, filepath.Join(path, "cpu.weight"), strconv.Itoa(weight))
	return path
}

func inCgroup(t *testing.T, path string, all []*guest.Process) []*guest.Process {
	t.Helper()
	for _, p := range all {
		write(t, filepath.Join(path, "cgroup.procs"), strconv.Itoa(p.Cmd.Process.Pid))
	}
	return all
}

// settle waits until the CPU time that all have had since the call is shared as
// it should be: off says how far it is from that. Turns are as coarse as the
// emulated CPU's clock, so how close it comes depends on how long one looks; where
// it does not come at all, the shares are wrong to stay.
func settle(t *testing.T, what string, all []*guest.Process, total time.Duration, limit float64, off func(share []float64) float64) {
	t.Helper()
	from := runtimes(t, all)
	for deadline := time.Now().Add(soon); ; {
		time.Sleep(200 * time.Millisecond)
		var spent time.Duration
		share := make([]float64, len(all))
		for i, r := range runtimes(t, all) {
			share[i] = float64(r - from[i])
			spent += r - from[i]
		}
		for i := range share {
			share[i] /= float64(spent)
		}
		late := time.Now().After(deadline)
		if spent < total && !late {
			continue
		}
		if by := off(share); by <= limit {
			t.Logf("%s: %.1f %% off after %v of CPU time: %.4f", what, 100*by, spent.Round(time.Millisecond), share)
			return
		} else if late {
			t.Errorf("%s: %.1f %% off, want at most %.0f %%, after %v of CPU time: %.4f", what, 100*by, 100*limit, spent, share)
			return
		}
	}
}

// runtimes is how long each has run: the kernel's count.
func runtimes(t *testing.T, all []*guest.Process) []time.Duration {
	t.Helper()
	var each []time.Duration
	for _, p := range all {
		run, _ := schedstat(t, p)
		each = append(each, run)
	}
	return each
}

func arrivals(t *testing.T, p *guest.Process) uint64 {
	t.Helper()
	_, n := schedstat(t, p)
	return n
}

func schedstat(t *testing.T, p *guest.Process) (run time.Duration, arrivals uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var wait uint64
	if _, err := fmt.Sscan(string(b), &run, &wait, &arrivals); err != nil {
		t.Fatalf("schedstat %q: %v", b, err)
	}
	return run, arrivals
}

func processor(t *testing.T, p *guest.Process) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	n, err := strconv.Atoi(f[36])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func enableSeq(t *testing.T) uint64 {
	t.Helper()
	b, err := os.ReadFile("/sys/kernel/sched_ext/enable_seq")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// openFiles is what is open of the kinds that a scheduler is made of.
func openFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && (strings.Contains(to, "bpf") || strings.Contains(to, "btf") || strings.Contains(to, "eventpoll")) {
			files = append(files, to)
		}
	}
	slices.Sort(files)
	return files
}

func write(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}
