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
// the 1.1 series take them. Idle has no entry: an idle machine keeps what it
// has. The caller owns the result.
func DefaultTable() Table {
	rusty := Arm{"scx_rusty", []string{"--slice-us-underutil", "20000"}}
	lavd := Arm{"scx_lavd", []string{"--slice-max-us", "5000"}}
	return Table{
		workload.Interactive: {lavd.clone()},
		workload.Media:       {lavd.clone()},
		workload.Server:      {lavd.clone()},
		workload.Compute:     {rusty.clone()},
		workload.Batch:       {rusty.clone()},
		workload.IO:          {{"scx_bpfland", []string{"--slice-us", "20000"}}},
		workload.Mixed:       {{"scx_flash", []string{"--slice-us", "4096"}}},
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
