// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"autosa/workload"
)

// Paths of what went wrong.
const (
	PathIncidents  = "/v1/incidents"  // GET []Incident, newest first, without output
	PathIncident   = "/v1/incidents/" // GET, followed by an ID: Incident
	PathQuarantine = "/v1/quarantine" // GET []Quarantine; DELETE ?scheduler=NAME or ?all=1: QuarantineCleared
)

// Incident is a scheduler that failed to come up, or ended without an order.
type Incident struct {
	// ID counts up, over restarts of the daemon too.
	ID        uint64    `json:"id"`
	Time      time.Time `json:"time"`
	Scheduler string    `json:"scheduler"`
	Args      []string  `json:"args"`
	// Version and Path are the scheduler's, Kernel is the release that ran.
	Version string `json:"version,omitempty"`
	Path    string `json:"path,omitempty"`
	Kernel  string `json:"kernel"`
	// Ending classifies the end: the words of scx.Ending.
	Ending string `json:"ending"`
	Reason string `json:"reason"`
	// Exit is how its process ended; empty if it was not started.
	Exit string `json:"exit,omitempty"`
	// Phase of the swap that failed; empty for a scheduler that was in charge.
	Phase string `json:"phase,omitempty"`
	// InCharge is what the kernel said was in charge right after, and GapSeconds
	// how long none was loaded before that; 0 where that is EEVDF.
	InCharge   string  `json:"in_charge"`
	GapSeconds float64 `json:"gap_seconds"`
	// KernelLog are sched_ext's lines of the kernel's log.
	KernelLog []string `json:"kernel_log"`
	// Counters are the kernel's event counters for it, when they were last read.
	Counters map[string]uint64 `json:"counters,omitempty"`
	// Samples are the last ones before, oldest first.
	Samples []IncidentSample `json:"samples"`
	// Output is the end of what it printed, with its debug dump. It names tasks:
	// only the answer to a single ID has it.
	Output string `json:"output,omitempty"`
}

// IncidentSample is one sample in brief.
type IncidentSample struct {
	Time              time.Time      `json:"time"`
	Scheduler         string         `json:"scheduler"`
	Class             workload.Class `json:"class"`
	SwitchesPerSecond float64        `json:"switches_per_second"`
	WaitP99Seconds    float64        `json:"wait_p99_seconds"`
}

// Quarantine is a scheduler, in a version, with arguments, on a kernel, that
// failed, and until when autosa does not try it by itself.
type Quarantine struct {
	Scheduler string   `json:"scheduler"`
	Args      []string `json:"args"`
	Version   string   `json:"version,omitempty"`
	Kernel    string   `json:"kernel"`
	// Failures counts those in a row; the rest after each is twice the one before.
	Failures int `json:"failures"`
	// Time and Reason are those of the last failure.
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
	// Resting is true while it is not tried. An entry that does not rest any more
	// is forgotten once the scheduler has stayed up.
	Resting bool `json:"resting"`
}

// QuarantineCleared is what came of a DELETE.
type QuarantineCleared struct {
	Cleared int          `json:"cleared"`
	Left    []Quarantine `json:"left"`
}

// Veto is in force after SysRq-S: nothing is started until an order is given.
type Veto struct {
	Since time.Time `json:"since"`
	// Scheduler was taken out.
	Scheduler string `json:"scheduler"`
}
