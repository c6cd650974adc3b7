// SPDX-License-Identifier: Apache-2.0

// Package workload holds the leaf types that flow through autosa, from what
// the tracer measured to what the classifier made of it, and their arithmetic.
// It does no I/O and imports only the standard library.
//
// The way of the data: a collector produces one [Sample] a tick; [FeaturesOf]
// turns each of its groups into [Features]; the classifier turns those into a
// [Classification].
package workload

import "time"

// Source says where a sample's figures come from.
type Source string

const (
	// SourceBPF is the CO-RE tracer: totals, distributions and events.
	SourceBPF Source = "bpf"
	// SourceProcfs is the fallback: totals from /proc, no distributions and no
	// events.
	SourceProcfs Source = "procfs"
)

// HostName is the name of the group that stands for the whole machine.
const HostName = "host"

// Sample is what a machine did during one collection interval. It is a value:
// nobody changes it once the collector has handed it out.
type Sample struct {
	// Time is the wall-clock end of the interval.
	Time time.Time
	// Interval is its length on the monotonic clock, always positive.
	Interval time.Duration
	// CPUs is the number of CPUs online.
	CPUs   int
	Source Source
	// Host sums every task of the machine, also those of groups not listed.
	Host Group
	// Groups are the busiest cgroups, most CPU time first, bounded in number.
	// Empty with SourceProcfs where no cgroup v2 hierarchy is mounted.
	Groups []Group
	PSI    PSI
	CPU    CPUTime
	Events Events
	Tracer TracerStats
}

// Group is one cgroup's (or the host's) activity during a sample's interval.
// All durations are summed over its tasks, so they may exceed the interval.
type Group struct {
	// ID is the cgroup id (the inode number of its directory in cgroup v2);
	// 0 for the host.
	ID uint64
	// Name is the cgroup path below the cgroup v2 root, "/" for the root
	// itself, or HostName.
	Name string
	// Switches counts context switches away from the group's tasks;
	// Switches = Voluntary + Involuntary.
	Switches    uint64
	Voluntary   uint64
	Involuntary uint64
	// Run is time on a CPU, Wait is run-queue wait, Sleep is blocked time not
	// spent on storage, IOWait is blocked time with in_iowait set.
	Run, Wait, Sleep, IOWait time.Duration
	// Distributions of single waits, on-CPU periods, sleeps and I/O waits. Zero
	// with SourceProcfs.
	WaitHist, RunHist, SleepHist, IOHist Histogram
	// Throttled is the time the cgroup was held back by its own CPU quota
	// (cpu.stat throttled_usec). It is run-queue time, Wait is task time: never
	// subtract one from the other.
	Throttled time.Duration
}

// PSI is pressure stall information for the interval: the share of it, 0 to 1,
// in which some or all non-idle tasks were stalled. Available is false where
// the kernel has none or has it switched off.
type PSI struct {
	Available              bool
	CPUSome, CPUFull       float64
	IOSome, IOFull         float64
	MemorySome, MemoryFull float64
}

// CPUTime is the machine's CPU accounting of the interval from /proc/stat,
// summed over CPUs, in seconds.
type CPUTime struct {
	User, System, Idle, IOWait, IRQ, SoftIRQ, Steal float64
}

// Events is what the ring buffer's single events of an interval add up to.
type Events struct {
	// Worst are the longest waits seen, longest first, at most 8: run-queue
	// waits, and I/O waits where those leave room.
	Worst []WaitEvent
	// WaitedFor says which group made which group wait, longest total first,
	// at most 16.
	WaitedFor []Edge
	// Periods are the tasks whose wakeups were followed, evenly spaced or not,
	// at most 16: of every group the one with most cycles, then by cycles.
	Periods []Period
	// Received counts the records read from the ring buffer.
	Received uint64
}

// WaitEvent is one run-queue or I/O wait past the tracer's threshold.
type WaitEvent struct {
	PID   int
	Comm  string
	Group string
	CPU   int
	Wait  time.Duration
	IO    bool
	// HolderPID and HolderComm are the task that held the CPU before the waiter
	// got it; zero when unknown or idle.
	HolderPID   int
	HolderComm  string
	HolderGroup string
}

// Edge sums the waits of one group for another.
type Edge struct {
	Waiter, Holder string
	Count          uint64
	Total          time.Duration
}

// Period is the wakeup rhythm of one task: mean distance of its wakeups and
// their coefficient of variation (standard deviation over mean).
type Period struct {
	PID    int
	Comm   string
	Group  string
	Mean   time.Duration
	CV     float64
	Cycles int
}

// TracerStats is what the tracer says of itself.
type TracerStats struct {
	Source Source
	// Reason says why Source is not SourceBPF; empty when it is.
	Reason string
	// Switches counts the context switches seen since the tracer started.
	Switches uint64
	// Losses counts, by the way in which it was lost, what the tracer could
	// not account since it started. Every known way is present, mostly zero.
	Losses map[string]uint64
	Cost   Cost
}

// Cost is the price of observing, as measured by the observer itself.
type Cost struct {
	// NanosPerSwitch is the mean run time of the BPF program; it includes about
	// 33 ns that the kernel's run-time statistics cost themselves. 0 when not
	// measured yet.
	NanosPerSwitch float64
	// BPFShare is the share of the machine's CPU time taken by the BPF
	// programs, DaemonShare that of autosa's own process; 0 to 1.
	BPFShare    float64
	DaemonShare float64
}
