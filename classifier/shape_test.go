// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"time"

	"autosa/workload"
)

// shape is a kind of work by what it asks for, apart from any scheduler.
type shape struct {
	// load is the run time asked for per second; runnable the mean number of
	// tasks that want a CPU at once.
	load, runnable float64
	// work is the run time between two sleeps, 0 for none; sleep the median of
	// those.
	work, sleep time.Duration
	// even is the share of wakeup cycles at even distances, of period.
	even   float64
	period time.Duration
	// blocked is the mean number of tasks waiting for storage.
	blocked float64
}

// cpus is the size of the machine that shapes run on.
const cpus = 2

// sample is one second of the shape under a scheduler that hands out slices of
// the given length, as the named group of a sample.
func (s shape) group(name string, slice time.Duration) (workload.Group, []workload.Period) {
	g := workload.Group{ID: uint64(len(name)), Name: name}
	g.Run = time.Duration(s.load * float64(time.Second))
	g.Wait = time.Duration(max(s.runnable-s.load, 0) * float64(time.Second))
	g.IOWait = time.Duration(s.blocked * float64(time.Second))
	if s.work > 0 {
		g.Voluntary = uint64(g.Run / s.work)
	}
	// A slice that ends while others want the CPU is a preemption.
	if g.Wait > 0 {
		g.Involuntary = uint64(g.Run / slice)
	}
	g.Switches = g.Voluntary + g.Involuntary
	burst := slice
	if s.work > 0 {
		burst = min(slice, s.work)
	}
	fill(&g.RunHist, burst, g.Switches)
	if g.Switches > 0 {
		fill(&g.WaitHist, g.Wait/time.Duration(g.Switches), g.Switches)
	}
	fill(&g.SleepHist, s.sleep, g.Voluntary)
	var periods []workload.Period
	if n := int(min(g.Voluntary, 60)); n > 1 && s.sleep > 0 {
		even := int(s.even * float64(n))
		periods = []workload.Period{
			{Group: name, Mean: s.period, CV: 0.05, Cycles: even},
			{Group: name, Mean: s.sleep, CV: 1.1, Cycles: n - even},
		}
	}
	return g, periods
}

func fill(h *workload.Histogram, d time.Duration, n uint64) {
	h[workload.BucketOf(uint64(d))] += n
}

// sample is one second of several shapes, each in a group of its own, named by
// its place: a, b, c, ….
func sample(slice time.Duration, shapes ...shape) *workload.Sample {
	s := &workload.Sample{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Interval: time.Second, CPUs: cpus, Source: workload.SourceBPF,
		Host: workload.Group{Name: workload.HostName},
	}
	for i, sh := range shapes {
		g, periods := sh.group(string(rune('a'+i)), slice)
		g.ID = uint64(i + 1)
		s.Groups = append(s.Groups, g)
		s.Events.Periods = append(s.Events.Periods, periods...)
		h := &s.Host
		h.Switches += g.Switches
		h.Voluntary += g.Voluntary
		h.Involuntary += g.Involuntary
		h.Run += g.Run
		h.Wait += g.Wait
		h.IOWait += g.IOWait
		h.RunHist.Add(&g.RunHist)
		h.WaitHist.Add(&g.WaitHist)
		h.SleepHist.Add(&g.SleepHist)
	}
	return s
}

// typical are shapes about which there is no doubt.
var typical = map[string]struct {
	shape
	class workload.Class
}{
	"nothing":                   {shape{}, workload.Idle},
	"a few timers":              {shape{load: 0.004, runnable: 0.004, work: 100 * time.Microsecond, sleep: 200 * time.Millisecond}, workload.Idle},
	"a spinner":                 {shape{load: 1, runnable: 1}, workload.Compute},
	"a spinner a CPU":           {shape{load: 2, runnable: 2}, workload.Compute},
	"a simulation that logs":    {shape{load: 2, runnable: 2.2, work: 300 * time.Millisecond, sleep: 2 * time.Millisecond}, workload.Compute},
	"four spinners":             {shape{load: 2, runnable: 4}, workload.Batch},
	"a parallel build":          {shape{load: 2, runnable: 6, work: 20 * time.Millisecond, sleep: 5 * time.Millisecond}, workload.Batch},
	"a web server":              {shape{load: 0.6, runnable: 0.8, work: 150 * time.Microsecond, sleep: 2 * time.Millisecond}, workload.Server},
	"a saturated key-value one": {shape{load: 2, runnable: 5, work: 30 * time.Microsecond, sleep: 100 * time.Microsecond}, workload.Server},
	"a player":                  {shape{load: 0.2, runnable: 0.2, work: time.Millisecond, sleep: 9 * time.Millisecond, even: 0.9, period: 10 * time.Millisecond}, workload.Media},
	"a game at 60 Hz":           {shape{load: 0.9, runnable: 1, work: 8 * time.Millisecond, sleep: 8 * time.Millisecond, even: 0.8, period: 16667 * time.Microsecond}, workload.Media},
	"an editor":                 {shape{load: 0.1, runnable: 0.1, work: 3 * time.Millisecond, sleep: 90 * time.Millisecond}, workload.Interactive},
	"a browser":                 {shape{load: 0.4, runnable: 0.45, work: 5 * time.Millisecond, sleep: 40 * time.Millisecond, even: 0.1, period: 16 * time.Millisecond}, workload.Interactive},
	"a scan":                    {shape{load: 0.05, runnable: 0.05, work: 50 * time.Microsecond, sleep: 20 * time.Microsecond, blocked: 0.95}, workload.IO},
	"a slow disk":               {shape{load: 0.01, runnable: 0.01, work: 50 * time.Microsecond, blocked: 0.99}, workload.IO},
	"a backup that compresses":  {shape{load: 0.6, runnable: 0.7, work: 500 * time.Microsecond, sleep: time.Millisecond, blocked: 2}, workload.IO},
}
