// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Task is one thread as the kernel accounts for it, since its birth.
type Task struct {
	PID, TGID int
	Comm      Comm
	Cgroup    uint64
	// Run is the time on a CPU, Wait that on run queues, Arrivals how often it got
	// a CPU: the figures of /proc/PID/schedstat. Of a task that runs, Run is of its
	// last tick or switch.
	Run, Wait time.Duration
	Arrivals  uint64
	// Voluntary and Involuntary are its context switches.
	Voluntary, Involuntary uint64
	// Start is when it was born, on CLOCK_MONOTONIC.
	Start time.Duration
	// State is the letter of /proc/PID/stat.
	State byte
	// Policy is its scheduling policy (SCHED_NORMAL is 0), Nice from -20 to 19.
	Policy, Nice int
	// CPU is where it runs, or ran last.
	CPU int
}

// Tasks calls fn with every thread of the machine, as the task iterator meets
// them; the figures of one that runs move while they are read. Nothing stays
// attached. Its errors are those of [Load], and the one that fn ends it with.
func Tasks(fn func(*Task) error) error {
	it, err := newTaskIterator()
	if err != nil {
		return err
	}
	return errors.Join(it.each(fn), it.close())
}

// taskIterator is the loaded iterator, which costs nothing until it is read.
type taskIterator struct{ objs tasksObjects }

func newTaskIterator() (*taskIterator, error) {
	types, err := probe()
	if err != nil {
		return nil, err
	}
	it := &taskIterator{}
	if err := loadTasksObjects(&it.objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return nil, fmt.Errorf("load the task iterator: %w", explainPermission(err))
	}
	return it, nil
}

func (it *taskIterator) close() error {
	if err := it.objs.Close(); err != nil {
		return fmt.Errorf("close the task iterator: %w", err)
	}
	return nil
}

func (it *taskIterator) each(fn func(*Task) error) error {
	return iterate(it.objs.DumpTask, func(r io.Reader) error {
		var (
			raw [unsafe.Sizeof(tasksTaskRecord{})]byte
			t   Task
		)
		for {
			switch _, err := io.ReadFull(r, raw[:]); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			(*tasksTaskRecord)(unsafe.Pointer(&raw)).decode(&t)
			if err := fn(&t); err != nil {
				return err
			}
		}
	})
}

// iterate runs an iterator's program over all there is. What it writes goes to
// read; with nil it must not write.
func iterate(program *ebpf.Program, read func(io.Reader) error) (err error) {
	l, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return fmt.Errorf("attach the task iterator: %w", explainPermission(err))
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r, err := l.Open()
	if err != nil {
		return fmt.Errorf("open the task iterator: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if read == nil {
		read = func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	}
	if err := read(bufio.NewReaderSize(r, 64<<10)); err != nil {
		return fmt.Errorf("read the task iterator: %w", err)
	}
	return nil
}

func (r *tasksTaskRecord) decode(t *Task) {
	*t = Task{
		PID: int(r.Pid), TGID: int(r.Tgid), Comm: *(*Comm)(unsafe.Pointer(&r.Comm)), Cgroup: r.Cgroup,
		Run: time.Duration(r.RunNs), Wait: time.Duration(r.WaitNs), Arrivals: r.Arrivals,
		Voluntary: r.Voluntary, Involuntary: r.Involuntary, Start: time.Duration(r.StartNs),
		State: stateLetter(r.State, r.ExitState), Policy: int(r.Policy), Nice: int(r.StaticPrio) - 120, CPU: int(r.Cpu),
	}
}

const (
	taskReport = 0x7f  // TASK_REPORT: the states that have a letter
	taskIdle   = 0x402 // TASK_IDLE: TASK_UNINTERRUPTIBLE | TASK_NOLOAD
	taskRTLock = 0x1000
	letters    = "RSDTtXZPI"
)

// stateLetter is what the kernel prints for a state: the letter of its highest
// bit (task_index_to_char in include/linux/sched.h).
func stateLetter(state, exit uint32) byte {
	reported := (state | exit) & taskReport
	switch {
	case state == taskIdle:
		return 'I'
	case state&taskRTLock != 0:
		return 'D'
	}
	return letters[bits.Len32(reported)]
}
