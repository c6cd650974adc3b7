// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"fmt"
	"strings"
	"time"
)

// Policy names a way to schedule.
type Policy string

// Policies.
const (
	// Latency places tasks that run briefly before those that run long, lets them
	// take the CPU as they wake, and keeps turns short.
	Latency Policy = "latency"
	// Balanced does so too, with less force.
	Balanced Policy = "balanced"
	// Throughput gives long turns in fair order; nobody is interrupted.
	Throughput Policy = "throughput"
)

// policies has the figures of each. Turns end at the kernel's ticks: one that is
// shorter than a tick ends at the next.
var policies = [...]struct {
	name    Policy
	figures schedPolicy
}{
	{Latency, schedPolicy{
		Slice: ns(3 * time.Millisecond), MinSlice: ns(time.Millisecond), Credit: ns(10 * time.Millisecond),
		Preempt: 1, BurstPercent: 200,
	}},
	{Balanced, schedPolicy{
		Slice: ns(5 * time.Millisecond), MinSlice: ns(2 * time.Millisecond), Credit: ns(5 * time.Millisecond),
		Preempt: 1, PreemptAfter: ns(time.Millisecond), BurstPercent: 50,
	}},
	{Throughput, schedPolicy{
		Slice: ns(20 * time.Millisecond), MinSlice: ns(20 * time.Millisecond), Credit: ns(5 * time.Millisecond),
	}},
}

func ns(d time.Duration) uint64 { return uint64(d) }

// Policies are all there are, in order.
func Policies() []Policy {
	var all []Policy
	for _, p := range policies {
		all = append(all, p.name)
	}
	return all
}

func (p Policy) index() (int, error) {
	var names []string
	for i, known := range policies {
		if known.name == p {
			return i, nil
		}
		names = append(names, string(known.name))
	}
	return 0, fmt.Errorf("unknown policy %q: it is one of %s", p, strings.Join(names, ", "))
}

func figures() [len(policies)]schedPolicy {
	var all [len(policies)]schedPolicy
	for i, p := range policies {
		all[i] = p.figures
	}
	return all
}
