// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strings"

	"autosa/workload"
)

// EEVDF names the kernel's default scheduler, which is in charge when no
// sched_ext scheduler is. It needs no binary and is always usable.
const EEVDF = "eevdf"

// BuiltinPrefix begins the names of autosa's own scheduler under one of its
// policies. Its arms take no arguments.
const BuiltinPrefix = "builtin:"

// Arms of the built-in scheduler. A change from one to another is none of
// schedulers: it costs nothing.
const (
	BuiltinLatency    = BuiltinPrefix + "latency"
	BuiltinBalanced   = BuiltinPrefix + "balanced"
	BuiltinThroughput = BuiltinPrefix + "throughput"
)

// IsBuiltin reports whether a scheduler is the built-in one, under whatever policy.
func IsBuiltin(scheduler string) bool { return strings.HasPrefix(scheduler, BuiltinPrefix) }

// Arm is one thing that can be put in charge: a scheduler and its arguments.
type Arm struct {
	Scheduler string
	Args      []string
}

// Default is the arm that is always there: EEVDF, as the kernel runs it.
func Default() Arm { return Arm{Scheduler: EEVDF} }

// Equal reports whether a and b are the same scheduler with the same arguments
// in the same order.
func (a Arm) Equal(b Arm) bool {
	return a.Scheduler == b.Scheduler && slices.Equal(a.Args, b.Args)
}

// String is the arm as one would type it.
func (a Arm) String() string {
	if len(a.Args) == 0 {
		return a.Scheduler
	}
	return a.Scheduler + " " + strings.Join(a.Args, " ")
}

// clone is a with arguments of its own.
func (a Arm) clone() Arm { return Arm{a.Scheduler, slices.Clone(a.Args)} }

// Table names, per class, the arms to prefer, best first. EEVDF follows
// unspoken at the end of each list. A class that has no list keeps the arm in
// charge, whatever it is.
type Table map[workload.Class][]Arm

// DefaultTable is the table of AutoSA, with its arguments, as the schedulers of
// the 1.1 series take them. Behind each stands the built-in scheduler, under the
// policy for that kind of work, for machines that have none of them. Idle has no
// entry: an idle machine keeps what it has. The caller owns the result.
func DefaultTable() Table {
	rusty := Arm{"scx_rusty", []string{"--slice-us-underutil", "20000"}}
	lavd := Arm{"scx_lavd", []string{"--slice-max-us", "5000"}}
	latency, balanced, throughput := Arm{Scheduler: BuiltinLatency}, Arm{Scheduler: BuiltinBalanced}, Arm{Scheduler: BuiltinThroughput}
	return Table{
		workload.Interactive: {lavd.clone(), latency},
		workload.Media:       {lavd.clone(), latency},
		workload.Server:      {lavd.clone(), latency},
		workload.Compute:     {rusty.clone(), throughput},
		workload.Batch:       {rusty.clone(), throughput},
		workload.IO:          {{"scx_bpfland", []string{"--slice-us", "20000"}}, balanced},
		workload.Mixed:       {{"scx_flash", []string{"--slice-us", "4096"}}, balanced},
	}
}

// Classes returns the classes for which t names the scheduler, in order.
func (t Table) Classes(scheduler string) []workload.Class {
	var classes []workload.Class
	for _, c := range slices.Sorted(maps.Keys(t)) {
		if slices.ContainsFunc(t[c], func(a Arm) bool { return a.Scheduler == scheduler }) {
			classes = append(classes, c)
		}
	}
	return classes
}

// arms returns every different arm of t in class order, EEVDF last.
func (t Table) arms() []Arm {
	var all []Arm
	add := func(a Arm) {
		if !slices.ContainsFunc(all, a.Equal) {
			all = append(all, a)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(t)) {
		for _, a := range t[c] {
			if a.Scheduler != EEVDF {
				add(a)
			}
		}
	}
	add(Default())
	return all
}
