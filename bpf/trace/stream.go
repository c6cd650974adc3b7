// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// StreamOptions says what a [Stream] reports. Filters of different kinds must
// all match, of several values of one kind any. The zero value reports the long
// waits of every task but those of this process.
type StreamOptions struct {
	// PIDs are thread or process ids; a process id stands for its threads. Where
	// some are given this process is not left out.
	PIDs []int
	// Comm is a task's name as the kernel has it, at most 15 bytes; one that ends
	// with * is a prefix.
	Comm string
	// Cgroups are ids of the v2 hierarchy. Each stands for what is below it too,
	// also for what is made there later, as far as 32 levels below the root.
	Cgroups []uint64
	// Switches reports every slice; else those only that began with a run-queue
	// or an I/O wait of at least MinWait. 0 means 4 ms.
	Switches bool
	MinWait  time.Duration
	// RingBytes is the size of the ring buffer, rounded up to a power of two and
	// at least a page. 0 means 1 MiB: about 7000 events.
	RingBytes int
}

const (
	defaultStreamRing = 1 << 20
	// streamPoll is how long an event may lie in the ring buffer: the program
	// wakes the reader only from a quarter full.
	streamPoll = 50 * time.Millisecond
	// MaxComm is the length of the longest task name.
	MaxComm = 15
)

// Left says how a task left its CPU.
type Left uint8

const (
	LeftSleep     Left = iota // to wait for anything but storage
	LeftPreempted             // still runnable
	LeftIOWait                // to wait for storage
)

func (l Left) String() string {
	return [...]string{"sleep", "preempted", "io_wait"}[l]
}

// StreamEvent is one slice: a task was blocked, waited on a run queue, ran, and
// left its CPU at Time.
type StreamEvent struct {
	Time time.Time
	// Arrival is when the task got the CPU, as in [Event].
	Arrival time.Duration
	// Wait, Run and Blocked are 0 where Partial is set; Blocked also where the
	// task was preempted before, and where that was before the stream began.
	Wait, Run, Blocked time.Duration
	// Arrivals numbers the slices of a task in its life, as the third figure of
	// /proc/PID/schedstat does: a gap shows that some are missing. The kernel does
	// not note the arrival of a task that was preempted on its way to sleep: that
	// slice has the number of the one before, and is partial.
	Arrivals uint64
	// LostBefore is how many events of this CPU were lost since the one before.
	LostBefore     uint64
	PID, TGID, CPU int
	Comm           Comm
	Cgroup         uint64
	Left           Left
	// Woken says that the task was blocked before and not preempted, WokenIO that
	// it was on storage, New that it is the first slice of its life.
	Woken, WokenIO, New bool
	// Partial says that the slice began before the stream could know the task, or
	// that the kernel has not noted its arrival.
	Partial bool
	// HolderPID had the CPU before, NextPID has it next; 0 is idle.
	HolderPID, NextPID   int
	HolderComm, NextComm Comm
	HolderCgroup         uint64
}

// Wakeup is when the task was woken, on the clock of Arrival; for comparing the
// events of one task.
func (e *StreamEvent) Wakeup() time.Duration { return e.Arrival - e.Wait }

// StreamLoss is what a [Stream] has lost so far.
type StreamLoss struct {
	// RingFull are events for which the ring buffer had no room, all of which
	// LostBefore of a later event tells unless none came.
	RingFull uint64
	// NoStorage are slices that nothing was known of because the kernel had no
	// memory to remember the task: partial events, or with MinWait none.
	NoStorage uint64
	// Missed are switches of any task at which the kernel did not run the program.
	Missed uint64
}

// Stream is trace mode: slices of chosen tasks, one by one. Each stream has a
// program and a ring buffer of its own, and costs nothing when it is closed.
//
// One goroutine should Read at a time; Stop, Lost and Close may be called from
// any, also meanwhile.
type Stream struct {
	objs streamObjects
	ring *ringbuf.Reader
	rec  ringbuf.Record // of Read
	wall wallClock      // of Read
	cpus int

	mu      sync.Mutex // guards what follows
	link    link.Link  // nil once stopped
	stopped bool
	closed  bool
}

