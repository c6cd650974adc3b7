// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

// ErrFlushed is returned by [Tracer.ReadEvent] once all events that were there
// when [Tracer.Flush] was called have been read.
var ErrFlushed = ringbuf.ErrFlushed

// EventKind says what an event is about; one event may be several things.
type EventKind uint32

const (
	// EventWait is a run-queue wait past the threshold: Options.WaitThreshold,
	// or what SetThresholds has set since.
	EventWait = EventKind(traceEventKindEVENT_WAIT)
	// EventIO is an I/O wait past its threshold.
	EventIO = EventKind(traceEventKindEVENT_IO)
	// EventCycle is a sampled sleep-run cycle.
	EventCycle = EventKind(traceEventKindEVENT_CYCLE)
)

// Comm is a task's name, padded with zeros.
type Comm [16]byte

func (c Comm) String() string {
	if i := bytes.IndexByte(c[:], 0); i >= 0 {
		return string(c[:i])
	}
	return string(c[:])
}

// Event is one switch of a task away from a CPU: it was blocked, waited on a
// run queue, got the CPU at Arrival, ran and left.
type Event struct {
	Kind EventKind
	// Arrival is when the task got the CPU, on that CPU's scheduler clock: near
	// CLOCK_MONOTONIC, but to be compared among events only.
	Arrival time.Duration
	// Blocked is the sleep or I/O wait before the wakeup, 0 when the task was
	// preempted before.
	Blocked, Wait, Run time.Duration
	Cgroup             uint64
	PID, TGID, CPU     int
	Comm               Comm
	// Wakeups numbers the task's wakeups: a gap shows cycles that are missing.
	Wakeups uint32
	// HolderPID is the task that had this CPU for most of the wait, of the eight
	// that left it last, and HolderRun how much of the wait it had it. Named for
	// run-queue waits only. It is 0, and HolderRun too, when none of them had the
	// CPU meanwhile: the task waited for another CPU and was moved, or its cgroup
	// had used up its quota.
	HolderPID, HolderTGID int
	HolderComm            Comm
	HolderCgroup          uint64
	HolderRun             time.Duration
	// Idle is how much of the wait nobody had this CPU, as far back as those
	// eight are remembered. A wait that is mostly idle was not for this CPU: its
	// cgroup was held back by its quota, or it waited elsewhere and was moved.
	Idle time.Duration
}

// Wakeup is when the task was woken, on the clock of Arrival.
func (e *Event) Wakeup() time.Duration { return e.Arrival - e.Wait }

// ReadEvent waits for the next event. The program wakes readers only from a
// quarter full; use [Tracer.Flush] to get at what is there: then the events are
// returned one a call and [ErrFlushed] after the last one. One goroutine should
// read at a time. After Close it returns [os.ErrClosed].
func (t *Tracer) ReadEvent(rec *Record, e *Event) error {
	if err := t.ring.ReadInto(&rec.r); err != nil {
		if errors.Is(err, ErrFlushed) {
			return ErrFlushed
		}
		return fmt.Errorf("read the ring buffer: %w", err)
	}
	if len(rec.r.RawSample) != int(unsafe.Sizeof(traceEvent{})) {
		return fmt.Errorf("event of %d bytes in the ring buffer", len(rec.r.RawSample))
	}
	raw := (*traceEvent)(unsafe.Pointer(unsafe.SliceData(rec.r.RawSample)))
	raw.decode(e)
	return nil
}

// Record is memory that ReadEvent reuses.
type Record struct{ r ringbuf.Record }

// Flush makes ReadEvent return what is in the ring buffer, then [ErrFlushed].
func (t *Tracer) Flush() error {
	if err := t.ring.Flush(); err != nil {
		return fmt.Errorf("flush the ring buffer: %w", err)
	}
	return nil
}

func (r *traceEvent) decode(e *Event) {
	*e = Event{
		Kind:         EventKind(r.Kind),
		Arrival:      time.Duration(r.ArrivalNs),
		Blocked:      time.Duration(r.BlockedNs),
		Wait:         time.Duration(r.WaitNs),
		Run:          time.Duration(r.RunNs),
		Cgroup:       r.Cgroup,
		PID:          int(r.Pid),
		TGID:         int(r.Tgid),
		CPU:          int(r.Cpu),
		Comm:         *(*Comm)(unsafe.Pointer(&r.Comm)),
		Wakeups:      r.Wakeups,
		HolderPID:    int(r.HolderPid),
		HolderTGID:   int(r.HolderTgid),
		HolderComm:   *(*Comm)(unsafe.Pointer(&r.HolderComm)),
		HolderCgroup: r.HolderCgroup,
		HolderRun:    time.Duration(r.HolderRunNs),
		Idle:         time.Duration(r.IdleNs),
	}
}
