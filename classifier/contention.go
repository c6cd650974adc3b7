// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"
	"math"

	"autosa/workload"
)

// contention is what the groups say of the host being mixed: the probability
// that one of them does latency work while another does throughput work and
// the CPUs do not suffice for both.
type contention struct {
	// known is false with fewer than two busy groups: then the host's own
	// features are all there is.
	known       bool
	probability float64
	// latency and throughput are the indices of the two groups most likely to be
	// the ones.
	latency, throughput int
}

// busyGroup is the probability of not being idle from which a group counts as
// busy.
const busyGroup = 0.5

// The runnable tasks a CPU at which CPUs are believed not to suffice, and how
// softly.
const (
	contendedRunnable = 0.85
	contendedSoft     = 0.08
)

// rootGroup is the cgroup of kernel threads and of whatever nobody put
// anywhere. It is nobody's latency work or throughput work: its wakeups are the
// machine's own background, which every busy machine has.
const rootGroup = "/"

// contend looks for the pair among the groups of one sample, whose
// probabilities are ps.
func contend(host *workload.Features, groups []workload.Group, ps []workload.Probabilities) contention {
	// The best two of each side suffice: if one group is the best of both, the
	// pair takes the second of one.
	var c contention
	busy := 0
	lat, thr := top2{first: -1, second: -1}, top2{first: -1, second: -1}
	for i := range ps {
		if groups[i].Name == rootGroup {
			continue
		}
		p := &ps[i]
		if 1-p[workload.Idle] >= busyGroup {
			busy++
		}
		lat.see(i, p[workload.Interactive]+p[workload.Media]+p[workload.Server])
		thr.see(i, p[workload.Compute]+p[workload.Batch])
	}
	if busy < 2 {
		return c
	}
	c.known = true
	pair := func(l, t int, pl, pt float64) {
		if l >= 0 && t >= 0 && l != t && pl*pt > c.probability {
			c.probability, c.latency, c.throughput = pl*pt, l, t
		}
	}
	pair(lat.first, thr.first, lat.p1, thr.p1)
	pair(lat.first, thr.second, lat.p1, thr.p2)
	pair(lat.second, thr.first, lat.p2, thr.p1)
	m := measure(host)
	c.probability *= sigmoid((math.Exp2(m.at[runnable]) - contendedRunnable) / contendedSoft)
	return c
}

// top2 keeps the two highest of what it sees; of equals the earlier.
type top2 struct {
	first, second int
	p1, p2        float64
}

func (t *top2) see(i int, p float64) {
	switch {
	case t.first < 0 || p > t.p1:
		t.second, t.p2 = t.first, t.p1
		t.first, t.p1 = i, p
	case t.second < 0 || p > t.p2:
		t.second, t.p2 = i, p
	}
}

// apply mixes what the groups say into the host's own probabilities. With
// busy groups to look at, the host's own figures no longer say whether it is
// mixed: they are sums over the groups.
func (c *contention) apply(p *workload.Probabilities) {
	if !c.known {
		return
	}
	rest := 1 - p[workload.Mixed]
	for i := range p {
		switch {
		case i == int(workload.Mixed):
			p[i] = c.probability
		case rest > 0:
			p[i] *= (1 - c.probability) / rest
		default:
			p[i] = (1 - c.probability) / float64(workload.NumClasses-1)
		}
	}
}

// reason says it in words, as evidence for or against the host being mixed.
func (c *contention) reason(groups []workload.Group, ps []workload.Probabilities) (workload.Reason, bool) {
	if !c.known {
		return workload.Reason{}, false
	}
	r := workload.Reason{Feature: "contending_groups", Weight: logit(c.probability)}
	if c.probability < 0.5 {
		r.Text = "no latency-sensitive group contends with a throughput group"
		return r, true
	}
	l, _ := ps[c.latency].Best()
	t, _ := ps[c.throughput].Best()
	r.Text = fmt.Sprintf("%s (%s) and %s (%s) contend for the CPUs", groups[c.latency].Name, l, groups[c.throughput].Name, t)
	return r, true
}
