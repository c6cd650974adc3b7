// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"time"
)

// maxResting bounds the state: more arms than anybody configures.
const maxResting = 64

// Rest is the rest that an arm takes after it failed.
type Rest struct {
	Arm Arm
	// Version of the scheduler is the one that failed.
	Version string
	// Failures counts those in a row.
	Failures int
	// At and Reason are those of the last failure.
	At     time.Time
	Reason string
	// Until is when the arm may be tried again.
	Until time.Time
}

// Is reports whether r is the rest of that arm in that version. The built-in
// scheduler rests as one: its policies are figures of one program.
func (r Rest) Is(a Arm, version string) bool {
	return r.Version == version && (r.Arm.Equal(a) || IsBuiltin(r.Arm.Scheduler) && IsBuiltin(a.Scheduler))
}

// names reports whether a scheduler's name is that of the rest.
func (r Rest) names(scheduler string) bool {
	return r.Arm.Scheduler == scheduler || IsBuiltin(r.Arm.Scheduler) && IsBuiltin(scheduler)
}

// note returns resting with the failures of in added, and without the arm that
// has proved itself since: it has been in charge for as long as its last rest.
func note(cfg Config, resting []Rest, in Input) []Rest {
	resting = slices.DeleteFunc(slices.Clone(resting), func(r Rest) bool { return slices.ContainsFunc(in.Forgive, r.names) })
	for _, f := range in.Failures {
		if f.Arm.Scheduler == EEVDF {
			continue // nothing to rest from: it is what remains
		}
		i := slices.IndexFunc(resting, func(r Rest) bool { return r.Is(f.Arm, f.Version) })
		if i < 0 {
			if len(resting) == maxResting {
				resting = slices.Delete(resting, 0, 1)
			}
			i = len(resting)
			resting = append(resting, Rest{Arm: f.Arm.clone(), Version: f.Version})
		}
		r := &resting[i]
		if r.Failures > 0 && !f.At.After(r.At) {
			continue // known already
		}
		r.Failures++
		r.At, r.Reason = f.At, f.Reason
		r.Until = f.At.Add(rest(cfg, r.Failures))
	}
	return slices.DeleteFunc(resting, func(r Rest) bool {
		return in.InCharge.Owner == OwnerAutosa && r.Is(in.InCharge.Arm, in.Versions[in.InCharge.Arm.Scheduler]) &&
			in.LastSwap.After(r.At) && in.Now.Sub(in.LastSwap) >= rest(cfg, r.Failures)
	})
}

// rest is how long an arm rests after so many failures in a row.
func rest(cfg Config, failures int) time.Duration {
	d := cfg.Backoff
	for i := 1; i < failures && d < cfg.MaxBackoff; i++ {
		d *= 2
	}
	return min(d, cfg.MaxBackoff)
}

// RestOf returns the rest that arm, in that version of its scheduler, takes at
// now; nil when it takes none.
func (s State) RestOf(a Arm, version string, now time.Time) *Rest {
	for i := range s.Resting {
		if r := &s.Resting[i]; r.Is(a, version) && now.Before(r.Until) {
			return r
		}
	}
	return nil
}
