// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"autosa/policy"
	"autosa/recording"
	"autosa/workload"
)

// Source is what is replayed: a [*recording.Reader].
type Source interface {
	Next() (recording.Record, error)
}

// ReplayOptions are what a replay may do otherwise than the recorded run. The
// zero value repeats it.
type ReplayOptions struct {
	// Adjust changes the configuration that policy decides with: a what-if.
	// What was in charge, and what happened to it, stays as recorded.
	Adjust func(*policy.Config)
	// Until ends the replay that long after the recording's beginning; 0 is its
	// end.
	Until time.Duration
	// Step, if set, is called after each decision. An error of it ends the
	// replay and is returned.
	Step func(Step) error
	// Before, if set, is called with the time since the recording's beginning,
	// before a record is taken. An error of it ends the replay and is returned.
	Before func(time.Duration) error
}

// Step is one decision of a replay.
type Step struct {
	// Wall is the wall clock of the recorded run at the time, Since the time
	// since the recording's beginning.
	Wall  time.Time
	Since time.Duration
	// Decision is what was decided now; Recorded what the run decided, nil where
	// that is missing.
	Decision, Recorded *recording.Decision
	// Same says whether the two are equal: to the letter, and in a what-if, whose
	// reasons name other figures, in what is to be done. Unsure is true after a
	// loss, as long as the engine may remember something else than the run's.
	Same, Unsure bool
}

// Result is what a replay came to.
type Result struct {
	Samples, Skipped, Decisions uint64
	// Compared counts the decisions that were recorded and could be compared,
	// Different those that were otherwise. Unsure counts those after a loss.
	Compared, Different, Unsure uint64
	// States counts the engine states that were compared with recorded ones,
	// DifferentStates those that were otherwise.
	States, DifferentStates uint64
	// First is the first difference, nil where there was none.
	First *Step
	// Losses are gaps and damages, in words, the first hundred of Lost.
	Losses []string
	Lost   uint64
	// Host is the last classification of the machine.
	Host workload.Classification
}

const maxLosses = 100

// ErrNoState is returned for a recording that holds no whole state to begin
// from.
var ErrNoState = errors.New("the recording holds no whole state record to begin from")

// replay is one under way.
type replay struct {
	opts   ReplayOptions
	engine *Engine // nil before the first state
	unsure bool
	start  int64            // steady clock at the beginning
	config recording.Config // in force in the recorded run
	input  *recording.Input
	result Result
}

// Replay gives the engine what a recording holds, in its order, and compares
// what it decides with what was decided then. Damage and gaps do not end it:
// decisions after them count as unsure until the next recorded state.
func Replay(src Source, o ReplayOptions) (Result, error) {
	r := replay{opts: o}
	for {
		rec, err := src.Next()
		switch {
		case errors.Is(err, io.EOF):
			if err := r.decide(nil); err != nil {
				return r.result, err
			}
			return r.end()
		case errors.Is(err, recording.ErrCutOff):
			r.lost(err.Error()) // nothing follows that could depend on it
			continue
		case errors.Is(err, recording.ErrDamaged):
			r.lost(err.Error())
			r.input, r.unsure = nil, true
			continue
		case err != nil:
			return r.result, err
		}
		if err := r.take(rec); errors.Is(err, errUntil) {
			return r.end()
		} else if err != nil {
			return r.result, err
		}
	}
}

// errUntil ends a replay before the recording's end.
var errUntil = errors.New("until reached")

func (r *replay) end() (Result, error) {
	if r.engine == nil {
		return r.result, ErrNoState
	}
	r.result.Host = r.engine.Host()
	return r.result, nil
}

func (r *replay) lost(what string) {
	r.result.Lost++
	if len(r.result.Losses) < maxLosses {
		r.result.Losses = append(r.result.Losses, what)
	}
}

