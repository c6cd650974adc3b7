// SPDX-License-Identifier: Apache-2.0

package tracetest

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Await ends the test when cond does not become true, however slow the machine:
// after minutes.
func Await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	const limit = 3 * time.Minute
	for deadline := time.Now().Add(limit); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// Crowd starts a process with n threads beside those of its runtime that sleep
// 5 ms, again and again.
func Crowd(t testing.TB, c *Cgroup, cpu, n int) *Load {
	t.Helper()
	l := again(t, c, cpu, fmt.Sprintf("crowd %d", n))
	l.awaitThreads(n)
	return l
}

// Mix starts a process whose threads want more than the CPUs of the machine:
// for each CPU one that spins and eight that work for 50 us and sleep for 1 ms.
// All begin on the first CPU: [Load.Shuffle] spreads and moves them.
func Mix(t testing.TB, c *Cgroup) *Load {
	t.Helper()
	n := runtime.NumCPU()
	l := again(t, c, 0, fmt.Sprintf("mix %d %d", n, 8*n))
	l.awaitThreads(9 * n)
	return l
}

func (l *Load) awaitThreads(n int) {
	l.t.Helper()
	Await(l.t, fmt.Sprintf("%d threads of the load", n), func() bool { return len(l.threads()) >= n })
}

// Shuffle pins every thread to one CPU of the machine, the next thread to the
// next CPU; each turn moves them all on by one.
func (l *Load) Shuffle(turn int) {
	l.t.Helper()
	for i, tid := range l.threads() {
		var one unix.CPUSet
		one.Set((turn + i) % runtime.NumCPU())
		if err := unix.SchedSetaffinity(tid, &one); err != nil && err != unix.ESRCH {
			l.t.Fatal(err)
		}
	}
}

// crowd sleeps in many threads.
func crowd(arg string) error {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(n + 1)
	for range n {
		go rest(5*time.Millisecond, 0)
	}
	select {}
}

// mix spins in some threads and works now and then in others.
func mix(arg string) error {
	spin, work, _ := strings.Cut(arg, " ")
	spinners, err := strconv.Atoi(spin)
	if err != nil {
		return err
	}
	workers, err := strconv.Atoi(work)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(spinners + workers + 1)
	for range spinners {
		go func() {
			runtime.LockOSThread()
			for !time.Now().IsZero() {
			}
		}()
	}
	for range workers {
		go rest(time.Millisecond, 50*time.Microsecond)
	}
	select {}
}

// rest sleeps and works by turns, in a thread of its own and by system calls
// that the runtime does not see: it would wake threads of its own.
func rest(pause, work time.Duration) {
	runtime.LockOSThread()
	ts := unix.NsecToTimespec(int64(pause))
	for {
		unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
		for began := time.Now(); time.Since(began) < work; {
		}
	}
}
