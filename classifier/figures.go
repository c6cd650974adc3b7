// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"
	"math"
	"time"

	"autosa/workload"
)

// figure is something about a group that rules look at. None of them is set by
// the length of the slices that the scheduler in charge hands out: a slice that
// ends is an involuntary switch, and only voluntary ones are looked at.
type figure int

const (
	load figure = iota
	wanted
	utilization
	runnable
	wakeups
	work
	sleep
	ioShare
	ioWaiting
	periodicity
	numFigures
)

// figureInfo describes figures to people.
var figureInfo = [numFigures]struct {
	name, unit, meaning string
	// ratio figures are compared by their ratio to a bound, in octaves; the
	// others are shares, compared by difference.
	ratio bool
}{
	load:        {"load", "CPUs / √CPUs", "run time a second over the square root of the number of CPUs: a machine's background grows with it, slower than the machine", true},
	wanted:      {"wanted", "tasks", "mean number of tasks running or waiting for a CPU: what is asked for, whatever else is there to get it", true},
	utilization: {"utilization", "share", "run time over the machine's CPU time", false},
	runnable:    {"runnable", "tasks / CPU", "mean number of tasks running or waiting for a CPU, over the CPUs", true},
	wakeups:     {"wakeups", "1/s / √CPUs", "voluntary switches a second over the square root of the number of CPUs", true},
	work:        {"work_per_wakeup", "s", "run time over voluntary switches: what a task does before it blocks by itself", true},
	sleep:       {"sleep", "s", "median sleep; not known from totals", true},
	ioShare:     {"io_share", "share", "time blocked on storage over that and running; waits for a CPU are left out, others cause them", false},
	ioWaiting:   {"io_waiting", "tasks", "mean number of tasks blocked on storage", true},
	periodicity: {"periodicity", "share", "share of the observed wakeup cycles at even distances of 1 to 250 ms; not known from totals", false},
}

// measured are the figures of one group: their values as rules compare them
// (log2 for ratio figures), and how far each can be trusted, from 0 (not
// known) to 1.
type measured struct {
	at, trust [numFigures]float64
}

// maxWork stands for the work a wakeup of a group that never blocks.
const maxWork = 100.0

// halfTrustCycles is the number of wakeup cycles at which periodicity is worth
// half of what it can be worth.
const halfTrustCycles = 6

// measure never yields a value that is no number, whatever f holds.
func measure(f *workload.Features) measured {
	var m measured
	cpus := math.Max(float64(f.CPUs), 1)
	set := func(g figure, v, trust float64) {
		if figureInfo[g].ratio {
			v = math.Log2(clamp(v, 1e-6, 1e6))
		} else {
			v = clamp(v, 0, 1)
		}
		m.at[g], m.trust[g] = v, trust
	}
	set(load, f.Util*math.Sqrt(cpus), 1)
	set(wanted, f.Runnable*cpus, 1)
	set(utilization, f.Util, 1)
	set(runnable, f.Runnable, 1)
	set(wakeups, f.Wakeups*math.Sqrt(cpus), 1)
	set(ioShare, storageShare(f), 1)
	set(ioWaiting, f.IOWaiting, 1)
	if f.Util > 0 {
		set(work, math.Min(1/clamp(f.WakeRate, 1/maxWork, 1e9), maxWork), 1)
	}
	if f.Distributions && f.SleepP50 > 0 {
		set(sleep, f.SleepP50.Seconds(), 1)
	}
	if f.Distributions && f.Cycles > 0 {
		set(periodicity, f.Periodicity, float64(f.Cycles)/float64(f.Cycles+halfTrustCycles))
	}
	return m
}

// storageShare is time blocked on storage over that and running.
func storageShare(f *workload.Features) float64 {
	blocked, run := clamp(f.IOWaiting, 0, 1e6), clamp(f.Util*float64(f.CPUs), 0, 1e6)
	if blocked == 0 {
		return 0
	}
	return blocked / (blocked + run)
}

// clamp bounds v; what is no number is the lower bound.
func clamp(v, lo, hi float64) float64 {
	if !(v > lo) {
		return lo
	}
	return math.Min(v, hi)
}

// say puts a figure of f into words.
func say(g figure, f *workload.Features) string {
	switch g {
	case load:
		return fmt.Sprintf("uses %.2f of %d CPUs", f.Util*float64(f.CPUs), f.CPUs)
	case utilization:
		return fmt.Sprintf("keeps the CPUs %.0f %% busy", 100*f.Util)
	case wanted:
		return fmt.Sprintf("%.2f tasks want a CPU", f.Runnable*float64(f.CPUs))
	case runnable:
		return fmt.Sprintf("%.2f tasks runnable a CPU", f.Runnable)
	case wakeups:
		return fmt.Sprintf("%.0f voluntary switches a second", f.Wakeups*float64(f.CPUs))
	case work:
		if f.WakeRate <= 1/maxWork {
			return "does not block by itself"
		}
		return fmt.Sprintf("%s of work a wakeup", short(1/f.WakeRate))
	case sleep:
		return fmt.Sprintf("sleeps of %s (median)", short(f.SleepP50.Seconds()))
	case ioShare:
		return fmt.Sprintf("%.0f %% of its own time blocked on storage", 100*storageShare(f))
	case ioWaiting:
		return fmt.Sprintf("%.2f tasks blocked on storage", f.IOWaiting)
	default:
		return fmt.Sprintf("%.0f %% of %d wakeup cycles at even distances", 100*f.Periodicity, f.Cycles)
	}
}

// short prints seconds with three digits at most.
func short(seconds float64) string {
	d := time.Duration(clamp(seconds, 0, 1e6) * float64(time.Second))
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
