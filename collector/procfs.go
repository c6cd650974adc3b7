// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"autosa/workload"
)

const (
	// maxScan bounds the threads looked at in a tick.
	maxScan = 4096
	// lossNotScanned and lossUnreadable are the ways in which the fallback loses
	// threads: there are too many, or they may not be read.
	lossNotScanned = "thread_not_scanned"
	lossUnreadable = "thread_unreadable"
)

// procfsSource is the fallback: totals from /proc, no distributions, no events.
//
// Run is that of the threads that live at the end of the interval, or user and
// system time of /proc/stat where that is more; Wait is that of /proc/schedstat
// where the kernel has it, which is complete, and else that of
// the same threads. Switches are theirs too: what began and ended within one
// interval is missing. IOWait is a lower
// bound: time in which a CPU was idle with a task of its own waiting for
// storage. Sleep is not known.
type procfsSource struct {
	root    string
	machine *machine
	cg      *cgroups
	parts   *parts
	groups  int
	maxScan int
	reason  string
	details *details

	threads map[int]*thread
	pass    uint64
	seen    uint64
	losses  [2]uint64 // not scanned, unreadable
	rqWait  uint64    // of /proc/schedstat
	byGroup map[string]*workload.Group
	quotas  *quotas
	buf     []byte
}

// thread is what was read of a thread last.
type thread struct {
	schedstat
	switches
	group string
	since uint64 // the pass in which the group was read
	pass  uint64
}

// groupPasses is for how many passes a process is taken to stay in its cgroup.
const groupPasses = 16

func newProcfsSource(o Options, cg *cgroups, m *machine, p *parts, reason string) (*procfsSource, error) {
	s := &procfsSource{
		root: o.ProcRoot, machine: m, cg: cg, parts: p, groups: o.Groups, reason: reason,
		maxScan: o.maxScan, threads: make(map[int]*thread), quotas: newQuotas(cg), details: newDetails(cg), buf: make([]byte, 8192),
	}
	if m.cpuErr != nil {
		return nil, fmt.Errorf("read CPU accounting: %w", m.cpuErr)
	}
	// What happened before is nobody's interval.
	if err := s.collect(&workload.Sample{Interval: time.Second, CPUs: 1}); err != nil {
		return nil, err
	}
	s.seen = 0
	return s, nil
}

func (s *procfsSource) close() error { return nil }

func (s *procfsSource) collect(sample *workload.Sample) error {
	if s.machine.cpuErr != nil {
		return fmt.Errorf("read CPU accounting: %w", s.machine.cpuErr)
	}
	s.byGroup = make(map[string]*workload.Group)
	host := &sample.Host
	if err := s.scan(host); err != nil {
		return err
	}
	host.Name = workload.HostName
	host.Run = max(host.Run, seconds(sample.CPU.User+sample.CPU.System))
	host.IOWait = seconds(sample.CPU.IOWait)
	wait, err := s.runQueues()
	if s.parts.report("run queue wait of the machine", err) && wait >= 0 {
		host.Wait = wait
	}
	s.list(sample)
	raiseHost(sample)
	setOther(sample)
	s.seen += host.Switches
	sample.Tracer = workload.TracerStats{
		Source: workload.SourceProcfs, Reason: s.reason, Switches: s.seen,
		Losses: map[string]uint64{lossNotScanned: s.losses[0], lossUnreadable: s.losses[1]},
		Cost:   sample.Tracer.Cost,
	}
	s.quotas.tick++
	return nil
}

// raiseHost makes the host's times at least the sums of its groups': they come
// from several accounts of the kernel, read one after the other.
func raiseHost(s *workload.Sample) {
	var run, wait time.Duration
	for i := range s.Groups {
		run += s.Groups[i].Run
		wait += s.Groups[i].Wait
	}
	s.Host.Run, s.Host.Wait = max(s.Host.Run, run), max(s.Host.Wait, wait)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// runQueues returns the run-queue wait of all CPUs since the call before, -1
// where the kernel does not say (no CONFIG_SCHEDSTATS).
func (s *procfsSource) runQueues() (time.Duration, error) {
	stat, err := s.machine.fs.Schedstat()
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	var sum uint64
	for _, cpu := range stat.CPUs {
		sum += cpu.WaitingNanoseconds
	}
	before := s.rqWait
	s.rqWait = sum
	if sum < before { // a CPU went off line
		return 0, nil
	}
	return time.Duration(sum - before), nil
}

// scan reads every thread, adding up what happened since the scan before.
func (s *procfsSource) scan(host *workload.Group) error {
	s.pass++
	pids, err := numbers(s.root)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	left := s.maxScan
	for _, pid := range pids {
		task := s.root + "/" + strconv.Itoa(pid) + "/task"
		tids, err := numbers(task)
		if err != nil {
			continue // gone
		}
		for _, tid := range tids {
			if left--; left < 0 {
				s.losses[0]++
				continue
			}
			s.thread(host, pid, tid, task+"/"+strconv.Itoa(tid))
		}
	}
	for tid, t := range s.threads {
		if t.pass != s.pass {
			delete(s.threads, tid)
		}
	}
	return nil
}

// thread adds one thread's activity since it was read before; all of it for a
// thread that is new since the scan before.
func (s *procfsSource) thread(host *workload.Group, pid, tid int, dir string) {
	t, known := s.threads[tid]
	if !known {
		t = &thread{}
	}
	before := t.schedstat
	now, err := s.schedstat(dir)
	if err != nil {
		s.unreadable(err)
		return
	}
	if known && (now.slices < before.slices || now.run < before.run) {
		// Another thread with a used id.
		*t, before = thread{}, schedstat{}
	}
	t.schedstat, t.pass = now, s.pass
	s.threads[tid] = t
	if now.slices == before.slices && now.run == before.run {
		return
	}
	old := t.switches
	sw, err := s.switches(dir)
	if err != nil {
		s.unreadable(err)
		return
	}
	t.switches = sw
	if s.pass == 1 {
		return // the baseline
	}
	g := host
	for range 2 {
		g.Voluntary += sw.voluntary - old.voluntary
		g.Involuntary += sw.involuntary - old.involuntary
		g.Switches += sw.voluntary - old.voluntary + sw.involuntary - old.involuntary
		g.Wait += time.Duration(now.wait - before.wait)
		g.Run += time.Duration(now.run - before.run)
		if g = s.group(t, pid); g == nil {
			return
		}
	}
}

// unreadable counts a thread that could not be read; to be gone is no loss.
func (s *procfsSource) unreadable(err error) {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		s.losses[1]++
	}
}