// OpenStream loads the stream's program and attaches it. Its errors are those
// of [Load]; bad options are a [*FilterError].
func OpenStream(o StreamOptions) (*Stream, error) {
	mask, want, err := commPattern(o.Comm)
	if err != nil {
		return nil, err
	}
	types, err := probe()
	if err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count possible CPUs: %w", err)
	}
	if o.MinWait <= 0 {
		o.MinWait = defaultWaitThreshold
	}
	if o.RingBytes <= 0 {
		o.RingBytes = defaultStreamRing
	}
	spec, err := loadStream()
	if err != nil {
		return nil, fmt.Errorf("read the stream's object: %w", err)
	}
	for name, value := range map[string]any{
		streamVarAllSwitches: o.Switches,
		streamVarByPid:       len(o.PIDs) > 0,
		streamVarByCgroup:    len(o.Cgroups) > 0,
		streamVarMinWaitNs:   uint64(o.MinWait),
		streamVarCommMask:    mask,
		streamVarCommWant:    want,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	spec.Maps[streamMapStreamCpus].MaxEntries = uint32(cpus)
	spec.Maps[streamMapStreamPids].MaxEntries = uint32(max(len(o.PIDs), 1))
	spec.Maps[streamMapStreamCgroups].MaxEntries = uint32(max(len(o.Cgroups), 1))
	spec.Maps[streamMapStreamEvents].MaxEntries = ringBytes(o.RingBytes)

	s := &Stream{cpus: cpus}
	if err := spec.LoadAndAssign(&s.objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return nil, fmt.Errorf("load the stream: %w", explainPermission(err))
	}
	if err := s.start(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// start fills the filters, remembers the tasks there are and attaches.
func (s *Stream) start(o StreamOptions) error {
	for _, pid := range o.PIDs {
		if err := s.objs.StreamPids.Put(uint32(pid), uint8(1)); err != nil {
			return fmt.Errorf("choose process %d: %w", pid, err)
		}
	}
	for _, id := range o.Cgroups {
		if err := s.objs.StreamCgroups.Put(id, uint8(1)); err != nil {
			return fmt.Errorf("choose cgroup %d: %w", id, err)
		}
	}
	if len(o.PIDs) == 0 {
		if _, err := s.objs.NoteStreamOwner.Run(&ebpf.RunOptions{}); err != nil {
			return fmt.Errorf("tell the stream its own process: %w", err)
		}
	}
	var err error
	if s.ring, err = ringbuf.NewReader(s.objs.StreamEvents); err != nil {
		return fmt.Errorf("open the stream's ring buffer: %w", err)
	}
	if err := iterate(s.objs.Prime, nil); err != nil {
		return fmt.Errorf("look at the tasks there are: %w", err)
	}
	s.link, err = link.AttachTracing(link.TracingOptions{Program: s.objs.OnStreamSwitch})
	if err != nil {
		return fmt.Errorf("attach the stream to sched_switch: %w", explainPermission(err))
	}
	return nil
}

// ringBytes rounds up to what the kernel takes for a ring buffer.
func ringBytes(n int) uint32 {
	size := os.Getpagesize()
	for size < n && size < 1<<30 {
		size *= 2
	}
	return uint32(size)
}

// FilterError says what is wrong with a filter.
type FilterError struct{ Text string }

func (e *FilterError) Error() string { return e.Text }

// commPattern turns a name into what it equals under a mask.
func commPattern(comm string) (mask, want [2]uint64, err error) {
	if comm == "" {
		return mask, want, nil
	}
	name, prefix := strings.CutSuffix(comm, "*")
	if len(name) > MaxComm {
		return mask, want, &FilterError{fmt.Sprintf("the name %q has %d bytes, and the kernel keeps %d of a task's: give these, or a prefix of them followed by *", name, len(name), MaxComm)}
	}
	if strings.IndexByte(name, 0) >= 0 {
		return mask, want, &FilterError{fmt.Sprintf("the name %q has a NUL byte", name)}
	}
	var m, w [MaxComm + 1]byte
	n := copy(w[:], name)
	if !prefix {
		n++ // what ends it counts too
	}
	for i := range n {
		m[i] = 0xff
	}
	for i := range mask {
		mask[i] = binary.NativeEndian.Uint64(m[8*i:])
		want[i] = binary.NativeEndian.Uint64(w[8*i:])
	}
	return mask, want, nil
}

// Read waits for the next event. Once the stream is stopped it returns what is
// left and then [io.EOF], once it is closed [os.ErrClosed].
func (s *Stream) Read() (StreamEvent, error) {
	for {
		// Past the deadline the reader returns what is there, then the error. What
		// is not there in a wait that began after the end will not come.
		stopped := s.isStopped()
		s.ring.SetDeadline(time.Now().Add(streamPoll))
		switch err := s.ring.ReadInto(&s.rec); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if stopped {
				return StreamEvent{}, io.EOF
			}
			continue
		case errors.Is(err, os.ErrClosed):
			return StreamEvent{}, os.ErrClosed
		case err != nil:
			return StreamEvent{}, fmt.Errorf("read the stream: %w", err)
		}
		if n := len(s.rec.RawSample); n != int(unsafe.Sizeof(streamStreamEvent{})) {
			return StreamEvent{}, fmt.Errorf("event of %d bytes in the stream", n)
		}
		raw := (*streamStreamEvent)(unsafe.Pointer(unsafe.SliceData(s.rec.RawSample)))
		at, err := s.wall.at(raw.TimeNs)
		if err != nil {
			return StreamEvent{}, err
		}
		return raw.decode(at), nil
	}
}

// Idle says that there was nothing to read a moment ago.
func (s *Stream) Idle() bool { return s.rec.Remaining == 0 }

func (s *Stream) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

func (r *streamStreamEvent) decode(at time.Time) StreamEvent {
	e := StreamEvent{
		Time: at, Arrival: time.Duration(r.ArrivalNs),
		Wait: time.Duration(r.WaitNs), Run: time.Duration(r.RunNs), Blocked: time.Duration(r.BlockedNs),
		Arrivals: r.Arrivals, LostBefore: r.Lost,
		PID: int(r.Pid), TGID: int(r.Tgid), CPU: int(r.Cpu), Comm: *(*Comm)(unsafe.Pointer(&r.Comm)), Cgroup: r.Cgroup,
		Woken: r.has(streamStreamFlagSTREAM_WOKEN), WokenIO: r.has(streamStreamFlagSTREAM_WOKEN_IO),
		New: r.has(streamStreamFlagSTREAM_NEW), Partial: r.has(streamStreamFlagSTREAM_PARTIAL),
		HolderPID: int(r.HolderPid), NextPID: int(r.NextPid),
	}
	switch {
	case r.has(streamStreamFlagSTREAM_PREEMPTED):
		e.Left = LeftPreempted
	case r.has(streamStreamFlagSTREAM_IOWAIT):
		e.Left = LeftIOWait
	}
	if e.HolderPID != 0 {
		e.HolderComm, e.HolderCgroup = *(*Comm)(unsafe.Pointer(&r.HolderComm)), r.HolderCgroup
	}
	if e.NextPID != 0 {
		e.NextComm = *(*Comm)(unsafe.Pointer(&r.NextComm))
	}
	return e
}

func (r *streamStreamEvent) has(f streamStreamFlag) bool { return r.Flags&uint32(f) != 0 }

// wallClock turns times of the monotonic clock into those people read. The
// difference of the two clocks is kept until somebody sets one, so that events
// keep their order and distances.
type wallClock struct {
	since   time.Duration // of the Unix epoch, when the monotonic clock was 0
	checked uint64        // on the monotonic clock
}

const (
	clockCheck = uint64(10 * time.Second)
	clockSet   = time.Millisecond
)

func (w *wallClock) at(ns uint64) (time.Time, error) {
	if w.since == 0 || ns-w.checked > clockCheck {
		since, err := clockDistance()
		if err != nil {
			return time.Time{}, err
		}
		if (since - w.since).Abs() > clockSet {
			w.since = since
		}
		w.checked = ns
	}
	return time.Unix(0, int64(w.since)+int64(ns)), nil
}

// clockDistance reads both clocks, the best of a few times: this thread may
// lose its CPU between the two.
func clockDistance() (time.Duration, error) {
	var best, window int64
	for i := range 5 {
		var before, wall, after unix.Timespec
		if err := errors.Join(
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &before),
			unix.ClockGettime(unix.CLOCK_REALTIME, &wall),
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &after),
		); err != nil {
			return 0, fmt.Errorf("read the clocks: %w", err)
		}
		if w := after.Nano() - before.Nano(); i == 0 || w < window {
			best, window = wall.Nano()-before.Nano()-w/2, w
		}
	}
	return time.Duration(best), nil
}

