// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"autosa/api"
)

// view is what fills the screen.
type view int

const (
	viewGroups view = iota
	viewDetails
	viewTasks
	viewDecisions
	viewHelp
)

// The messages that the feed and the commands send.
type (
	statusMsg struct{ status api.Status }
	// lostMsg says that statuses have ceased to come, and why.
	lostMsg struct{ why string }
	// quietMsg says that none has come for a time that is long for this daemon.
	quietMsg struct{ since time.Duration }
	tasksMsg struct {
		tasks []Task
		err   error
	}
)

// snapshot is what a page is made from.
type snapshot struct {
	status  api.Status
	history []entry
	// switches is the host's rate of context switches, once two samples of one
	// daemon have been seen.
	switches      float64
	switchesKnown bool
	tasks         []Task
	tasksErr      error
	tasksFetched  bool
}

// model is the state of the view. It knows no clock and does no I/O: statuses and
// keys come in as messages, pages go out as text.
type model struct {
	width, height int

	live    snapshot // the newest
	shown   snapshot // what is on the screen: live, unless paused
	history history
	begun   bool // a status has come
	paused  bool
	stale   bool   // what is shown is not of now
	trouble string // what is wrong with the feed

	view     view
	sortBy   int // index in columns
	reversed bool
	filter   string
	typing   bool // the filter is being typed
	// cursor is the line of the selected group, and selected its name once one
	// was chosen: it stays selected wherever the order takes it.
	cursor   int
	selected string
	top      int // the first group on the screen
	scroll   int // the first line of a text on the screen
	detail   string

	// fetch gets the tasks; nil where nothing gives per-task data.
	fetch    func() ([]Task, error)
	fetching bool
}

func newModel(o Options) *model {
	m := &model{width: 80, height: 24, sortBy: byCPU, filter: o.Filter}
	if i := slices.Index(Columns(), o.Sort); i >= 0 {
		m.sortBy = i
	}
	return m
}

// Init implements [tea.Model].
func (m *model) Init() tea.Cmd { return nil }

// Update implements [tea.Model].
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case statusMsg:
		m.observe(msg.status)
		cmd = m.refreshTasks()
	case lostMsg:
		m.trouble, m.stale = msg.why+"; trying again", true
	case quietMsg:
		m.trouble, m.stale = "no news from the daemon for "+msg.since.Round(time.Second).String(), true
	case tasksMsg:
		m.fetching = false
		m.live.tasks, m.live.tasksErr, m.live.tasksFetched = msg.tasks, msg.err, true
		m.show()
	case tea.PasteMsg:
		if m.typing {
			m.setFilter(m.filter + msg.Content)
		}
	case tea.KeyPressMsg:
		cmd = m.press(msg)
	}
	m.settle()
	return m, cmd
}

// observe takes a new status in.
func (m *model) observe(st api.Status) {
	before := &m.live.status
	same := m.begun && before.PID == st.PID && before.Since.Equal(st.Since)
	if dt := st.Time.Sub(before.Time).Seconds(); same && st.Samples > before.Samples && dt > 0 && st.Tracer.Switches >= before.Tracer.Switches {
		m.live.switches, m.live.switchesKnown = float64(st.Tracer.Switches-before.Tracer.Switches)/dt, true
	} else if !same {
		m.live.switchesKnown = false
	}
	m.history.add(&st)
	m.live.status, m.live.history = st, m.history.entries
	m.begun, m.stale, m.trouble = true, false, ""
	m.show()
}

// show brings the newest to the screen, unless paused.
func (m *model) show() {
	if !m.paused {
		m.shown = m.live
	}
}

func (m *model) pause() {
	m.paused = !m.paused
	if m.paused {
		m.shown.history = slices.Clone(m.shown.history) // the live one changes in place
	}
	m.show()
}

// refreshTasks fetches the tasks while they are looked at.
func (m *model) refreshTasks() tea.Cmd {
	if m.view != viewTasks || m.fetch == nil || m.fetching || m.paused {
		return nil
	}
	m.fetching = true
	fetch := m.fetch
	return func() tea.Msg {
		tasks, err := fetch()
		return tasksMsg{tasks, err}
	}
}

// open fills the screen with another view.
func (m *model) open(v view) { m.view, m.scroll = v, 0 }

func (m *model) setFilter(s string) {
	m.filter = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	m.cursor, m.top = 0, 0
}

// move moves the selection, or scrolls a text.
func (m *model) move(lines int) {
	if m.view != viewGroups {
		m.scroll += lines
		return
	}
	groups := m.chosenGroups()
	if len(groups) == 0 {
		return
	}
	m.cursor = min(max(m.cursor+lines, 0), len(groups)-1)
	m.selected = groups[m.cursor].Name
}

// settle brings selection and scrolling back into what there is.
func (m *model) settle() {
	if m.view != viewGroups {
		m.scroll, _ = window(m.scroll, m.textHeight(), len(m.text(m.width)))
		return
	}
	groups := m.chosenGroups()
	if i := slices.IndexFunc(groups, func(g api.Group) bool { return g.Name == m.selected }); i >= 0 {
		m.cursor = i
	} else {
		m.selected = ""
	}
	m.cursor = min(max(m.cursor, 0), max(len(groups)-1, 0))
	_, size := m.layout(len(groups))
	m.top = min(m.top, m.cursor)
	m.top = max(m.top, m.cursor-size+1)
	m.top, _ = window(m.top, size, len(groups))
}
