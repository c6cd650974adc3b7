// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"
	"math"
	"time"

	"autosa/workload"
)

// DefaultWindow is AutoSA's aggregation window.
const DefaultWindow = 60 * time.Second

// windowConstants is how many time constants a window has: what is older than
// the window has e^-3, 5 %, of the vote.
const windowConstants = 3

// maxTracks bounds the groups that are remembered without being in the current
// sample.
const maxTracks = 512

// Voter votes over time: the probabilities of each group and of the host are
// averaged with exponentially falling weights. Its answers follow from the
// samples it was given, in order. It is not safe for concurrent use.
type Voter struct {
	tau   float64 // time constant, seconds
	clock float64 // sum of the samples' intervals, seconds
	host  track
	// groups has one track a group seen within the last window.
	groups map[groupKey]*track
	now    []workload.Probabilities // scratch: this sample's, per group
}

// groupKey tells cgroups apart: one that was removed and made anew under its
// old name is another one.
type groupKey struct {
	id   uint64
	name string
}

// track is the vote of one group.
type track struct {
	sum    workload.Probabilities // weighted; sums to weight
	weight float64
	class  workload.Class
	since  time.Time
	seen   float64 // Voter.clock of the last sample it was in
}

// NewVoter returns a voter whose memory is the window: older samples have at
// most 5 % of the vote. A window of 0 or less is [DefaultWindow].
func NewVoter(window time.Duration) *Voter {
	if window <= 0 {
		window = DefaultWindow
	}
	return &Voter{tau: window.Seconds() / windowConstants, groups: make(map[groupKey]*track)}
}

// Observe takes in one sample and returns the classifications after it: the
// host's first, then one for each of s.Groups, in that order. Only the host's
// carries Reasons; [Explain] gives those of a group. The result is the
// caller's.
//
// The first sample of a group decides its class alone. A group that is absent
// for a window, or is recreated, starts anew.
func (v *Voter) Observe(s *workload.Sample) []workload.Classification {
	dt := math.Max(s.Interval.Seconds(), 0)
	v.clock += dt
	weight := 1 - math.Exp(-dt/v.tau)

	out := make([]workload.Classification, 1+len(s.Groups))
	v.now = v.now[:0]
	var e evidence
	for i := range s.Groups {
		g := &s.Groups[i]
		f := workload.FeaturesOf(s, g)
		e.weigh(&f)
		p := e.probabilities()
		v.now = append(v.now, p)
		t := v.track(groupKey{g.ID, g.Name})
		v.vote(t, &p, weight, s.Time)
		out[1+i] = t.classification(s.Time, g.Name)
	}

	f := hostFeatures(s)
	e.weigh(&f)
	p := e.probabilities()
	c := contend(&f, s.Groups, v.now)
	c.apply(&p)
	v.vote(&v.host, &p, weight, s.Time)
	out[0] = v.host.classification(s.Time, workload.HostName)
	out[0].Reasons = v.hostReasons(s, &f, &e, &c, &p)

	v.forget()
	return out
}

// hostFeatures are the host's, less what the daemon's own process took: an
// observer that takes its own work for the machine's would keep it from ever
// being idle.
func hostFeatures(s *workload.Sample) workload.Features {
	f := workload.FeaturesOf(s, &s.Host)
	own := clamp(s.Tracer.Cost.DaemonShare, 0, 1)
	f.Util = math.Max(f.Util-own, 0)
	f.Runnable = math.Max(f.Runnable-own, 0)
	return f
}

// track returns the group's track, a new one when it has none.
func (v *Voter) track(k groupKey) *track {
	t := v.groups[k]
	if t == nil {
		t = &track{seen: v.clock}
		v.groups[k] = t
	}
	return t
}

// vote gives p its weight in the average of t, after what is there has faded
// with all the time since t was last seen.
func (v *Voter) vote(t *track, p *workload.Probabilities, weight float64, now time.Time) {
	keep := math.Exp(-(v.clock - t.seen) / v.tau)
	t.seen = v.clock
	if t.weight == 0 {
		weight = math.Max(weight, 1e-9) // the first sample counts, whatever its interval
	}
	t.weight = t.weight*keep + weight
	for i := range p {
		t.sum[i] = t.sum[i]*keep + p[i]*weight
	}
	mean := t.mean()
	best, _ := mean.Best()
	if best != t.class || t.since.IsZero() {
		t.class, t.since = best, now
	}
}

// mean is the voted probabilities; they sum to 1 exactly as far as floating
// point can.
func (t *track) mean() workload.Probabilities {
	sum := 0.0
	for _, x := range t.sum {
		sum += x
	}
	p := t.sum
	for i := range p {
		p[i] /= sum
	}
	return p
}

func (t *track) classification(now time.Time, name string) workload.Classification {
	p := t.mean()
	return workload.Classification{
		Time: now, Group: name, Class: t.class, Confidence: p[t.class], Probabilities: p, Since: t.since,
	}
}

// hostReasons are this sample's reasons for the voted class, what the groups
// say of it, and the vote itself where this sample alone says otherwise.
func (v *Voter) hostReasons(s *workload.Sample, f *workload.Features, e *evidence, c *contention,
	now *workload.Probabilities) []workload.Reason {
	class := v.host.class
	var reasons []workload.Reason
	pair, known := c.reason(s.Groups, v.now)
	if class != workload.Mixed || !known {
		reasons = e.reasons(class, f)
	}
	if known && (class == workload.Mixed || pair.Weight > 0) {
		if class != workload.Mixed {
			pair.Weight = -pair.Weight
		}
		reasons = append(reasons, pair)
	}
	if latest, p := now.Best(); latest != class {
		mean := v.host.mean()
		reasons = append(reasons, workload.Reason{
			Feature: "vote",
			Text: fmt.Sprintf("%.0f %% of the vote over time, while the last %s alone look %s (%.0f %%)",
				100*mean[class], short(s.Interval.Seconds()), latest, 100*p),
			Weight: clamp(math.Log(mean[class]/math.Max(now[class], 1e-9)), -20, 20),
		})
	}
	sortReasons(reasons)
	return reasons
}

// forget drops the groups that have been away for a window, and, should too
// many be left, all that are away.
func (v *Voter) forget() {
	oldest := v.clock - windowConstants*v.tau
	if len(v.groups) > maxTracks {
		oldest = v.clock
	}
	for k, t := range v.groups {
		if t.seen < oldest {
			delete(v.groups, k)
		}
	}
}

// Explain gives the reasons of one group of s (or &s.Host) for class, by this
// sample alone, strongest first.
func Explain(s *workload.Sample, g *workload.Group, class workload.Class) []workload.Reason {
	f := workload.FeaturesOf(s, g)
	var e evidence
	e.weigh(&f)
	return e.reasons(class, &f)
}

// logit is the log-odds of p, bounded to what a double can tell.
func logit(p float64) float64 {
	p = clamp(p, 1e-9, 1-1e-9)
	return math.Log(p / (1 - p))
}
