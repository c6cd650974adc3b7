// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"slices"
	"strings"

	"autosa/api"
	"autosa/text"
)

// paper collects the lines of a text.
type paper struct {
	lines []string
	width int
}

func (p *paper) head(title string) {
	if len(p.lines) > 0 {
		p.lines = append(p.lines, "")
	}
	p.lines = append(p.lines, cut(faint.of(title), p.width))
}

// write adds a line, in several where it is long. Its text must have passed
// text.Cells.
func (p *paper) write(format string, args ...any) {
	p.lines = append(p.lines, wrap(fmt.Sprintf(format, args...), p.width, "    ")...)
}

// details is all about a group.
func (m *model) details(name string, width int) []string {
	p := &paper{width: width}
	st := &m.shown.status
	i := slices.IndexFunc(st.Groups, func(g api.Group) bool { return g.Name == name })
	if i < 0 {
		p.write("It was not among the busiest groups of the last sample.")
	} else {
		figures(p, &st.Groups[i], st.Waits.Distributions)
	}
	m.detailEdges(p, name)
	m.detailTasks(p, name)
	return p.lines
}

func figures(p *paper, g *api.Group, known bool) {
	p.write("name       %s", text.Cells(g.Name))
	if l := label(g); l != g.Name {
		p.write("label      %s", text.Cells(l))
	}
	if g.Confidence > 0 {
		p.write("class      %s %s", g.Class, text.Percent(g.Confidence))
	} else {
		p.write("class      not judged yet")
	}
	p.write("CPU        %s of the machine", text.Percent(g.CPUShare))
	p.write("switches   %s a second", rate(g.SwitchesPerSecond))
	if known {
		p.write("waits      p50 %s, p99 %s", text.Span(g.WaitP50Seconds), text.Span(g.WaitP99Seconds))
	} else {
		p.write("waits      totals only: the tracer's source has no distributions")
	}
	p.write("I/O        %s of its time waiting for storage", text.Percent(g.IOShare))
	p.write("throttled  %s of the time, by its own CPU quota", text.Percent(g.ThrottledShare))
}

// detailEdges says whom the group waited for, and who for it.
func (m *model) detailEdges(p *paper, name string) {
	var waited, held []api.Edge
	for _, e := range m.shown.status.Events.WaitedFor {
		if e.Waiter == name {
			waited = append(waited, e)
		}
		if e.Holder == name {
			held = append(held, e)
		}
	}
	p.head("IT WAITED FOR")
	for _, e := range waited {
		p.write("%s in %s: %s", text.Span(e.TotalSeconds), times(e.Count), text.Cells(e.Holder))
	}
	p.nothing(len(waited))
	p.head("IT MADE WAIT")
	for _, e := range held {
		p.write("%s in %s: %s", text.Span(e.TotalSeconds), times(e.Count), text.Cells(e.Waiter))
	}
	p.nothing(len(held))
}

func (p *paper) nothing(n int) {
	if n == 0 {
		p.write("nothing past the tracer's threshold in the last sample")
	}
}

// detailTasks has what is known of single tasks of the group.
func (m *model) detailTasks(p *paper, name string) {
	ev := &m.shown.status.Events
	if ev.Withheld {
		p.head("ITS TASKS")
		p.write("Withheld: single tasks are for root and the operator group.")
		return
	}
	p.head("ITS LONGEST WAITS")
	n := 0
	for _, w := range ev.Worst {
		if w.Group == name {
			n++
			p.write("%s", waitLine(&w))
		}
	}
	p.nothing(n)
	p.head("ITS RHYTHMS")
	n = 0
	for _, r := range ev.Periods {
		if r.Group == name {
			n++
			p.write("%s wakes every %s, give or take %s", text.Cells(text.Task(r.Comm, r.PID)), text.Span(r.MeanSeconds), text.Percent(r.CV))
		}
	}
	if n == 0 {
		p.write("no task's wakeups were followed in the last sample")
	}
}

func waitLine(w *api.WaitEvent) string {
	s := fmt.Sprintf("%s waited %s", text.Cells(text.Task(w.Comm, w.PID)), text.Span(w.WaitSeconds))
	switch {
	case w.IO:
		return s + " for I/O"
	case w.HolderPID != 0:
		s += " for " + text.Cells(text.Task(w.HolderComm, w.HolderPID))
	}
	return s + fmt.Sprintf(" on CPU %d", w.CPU)
}

// decisions is what autosa decided and did, newest first, with all reasons.
func (m *model) decisions(width int) []string {
	p := &paper{width: width}
	for _, e := range slices.Backward(m.shown.history) {
		if len(p.lines) > 0 {
			p.lines = append(p.lines, "")
		}
		what, why := e.words()
		p.write("%s %s", clock(e.time), what)
		if s := e.swap; s != nil {
			p.swap(s)
			continue
		}
		if why == "" {
			continue
		}
		d := e.decision
		for _, r := range d.Reasons {
			p.write("  because %s", text.Cells(r))
		}
		for _, a := range d.Alternatives {
			p.write("  not %s: %s", text.Cells(a.Arm), text.Cells(a.WhyNot))
		}
		for _, w := range d.WouldChange {
			p.write("  would change with %s", text.Cells(w))
		}
	}
	if len(p.lines) == 0 {
		p.write("None yet. What is decided and done while this runs is listed here.")
	}
	return p.lines
}

func (p *paper) swap(s *api.Swap) {
	p.write("  ordered by %s; then in charge: %s", text.Cells(s.Cause), text.Cells(s.InCharge))
	if s.GapSeconds > 0 {
		p.write("  without either for %s", text.Span(s.GapSeconds))
	}
	for _, r := range s.Reasons {
		p.write("  because %s", text.Cells(r))
	}
	for l := range strings.Lines(s.Error) {
		p.write("  %s", text.Cells(strings.TrimRight(l, "\n")))
	}
}
