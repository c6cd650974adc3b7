// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"math"

	"autosa/workload"
)

// A rule is what one figure says of one class: yes nats for it well within
// the bounds, no nats against it well outside, and a smooth way between.
type rule struct {
	of figure
	// lo and hi bound the range that is typical of the class, in the figure's
	// unit; 0 and inf are open.
	lo, hi float64
	// soft is how far from a bound the evidence turns from nothing to mostly
	// there: octaves for ratio figures, units for shares.
	soft float64
	yes  float64
	no   float64
}

var inf = math.Inf(1)

// rules are the shipped ones. docs/CLASSIFIER.md has this table with the
// reasons for each number, held equal by a test.
var rules = [workload.NumClasses][]rule{
	workload.Idle: {
		{load, 0, 0.04, 0.4, 3, 5},
		{wakeups, 0, 150, 0.7, 1, 1.5},
		{ioWaiting, 0, 0.1, 0.5, 0.5, 5},
	},
	workload.Interactive: {
		{load, 0.04, 0.8, 0.4, 1, 3},
		{wakeups, 4, 250, 0.7, 1, 1.5},
		{work, 0.0005, 0.03, 0.8, 1, 1.5},
		{sleep, 0.015, inf, 0.6, 1.5, 2},
		{periodicity, 0, 0.4, 0.1, 1, 3},
		{ioShare, 0, 0.4, 0.08, 0.5, 2},
		{utilization, 0, 0.7, 0.08, 0.5, 2},
		{runnable, 0, 1.5, 0.2, 0, 2},
	},
	workload.Media: {
		{load, 0.01, inf, 0.5, 0.5, 2.5},
		{wakeups, 15, 2000, 0.7, 0.5, 2},
		{work, 0, 0.04, 0.6, 0.5, 1.5},
		{sleep, 0.0007, 0.12, 0.5, 0.5, 1.5},
		{periodicity, 0.5, inf, 0.1, 3, 3},
		{ioShare, 0, 0.3, 0.08, 0.5, 4},
		{utilization, 0, 0.85, 0.06, 0.5, 4},
	},
	workload.Server: {
		{load, 0.04, inf, 0.4, 0.5, 2.5},
		{wakeups, 300, inf, 0.5, 2, 3},
		{work, 0, 0.003, 0.6, 1.5, 2.5},
		{sleep, 0, 0.012, 0.6, 1, 1.5},
		{periodicity, 0, 0.5, 0.1, 0.5, 1.5},
		{ioShare, 0, 0.4, 0.08, 0.5, 4},
	},
	workload.Compute: {
		{wanted, 0.5, inf, 0.35, 1, 4},
		{runnable, 0, 1.5, 0.12, 1.5, 3.5},
		{work, 0.015, inf, 0.6, 2, 3},
		{periodicity, 0, 0.5, 0.1, 0, 1},
		{ioShare, 0, 0.3, 0.08, 0.5, 2},
	},
	workload.Batch: {
		{wanted, 0.5, inf, 0.35, 1, 4},
		{runnable, 1.5, inf, 0.12, 1.5, 3.5},
		{work, 0.003, inf, 0.6, 1.5, 3},
		{periodicity, 0, 0.5, 0.1, 0, 1},
		{ioShare, 0, 0.4, 0.08, 0.5, 2},
	},
	workload.IO: {
		{ioShare, 0.5, inf, 0.07, 2.5, 4},
		{ioWaiting, 0.25, inf, 0.4, 1.5, 4},
		{utilization, 0, 0.8, 0.08, 0, 1},
	},
	workload.Mixed: {
		{utilization, 0.7, inf, 0.06, 0.5, 3},
		{runnable, 1.1, inf, 0.15, 0.5, 2.5},
		{work, 0.0015, 0.025, 0.5, 0.5, 2},
		{wakeups, 60, inf, 0.5, 0.5, 2},
		{periodicity, 0.4, inf, 0.1, 2, 1.5},
		{ioShare, 0, 0.4, 0.08, 0, 2},
	},
}

// prior is what is believed of a class before anything is measured, in nats:
// a mixture within one group is the rarer explanation.
var prior = [workload.NumClasses]float64{workload.Mixed: -1}

// totalsTemperature widens the probabilities where only totals are known: what
// is missing cannot speak against a class, so the rest would be too sure.
const totalsTemperature = 1.6

// compiled are the rules with their bounds as figures are compared.
var compiled = func() [workload.NumClasses][]rule {
	var all [workload.NumClasses][]rule
	for c, rs := range rules {
		for _, r := range rs {
			if figureInfo[r.of].ratio {
				r.lo, r.hi = math.Log2(r.lo), math.Log2(r.hi)
			} else if r.lo == 0 {
				r.lo = -inf
			}
			all[c] = append(all[c], r)
		}
	}
	return all
}()

// evidence is what a compiled rule says of value x, in nats. Its open bounds
// are infinite.
func (r *rule) evidence(x float64) float64 {
	m := 1.0
	if r.lo > -inf {
		m = sigmoid((x - r.lo) / r.soft)
	}
	if r.hi < inf {
		m *= sigmoid((r.hi - x) / r.soft)
	}
	return r.yes*m - r.no*(1-m)
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