// Lost returns what has been lost since the stream was opened. After Stop it is
// final.
func (s *Stream) Lost() (StreamLoss, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return StreamLoss{}, os.ErrClosed
	}
	var sum StreamLoss
	for cpu := range s.cpus {
		var c streamStreamCpu
		if err := s.objs.StreamCpus.Lookup(uint32(cpu), &c); err != nil {
			return StreamLoss{}, fmt.Errorf("read the stream's losses on CPU %d: %w", cpu, err)
		}
		sum.RingFull += c.RingFull
		sum.NoStorage += c.NoStorage
	}
	stats, err := s.objs.OnStreamSwitch.Stats()
	if err != nil {
		return StreamLoss{}, fmt.Errorf("read the stream's missed runs: %w", err)
	}
	sum.Missed = stats.RecursionMisses
	return sum, nil
}

// Stop detaches the program; what is in the ring buffer can still be read.
// Stopping again does nothing.
func (s *Stream) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop()
}

func (s *Stream) stop() error {
	s.stopped = true
	if s.link == nil {
		return nil
	}
	err := s.link.Close()
	s.link = nil
	if err != nil {
		return fmt.Errorf("detach the stream: %w", err)
	}
	return nil
}

// Close detaches the program and frees what the stream holds. Closing again
// does nothing.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	errs := []error{s.stop()}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	errs = append(errs, s.objs.Close())
	// The library unmaps variables when nothing refers to them any more.
	s.objs.streamVariables = streamVariables{}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the stream: %w", err)
	}
	return nil
}
