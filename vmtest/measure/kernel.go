// SPDX-License-Identifier: Apache-2.0

// Package measure is what the measuring commands share: the kernel's own
// counters, the daemon under measurement, and the documents that figures go to.
package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// Switches is the kernel's own count of context switches since boot, those
// from idle included.
func Switches() (uint64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "ctxt "); ok {
			return strconv.ParseUint(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, errors.New("/proc/stat has no ctxt line")
}

// CPUTime sums the run time of a process's threads to the nanosecond, from
// /proc/PID/task/*/schedstat: the clock ticks of /proc/PID/stat, 10 ms, are too
// coarse for a daemon that takes a few of them a minute. Threads that have
// ended are missing; a Go program keeps its own.
func CPUTime(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("no threads of process %d found: %w", pid, errors.Join(err, os.ErrNotExist))
	}
	var sum time.Duration
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if errors.Is(err, os.ErrNotExist) {
			continue // a thread that has just ended
		}
		if err != nil {
			return 0, err
		}
		run, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(run, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", t, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// Memory is what a process holds, in bytes.
type Memory struct {
	Resident     uint64 // pages of it in memory, shared ones in full
	Proportional uint64 // the same with shared pages divided among who shares them
}

// MemoryOf reads the memory of a process.
func MemoryOf(pid int) (Memory, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Memory{}, err
	}
	m, err := p.ProcSMapsRollup()
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return Memory{Resident: m.Rss, Proportional: m.Pss}, nil
}

// RunTimeStatistics tells whether the administrator has BPF run-time statistics
// on (kernel.bpf_stats_enabled): they cost every program of the machine some 30
// ns a run, and figures taken with and without them do not compare.
func RunTimeStatistics() (bool, error) {
	b, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled")
	if err != nil {
		return false, err
	}
	return strings.TrimSpace(string(b)) != "0", nil
}

// CgroupRoot is where the cgroup v2 hierarchy is mounted.
func CgroupRoot() (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.Contains(line, " - cgroup2 ") {
			return f[4], nil
		}
	}
	return "", errors.New("no cgroup v2 hierarchy is mounted")
}
