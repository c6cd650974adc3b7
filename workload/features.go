// SPDX-License-Identifier: Apache-2.0

package workload

import "time"

// Features are the scale-free figures of one group's (or the host's) sample
// that the classifier judges by. Shares are 0 to 1.
type Features struct {
	// Distributions is false when the source gave totals only: then every
	// quantile below is 0 and says nothing.
	Distributions bool
	// CPUs is the number of CPUs online; it turns shares into amounts.
	CPUs int
	// Util is run time over the machine's CPU time.
	Util float64
	// Runnable is the mean number of tasks running or waiting, over the CPUs.
	Runnable float64
	// Contention is wait / (wait + run).
	Contention float64
	// WaitP50 and WaitP99 are quantiles of single run-queue waits.
	WaitP50, WaitP99 time.Duration
	// Burst is the mean on-CPU period, RunP50 and RunP90 its quantiles.
	Burst, RunP50, RunP90 time.Duration
	// Involuntary is the share of switches that were preemptions.
	Involuntary float64
	// WakeRate is voluntary switches per second of run time.
	WakeRate float64
	// Wakeups is voluntary switches per second of wall time and CPU.
	Wakeups float64
	// SleepP50 is the median sleep.
	SleepP50 time.Duration
	// IOShare is I/O wait / (I/O wait + run + wait).
	IOShare float64
	// IOWaiting is the mean number of tasks blocked on storage.
	IOWaiting float64
	// Periodicity is the share of observed wakeup cycles that belong to tasks
	// waking at even distances ([Period.Even]); Cycles is their number, with 0
	// of which Periodicity says nothing.
	Periodicity float64
	Cycles      int
	// Throttled is time held back by the group's own quota over wall time.
	Throttled float64
	// CPUPressure and IOPressure are PSI "some" shares of the host.
	CPUPressure, IOPressure float64
}

// PeriodicCV is the coefficient of variation of a task's wakeup distances below
// which it counts as periodic.
const PeriodicCV = 0.25

// The range of periods that somebody made on purpose, from small audio buffers
// to a slow frame. Below it evenness is a tight loop's, above it a timer's.
const (
	MinPeriod = time.Millisecond
	MaxPeriod = 250 * time.Millisecond
)

// Even says whether the task wakes at even distances, within the range of
// periods that media have.
func (p *Period) Even() bool {
	return p.CV < PeriodicCV && p.Mean >= MinPeriod && p.Mean <= MaxPeriod
}

// FeaturesOf derives the features of one group of s; g is s.Host or one of
// s.Groups.
func FeaturesOf(s *Sample, g *Group) Features {
	f := Features{Distributions: s.Source == SourceBPF, CPUs: s.CPUs}
	dt := s.CoveredTime().Seconds()
	if dt <= 0 || s.CPUs <= 0 {
		return f
	}
	cpus := float64(s.CPUs)
	run, wait, io := g.Run.Seconds(), g.Wait.Seconds(), g.IOWait.Seconds()
	f.Util = run / (dt * cpus)
	f.Runnable = (run + wait) / (dt * cpus)
	f.Contention = ratio(wait, wait+run)
	f.IOShare = ratio(io, io+run+wait)
	f.IOWaiting = io / dt
	f.Involuntary = ratio(float64(g.Involuntary), float64(g.Switches))
	f.WakeRate = ratio(float64(g.Voluntary), run)
	f.Wakeups = float64(g.Voluntary) / (dt * cpus)
	f.Throttled = ratio(g.Throttled.Seconds(), s.Interval.Seconds())
	f.CPUPressure, f.IOPressure = s.PSI.CPUSome, s.PSI.IOSome
	if g.Switches > 0 {
		f.Burst = g.Run / time.Duration(g.Switches)
	}
	if f.Distributions {
		f.WaitP50, f.WaitP99 = g.WaitHist.Quantile(0.5), g.WaitHist.Quantile(0.99)
		f.RunP50, f.RunP90 = g.RunHist.Quantile(0.5), g.RunHist.Quantile(0.9)
		f.SleepP50 = g.SleepHist.Quantile(0.5)
	}
	f.Periodicity, f.Cycles = periodicity(s.Events.Periods, g.Name)
	return f
}

// periodicity is the share of observed cycles of the named group (all groups
// for the host) whose tasks wake at even distances, and the number of cycles.
func periodicity(periods []Period, group string) (float64, int) {
	even, all := 0, 0
	for i := range periods {
		p := &periods[i]
		if group != HostName && p.Group != group {
			continue
		}
		all += p.Cycles
		if p.Even() {
			even += p.Cycles
		}
	}
	return ratio(float64(even), float64(all)), all
}

func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}
