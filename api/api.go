// SPDX-License-Identifier: Apache-2.0

// Package api holds the wire types of autosa's socket: HTTP/JSON under /v1/.
// Times are RFC 3339; durations and ratios carry their unit in the key. Fields
// are only ever added within a version.
package api

import (
	"time"

	"autosa/workload"
)

// Paths of the socket's endpoints.
const (
	PathStatus     = "/v1/status"     // GET Status; ?watch=1: NDJSON, one Status a tick
	PathSchedulers = "/v1/schedulers" // GET []Scheduler
	PathSwitch     = "/v1/switch"     // POST SwitchRequest → SwitchResult
	PathAuto       = "/v1/auto"       // POST → Status
	PathStop       = "/v1/stop"       // POST → Stopping
)

// DefaultSocket is where the daemon listens unless told otherwise.
const DefaultSocket = "/run/autosa/autosa.sock"

// EEVDF is the name of the kernel's default scheduler wherever a scheduler is
// named: autosa's "no sched_ext scheduler".
const EEVDF = "eevdf"

// Mode says who decides.
type Mode string

const (
	ModeObserve   Mode = "observe"   // the kernel has no sched_ext, or autosa lacks the permission
	ModeAuto      Mode = "auto"      // autosa decides and acts
	ModeRecommend Mode = "recommend" // autosa says what it would do
	ModeManual    Mode = "manual"    // the operator's choice holds until `autosa auto`
)

// Owner says whose the scheduler in charge is.
type Owner string

const (
	OwnerKernel  Owner = "kernel"  // EEVDF
	OwnerAutosa  Owner = "autosa"  // started by this daemon
	OwnerForeign Owner = "foreign" // started by somebody else; left alone
	OwnerAdopted Owner = "adopted" // started by somebody else; may be replaced
)

// Status is the daemon's whole state at one tick, immutable once published.
type Status struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
	Mode    Mode   `json:"mode"`
	// ModeReason says why the mode is not auto; empty in auto.
	ModeReason string `json:"mode_reason,omitempty"`
	// Holds keep auto from changing anything.
	Holds        []Hold        `json:"holds"`
	Since        time.Time     `json:"since"`
	Time         time.Time     `json:"time"`
	Kernel       Kernel        `json:"kernel"`
	Scheduler    InCharge      `json:"scheduler"`
	Swap         *SwapProgress `json:"swap_in_progress,omitempty"`
	Workload     Workload      `json:"workload"`
	Groups       []Group       `json:"groups"`
	Waits        Waits         `json:"waits"`
	PSI          PSI           `json:"psi"`
	Events       Events        `json:"events"`
	Tracer       Tracer        `json:"tracer"`
	LastDecision *Decision     `json:"last_decision,omitempty"`
	LastSwap     *Swap         `json:"last_swap,omitempty"`
	// Builtin is what the built-in scheduler counts; missing while it is not in
	// charge as this daemon's.
	Builtin *Builtin `json:"builtin,omitempty"`
	// Swaps counts scheduler changes that autosa made and the kernel confirmed,
	// FailedSwaps those that did not come about.
	Swaps       uint64 `json:"swaps"`
	FailedSwaps uint64 `json:"failed_swaps"`
	Samples     uint64 `json:"samples"`
	// Quarantine are the schedulers that rest after failures.
	Quarantine []Quarantine `json:"quarantine"`
	Veto       *Veto        `json:"veto,omitempty"`
	// LastIncident is the newest, without output; Incidents counts those of this
	// daemon's time.
	Incidents    uint64    `json:"incidents"`
	LastIncident *Incident `json:"last_incident,omitempty"`
	Warnings     []string  `json:"warnings"`
}

// Kernel is what the running kernel is and can do.
type Kernel struct {
	Release  string `json:"release"`
	SchedExt bool   `json:"sched_ext"`
	// State is /sys/kernel/sched_ext/state; empty without sched_ext.
	State string `json:"state,omitempty"`
	// EnableSeq counts successful enables since boot.
	EnableSeq uint64 `json:"enable_seq"`
}

