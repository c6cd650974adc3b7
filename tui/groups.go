// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"cmp"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"autosa/api"
	"autosa/text"
)

// column is a column of the table of groups, and a way to sort it.
type column struct {
	name  string // as in --sort
	title string
	// rank says when the column gives way to the names; the lowest goes first.
	rank int
	// rising is true where the first is the least: names, not figures.
	rising bool
	cell   func(g *api.Group, distributions bool) string
	order  func(a, b *api.Group) int
}

// byName is the index in columns of the one that takes the room the others
// leave.
const byName = 0

// byCPU is the column that sorts unless told otherwise.
const byCPU = 3

var columns = []column{
	{"group", "GROUP", 9, true, nil, func(a, b *api.Group) int { return cmp.Compare(label(a), label(b)) }},
	{"class", "CLASS", 6, true, func(g *api.Group, _ bool) string { return judged(g, g.Class.String()) },
		func(a, b *api.Group) int { return cmp.Compare(a.Class, b.Class) }},
	{"sure", "SURE", 2, false, func(g *api.Group, _ bool) string { return judged(g, text.Percent(g.Confidence)) },
		func(a, b *api.Group) int { return cmp.Compare(a.Confidence, b.Confidence) }},
	{"cpu", "CPU", 8, false, func(g *api.Group, _ bool) string { return text.Percent(g.CPUShare) },
		func(a, b *api.Group) int { return cmp.Compare(a.CPUShare, b.CPUShare) }},
	{"p50", "P50", 4, false, func(g *api.Group, known bool) string { return quantile(g.WaitP50Seconds, known) },
		func(a, b *api.Group) int { return cmp.Compare(a.WaitP50Seconds, b.WaitP50Seconds) }},
	{"p99", "P99", 7, false, func(g *api.Group, known bool) string { return quantile(g.WaitP99Seconds, known) },
		func(a, b *api.Group) int { return cmp.Compare(a.WaitP99Seconds, b.WaitP99Seconds) }},
	{"switches", "SW/S", 5, false, func(g *api.Group, _ bool) string { return rate(g.SwitchesPerSecond) },
		func(a, b *api.Group) int { return cmp.Compare(a.SwitchesPerSecond, b.SwitchesPerSecond) }},
	{"io", "I/O", 3, false, func(g *api.Group, _ bool) string { return text.Percent(g.IOShare) },
		func(a, b *api.Group) int { return cmp.Compare(a.IOShare, b.IOShare) }},
	{"throttled", "THROT", 1, false, func(g *api.Group, _ bool) string { return text.Percent(g.ThrottledShare) },
		func(a, b *api.Group) int { return cmp.Compare(a.ThrottledShare, b.ThrottledShare) }},
}

// Columns are the names of the columns that the table can be sorted by.
func Columns() []string {
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

// label is what a group is called in the table.
func label(g *api.Group) string { return cmp.Or(g.Label, g.Name) }

// judged is s for a group that has a class.
func judged(g *api.Group, s string) string {
	if g.Confidence == 0 {
		return "-"
	}
	return s
}

// quantile is a wait, where the source has distributions.
func quantile(seconds float64, known bool) string {
	if !known {
		return "-"
	}
	return text.Span(seconds)
}

func rate(perSecond float64) string { return text.Grouped(uint64(max(perSecond, 0))) }

// chosenGroups are the groups that match the filter, sorted.
func (m *model) chosenGroups() []api.Group {
	needle := strings.ToLower(m.filter)
	var out []api.Group
	for _, g := range m.shown.status.Groups {
		if matches(needle, label(&g), g.Name, g.Unit, g.Container, g.Class.String()) {
			out = append(out, g)
		}
	}
	c := columns[m.sortBy]
	slices.SortStableFunc(out, func(a, b api.Group) int {
		n := c.order(&a, &b)
		if !c.rising {
			n = -n
		}
		if m.reversed {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(a.Name, b.Name))
	})
	return out
}

// matches says whether one of the words contains needle, which is in lower case.
func matches(needle string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(w), needle) })
}

// minName is the width of a name below which columns give way to it.
const minName = 16

// table is the table of groups, width wide: the title and a line for each. Which
// columns there are depends on the width alone, not on what is in them, so that
// they stay in place while figures change, except for throttling: it has a
// column where there is any, and where there is room for everything.
func (m *model) table(groups []api.Group, width int) (title string, rows []string) {
	known := m.shown.status.Waits.Distributions
	held := slices.ContainsFunc(m.shown.status.Groups, func(g api.Group) bool { return g.ThrottledShare > 0 })
	cells := make([][]string, len(columns)) // by column, the title first
	widths := make([]int, len(columns))
	var shown []int
	for i, c := range columns {
		shown = append(shown, i)
		if i == byName {
			continue
		}
		cells[i] = []string{c.title + m.arrow(i)}
		widths[i] = max(typicalWidth[c.name], ansi.StringWidth(cells[i][0]))
		for j := range groups {
			s := c.cell(&groups[j], known)
			cells[i] = append(cells[i], s)
			widths[i] = max(widths[i], ansi.StringWidth(s))
		}
	}
	between := len(gap)
	room := func() int {
		n := width - 1 // the mark of the selected line
		for _, i := range shown[1:] {
			n -= widths[i] + between
		}
		return n
	}
	for len(shown) > 1 && room() < minName {
		if between > 1 {
			between = 1
			continue
		}
		least := slices.MinFunc(shown[1:], func(a, b int) int { return cmp.Compare(m.rank(a, held), m.rank(b, held)) })
		shown = slices.DeleteFunc(shown, func(i int) bool { return i == least })
	}
	widths[byName] = max(room(), 1)
	cells[byName] = []string{columns[byName].title + m.arrow(byName)}
	for j := range groups {
		cells[byName] = append(cells[byName], cutLeft(text.Cells(label(&groups[j])), widths[byName]))
	}
	for j := range len(groups) + 1 {
		var b strings.Builder
		for k, i := range shown {
			if k > 0 {
				b.WriteString(strings.Repeat(" ", between))
			}
			b.WriteString(pad(cells[i][j], widths[i], i != byName && !columns[i].rising))
		}
		rows = append(rows, b.String())
	}
	return rows[0], rows[1:]
}

// typicalWidth is how wide columns are at least, so that they do not jump about
// with every figure.
var typicalWidth = map[string]int{"class": 11, "sure": 5, "cpu": 5, "p50": 7, "p99": 7, "switches": 7, "io": 5, "throttled": 5}

// rank is a column's rank; the one that sorts stays last.
func (m *model) rank(i int, throttling bool) int {
	switch {
	case i == m.sortBy:
		return 10
	case columns[i].name == "throttled" && throttling:
		return 5
	}
	return columns[i].rank
}

// arrow marks the title of the column that sorts.
func (m *model) arrow(i int) string {
	switch {
	case i != m.sortBy:
		return ""
	case columns[i].rising != m.reversed:
		return "↑"
	}
	return "↓"
}
