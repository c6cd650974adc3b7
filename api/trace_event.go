// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// TraceKind says what a line of a trace is.
type TraceKind string

const (
	TraceWait    TraceKind = "wait"    // a long run-queue wait, and the slice after it
	TraceIO      TraceKind = "io_wait" // a long I/O wait, and the slice after it
	TraceSwitch  TraceKind = "switch"  // a slice of a chosen task
	TraceWakeups TraceKind = "wakeups" // a sample of who wakes whom
	TraceBlock   TraceKind = "block"   // a sample of block latency
	TraceEnd     TraceKind = "end"     // the last line, with totals
)

// TraceEvent is one line of a trace. Of its parts the one for its kind is set.
type TraceEvent struct {
	Kind TraceKind `json:"kind"`
	// Time is when the task left its CPU, or when the sample or the trace ended.
	Time    time.Time    `json:"time"`
	Slice   *Slice       `json:"slice,omitempty"`
	Wakeups *WakeSample  `json:"wakeups,omitempty"`
	Block   *BlockSample `json:"block,omitempty"`
	End     *TraceTotal  `json:"end,omitempty"`
}

// TraceTask names a task in a trace.
type TraceTask struct {
	PID   int    `json:"pid"`
	Comm  string `json:"comm"`
	Group string `json:"group,omitempty"`
}

// Slice is one stay of a task on a CPU: blocked before, waiting on a run queue,
// running, and how it left.
type Slice struct {
	TraceTask
	TGID int `json:"tgid"`
	CPU  int `json:"cpu"`
	// WaitSeconds and RunSeconds say nothing where Partial is set.
	WaitSeconds    float64 `json:"wait_seconds"`
	RunSeconds     float64 `json:"run_seconds"`
	BlockedSeconds float64 `json:"blocked_seconds"`
	// Before is "preempted", "sleep" or "io_wait": why it was off the CPU; "new"
	// for the first slice of its life; empty when Partial.
	Before string `json:"before,omitempty"`
	// Left is "preempted", "sleep" or "io_wait".
	Left string `json:"left"`
	// Partial says that the slice began before the trace knew the task.
	Partial bool `json:"partial,omitempty"`
	// Arrivals numbers the task's slices: a gap shows that some are missing.
	Arrivals uint64 `json:"arrivals"`
	// LostBefore is how many events of this CPU were lost since the line of that
	// CPU before.
	LostBefore uint64 `json:"lost_before,omitempty"`
	// Holder had the CPU before and Next has it after; missing for idle.
	Holder *TraceTask `json:"holder,omitempty"`
	Next   *TraceTask `json:"next,omitempty"`
}

// TraceTotal ends a trace.
type TraceTotal struct {
	Events uint64 `json:"events"`
	// Lost are events that did not get through, those after the last line too.
	Lost uint64 `json:"lost"`
	// LeftOut are those of Lost that a recording did not take, because they were
	// too many.
	LeftOut uint64 `json:"left_out,omitempty"`
	// Unremembered are slices of tasks for which the kernel had no memory, Missed
	// switches of any task at which it did not run the tracer.
	Unremembered uint64 `json:"unremembered,omitempty"`
	Missed       uint64 `json:"missed,omitempty"`
}

// WakeSample is who woke whom for a moment.
type WakeSample struct {
	DurationSeconds float64 `json:"duration_seconds"`
	Wakeups         uint64  `json:"wakeups"`
	// Unnamed are wakeups beyond the edges that could be told apart.
	Unnamed uint64     `json:"unnamed"`
	Edges   []WakeEdge `json:"edges"`
}

// WakeEdge sums wakeups of tasks of one name by those of another.
type WakeEdge struct {
	// Waker is empty where Interrupt is set.
	Waker      string `json:"waker"`
	WakerGroup string `json:"waker_group,omitempty"`
	Interrupt  bool   `json:"interrupt"`
	Wakee      string `json:"wakee"`
	WakeeGroup string `json:"wakee_group"`
	Count      uint64 `json:"count"`
}

// BlockSample is how long block requests took for a moment.
type BlockSample struct {
	DurationSeconds float64 `json:"duration_seconds"`
	// Untimed are requests whose start the kernel has not kept.
	Untimed uint64      `json:"untimed"`
	Ops     []BlockWait `json:"operations"`
}

// BlockWait is the latency of one kind of request, its time in queues included.
type BlockWait struct {
	Op          string  `json:"operation"`
	Requests    uint64  `json:"requests"`
	MeanSeconds float64 `json:"mean_seconds"`
	P50Seconds  float64 `json:"p50_seconds"`
	P99Seconds  float64 `json:"p99_seconds"`
	// Buckets are the counts of the non-empty buckets up to their upper bounds.
	Buckets []BlockBucket `json:"buckets"`
}

// BlockBucket is one bucket of a histogram.
type BlockBucket struct {
	UpToSeconds float64 `json:"up_to_seconds"`
	Count       uint64  `json:"count"`
}

// TaskList are the busiest tasks over an interval.
type TaskList struct {
	Time            time.Time `json:"time"`
	IntervalSeconds float64   `json:"interval_seconds"`
	// Tasks is how many threads there are, Unwatched how many were too many to
	// look at.
	Tasks     int    `json:"tasks"`
	Unwatched int    `json:"unwatched,omitempty"`
	Top       []Task `json:"top"`
}

// Task is one thread in an interval.
type Task struct {
	TraceTask
	TGID  int    `json:"tgid"`
	State string `json:"state"`
	CPU   int    `json:"cpu"`
	Nice  int    `json:"nice"`
	// Policy is the number of its scheduling policy, 0 for an ordinary one.
	Policy int `json:"policy"`
	// RunShare and WaitShare are parts of one CPU's time, on it and waiting for it.
	RunShare          float64     `json:"run_share"`
	WaitShare         float64     `json:"wait_share"`
	SwitchesPerSecond float64     `json:"switches_per_second"`
	WakeupsPerSecond  float64     `json:"wakeups_per_second"`
	Rhythm            *TaskRhythm `json:"rhythm,omitempty"`
}

// TaskRhythm is how regularly a task wakes up.
type TaskRhythm struct {
	Wakeups     int     `json:"wakeups"`
	MeanSeconds float64 `json:"mean_seconds"`
	CV          float64 `json:"coefficient_of_variation_ratio"`
}

// TraceSink takes the lines of a trace, in order, from one goroutine. It may
// keep lines until Flush. An error of either ends the trace.
type TraceSink interface {
	Event(e *TraceEvent) error
	Flush() error
}
