// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"autosa/api"
)

// maxHistory bounds what is remembered of decisions and swaps.
const maxHistory = 200

// entry is a decision or a swap.
type entry struct {
	time     time.Time
	decision *api.Decision
	swap     *api.Swap
	// times is how often the decision was made in a row, with other figures in
	// its reasons at most; the newest one is kept.
	times int
}

// history is what autosa decided and did while we looked, oldest first.
type history struct {
	entries  []entry
	decision time.Time // of the last decision seen
	swap     time.Time // of the last swap seen
}

// add remembers what is new in a status.
func (h *history) add(st *api.Status) {
	var news []entry
	if d := st.LastDecision; d != nil && !d.Time.Equal(h.decision) {
		h.decision = d.Time
		news = append(news, entry{time: d.Time, decision: d, times: 1})
	}
	if s := st.LastSwap; s != nil && !s.Time.Equal(h.swap) {
		h.swap = s.Time
		news = append(news, entry{time: s.Time, swap: s})
	}
	slices.SortStableFunc(news, func(a, b entry) int { return a.time.Compare(b.time) })
	for _, e := range news {
		if n := len(h.entries); n > 0 && e.repeats(&h.entries[n-1]) {
			e.times += h.entries[n-1].times
			h.entries[n-1] = e
			continue
		}
		if len(h.entries) == maxHistory {
			h.entries = slices.Delete(h.entries, 0, 1)
		}
		h.entries = append(h.entries, e)
	}
}

// repeats is true for a decision that says what the one before it said.
func (e *entry) repeats(before *entry) bool {
	a, b := e.decision, before.decision
	if a == nil || b == nil || a.Action != b.Action || a.Arm != b.Arm || !slices.Equal(a.Args, b.Args) {
		return false
	}
	return slices.EqualFunc(a.Reasons, b.Reasons, func(x, y string) bool { return wording(x) == wording(y) })
}

// wording is a reason without its figures.
func wording(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) || r == '.' {
			return -1
		}
		return r
	}, s)
}
