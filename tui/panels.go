// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"strings"

	"autosa/api"
	"autosa/text"
)

// warnings are what the operator ought to know, n lines at most.
func (m *model) warnings(width, n int) []string {
	var out []string
	list := m.shown.status.Warnings
	for i, w := range list {
		if len(out) == n {
			break
		}
		pieces := []piece{{"! " + text.Cells(w), warn, 1}}
		if rest := len(list) - i - 1; rest > 0 && len(out) == n-1 {
			more := fmt.Sprintf("(and %d more)", rest)
			pieces = []piece{{cut("! "+text.Cells(w), width-len(gap)-len(more)), warn, 2}, {more, plain, 1}}
		}
		out = append(out, line(width, pieces...))
	}
	return out
}

// neighbours says who waited for whom, n lines at most.
func (m *model) neighbours(width, n int) []string {
	edges := m.shown.status.Events.WaitedFor
	var out []string
	for i := range edges[:min(len(edges), n)] {
		out = append(out, edgeLine(&edges[i], width))
	}
	return out
}

func edgeLine(e *api.Edge, width int) string {
	figures := fmt.Sprintf(" waited %s in %s for ", text.Span(e.TotalSeconds), times(e.Count))
	half := max((width-len(figures))/2, 8)
	return cut(cutLeft(text.Cells(e.Waiter), half)+warn.of(figures)+cutLeft(text.Cells(e.Holder), half), width)
}

func times(n uint64) string {
	if n == 1 {
		return "1 wait"
	}
	return text.Grouped(n) + " waits"
}

// recent are the newest decisions and swaps, newest first, n lines at most.
func (m *model) recent(width, n int) []string {
	var out []string
	all := m.shown.history
	for i := range min(n, len(all)) {
		e := &all[len(all)-1-i]
		what, why := e.words()
		head := clock(e.time) + " " + what
		if why != "" {
			head += ": " + why
		}
		t := plain
		if e.swap != nil {
			t = good
			if !e.swap.OK {
				t = bad
			}
		}
		out = append(out, line(width, piece{head, t, 1}))
	}
	return out
}

// words says what was decided or done, and the first reason.
func (e *entry) words() (what, why string) {
	if d := e.decision; d != nil {
		what = text.Cells(d.Action + " " + text.Command(d.Arm, d.Args))
		if e.times > 1 {
			what += fmt.Sprintf(" (%d×)", e.times)
		}
		if len(d.Reasons) > 0 {
			why = text.Cells(d.Reasons[0])
		}
		return what, why
	}
	s := e.swap
	what = fmt.Sprintf("%s → %s (%s) ", s.From, text.Command(s.To, s.Args), s.Cause)
	if s.OK {
		what += "confirmed in " + text.Span(s.TotalSeconds)
	} else {
		what += "FAILED"
		why, _, _ = strings.Cut(s.Error, "\n")
	}
	return text.Cells(what), text.Cells(why)
}

// wideEnough is the width from which two panels stand next to each other.
const wideEnough = 140

// panels are warnings, noisy neighbours and what autosa decided and did, room
// lines at most.
func (m *model) panels(width, room int) []string {
	if room <= 0 {
		return nil
	}
	out := m.warnings(width, min(2, room))
	room -= len(out)
	if width >= wideEnough {
		half := (width - len(gap)) / 2
		left, right := m.neighbours(half, room-1), m.recent(half, room-1)
		if len(left)+len(right) == 0 || room < 2 {
			return out
		}
		titled := func(title string, lines []string) []string { return append([]string{faint.of(title)}, lines...) }
		return append(out, beside(titled("WHO WAITED FOR WHOM", left), titled("DECISIONS AND SWAPS", right), half)...)
	}
	// The newest decision comes first, then they take turns.
	d, n := 0, 0
	decisions, edges := len(m.shown.history), len(m.shown.status.Events.WaitedFor)
	for ; room > 0 && (d < decisions || n < edges); room-- {
		if d < decisions && (d <= n || n == edges) {
			d++
		} else {
			n++
		}
	}
	return append(append(out, m.neighbours(width, n)...), m.recent(width, d)...)
}
