// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"autosa/classifier"
	"autosa/policy"
	"autosa/recording"
	"autosa/workload"
)

// The functions of this file turn what policy and classifier say into a
// recording's records, and back. Nothing is lost either way.

// WireConfig is the configuration as recordings hold it.
func WireConfig(window time.Duration, c policy.Config) recording.Config {
	out := recording.Config{
		Window: int64(window), Mode: string(c.Mode), MinConfidence: recording.Float(c.MinConfidence),
		MinSwitchInterval: int64(c.MinSwitchInterval), MinClassAge: int64(c.MinClassAge),
		Backoff: int64(c.Backoff), MaxBackoff: int64(c.MaxBackoff),
	}
	for _, class := range slices.Sorted(maps.Keys(c.Table)) {
		out.Table = append(out.Table, recording.Preference{Class: class, Arms: each(c.Table[class], WireArm)})
	}
	return out
}

// policyConfig is the inverse of [WireConfig].
func policyConfig(c recording.Config) (time.Duration, policy.Config, error) {
	out := policy.Config{
		Mode: policy.Mode(c.Mode), MinConfidence: float64(c.MinConfidence),
		MinSwitchInterval: time.Duration(c.MinSwitchInterval), MinClassAge: time.Duration(c.MinClassAge),
		Backoff: time.Duration(c.Backoff), MaxBackoff: time.Duration(c.MaxBackoff), Table: policy.Table{},
	}
	for _, p := range c.Table {
		out.Table[p.Class] = each(p.Arms, policyArm)
	}
	if err := out.Validate(); err != nil {
		return 0, out, fmt.Errorf("the recorded configuration: %w", err)
	}
	return time.Duration(c.Window), out, nil
}

// State is what the engine remembers, as a record. Its times are set by the
// caller.
func (e *Engine) State(at time.Time, offset time.Duration) *recording.State {
	v := e.voter.State()
	return &recording.State{
		At: recording.Nanos(at), Offset: int64(offset), Config: WireConfig(e.window, e.config),
		Host: recording.Host{
			Class: e.host.Class, Confidence: recording.Float(e.host.Confidence),
			Probabilities: wireProbabilities(e.host.Probabilities), Since: recording.Nanos(e.host.Since),
		},
		Voter:   recording.Voter{Clock: recording.Float(v.Clock), Host: wireTrack(v.Host), Groups: each(v.Groups, wireTrack)},
		Resting: each(e.memory.Resting, wireRest),
		Choice:  recording.Choice{Arm: WireArm(e.memory.Choice.Arm), Since: recording.Nanos(e.memory.Choice.Since)},
	}
}

// Restore returns an engine that remembers what a record says.
func Restore(s *recording.State) (*Engine, error) {
	window, config, err := policyConfig(s.Config)
	if err != nil {
		return nil, err
	}
	e := New(window, config)
	var v classifier.VoterState
	v.Clock = float64(s.Voter.Clock)
	if v.Host, err = voterTrack(s.Voter.Host); err != nil {
		return nil, err
	}
	for _, t := range s.Voter.Groups {
		track, err := voterTrack(t)
		if err != nil {
			return nil, err
		}
		v.Groups = append(v.Groups, track)
	}
	e.voter.SetState(v)
	e.host = workload.Classification{
		Group: workload.HostName, Class: s.Host.Class, Confidence: float64(s.Host.Confidence), Since: recording.TimeOf(s.Host.Since),
	}
	if e.host.Probabilities, err = probabilities(s.Host.Probabilities); err != nil {
		return nil, err
	}
	e.memory = policy.State{
		Resting: each(s.Resting, func(r recording.Rest) policy.Rest {
			return policy.Rest{
				Arm: policyArm(r.Arm), Version: string(r.Version), Failures: r.Failures, At: recording.TimeOf(r.At), Reason: string(r.Reason),
				Until: recording.TimeOf(r.Until),
			}
		}),
		Choice: policy.Choice{Arm: policyArm(s.Choice.Arm), Since: recording.TimeOf(s.Choice.Since)},
	}
	return e, nil
}

// WireInput is what policy is given, as a record. The classification is left
// out: it follows from the samples.
func WireInput(offset time.Duration, mode policy.Mode, in policy.Input) *recording.Input {
	out := &recording.Input{
		At: recording.Nanos(in.Now), Offset: int64(offset), Mode: string(mode),
		InCharge: WireArm(in.InCharge.Arm), Owner: string(in.InCharge.Owner), LastSwap: recording.Nanos(in.LastSwap),
		Failures: each(in.Failures, func(f policy.Failure) recording.Failure {
			return recording.Failure{Arm: WireArm(f.Arm), Version: recording.Text(f.Version), At: recording.Nanos(f.At), Reason: recording.Text(f.Reason)}
		}),
	}
	for _, h := range in.Holds {
		out.Holds = append(out.Holds, recording.Hold{Reason: recording.Text(h.Reason), Since: recording.Nanos(h.Since), Until: recording.Nanos(h.Until)})
	}
	out.WhyNot, out.Versions = values[recording.Text](in.WhyNot), values[recording.Text](in.Versions)
	out.Forgive = each(in.Forgive, text)
	if in.Manual != nil {
		out.Manual = &recording.Order{Arm: WireArm(in.Manual.Arm), Since: recording.Nanos(in.Manual.Since)}
	}
	if in.Veto != nil {
		out.Veto = &recording.Order{Arm: WireArm(in.Veto.Arm), Since: recording.Nanos(in.Veto.Since)}
	}
	return out
}

