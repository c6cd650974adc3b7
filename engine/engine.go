// SPDX-License-Identifier: Apache-2.0

// Package engine is what autosa concludes and decides with: the vote over
// samples and policy with its memory, behind a clock that does not jump. The
// daemon runs it on what it measures, replay on what was recorded; since both
// run this and nothing else, the same samples and inputs lead to the same
// decisions.
//
// Nothing here reads a clock or anything else. All times are of a steady clock,
// see [Clock], and carry no monotonic reading.
package engine

import (
	"slices"
	"time"

	"autosa/classifier"
	"autosa/policy"
	"autosa/workload"
)

// Engine concludes and decides. It is not safe for concurrent use.
type Engine struct {
	window time.Duration
	config policy.Config
	voter  *classifier.Voter
	memory policy.State
	host   workload.Classification
}

// New returns an engine that remembers nothing. The configuration must be valid.
func New(window time.Duration, config policy.Config) *Engine {
	return &Engine{window: window, config: config, voter: classifier.NewVoter(window)}
}

// Observe takes in a sample that ended at a time of the steady clock, and
// returns the classifications after it, as [classifier.Voter.Observe] does.
func (e *Engine) Observe(at time.Time, s *workload.Sample) []workload.Classification {
	steady := *s
	steady.Time = at
	classes := e.voter.Observe(&steady)
	e.host = classes[0]
	e.host.Reasons = nil
	return classes
}

// Configure decides with another configuration from now on, which must be valid.
// What the engine remembers stays.
func (e *Engine) Configure(config policy.Config) { e.config = config }

// Recall makes the engine remember rests from before its time. It is called
// before the first decision.
func (e *Engine) Recall(rests []policy.Rest) { e.memory.Resting = slices.Clone(rests) }

// Resting returns what the engine remembers of failed arms.
func (e *Engine) Resting() []policy.Rest { return slices.Clone(e.memory.Resting) }

// RestOf returns the rest that an arm takes at now; nil when it takes none.
func (e *Engine) RestOf(a policy.Arm, version string, now time.Time) *policy.Rest {
	return e.memory.RestOf(a, version, now)
}

// Host is the newest classification of the machine, without its reasons; it is
// zero before the first sample.
func (e *Engine) Host() workload.Classification { return e.host }

// Decide asks policy what should be in charge. The engine sets in.Host; the
// mode is the one in force now.
func (e *Engine) Decide(mode policy.Mode, in policy.Input) policy.Decision {
	config := e.config
	config.Mode = mode
	in.Host = e.host
	decision, memory := policy.Decide(config, e.memory, in)
	e.memory = memory
	return decision
}