// group returns the sums of a thread's cgroup, nil where there is none.
func (s *procfsSource) group(t *thread, pid int) *workload.Group {
	if s.cg == nil {
		return nil
	}
	if t.group == "" || s.pass-t.since >= groupPasses {
		b, err := s.read(s.root + "/" + strconv.Itoa(pid) + "/cgroup")
		if err != nil {
			return nil
		}
		t.group, t.since = unifiedPath(string(b)), s.pass
	}
	if t.group == "" {
		return nil
	}
	g := s.byGroup[t.group]
	if g == nil {
		g = &workload.Group{Name: t.group}
		s.byGroup[t.group] = g
	}
	return g
}

// list adds the groups that ran longest.
func (s *procfsSource) list(sample *workload.Sample) {
	var all []*workload.Group
	for _, g := range s.byGroup {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *workload.Group) int {
		return cmp.Or(cmp.Compare(b.Run, a.Run), cmp.Compare(a.Name, b.Name))
	})
	sample.Groups = make([]workload.Group, 0, min(len(all), s.groups))
	for _, g := range all[:min(len(all), s.groups)] {
		var st unix.Stat_t
		if unix.Stat(s.cg.path(g.Name), &st) == nil {
			g.ID = st.Ino
		}
		g.Throttled = s.quotas.since(g.Name)
		sample.Groups = append(sample.Groups, *g)
	}
	s.details.set(sample)
	s.details.setRun(sample)
}

// schedstat is /proc/PID/task/TID/schedstat.
type schedstat struct{ run, wait, slices uint64 }

func (s *procfsSource) schedstat(dir string) (schedstat, error) {
	b, err := s.read(dir + "/schedstat")
	if err != nil {
		return schedstat{}, err
	}
	return parseSchedstat(string(b))
}

func parseSchedstat(text string) (schedstat, error) {
	var v [3]uint64
	fields := strings.Fields(text)
	if len(fields) != len(v) {
		return schedstat{}, fmt.Errorf("schedstat has %d fields", len(fields))
	}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return schedstat{}, fmt.Errorf("schedstat: %w", err)
		}
		v[i] = n
	}
	return schedstat{run: v[0], wait: v[1], slices: v[2]}, nil
}

// switches are the context switches in /proc/PID/task/TID/status.
type switches struct{ voluntary, involuntary uint64 }

func (s *procfsSource) switches(dir string) (switches, error) {
	b, err := s.read(dir + "/status")
	if err != nil {
		return switches{}, err
	}
	return parseSwitches(string(b))
}

func parseSwitches(text string) (switches, error) {
	var (
		sw    switches
		found int
	)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		var to *uint64
		switch key {
		case "voluntary_ctxt_switches":
			to = &sw.voluntary
		case "nonvoluntary_ctxt_switches":
			to = &sw.involuntary
		default:
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return switches{}, fmt.Errorf("%s: %w", key, err)
		}
		*to = n
		found++
	}
	if found != 2 {
		return switches{}, errors.New("status has no context switches")
	}
	return sw, nil
}

// unifiedPath returns the path in the v2 hierarchy from /proc/PID/cgroup.
func unifiedPath(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return strings.TrimSuffix(path, " (deleted)")
		}
	}
	return ""
}

// read returns a small file; the bytes are good until the next.
func (s *procfsSource) read(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, s.buf)
	if err != nil {
		return nil, err
	}
	return s.buf[:n], nil
}

// numbers lists a directory's entries that are numbers.
func numbers(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var ns []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n > 0 {
			ns = append(ns, n)
		}
	}
	return ns, nil
}