// policyInput is the inverse of [WireInput].
func policyInput(in *recording.Input) (policy.Mode, policy.Input) {
	out := policy.Input{
		Now:      recording.TimeOf(in.At),
		InCharge: policy.InCharge{Arm: policyArm(in.InCharge), Owner: policy.Owner(in.Owner)},
		LastSwap: recording.TimeOf(in.LastSwap),
		Failures: each(in.Failures, func(f recording.Failure) policy.Failure {
			return policy.Failure{Arm: policyArm(f.Arm), Version: string(f.Version), At: recording.TimeOf(f.At), Reason: string(f.Reason)}
		}),
		WhyNot: values[string](in.WhyNot), Versions: values[string](in.Versions),
		Forgive: each(in.Forgive, func(t recording.Text) string { return string(t) }),
	}
	for _, h := range in.Holds {
		out.Holds = append(out.Holds, policy.Hold{Reason: string(h.Reason), Since: recording.TimeOf(h.Since), Until: recording.TimeOf(h.Until)})
	}
	if in.Manual != nil {
		out.Manual = &policy.Order{Arm: policyArm(in.Manual.Arm), Since: recording.TimeOf(in.Manual.Since)}
	}
	if in.Veto != nil {
		out.Veto = &policy.Veto{Arm: policyArm(in.Veto.Arm), Since: recording.TimeOf(in.Veto.Since)}
	}
	return policy.Mode(in.Mode), out
}

// WireDecision is a decision as a record.
func WireDecision(d *policy.Decision) *recording.Decision {
	return &recording.Decision{
		At: recording.Nanos(d.Time), Arm: WireArm(d.Arm), Action: string(d.Action), Manual: d.Manual,
		Reasons: each(d.Reasons, text), WouldChange: each(d.WouldChange, text),
		Alternatives: each(d.Alternatives, func(a policy.Alternative) recording.Alternative {
			return recording.Alternative{Arm: WireArm(a.Arm), WhyNot: recording.Text(a.WhyNot)}
		}),
		Class: d.Class, Confidence: recording.Float(d.Confidence),
	}
}

// WireArm is an arm as recordings hold it.
func WireArm(a policy.Arm) recording.Arm {
	return recording.Arm{Scheduler: recording.Text(a.Scheduler), Args: each(a.Args, text)}
}

func policyArm(a recording.Arm) policy.Arm {
	return policy.Arm{Scheduler: string(a.Scheduler), Args: each(a.Args, func(t recording.Text) string { return string(t) })}
}

func wireRest(r policy.Rest) recording.Rest {
	return recording.Rest{
		Arm: WireArm(r.Arm), Version: recording.Text(r.Version), Failures: r.Failures, At: recording.Nanos(r.At), Until: recording.Nanos(r.Until),
		Reason: recording.Text(r.Reason),
	}
}

func wireTrack(t classifier.TrackState) recording.Track {
	return recording.Track{
		ID: t.ID, Name: recording.Text(t.Name), Sum: wireProbabilities(t.Sum), Weight: recording.Float(t.Weight),
		Class: t.Class, Since: recording.Nanos(t.Since), Seen: recording.Float(t.Seen),
	}
}

func voterTrack(t recording.Track) (classifier.TrackState, error) {
	sum, err := probabilities(t.Sum)
	return classifier.TrackState{
		ID: t.ID, Name: string(t.Name), Sum: sum, Weight: float64(t.Weight), Class: t.Class, Since: recording.TimeOf(t.Since), Seen: float64(t.Seen),
	}, err
}

func wireProbabilities(p workload.Probabilities) recording.List[recording.Float] {
	out := make(recording.List[recording.Float], len(p))
	for i, x := range p {
		out[i] = recording.Float(x)
	}
	return out
}

func probabilities(l recording.List[recording.Float]) (workload.Probabilities, error) {
	var p workload.Probabilities
	if len(l) != len(p) {
		return p, fmt.Errorf("%d probabilities were recorded, this autosa has %d classes: replay it with the autosa that wrote it", len(l), len(p))
	}
	for i, x := range l {
		p[i] = float64(x)
	}
	return p, nil
}

func text(s string) recording.Text { return recording.Text(s) }

// values is a map with its values in another type of text; nil stays nil.
func values[B, A ~string](in map[string]A) map[string]B {
	if in == nil {
		return nil
	}
	out := make(map[string]B, len(in))
	for k, v := range in {
		out[k] = B(v)
	}
	return out
}

// each maps a list; nil stays nil.
func each[A, B any](in []A, f func(A) B) []B {
	if in == nil {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = f(in[i])
	}
	return out
}
