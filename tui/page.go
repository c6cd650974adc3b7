// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"autosa/text"
)

// View implements [tea.Model].
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.page(), "\n"))
	v.AltScreen = true
	return v
}

// page is the screen: height lines at most, each width cells wide at most.
func (m *model) page() []string {
	if m.width <= 0 || m.height <= 0 {
		return nil
	}
	var lines []string
	switch {
	case !m.begun:
		lines = []string{line(m.width, piece{"autosa top", strong, 1}, piece{"waiting for the first sample", plain, 2})}
		if m.trouble != "" {
			lines = append(lines, cut(bad.of("! "+text.Cells(m.trouble)), m.width))
		}
	case m.view == viewGroups:
		lines = m.groupsPage()
	default:
		lines = m.textPage()
	}
	body := max(m.height-1, 1)
	lines = lines[:min(len(lines), body)]
	if m.height > 1 {
		for len(lines) < body {
			lines = append(lines, "")
		}
		lines = append(lines, m.footer())
	}
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
	}
	return lines
}

// layout divides the screen: what stands above the table, and how many of its n
// lines there is room for.
func (m *model) layout(n int) (above []string, rows int) {
	room := m.height - 2 // the footer and the table's title
	// A third of the screen is the table's, as far as it needs it.
	least := min(max(n, 1), max(room/3, 3))
	above = m.header(m.width)
	above = above[:min(len(above), max(room-least, 0))]
	// Panels get what the table leaves, and at least a few lines of a tall screen.
	spare := room - len(above) - n
	some := min(room/4, room-len(above)-least)
	above = append(above, m.panels(m.width, max(min(spare, room/2), some))...)
	return above, max(room-len(above), 0)
}

func (m *model) groupsPage() []string {
	groups := m.chosenGroups()
	lines, size := m.layout(len(groups))
	from, to := window(m.top, size, len(groups))
	title, rows := m.table(groups, m.width)
	lines = append(lines, faint.of(" "+title))
	for i := from; i < to; i++ {
		if i == m.cursor {
			lines = append(lines, chosen.of(pad(">"+rows[i], m.width, false)))
			continue
		}
		lines = append(lines, " "+rows[i])
	}
	if len(groups) == 0 {
		return append(lines, " "+m.whyEmpty())
	}
	// What is left of a tall screen is the selected group's.
	if left := m.height - 1 - len(lines); left >= worthwhile {
		about := append([]string{"", strong.of("GROUP " + text.Cells(groups[m.cursor].Name))}, m.details(groups[m.cursor].Name, m.width)...)
		lines = append(lines, about[:min(left, len(about))]...)
	}
	return lines
}

// worthwhile is how many lines it takes to say something of the selected group.
const worthwhile = 10

func (m *model) whyEmpty() string {
	switch {
	case m.filter != "":
		return "no group contains " + text.Cells(m.filter)
	case m.shown.status.Samples == 0:
		return "waiting for the first sample"
	}
	return "no group was busy"
}

// textHeight is how many lines of a text the screen has.
func (m *model) textHeight() int { return max(m.height-2, 1) } // the footer and the title

// textPage shows a text, with a line above that says where we are.
func (m *model) textPage() []string {
	lines := m.text(m.width)
	from, to := window(m.scroll, m.textHeight(), len(lines))
	where := ""
	if to-from < len(lines) {
		where = fmt.Sprintf("%d-%d of %d", from+1, to, len(lines))
	}
	marks := piece{}
	switch {
	case m.stale:
		marks = piece{"OLD", bad, 3}
	case m.paused:
		marks = piece{"PAUSED", warn, 3}
	}
	title := line(m.width, piece{m.textTitle(), strong, 2}, marks, piece{where, plain, 1})
	return append([]string{title}, lines[from:to]...)
}

func (m *model) textTitle() string {
	switch m.view {
	case viewDetails:
		return "GROUP " + cutLeft(text.Cells(m.detail), max(m.width-24, 8))
	case viewTasks:
		return "TASKS"
	case viewDecisions:
		return "DECISIONS AND SWAPS"
	}
	return "HELP"
}

// text is the whole of a view that scrolls, each line width cells wide at most.
func (m *model) text(width int) []string {
	switch m.view {
	case viewDetails:
		return m.details(m.detail, width)
	case viewTasks:
		return m.tasksTable(width)
	case viewDecisions:
		return m.decisions(width)
	}
	return help(width)
}

// footer says what can be done, or shows the filter that is being typed.
func (m *model) footer() string {
	if m.typing {
		return line(m.width, piece{"filter: " + cutLeft(text.Cells(m.filter), max(m.width-10, 1)) + "_", strong, 2},
			piece{"Enter keeps, Esc clears", faint, 1})
	}
	pieces := []piece{{"q quit", faint, 9}, {"? help", faint, 10}}
	if m.filter != "" && (m.view == viewGroups || m.view == viewTasks) {
		pieces = append(pieces, piece{"filter: " + text.Cells(m.filter), warn, 12})
	}
	if m.view != viewGroups {
		return line(m.width, append(pieces, piece{"Esc back", faint, 11}, piece{"↑↓ scroll", faint, 5})...)
	}
	order := columns[m.sortBy].name
	if m.reversed {
		order += ", reversed"
	}
	pieces = append(pieces, piece{"/ filter", faint, 8}, piece{"s sort: " + order, faint, 7}, piece{"p pause", faint, 6},
		piece{"Enter details", faint, 5}, piece{"d decisions", faint, 4}, piece{"t tasks", faint, 3})
	if n := len(m.chosenGroups()); n > 0 {
		pieces = append(pieces, piece{fmt.Sprintf("%d/%d", m.cursor+1, n), faint, 2})
	}
	return line(m.width, pieces...)
}

func help(width int) []string {
	widest := 0
	for _, b := range bindings {
		widest = max(widest, len([]rune(b.label)))
	}
	var out []string
	for _, b := range bindings {
		out = append(out, wrap(pad(b.label, widest, false)+gap+b.help, width, strings.Repeat(" ", widest+len(gap)))...)
	}
	return slices.Concat(out, []string{""}, wrap("Waits are for a CPU (run-queue latency). CPU is a share of the machine, I/O the share of time spent waiting for "+
		"storage, THROT the time held back by the group's own CPU quota. OLD marks figures that are not of now.", width, ""))
}
