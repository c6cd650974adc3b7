// SPDX-License-Identifier: Apache-2.0

// Package tracetest has known loads for tests of the tracer: processes in a
// cgroup of their own, pinned to a CPU, that spin, hand a byte to and fro, sleep
// by a period, read from a disk, or do some of that with many threads. A test binary that uses them calls [Main] in its TestMain,
// because it is started again as the load.
package tracetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/bpf/trace"
)

const loadKey = "AUTOSA_TRACETEST_LOAD"

// Main runs the tests, or the load if this process was started as one.
func Main(m *testing.M) {
	if load := os.Getenv(loadKey); load != "" {
		runLoad(load)
	}
	os.Exit(m.Run())
}

// probe asks the kernel once: on an emulated CPU that takes seconds.
var probe = sync.OnceValue(trace.Probe)

// RequireTracer skips the test where the tracer cannot run, with the reason. In
// a guest of package vmtest, whose kernels can, it fails the test instead.
func RequireTracer(t testing.TB) {
	t.Helper()
	err := probe()
	cannot := errors.Is(err, os.ErrPermission) || errors.Is(err, trace.ErrNotSupported)
	if cannot && os.Getenv("AUTOSA_VM") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Cgroup is a cgroup of the v2 hierarchy that ends with its test.
type Cgroup struct {
	Path string
	Name string // below the root of the hierarchy
	ID   uint64
}

// NewCgroup makes a cgroup. It skips the test where there is no v2 hierarchy.
func NewCgroup(t testing.TB) *Cgroup {
	t.Helper()
	root := cgroupRoot(t)
	path, err := os.MkdirTemp(root, "autosa-test-")
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	c := &Cgroup{Path: path, Name: "/" + filepath.Base(path), ID: st.Ino}
	t.Cleanup(func() { c.Remove(t) })
	return c
}

// Remove removes the cgroup, once its last process is gone.
func (c *Cgroup) Remove(t testing.TB) {
	t.Helper()
	err := os.Remove(c.Path)
	for end := time.Now().Add(5 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		err = os.Remove(c.Path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("remove cgroup: %v", err)
	}
}

func cgroupRoot(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.Contains(line, " - cgroup2 ") {
			return f[4]
		}
	}
	t.Skip("no cgroup v2 hierarchy is mounted")
	return ""
}

// AllCgroups returns the ids of all cgroups of the v2 hierarchy.
func AllCgroups(t testing.TB) []uint64 {
	t.Helper()
	var ids []uint64
	err := filepath.WalkDir(cgroupRoot(t), func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && d.IsDir() && unix.Stat(path, &st) == nil {
			ids = append(ids, st.Ino)
		}
		return nil // one that is removed meanwhile is none
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// DiskFile makes a file on a disk, so that direct reads of it wait for I/O. It
// skips the test where there is none to be found.
func DiskFile(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{"/var/tmp", "."} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.EXT4_SUPER_MAGIC && st.Type != unix.XFS_SUPER_MAGIC {
			continue
		}
		f, err := os.CreateTemp(dir, "autosa-test-")
		if err != nil {
			continue
		}
		defer f.Close()
		t.Cleanup(func() { os.Remove(f.Name()) })
		if _, err := f.Write(make([]byte, 16<<20)); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	t.Skip("no ext4 or xfs to read from")
	return ""
}

// Load is a running load. It is killed with its test.
type Load struct {
	t      testing.TB
	cgroup *Cgroup
	cmd    *exec.Cmd
	out    bytes.Buffer
}

// Spin starts a process of a single thread that never blocks.
func Spin(t testing.TB, c *Cgroup, cpu int) *Load {
	t.Helper()
	return start(t, c, cpu, exec.Command("/bin/sh", "-c", "while :; do :; done"))
}

// PingPong starts a process with two threads that hand a byte to and fro
// through pipes, as fast as they can.
func PingPong(t testing.TB, c *Cgroup, cpu int) *Load {
	t.Helper()
	return again(t, c, cpu, "pingpong")
}

// Sleep starts a process that wakes by a period, from a timer that does not
// drift.
func Sleep(t testing.TB, c *Cgroup, cpu int, period time.Duration) *Load {
	t.Helper()
	return again(t, c, cpu, "sleep "+period.String())
}

// Read starts a process that reads a block of a file at a time, past the page
// cache, and prints each read's time in ns.
func Read(t testing.TB, c *Cgroup, cpu int, path string) *Load {
	t.Helper()
	return again(t, c, cpu, "read "+path)
}

// Fork starts a process that starts short-lived processes, one after the other.
func Fork(t testing.TB, c *Cgroup, cpu int) *Load {
	t.Helper()
	return start(t, c, cpu, exec.Command("/bin/sh", "-c", "while :; do (:); done"))
}

func again(t testing.TB, c *Cgroup, cpu int, load string) *Load {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), loadKey+"="+load, "GOMAXPROCS=1", "GOGC=off")
	return start(t, c, cpu, cmd)
}

// start starts a command in a cgroup, pinned to a CPU: threads inherit their
// affinity.
func start(t testing.TB, c *Cgroup, cpu int, cmd *exec.Cmd) *Load {
	t.Helper()
	dir, err := os.Open(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	l := &Load{t: t, cgroup: c, cmd: cmd}
	cmd.Stdout, cmd.Stderr = &l.out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL, Setsid: true,
	}
	runtime.LockOSThread() // and never unlocked: Pdeathsig is of this thread
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	if aerr := unix.SchedSetaffinity(0, &all); err == nil {
		err = aerr
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Kill)
	return l
}

// PID is the load's process id.
func (l *Load) PID() int { return l.cmd.Process.Pid }

// Cgroup is the load's cgroup.
func (l *Load) Cgroup() *Cgroup { return l.cgroup }

// Kill ends the load and returns when it is gone.
func (l *Load) Kill() {
	if l.cmd.ProcessState != nil {
		return
	}
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait() // says that it was killed
}

// Output kills the load and returns what it has printed.
func (l *Load) Output() string {
	l.Kill()
	return l.out.String()
}

// Prefer gives all its threads the highest weight of ordinary tasks, so that
// the machine's other tasks disturb them little.
func (l *Load) Prefer() { l.Nice(-20) }

// Yield gives all its threads a low weight, so that a load of the whole machine
// leaves the test some of it.
func (l *Load) Yield() { l.Nice(5) }

// Nice gives all its threads a nice value.
func (l *Load) Nice(nice int) {
	l.t.Helper()
	// With autogroups a session's weight counts, not a task's.
	err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", l.PID()), []byte(strconv.Itoa(nice)), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatal(err)
	}
	for _, tid := range l.threads() {
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil {
			l.t.Fatal(err)
		}
	}
}

