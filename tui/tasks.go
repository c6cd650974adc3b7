// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"autosa/text"
)

// Task is one task in the tasks view: what it did since the daemon was asked
// before.
type Task struct {
	PID   int
	Comm  string
	Group string
	// CPUShare is its share of one CPU, WaitShare the share of time in which it
	// waited for one; 0 to 1.
	CPUShare, WaitShare float64
	SwitchesPerSecond   float64
}

// tasksTable is the tasks in the order in which they came, as far as they match
// the filter.
func (m *model) tasksTable(width int) []string {
	s := &m.shown
	p := &paper{width: width}
	switch {
	case m.fetch == nil:
		p.write("Per-task data needs a daemon that gives it: this one shows groups only.")
		return p.lines
	case s.tasksErr != nil:
		p.write("%s", text.Cells(s.tasksErr.Error()))
		return p.lines
	case !s.tasksFetched:
		p.write("asking for the tasks")
		return p.lines
	}
	needle := strings.ToLower(m.filter)
	rows := [][]string{{"PID", "COMM", "CPU", "WAIT", "SW/S", "GROUP"}}
	for _, t := range s.tasks {
		if matches(needle, t.Comm, t.Group, fmt.Sprint(t.PID)) {
			rows = append(rows, []string{fmt.Sprint(t.PID), text.Cells(t.Comm), text.Percent(t.CPUShare), text.Percent(t.WaitShare),
				rate(t.SwitchesPerSecond), text.Cells(t.Group)})
		}
	}
	const group = 5
	widths := make([]int, group)
	for _, r := range rows {
		for i := range widths {
			widths[i] = max(widths[i], ansi.StringWidth(r[i]))
		}
	}
	for n, r := range rows {
		var b strings.Builder
		for i, w := range widths {
			b.WriteString(pad(r[i], w, i != 1) + gap)
		}
		b.WriteString(cutLeft(r[group], max(width-ansi.StringWidth(b.String()), 0)))
		l := cut(b.String(), width)
		if n == 0 {
			l = faint.of(l)
		}
		p.lines = append(p.lines, l)
	}
	if len(rows) == 1 {
		p.write("no task matches")
	}
	return p.lines
}
