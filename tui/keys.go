// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"

	tea "charm.land/bubbletea/v2"
)

// binding is what a key does. The table drives the keyboard and the help, and
// tests hold it against both and the documentation.
type binding struct {
	keys  []string // as tea names them
	label string
	help  string
	do    func(m *model) tea.Cmd
}

// act is a binding's function that needs no command.
func act(f func(m *model)) func(m *model) tea.Cmd {
	return func(m *model) tea.Cmd { f(m); return nil }
}

// farAway is further than any text is long.
const farAway = 1 << 30

var bindings = []binding{
	{[]string{"q", "ctrl+c"}, "q, Ctrl-C", "quit", func(*model) tea.Cmd { return tea.Quit }},
	{[]string{"esc"}, "Esc", "leave the view; clear the filter; quit", (*model).back},
	{[]string{"?", "h"}, "?, h", "this help", toggle(viewHelp)},
	{[]string{"s", ">"}, "s, >", "sort by the next column", act(func(m *model) { m.sortBy = (m.sortBy + 1) % len(columns) })},
	{[]string{"<"}, "<", "sort by the column before", act(func(m *model) { m.sortBy = (m.sortBy + len(columns) - 1) % len(columns) })},
	{[]string{"r"}, "r", "reverse the order", act(func(m *model) { m.reversed = !m.reversed })},
	{[]string{"/"}, "/", "show only what contains the text that follows: Enter keeps it, Esc clears it", act(func(m *model) {
		if m.view != viewTasks {
			m.open(viewGroups)
		}
		m.typing = true
	})},
	{[]string{"p", "space"}, "p, space", "pause: the page stays, nothing is missed meanwhile", act((*model).pause)},
	{[]string{"up", "k"}, "↑, k", "one line up", act(func(m *model) { m.move(-1) })},
	{[]string{"down", "j"}, "↓, j", "one line down", act(func(m *model) { m.move(1) })},
	{[]string{"pgup"}, "PgUp", "one page up", act(func(m *model) { m.move(-m.pageSize()) })},
	{[]string{"pgdown"}, "PgDn", "one page down", act(func(m *model) { m.move(m.pageSize()) })},
	{[]string{"home", "g"}, "Home, g", "to the first line", act(func(m *model) { m.move(-farAway) })},
	{[]string{"end", "G"}, "End, G", "to the last line", act(func(m *model) { m.move(farAway) })},
	{[]string{"enter"}, "Enter", "all about the selected group", act((*model).openDetails)},
	{[]string{"t"}, "t", "tasks", toggle(viewTasks)},
	{[]string{"d"}, "d", "decisions and swaps with all their reasons", toggle(viewDecisions)},
}

// toggle opens a view, and leaves it where it is open.
func toggle(v view) func(m *model) tea.Cmd {
	return func(m *model) tea.Cmd {
		if m.view == v {
			m.open(viewGroups)
			return nil
		}
		m.open(v)
		return m.refreshTasks()
	}
}

// press does what a key is bound to.
func (m *model) press(k tea.KeyPressMsg) tea.Cmd {
	name := k.Keystroke()
	if t := k.Key().Text; t != "" && t != " " {
		name = t // "?" and ">" are what is meant, however they are typed
	}
	if m.typing && name != "ctrl+c" {
		m.edit(name, k.Key().Text)
		return nil
	}
	for i := range bindings {
		if slices.Contains(bindings[i].keys, name) {
			return bindings[i].do(m)
		}
	}
	return nil
}

// edit takes a key while the filter is being typed.
func (m *model) edit(name, typed string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing = false
		m.setFilter("")
	case "backspace":
		r := []rune(m.filter)
		m.setFilter(string(r[:max(len(r)-1, 0)]))
	case "ctrl+u":
		m.setFilter("")
	default:
		m.setFilter(m.filter + typed)
	}
}

// back leaves what is open, innermost first.
func (m *model) back() tea.Cmd {
	switch {
	case m.view != viewGroups:
		m.open(viewGroups)
	case m.filter != "":
		m.setFilter("")
	default:
		return tea.Quit
	}
	return nil
}

func (m *model) openDetails() {
	if m.view != viewGroups {
		return
	}
	if groups := m.chosenGroups(); m.cursor < len(groups) {
		m.detail = groups[m.cursor].Name
		m.selected = m.detail
		m.open(viewDetails)
	}
}

// pageSize is how far a page goes: one line stays in sight.
func (m *model) pageSize() int {
	size := m.textHeight()
	if m.view == viewGroups {
		_, size = m.layout(len(m.chosenGroups()))
	}
	return max(size-1, 1)
}
