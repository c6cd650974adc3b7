// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"cmp"
	"slices"
	"time"

	"autosa/workload"
)

// VoterState is everything a [Voter] remembers beside its window. A voter with
// the same window that it is given to answers as the one it was taken from.
type VoterState struct {
	// Clock is the sum of the samples' intervals in seconds.
	Clock float64
	Host  TrackState
	// Groups are in the order of their ids, then names.
	Groups []TrackState
}

// TrackState is the vote of one group; ID and Name are empty for the host.
type TrackState struct {
	ID     uint64
	Name   string
	Sum    workload.Probabilities
	Weight float64
	Class  workload.Class
	Since  time.Time
	// Seen is the clock at the last sample that the group was in.
	Seen float64
}

// State returns what the voter remembers. The result is the caller's.
func (v *Voter) State() VoterState {
	s := VoterState{Clock: v.clock, Host: v.host.state(groupKey{}), Groups: make([]TrackState, 0, len(v.groups))}
	for k, t := range v.groups {
		s.Groups = append(s.Groups, t.state(k))
	}
	slices.SortFunc(s.Groups, func(a, b TrackState) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name))
	})
	return s
}

// SetState makes the voter remember s and nothing else.
func (v *Voter) SetState(s VoterState) {
	v.clock, v.host = s.Clock, s.Host.track()
	v.groups = make(map[groupKey]*track, len(s.Groups))
	for i := range s.Groups {
		t := s.Groups[i].track()
		v.groups[groupKey{s.Groups[i].ID, s.Groups[i].Name}] = &t
	}
}

func (t *track) state(k groupKey) TrackState {
	return TrackState{ID: k.id, Name: k.name, Sum: t.sum, Weight: t.weight, Class: t.class, Since: t.since, Seen: t.seen}
}

func (s *TrackState) track() track {
	return track{sum: s.Sum, weight: s.Weight, class: s.Class, since: s.Since, seen: s.Seen}
}
