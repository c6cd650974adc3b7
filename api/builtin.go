// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// Builtin is what the built-in scheduler says of itself. Its counts begin anew
// whenever it is put in charge.
type Builtin struct {
	// Policy is the one in force: "latency", "balanced" or "throughput".
	Policy string `json:"policy"`
	// Generation counts the orders for a policy, the first one included.
	Generation uint64 `json:"generation"`
	// CPUs are those that have given a turn yet, ObeyingCPUs those of them that
	// have given one under the newest order.
	CPUs        int `json:"cpus"`
	ObeyingCPUs int `json:"obeying_cpus"`
	// Adjustments counts the changes of policy in this daemon's time, LastAdjustment
	// is when the newest was made; missing when there was none.
	Adjustments    uint64        `json:"adjustments"`
	LastAdjustment *time.Time    `json:"last_adjustment,omitempty"`
	Counts         BuiltinCounts `json:"counts"`
}

// BuiltinCounts are counts over all CPUs.
type BuiltinCounts struct {
	// Direct are tasks sent to an idle CPU as they woke, Enqueued those that had to
	// wait in a queue.
	Direct   uint64 `json:"direct"`
	Enqueued uint64 `json:"enqueued"`
	// Local are tasks taken from the queue of a CPU's own last-level cache, Stolen
	// those taken from another's.
	Local  uint64 `json:"local"`
	Stolen uint64 `json:"stolen"`
	// Kept are turns that went on, since nobody came before.
	Kept uint64 `json:"kept"`
	// Kthreads are kernel threads of one CPU that went first.
	Kthreads uint64 `json:"kthreads"`
	// Preemptions are CPUs taken from a task for one that woke, Wakes idle CPUs woken
	// for a task in a queue.
	Preemptions uint64 `json:"preemptions"`
	Wakes       uint64 `json:"wakes"`
	// Overdue are tasks that had waited for seconds and went first.
	Overdue uint64 `json:"overdue"`
	// Unknown are tasks that it had no record of.
	Unknown uint64 `json:"unknown"`
}