// InCharge is the scheduler that the kernel says is in charge.
type InCharge struct {
	// Name is the scheduler's name, e.g. "scx_lavd", or EEVDF.
	Name string `json:"name"`
	// Ops is root/ops as the kernel prints it; empty for EEVDF.
	Ops   string    `json:"ops"`
	Args  []string  `json:"args"`
	PID   int       `json:"pid,omitempty"`
	Since time.Time `json:"since"`
	Owner Owner     `json:"owner"`
	// Mode is the name under which an operator chose the arguments; empty where they
	// were given themselves, and where autosa chose.
	Mode string `json:"mode,omitempty"`
	// Process is who runs a scheduler that somebody else started, as far as it is
	// known.
	Process *Process `json:"process,omitempty"`
	// HandsOff is why one that somebody else started is left alone.
	HandsOff string `json:"hands_off,omitempty"`
}

// Process is a process that runs a scheduler.
type Process struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	// Exe is the file that it executes; empty where that may not be seen.
	Exe    string `json:"exe,omitempty"`
	Cgroup string `json:"cgroup,omitempty"`
	// Unit is the systemd unit that it belongs to; empty where it belongs to none.
	Unit string `json:"unit,omitempty"`
	// Manager is who keeps it running, such as "systemd unit scx.service"; empty for
	// one that was started by hand.
	Manager string `json:"manager,omitempty"`
}

// SwapProgress is a swap under way.
type SwapProgress struct {
	To    string    `json:"to"`
	Args  []string  `json:"args"`
	Phase string    `json:"phase"`
	Since time.Time `json:"since"`
}

// Workload is the host's class after the vote.
type Workload struct {
	Class         workload.Class         `json:"class"`
	Confidence    float64                `json:"confidence"`
	Probabilities workload.Probabilities `json:"probabilities"`
	Reasons       []workload.Reason      `json:"reasons"`
	Since         time.Time              `json:"since"`
}

// Group is one busy cgroup in the last interval; the last one may be
// workload.OtherName, which has all that are not listed.
type Group struct {
	Name string `json:"name"`
	// Label is a short name for people; Kind, Unit and Container are what the
	// cgroup's path says: see workload.Name. Empty where it says nothing.
	Label             string         `json:"label"`
	Kind              workload.Kind  `json:"kind,omitempty"`
	Unit              string         `json:"unit,omitempty"`
	Container         string         `json:"container,omitempty"`
	Runtime           string         `json:"container_runtime,omitempty"`
	Class             workload.Class `json:"class"`
	Confidence        float64        `json:"confidence"`
	CPUShare          float64        `json:"cpu_share"`
	SwitchesPerSecond float64        `json:"switches_per_second"`
	WaitP50Seconds    float64        `json:"wait_p50_seconds"`
	WaitP99Seconds    float64        `json:"wait_p99_seconds"`
	IOShare           float64        `json:"io_share"`
	ThrottledShare    float64        `json:"throttled_share"`
	// PSI is the cgroup's own pressure, and Disk its storage traffic; of the
	// busiest groups only.
	PSI  *PSI  `json:"psi,omitempty"`
	Disk *Disk `json:"disk,omitempty"`
}

// Disk is storage traffic in the last interval.
type Disk struct {
	ReadBytesPerSecond  float64 `json:"read_bytes_per_second"`
	WriteBytesPerSecond float64 `json:"write_bytes_per_second"`
	ReadsPerSecond      float64 `json:"reads_per_second"`
	WritesPerSecond     float64 `json:"writes_per_second"`
}

// Waits are the host's waits in the last interval.
type Waits struct {
	RunQueueP50Seconds float64 `json:"run_queue_p50_seconds"`
	RunQueueP99Seconds float64 `json:"run_queue_p99_seconds"`
	IOP50Seconds       float64 `json:"io_p50_seconds"`
	IOP99Seconds       float64 `json:"io_p99_seconds"`
	// WaitPerRun is total run-queue wait over total run time.
	WaitPerRun float64 `json:"wait_per_run_ratio"`
	// Distributions is false when the source has totals only; the quantiles are
	// then 0 and say nothing.
	Distributions bool `json:"distributions"`
}

// PSI is pressure over the last interval, shares of time from 0 to 1.
type PSI struct {
	Available  bool    `json:"available"`
	CPUSome    float64 `json:"cpu_some_ratio"`
	CPUFull    float64 `json:"cpu_full_ratio"`
	IOSome     float64 `json:"io_some_ratio"`
	IOFull     float64 `json:"io_full_ratio"`
	MemorySome float64 `json:"memory_some_ratio"`
	MemoryFull float64 `json:"memory_full_ratio"`
}