// take takes one record in.
func (r *replay) take(rec recording.Record) error {
	switch rec := rec.(type) {
	case *recording.Decision:
		return r.decide(rec)
	case *recording.Event, *recording.Total:
		return nil // for people: nothing is decided on them
	}
	// An input without its decision, which was lost, still moves the memory.
	if err := r.decide(nil); err != nil {
		return err
	}
	switch rec := rec.(type) {
	case *recording.State:
		if err := r.pace(rec.At); err != nil {
			return err
		}
		return r.state(rec)
	case *recording.Sample:
		if err := r.pace(rec.At); err != nil || r.engine == nil {
			return err
		}
		r.result.Samples++
		if rec.Skipped != "" {
			r.result.Skipped++
			return nil
		}
		r.engine.Observe(recording.TimeOf(rec.At), &rec.Sample)
	case *recording.Input:
		if err := r.pace(rec.At); err != nil {
			return err
		}
		r.input = rec
	case *recording.Gap:
		r.lost(fmt.Sprintf("%d records were lost while recording", rec.Lost))
		r.unsure = true
	}
	return nil
}

// pace tells the caller how far the recording is, and ends it where asked to.
func (r *replay) pace(at int64) error {
	if r.start == 0 {
		r.start = at
	}
	since := time.Duration(at - r.start)
	if r.opts.Until > 0 && since > r.opts.Until {
		return errUntil
	}
	if r.opts.Before != nil {
		return r.opts.Before(since)
	}
	return nil
}

// state takes up a recorded state: where nothing was lost it has to be the
// engine's own, else it becomes that. Its configuration is the run's from then on,
// which was reloaded where it is another one.
func (r *replay) state(s *recording.State) error {
	adjusted := r.opts.Adjust != nil
	reloaded := r.engine != nil && !equal(r.config, s.Config)
	r.config = s.Config
	if reloaded {
		_, config, err := policyConfig(s.Config)
		if err != nil {
			return err
		}
		if err := r.configure(config); err != nil {
			return err
		}
	}
	if r.engine != nil && !r.unsure {
		if adjusted {
			return nil
		}
		r.result.States++
		own := r.engine.State(recording.TimeOf(s.At), time.Duration(s.Offset))
		if !equal(own, s) {
			r.result.DifferentStates++
		}
	}
	e, err := Restore(s)
	if err != nil {
		return err
	}
	r.engine, r.unsure = e, false
	return r.configure(e.config)
}

// configure lets the engine decide with the run's configuration, or what the
// what-if makes of it.
func (r *replay) configure(config policy.Config) error {
	if r.opts.Adjust != nil {
		r.opts.Adjust(&config)
		if err := config.Validate(); err != nil {
			return err
		}
	}
	r.engine.Configure(config)
	return nil
}

// decide decides on the input that waits, if any, and compares.
func (r *replay) decide(recorded *recording.Decision) error {
	in := r.input
	if in == nil || r.engine == nil {
		r.input = nil
		return nil
	}
	r.input = nil
	mode, input := policyInput(in)
	d := r.engine.Decide(mode, input)
	step := Step{
		Wall: recording.TimeOf(in.At + in.Offset), Since: time.Duration(in.At - r.start),
		Decision: WireDecision(&d), Recorded: recorded, Unsure: r.unsure,
	}
	step.Same = recorded != nil && r.same(step.Decision, recorded)
	r.result.Decisions++
	switch {
	case recorded == nil:
	case r.unsure:
		r.result.Unsure++
	default:
		r.result.Compared++
		if !step.Same {
			r.result.Different++
			if r.result.First == nil {
				first := step
				r.result.First = &first
			}
		}
	}
	if r.opts.Step != nil {
		return r.opts.Step(step)
	}
	return nil
}

func (r *replay) same(now, recorded *recording.Decision) bool {
	if r.opts.Adjust != nil {
		return now.Action == recorded.Action && equal(now.Arm, recorded.Arm)
	}
	return equal(now, recorded)
}

// equal compares two records as they would be written.
func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
