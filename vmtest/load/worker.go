// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const maxWorkers = 4096

// slot is a worker's part of the memory it shares with the parent. Only the
// worker writes it; the parent reads it once the worker is gone.
type slot struct {
	iterations uint64
	missed     uint64
	failedOp   uint64 // one of the op constants, 0 when nothing failed
	errno      uint64
	times      histogram
}

// What a worker can fail at.
const (
	opNone = iota
	opFork
	opWait
	opPin
	opRead
	opWrite
	opSleep
)

var opNames = [...]string{"nothing", "fork", "wait for a child", "pin to the CPU", "read", "write", "sleep"}

// worker is what a forked worker works with. Nothing that it does may allocate,
// grow its stack, or enter the Go scheduler: of the runtime, only this thread
// exists in the fork.
type worker struct {
	*slot
	index int
	speed speed
	p     params
	fds   [2]int
	size  int64 // of the file to read
	buf   []byte
	rng   uint64
}

// crew is the workers of one phase.
type crew struct {
	slots []slot
	mem   []byte
	pids  []int
}

// newCrew maps the shared memory for n workers.
func newCrew(n int) (*crew, error) {
	size := max(n, 1) * int(unsafe.Sizeof(slot{}))
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map shared memory: %w", err)
	}
	return &crew{slots: unsafe.Slice((*slot)(unsafe.Pointer(&mem[0])), n), mem: mem, pids: make([]int, 0, n)}, nil
}

func (c *crew) close() { _ = unix.Munmap(c.mem) }

// start forks one worker that runs body, which must not return.
func (c *crew) start(w worker, body func(*worker)) error {
	w.index = len(c.pids)
	w.slot = &c.slots[w.index]
	w.rng = uint64(w.index)*0x9e3779b97f4a7c15 + 1
	growStack()
	parent := unix.Getpid()
	pid, errno := fork(parent)
	if errno != 0 {
		return fmt.Errorf("fork: %w", errno)
	}
	if pid == 0 {
		// A group of its own, so that the parent can end its children with it.
		if _, _, e := syscall.RawSyscall(unix.SYS_SETPGID, 0, 0, 0); e != 0 {
			w.fail(opFork, e)
		}
		if w.p.cpu >= 0 {
			w.pin(w.p.cpu)
		}
		body(&w)
		exit(0)
	}
	c.pids = append(c.pids, pid)
	return nil
}

// wait lets the workers work until ctx ends or the duration is over; a worker
// that ends by itself before that is an error. Then it ends all of them.
func (c *crew) wait(ctx context.Context, d time.Duration) error {
	if d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	if len(c.pids) == 0 {
		<-ctx.Done()
		return nil
	}
	early := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.reap(early)
	}()
	var err error
	select {
	case <-ctx.Done():
	case err = <-early:
	}
	c.kill()
	<-gone
	return err
}

// kill ends every worker and its children. A worker that has not made its
// group yet is ended by itself.
func (c *crew) kill() {
	for _, pid := range c.pids {
		_ = unix.Kill(-pid, unix.SIGKILL)
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// reap waits for every child, orphans of workers too, and sends word of the
// first worker that ends.
func (c *crew) reap(early chan<- error) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return // ECHILD: all gone
		}
		i := slices.Index(c.pids, pid)
		if i < 0 {
			continue
		}
		if s := &c.slots[i]; s.failedOp != opNone {
			err = fmt.Errorf("worker %d could not %s: %w", i, opNames[s.failedOp], syscall.Errno(s.errno))
		} else {
			err = fmt.Errorf("worker %d ended by itself: status %#x", i, uint32(ws))
		}
		select {
		case early <- err:
		default: // one is enough
		}
	}
}

// fork is fork(2). It returns 0 in the child, whose signals are as the system
// makes them and which dies when the thread that forked it does.
//
// The runtime is not told. That is sound here because the child runs only what
// worker's comment allows, and because all signals are blocked across the
// call, so the runtime's handlers never run in the child.
func fork(parent int) (int, syscall.Errno) {
	var all, old uint64 = ^uint64(0), 0
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
		return int(pid), errno
	}
	var dfl [4]uint64 // struct sigaction of zeros: SIG_DFL
	for sig := uintptr(1); sig <= 64; sig++ {
		// SIGKILL, SIGSTOP and the C library's own cannot be set; no matter.
		syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	}
	syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	if ppid, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); int(ppid) != parent {
		exit(1)
	}
	var none uint64
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
	return 0, 0
}

func exit(code int) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(code), 0, 0)
	}
}

// growStack makes the goroutine's stack so large that a fork need not grow it.
//
//go:noinline
func growStack() byte {
	var room [64 << 10]byte
	for i := range room {
		room[i] = byte(i)
	}
	return room[len(room)/2]
}

// fail ends the worker and leaves word why.
func (w *worker) fail(op uint64, errno syscall.Errno) {
	w.failedOp, w.errno = op, uint64(errno)
	exit(1)
}

func (w *worker) pin(cpu int) {
	var set [maxWorkers / 64]uint64
	if cpu/64 >= len(set) {
		w.fail(opPin, unix.EINVAL)
	}
	set[cpu/64] = 1 << (cpu % 64)
	if _, _, e := syscall.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set))); e != 0 {
		w.fail(opPin, e)
	}
}

// now is CLOCK_MONOTONIC in nanoseconds.
func now() int64 {
	var ts unix.Timespec
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

// sleepUntil sleeps to an absolute time of now.
func (w *worker) sleepUntil(t int64) {
	ts := unix.NsecToTimespec(t)
	for {
		_, _, e := syscall.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if e == 0 {
			return
		}
		if e != unix.EINTR {
			w.fail(opSleep, e)
		}
	}
}

// read and write move one byte or message.
func (w *worker) read(fd int, b []byte) {
	for {
		n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if e == unix.EINTR {
			continue
		}
		if n == 0 && e == 0 {
			e = unix.EPIPE // the other side is gone
		}
		if e != 0 {
			w.fail(opRead, e)
		}
		return
	}
}

func (w *worker) write(fd int, b []byte) {
	for {
		_, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			w.fail(opWrite, e)
		}
		return
	}
}

// random is the next of a sequence of numbers that is the same in every run.
func (w *worker) random() uint64 {
	w.rng ^= w.rng << 13
	w.rng ^= w.rng >> 7
	w.rng ^= w.rng << 17
	return w.rng * 0x2545f4914f6cdd1d
}

// uniform is a number in (0, 1].
func (w *worker) uniform() float64 { return float64(w.random()>>11+1) / (1 << 53) }
