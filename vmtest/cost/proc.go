// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prometheus/procfs"
)

// cpuTime sums the run time of a process's threads to the nanosecond, from
// /proc/PID/task/*/schedstat: clock ticks of 10 ms are too coarse for a daemon
// that takes a few of them a minute.
func cpuTime(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("no threads of process %d found: %w", pid, err)
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

// machineSwitches is the kernel's own count of context switches since boot.
func machineSwitches() (uint64, error) {
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

func residentBytes(pid int) (uint64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	st, err := p.NewStatus()
	if err != nil {
		return 0, err
	}
	return st.VmRSS, nil
}

// pingpong passes a byte to and fro between two threads on one CPU, so that
// each pass is a context switch, rate times a second: in bursts of a
// millisecond's worth. The returned function ends it.
func pingpong(rate int) (func() error, error) {
	var there, back [2]int
	if err := errors.Join(unix.Pipe2(there[:], unix.O_CLOEXEC), unix.Pipe2(back[:], unix.O_CLOEXEC)); err != nil {
		return nil, err
	}
	cpu := runtime.NumCPU() - 1
	ended := make(chan error, 2)
	stop := make(chan struct{})
	go func() { // answers until the other side closes
		ended <- onCPU(cpu, func() error {
			defer unix.Close(back[1])
			b := make([]byte, 1)
			for {
				if n, err := unix.Read(there[0], b); err != nil || n == 0 {
					return err
				}
				if _, err := unix.Write(back[1], b); err != nil {
					return err
				}
			}
		})
	}()
	go func() {
		ended <- onCPU(cpu, func() error {
			defer unix.Close(there[1])
			b := make([]byte, 1)
			trips := max(rate/2/1000, 1) // two switches a round trip, a burst a millisecond
			next := time.Now()
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				for range trips {
					if _, err := unix.Write(there[1], b); err != nil {
						return err
					}
					if _, err := unix.Read(back[0], b); err != nil {
						return err
					}
				}
				next = next.Add(time.Millisecond)
				if d := time.Until(next); d > 0 {
					ts := unix.NsecToTimespec(d.Nanoseconds())
					_ = unix.Nanosleep(&ts, nil)
				}
			}
		})
	}()
	return func() error {
		close(stop)
		err := errors.Join(<-ended, <-ended)
		return errors.Join(err, unix.Close(there[0]), unix.Close(back[0]))
	}, nil
}

// onCPU runs f on a thread of its own that stays on one CPU.
func onCPU(cpu int, f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("stay on CPU %d: %w", cpu, err)
	}
	return f()
}