// Stop stops every thread and returns when each has left its CPU, so that its
// accounting stands still.
func (l *Load) Stop() { StopAll(l) }

// StopAll stops loads as much at the same time as it can.
func StopAll(loads ...*Load) {
	for _, l := range loads {
		l.t.Helper()
		if err := l.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, l := range loads {
		l.awaitStop()
	}
}

func (l *Load) awaitStop() {
	l.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		running := 0
		for _, tid := range l.threads() {
			stat := l.file(tid, "stat")
			if i := strings.LastIndexByte(stat, ')'); !strings.HasPrefix(stat[i:], ") T") || l.hasCPU(tid) {
				running++
			}
		}
		if running == 0 {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("%d threads of process %d do not stop", running, l.PID())
		}
	}
}

// hasCPU tells whether a thread is on a CPU still: it says that it stops before
// it does. Where the kernel cannot tell it answers no.
func (l *Load) hasCPU(tid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", l.PID(), tid))
	return err == nil && string(b) == "running\n"
}

// Resume undoes Stop.
func (l *Load) Resume() {
	l.t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		l.t.Fatal(err)
	}
}

// Schedstat sums run time and run-queue wait over its threads, as the kernel
// counts them.
func (l *Load) Schedstat() (run, wait time.Duration) {
	l.t.Helper()
	for _, tid := range l.threads() {
		var r, w, n int64
		if _, err := fmt.Sscan(l.file(tid, "schedstat"), &r, &w, &n); err != nil {
			l.t.Fatal(err)
		}
		run += time.Duration(r)
		wait += time.Duration(w)
	}
	return run, wait
}

// Switches sums the context switches of its threads, as the kernel counts them.
func (l *Load) Switches() (voluntary, involuntary uint64) {
	l.t.Helper()
	for _, tid := range l.threads() {
		v, i := l.switches(tid)
		voluntary += v
		involuntary += i
	}
	return voluntary, involuntary
}

func (l *Load) switches(tid int) (voluntary, involuntary uint64) {
	l.t.Helper()
	for line := range strings.Lines(l.file(tid, "status")) {
		key, value, _ := strings.Cut(line, ":")
		to := &voluntary
		switch key {
		case "nonvoluntary_ctxt_switches":
			to = &involuntary
		case "voluntary_ctxt_switches":
		default:
			continue
		}
		var err error
		if *to, err = strconv.ParseUint(strings.TrimSpace(value), 10, 64); err != nil {
			l.t.Fatal(err)
		}
	}
	return voluntary, involuntary
}

// Busiest is the thread that switched most.
func (l *Load) Busiest() int {
	l.t.Helper()
	best, most := 0, uint64(0)
	for _, tid := range l.threads() {
		if v, i := l.switches(tid); v+i > most {
			best, most = tid, v+i
		}
	}
	return best
}

// Durations returns how long each read of the load of [Read] took. It kills the
// load.
func (l *Load) Durations() (all []time.Duration) {
	l.t.Helper()
	out := l.Output()
	// Killed amid a line, perhaps.
	for line := range strings.Lines(out[:strings.LastIndexByte(out, '\n')+1]) {
		ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, time.Duration(ns))
	}
	return all
}

func (l *Load) threads() []int {
	l.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", l.PID()))
	if err != nil {
		l.t.Fatal(err)
	}
	var tids []int
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			l.t.Fatal(err)
		}
		tids = append(tids, tid)
	}
	return tids
}

func (l *Load) file(tid int, name string) string {
	l.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/%s", l.PID(), tid, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}