// Events is what single events of the last interval add up to. Its per-task
// parts are for root and the operator group only; others get them empty, with
// Withheld set.
type Events struct {
	Withheld bool        `json:"withheld,omitempty"`
	Received uint64      `json:"received"`
	Worst    []WaitEvent `json:"worst_waits"`
	// WaitedFor says which group made which other wait, longest total first.
	WaitedFor []Edge   `json:"waited_for"`
	Periods   []Period `json:"periods"`
	// Throttled counts the waits that the waiter's own CPU quota caused: nobody is
	// named for them.
	Throttled uint64 `json:"throttled"`
	// The shortest waits that are reported one by one now; they follow the load.
	// 0 where no events are reported.
	WaitThresholdSeconds float64 `json:"wait_threshold_seconds"`
	IOThresholdSeconds   float64 `json:"io_threshold_seconds"`
}

// WaitEvent is one long wait.
type WaitEvent struct {
	PID         int     `json:"pid"`
	Comm        string  `json:"comm"`
	Group       string  `json:"group"`
	CPU         int     `json:"cpu"`
	WaitSeconds float64 `json:"wait_seconds"`
	IO          bool    `json:"io"`
	HolderPID   int     `json:"holder_pid,omitempty"`
	HolderComm  string  `json:"holder_comm,omitempty"`
}

// Edge sums one group's waits for another.
type Edge struct {
	Waiter       string  `json:"waiter"`
	Holder       string  `json:"holder"`
	Count        uint64  `json:"count"`
	TotalSeconds float64 `json:"total_seconds"`
}

// Period is a task's wakeup rhythm.
type Period struct {
	PID         int     `json:"pid"`
	Comm        string  `json:"comm"`
	Group       string  `json:"group"`
	MeanSeconds float64 `json:"mean_seconds"`
	CV          float64 `json:"coefficient_of_variation_ratio"`
}

// Tracer is what the observer says of itself.
type Tracer struct {
	Source   workload.Source   `json:"source"`
	Reason   string            `json:"reason,omitempty"`
	Switches uint64            `json:"switches"`
	Losses   map[string]uint64 `json:"losses"`
	Cost     Cost              `json:"cost"`
	// BudgetRatio is the share of the machine's CPU time that observing may take;
	// 0: no limit. Step, 0 to 4, is how far the tracer has backed off because of
	// it, StepName says what is left out, StepReason why.
	BudgetRatio float64 `json:"budget_ratio"`
	Step        int     `json:"step"`
	StepName    string  `json:"step_name"`
	StepReason  string  `json:"step_reason,omitempty"`
	// CoveredRatio is the part of the last interval in which activity was counted.
	CoveredRatio float64 `json:"covered_ratio"`
	// Slots is how many cgroups can be counted apart, SlotsUsed how many are.
	Slots     int `json:"slots"`
	SlotsUsed int `json:"slots_used"`
	// MemoryBytes is what the tracer takes in the kernel; 0 where not known.
	MemoryBytes uint64 `json:"memory_bytes"`
}

// Cost is the price of observing.
type Cost struct {
	NanosPerSwitch float64 `json:"nanoseconds_per_switch"`
	BPFCPURatio    float64 `json:"bpf_cpu_ratio"`
	DaemonCPURatio float64 `json:"daemon_cpu_ratio"`
	// AgeSeconds is how old NanosPerSwitch is: it is measured once a minute.
	AgeSeconds    float64 `json:"age_seconds"`
	ResidentBytes uint64  `json:"resident_bytes"`
}

// Decision is policy's word at one tick.
type Decision struct {
	Time time.Time `json:"time"`
	// Arm is the scheduler decided for, with its arguments.
	Arm  string   `json:"arm"`
	Args []string `json:"args"`
	// Action is "swap", "keep", "recommend", or "adjust": a change of the built-in
	// scheduler's policy, which is no swap.
	Action  string   `json:"action"`
	Reasons []string `json:"reasons"`
	// Alternatives are the other arms that could have been, with why not.
	Alternatives []Alternative `json:"alternatives"`
	// WouldChange says what would lead to another decision.
	WouldChange []string       `json:"would_change"`
	Class       workload.Class `json:"class"`
	Confidence  float64        `json:"confidence"`
}

// Alternative is an arm that was not chosen.
type Alternative struct {
	Arm    string `json:"arm"`
	WhyNot string `json:"why_not"`
}

