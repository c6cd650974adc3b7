// SPDX-License-Identifier: Apache-2.0

// Package classifier says what kind of work a group of tasks, or the whole
// machine, is doing. It has no clock and does no I/O: its answers follow from
// what it is given.
//
// A judgement is made of soft evidence. Each rule lets one figure speak for or
// against one class, in nats; a class's score is the sum, and probabilities are
// the scores' softmax. No single figure decides, and none of them depends on
// the slice lengths of the scheduler in charge. docs/CLASSIFIER.md has the
// rules and why they are so.
package classifier

import (
	"math"
	"slices"

	"autosa/workload"
)

// Classify judges one group by its features alone. The probabilities are at
// least 0 and sum to 1 for any f. The reasons speak for and against the most
// probable class, strongest first.
func Classify(f workload.Features) (workload.Probabilities, []workload.Reason) {
	var e evidence
	e.weigh(&f)
	p := e.probabilities()
	best, _ := p.Best()
	return p, e.reasons(best, &f)
}

// evidence is what every figure says of every class, in nats.
type evidence struct {
	of          [workload.NumClasses][numFigures]float64
	temperature float64
}

func (e *evidence) weigh(f *workload.Features) {
	m := measure(f)
	e.temperature = 1
	if !f.Distributions {
		e.temperature = totalsTemperature
	}
	for c := range compiled {
		e.of[c] = [numFigures]float64{}
		for i := range compiled[c] {
			r := &compiled[c][i]
			if t := m.trust[r.of]; t > 0 {
				e.of[c][r.of] = t * r.evidence(m.at[r.of])
			}
		}
	}
}

func (e *evidence) probabilities() workload.Probabilities {
	var p workload.Probabilities
	for c := range p {
		p[c] = prior[c]
		for _, w := range e.of[c] {
			p[c] += w
		}
		p[c] /= e.temperature
	}
	softmax(&p)
	return p
}

// minReason is the least weight that is worth a reason, in nats.
const minReason = 0.05

func (e *evidence) reasons(c workload.Class, f *workload.Features) []workload.Reason {
	reasons := make([]workload.Reason, 0, numFigures)
	for g := range numFigures {
		if w := e.of[c][g]; math.Abs(w) >= minReason {
			reasons = append(reasons, workload.Reason{Feature: figureInfo[g].name, Text: say(g, f), Weight: w})
		}
	}
	sortReasons(reasons)
	return reasons
}

// sortReasons puts the strongest first; equals keep their order.
func sortReasons(reasons []workload.Reason) {
	slices.SortStableFunc(reasons, func(a, b workload.Reason) int {
		switch d := math.Abs(b.Weight) - math.Abs(a.Weight); {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
}

// softmax turns scores into probabilities.
func softmax(p *workload.Probabilities) {
	top := p[0]
	for _, s := range p {
		top = math.Max(top, s)
	}
	sum := 0.0
	for i := range p {
		p[i] = math.Exp(p[i] - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
}
