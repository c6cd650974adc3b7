// SPDX-License-Identifier: Apache-2.0

// Package workload holds the leaf types that flow through autosa, from what
// the tracer measured to what the classifier made of it, and their arithmetic.
// It does no I/O and imports only the standard library.
//
// The way of the data: a collector produces one [Sample] a tick; [FeaturesOf]
// turns each of its groups into [Features]; the classifier turns those into a
// [Classification].
package workload

import (
	"strconv"
	"time"
)

// Source says where a sample's figures come from.
type Source string

const (
	// SourceBPF is the CO-RE tracer: totals, distributions and events.
	SourceBPF Source = "bpf"
	// SourceProcfs is the fallback: totals from /proc, no distributions and no
	// events.
	SourceProcfs Source = "procfs"
)

// HostName is the name of the group that stands for the whole machine,
// OtherName of the one that stands for all cgroups that are not listed.
const (
	HostName  = "host"
	OtherName = "(other)"
)

// Sample is what a machine did during one collection interval. It is a value:
// nobody changes it once the collector has handed it out.
type Sample struct {
	// Time is the wall-clock end of the interval.
	Time time.Time
	// Interval is its length on the monotonic clock, always positive.
	Interval time.Duration
	// Covered is the part of Interval in which task activity was counted: all of
	// it, or less where the tracer has backed off to a duty cycle. Rates are to
	// be taken over it, see [Sample.CoveredTime]. 0 means all.
	Covered time.Duration
	// CPUs is the number of CPUs online.
	CPUs   int
	Source Source
	// Host sums every task of the machine, also those of groups not listed.
	Host Group
	// Groups are the busiest cgroups, most CPU time first, bounded in number.
	// Empty with SourceProcfs where no cgroup v2 hierarchy is mounted.
	Groups []Group
	// Other is what the host did and no listed group: for every sum and bucket,
	// Host is Other plus all of Groups, exactly.
	Other  Group
	PSI    PSI
	CPU    CPUTime
	Events Events
	Tracer TracerStats
}

// CoveredTime is the time over which the activity of the sample's tasks was
// counted: at most Interval.
func (s *Sample) CoveredTime() time.Duration {
	if s.Covered > 0 {
		return min(s.Covered, s.Interval)
	}
	return s.Interval
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
	// Pressure is the cgroup's own pressure and Disk its own storage traffic,
	// those of cgroups below it included: of the first groups of a sample only,
	// and where the kernel keeps them.
	Pressure PSI
	Disk     Disk
}

// Disk is what was read from and written to block devices during the interval.
// Available is false where the io controller is off.
type Disk struct {
	Available             bool
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64
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
	// ContextSwitches and Interrupts are the machine's, counted and not in
	// seconds. The switches include those from the idle task, which a group's do
	// not.
	ContextSwitches, Interrupts uint64
}

// Events is what the ring buffer's single events of an interval add up to.
type Events struct {
	// Worst are the longest waits seen, longest first, at most 8: run-queue
	// waits, and I/O waits where those leave room.
	Worst []WaitEvent
	// WaitedFor says which group made which other group wait, longest total
	// first, at most 16: the first one's Holder is the noisiest neighbour. Waits
	// of groups that their own quota held back are left out, and their number is
	// Throttled.
	WaitedFor []Edge
	Throttled uint64
	// Periods are the tasks whose wakeups were followed, evenly spaced or not,
	// at most 16: of every group the one with most cycles, then by cycles.
	Periods []Period
	// Received counts the records read from the ring buffer.
	Received uint64
	// WaitThreshold and IOThreshold are the shortest waits that were reported
	// one by one in this interval. They follow the load.
	WaitThreshold, IOThreshold time.Duration
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

// Edge sums the waits of one group for another. Total is the time that the
// tasks holding the CPUs ran during these waits, not more than the waits.
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
	// Budget is the share of the machine's CPU time that observing may take; 0:
	// no limit. Step is how far the tracer has backed off because of it, and
	// StepReason why; empty at [StepAll].
	Budget     float64
	Step       Step
	StepReason string
	// Slots is the number of cgroups that can be told apart by now, SlotsUsed of
	// those that are.
	Slots, SlotsUsed int
	// MemoryBytes is what the tracer's maps take in the kernel; 0: not known.
	MemoryBytes uint64
}

// Step is how far the tracer has backed off from its full work. Each step has
// in it what the ones before it leave out.
type Step int

// The steps, dearest first.
const (
	StepAll    Step = iota // everything
	StepEvents             // no single events
	StepGroups             // a quarter of the groups; the rest is in Other
	StepDuty               // a quarter of the time, see Sample.Covered
	StepProcfs             // tracer paused: totals of /proc
	NumSteps   = int(StepProcfs) + 1
)

var stepNames = [NumSteps]string{"all", "no events", "fewer groups", "duty cycle", "procfs"}

func (s Step) String() string {
	if s < 0 || int(s) >= NumSteps {
		return "step " + strconv.Itoa(int(s))
	}
	return stepNames[s]
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
	// Age is the time since NanosPerSwitch was measured: the kernel's statistics
	// are on for a second a minute only. BPFShare is that figure times the
	// switches of this interval.
	Age time.Duration
}