// Swap is one finished attempt to put another scheduler in charge.
type Swap struct {
	Time time.Time `json:"time"`
	From string    `json:"from"`
	To   string    `json:"to"`
	Args []string  `json:"args"`
	// Cause is "auto" or "manual"; Reasons are those of the decision.
	Cause   string   `json:"cause"`
	Reasons []string `json:"reasons"`
	// OK is true when the kernel confirmed To.
	OK bool `json:"ok"`
	// InCharge is what the kernel said was in charge afterwards.
	InCharge string `json:"in_charge"`
	Ops      string `json:"ops"`
	// EnableSeq is the kernel's count of enables afterwards.
	EnableSeq uint64 `json:"enable_seq"`
	// GapSeconds is how long tasks ran on EEVDF between the two, as seen from
	// user space; 0 where one of the two is EEVDF.
	GapSeconds float64 `json:"gap_seconds"`
	// Ungated is why To was not loaded until From was stopped; empty where it was.
	Ungated string `json:"ungated,omitempty"`
	// TotalSeconds is from the order to the confirmation.
	TotalSeconds float64 `json:"total_seconds"`
	Error        string  `json:"error,omitempty"`
}

// Scheduler is one entry of `autosa list`.
type Scheduler struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Path        string `json:"path,omitempty"`
	Version     string `json:"version,omitempty"`
	Installed   bool   `json:"installed"`
	Usable      bool   `json:"usable"`
	WhyNot      string `json:"why_not,omitempty"`
	InCharge    bool   `json:"in_charge"`
	// Classes are the workload classes for which the table names it.
	Classes []workload.Class `json:"classes"`
	// Remedy is what would make it usable.
	Remedy string `json:"remedy,omitempty"`
	// Known is false for one that autosa has no data about: to be chosen by hand only.
	Known bool `json:"known"`
	// Ops is its name within root/ops, before the version; empty where not known.
	Ops string `json:"ops,omitempty"`
	// Suits are the classes of work that it is said to suit.
	Suits []string `json:"suits"`
	// Modes are its arguments by name, in the order in which they are shown.
	Modes []SchedulerMode `json:"modes"`
	// ModesUnchecked is why the binary could not be asked whether it takes them.
	ModesUnchecked string `json:"modes_unchecked,omitempty"`
	// WatchdogSeconds is after how long without a turn the kernel takes it out; 0:
	// not known.
	WatchdogSeconds float64 `json:"watchdog_seconds"`
	// HonoursCPUWeight and HonoursCPUMax say whether cgroup cpu.weight and cpu.max
	// hold under it.
	HonoursCPUWeight bool `json:"honours_cpu_weight"`
	HonoursCPUMax    bool `json:"honours_cpu_max"`
	// Needs are what it needs of the kernel beside sched_ext, LeavesBehind settings
	// that stay when it is killed.
	Needs        []string `json:"needs"`
	LeavesBehind []string `json:"leaves_behind"`
	Notes        []string `json:"notes"`
}

// SchedulerMode is a set of arguments that has a name.
type SchedulerMode struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
	// WhyNot is why the version at hand does not take them; empty when it does.
	WhyNot string `json:"why_not,omitempty"`
}

// SwitchRequest orders a scheduler by hand.
type SwitchRequest struct {
	// Scheduler is a catalogue name, with or without "scx_", one such as
	// "builtin:latency", or EEVDF.
	Scheduler string   `json:"scheduler"`
	Args      []string `json:"args"`
	// Mode names its arguments; Args is empty then.
	Mode string `json:"mode,omitempty"`
	// Force tries it though it is quarantined.
	Force bool `json:"force,omitempty"`
	// NoWait asks for an answer as soon as the order is taken.
	NoWait bool `json:"no_wait,omitempty"`
}

// SwitchResult is what came of it.
type SwitchResult struct {
	Swap Swap `json:"swap"`
	// Unchanged is true when that scheduler with those arguments was in charge
	// already; Swap is then zero.
	Unchanged bool `json:"unchanged"`
	// InPlace is true when only the built-in scheduler's policy was changed: nothing
	// was unregistered, and Swap has the kernel's word that it is in charge still.
	InPlace bool `json:"in_place,omitempty"`
	// Accepted is true when the order did not wait: the swap goes on, or waits for
	// the one under way, and its outcome will be in the status. Swap is then zero.
	Accepted bool `json:"accepted,omitempty"`
}

// Stopping answers a stop order.
type Stopping struct {
	PID int `json:"pid"`
}
