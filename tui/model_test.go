// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"autosa/api"
	"autosa/workload"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a page, without its styles, with a file of testdata.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(ansi.Strip(l), " ") + "\n")
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

// swapping is a daemon in trouble: a swap under way, another that failed, losses.
func swapping() api.Status {
	st := status(12, 20)
	st.Swap = &api.SwapProgress{To: "scx_rusty", Args: []string{"-k"}, Phase: "verifying", Since: st.Time.Add(-2 * time.Second)}
	st.LastSwap = &api.Swap{Time: st.Time.Add(-time.Second), From: "scx_lavd", To: "scx_flash", Cause: "manual", Error: "scx_flash did not come up:\nkilled"}
	st.FailedSwaps = 1
	st.Tracer.Losses = map[string]uint64{"switch_no_storage": 50_000}
	return st
}

func observing() api.Status {
	return api.Status{
		Version: "0.2.0", PID: 4711, Mode: api.ModeObserve, ModeReason: "no daemon at /run/autosa/autosa.sock: top observes by itself",
		Since: start, Time: start, Kernel: api.Kernel{Release: "6.6.1"}, Scheduler: api.InCharge{Name: api.EEVDF, Owner: api.OwnerKernel, Since: start},
		Tracer: api.Tracer{Source: workload.SourceProcfs, Reason: "missing CAP_BPF and CAP_PERFMON"},
	}
}

func TestPagesGolden(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 10}, {200, 60}} {
		m := shows(size[0], size[1], status(10, 40), status(11, 40), swapping())
		golden(t, fmt.Sprintf("groups-%dx%d", size[0], size[1]), m.page())
	}
	golden(t, "observing", shows(80, 24, observing()).page())
	few := shows(80, 24, status(10, 3), status(11, 3))
	golden(t, "few-groups", few.page())
	press(few, "down", "enter")
	golden(t, "details", few.page())
	press(few, "d")
	golden(t, "decisions", few.page())
	press(few, "?")
	golden(t, "help", few.page())
	press(few, "esc")
	few.Update(lostMsg{"autosa is not running (/run/autosa/autosa.sock: connection refused)"})
	golden(t, "lost", few.page())
}

// Nothing is wider or higher than the terminal, whatever its size, the view and
// what the daemon says; and no page panics.
func TestPagesFitEveryTerminal(t *testing.T) {
	tasks := []Task{{PID: 1, Comm: "\x1b[31mred漢", Group: strings.Repeat("漢", 300), CPUShare: 1}}
	for name, st := range map[string]api.Status{
		"busy": status(11, 70), "few": status(11, 2), "empty": {}, "hostile": hostile(), "swapping": swapping(), "observing": observing(),
	} {
		for _, size := range [][2]int{{0, 0}, {1, 1}, {2, 3}, {5, 40}, {300, 2}, {17, 6}, {40, 10}, {80, 24}, {140, 30}, {200, 60}} {
			m := shows(size[0], size[1], status(10, 30), st)
			m.fetch = func() ([]Task, error) { return tasks, nil }
			m.Update(tasksMsg{tasks: tasks})
			for _, keys := range [][]string{{}, {"end"}, {"enter"}, {"esc", "d"}, {"t"}, {"?"}, {"esc", "/", "x", "漢"}, {"enter"}, {"esc", "p"}} {
				press(m, keys...)
				lines := m.page()
				if len(lines) > size[1] {
					t.Errorf("%s, %v after %v: %d lines", name, size, keys, len(lines))
				}
				for _, l := range lines {
					if n := ansi.StringWidth(l); n > size[0] {
						t.Errorf("%s, %v after %v: %d columns: %q", name, size, keys, n, l)
					}
				}
			}
		}
	}
}

// Of what the page says, only its own styles may control the terminal.
func TestNamesFromElsewhereCannotControlTheTerminal(t *testing.T) {
	m := shows(200, 60, status(8, 4), hostile())
	m.fetch = func() ([]Task, error) { return nil, nil }
	m.Update(tasksMsg{tasks: []Task{{Comm: "\x1b[2J\xff", Group: "\a"}}})
	m.detail = m.shown.status.Groups[0].Name
	m.Update(lostMsg{"\x1b]0;owned\a"})
	for _, v := range []view{viewGroups, viewDetails, viewTasks, viewDecisions, viewHelp} {
		m.view = v
		page := strings.Join(m.page(), "\n")
		bare := strings.ReplaceAll(ansi.Strip(page), "\n", "")
		if strings.ContainsFunc(bare, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' }) || !utf8.ValidString(page) {
			t.Errorf("control characters came through: %q", bare)
		}
		// All that was stripped are styles.
		for seq := range strings.SplitSeq(page, "\x1b") {
			if strings.HasPrefix(seq, "]") || strings.HasPrefix(seq, "[2J") {
				t.Errorf("a sequence came through: %q", seq)
			}
		}
	}
	if err := m.tasksAre(errors.New("\x1b[2J")); strings.Contains(err, "\x1b[2J") {
		t.Errorf("%q", err)
	}
}

// tasksAre is the tasks view after an error.
func (m *model) tasksAre(err error) string {
	m.Update(tasksMsg{err: err})
	return strings.Join(m.tasksTable(80), "\n")
}

// The page says the same without its styles: nothing differs by colour alone.
func TestColourCarriesNoMeaning(t *testing.T) {
	good, bad := status(11, 3), status(11, 3)
	bad.LastSwap.OK = false
	bad.Mode = api.ModeManual
	bad.Tracer.Losses = map[string]uint64{"switch_no_storage": 1_000_000}
	bad.Scheduler.Owner = api.OwnerForeign
	a, b := shows(120, 30, good).page(), shows(120, 30, bad).page()
	for _, words := range [][2]string{{"auto ", "manual"}, {"by autosa", "by somebody else"}, {"confirmed", "FAILED"}, {"not counted", "LOST"}} {
		if !strings.Contains(ansi.Strip(strings.Join(a, "\n")), words[0]) || !strings.Contains(ansi.Strip(strings.Join(b, "\n")), words[1]) {
			t.Errorf("%q and %q are not told apart in words", words[0], words[1])
		}
	}
	selected := ansi.Strip(strings.Join(shows(80, 24, good).page(), "\n"))
	if !strings.Contains(selected, "\n>") {
		t.Error("the selected line has no mark")
	}
}

// names are the groups of the table in order.
func names(m *model) []string {
	var out []string
	for _, g := range m.chosenGroups() {
		out = append(out, g.Name)
	}
	return out
}

func TestEveryColumnSortsBothWays(t *testing.T) {
	st := status(11, 30)
	for i, c := range columns {
		m := shows(200, 60, st)
		m.sortBy = i
		for _, reversed := range []bool{false, true} {
			m.reversed = reversed
			groups := m.chosenGroups()
			sorted := slices.IsSortedFunc(groups, func(a, b api.Group) int {
				if c.rising != reversed {
					return c.order(&a, &b)
				}
				return -c.order(&a, &b)
			})
			if !sorted || len(groups) != 30 {
				t.Errorf("by %s, reversed %t: %v", c.name, reversed, names(m))
			}
			if title, _ := m.table(groups, 200); strings.Count(title, "↓")+strings.Count(title, "↑") != 1 || !strings.Contains(title, c.title+m.arrow(i)) {
				t.Errorf("by %s: title %q", c.name, title)
			}
		}
		// The column that sorts is there on a narrow terminal too.
		if title, _ := m.table(m.chosenGroups(), 32); !strings.Contains(title, c.title) {
			t.Errorf("by %s at 32 columns: %q", c.name, title)
		}
	}
}

func TestEqualGroupsKeepAnOrder(t *testing.T) {
	st := status(11, 10)
	for i := range st.Groups {
		st.Groups[i].CPUShare = 0.5
	}
	before := names(shows(80, 24, st))
	slices.Reverse(st.Groups)
	if diff := cmp.Diff(before, names(shows(80, 24, st))); diff != "" {
		t.Error(diff)
	}
}

func TestFilterMatchesNameAndClassWhateverTheCase(t *testing.T) {
	m := shows(80, 24, status(11, 40))
	for filter, want := range map[string]int{"BUILD-3.": 1, "session": 13, "media": 5, "nothing": 0, "": 40} {
		m.filter = filter
		if got := len(names(m)); got != want {
			t.Errorf("%q: %d groups, want %d", filter, got, want)
		}
	}
	m.filter = "no\x1bthing"
	if page := ansi.Strip(strings.Join(m.page(), "\n")); !strings.Contains(page, `no group contains no\x1bthing`) {
		t.Error(page)
	}
}

func TestTheSelectionFollowsItsGroup(t *testing.T) {
	st := status(11, 40)
	m := shows(80, 24, st)
	first := names(m)[0]
	if press(m, "s"); names(m)[m.cursor] == first && m.selected != "" {
		t.Error("nothing was selected, and yet it stuck")
	}
	press(m, "<", "down", "down", "down")
	chosen := m.selected
	if chosen != names(m)[3] {
		t.Errorf("selected %q", chosen)
	}
	press(m, "r")
	if names(m)[m.cursor] != chosen || m.cursor != 36 {
		t.Errorf("cursor at %d, %q", m.cursor, names(m)[m.cursor])
	}
	if page := strings.Join(m.page(), "\n"); !strings.Contains(ansi.Strip(page), ">") {
		t.Error("the selected line is out of sight")
	}
	st.Groups = slices.DeleteFunc(st.Groups, func(g api.Group) bool { return g.Name == chosen })
	m.Update(statusMsg{st})
	if m.selected != "" || m.cursor != 36 {
		t.Errorf("the group is gone: cursor at %d, selected %q", m.cursor, m.selected)
	}
}

func TestPauseKeepsThePageAndLosesNothing(t *testing.T) {
	m := shows(120, 40, status(10, 5), status(11, 5))
	press(m, "p")
	before := m.page()
	if !strings.Contains(ansi.Strip(before[0]), "PAUSED") {
		t.Errorf("it does not say so: %q", before[0])
	}
	for i := 12; i < 40; i++ {
		st := status(i, 9)
		st.LastDecision.Action = fmt.Sprintf("action%d", i)
		m.Update(statusMsg{st})
	}
	if diff := cmp.Diff(before, m.page()); diff != "" {
		t.Error(diff)
	}
	press(m, "p", "d")
	if got := strings.Join(m.text(200), "\n"); !strings.Contains(got, "action12 ") || !strings.Contains(got, "action39 ") {
		t.Errorf("what was decided meanwhile is missing:\n%s", got)
	}
}

func TestSwitchesASecondComeFromTwoSamplesOfOneDaemon(t *testing.T) {
	m := shows(80, 24, status(10, 1))
	if m.live.switchesKnown {
		t.Error("known from one status")
	}
	m.Update(statusMsg{status(12, 1)})
	if !m.live.switchesKnown || m.live.switches != 18_211 {
		t.Errorf("%g", m.live.switches)
	}
	again := status(12, 1) // a step of a swap: no new sample
	again.Time = again.Time.Add(100 * time.Millisecond)
	if m.Update(statusMsg{again}); m.live.switches != 18_211 {
		t.Errorf("%g after a status without a sample", m.live.switches)
	}
	other := status(13, 1)
	other.PID, other.Tracer.Switches = 5000, 1
	if m.Update(statusMsg{other}); m.live.switchesKnown {
		t.Error("known across two daemons")
	}
}

func TestALostDaemonIsSaidAndForgotten(t *testing.T) {
	m := shows(80, 24, status(10, 3))
	for _, msg := range []tea.Msg{lostMsg{"the daemon has stopped"}, quietMsg{7 * time.Second}} {
		m.Update(msg)
		page := ansi.Strip(strings.Join(m.page(), "\n"))
		if !strings.Contains(page, "OLD") || !strings.Contains(page, "! ") || !strings.Contains(page, "interactive") {
			t.Errorf("%#v: %s", msg, page)
		}
	}
	m.Update(statusMsg{status(11, 3)})
	if page := ansi.Strip(strings.Join(m.page(), "\n")); strings.Contains(page, "OLD") || strings.Contains(page, "no news") {
		t.Error(page)
	}
}

func TestDecisionsThatRepeatAreOneLine(t *testing.T) {
	var h history
	for i := range 50 {
		st := status(i, 0)
		h.add(&st)
	}
	if len(h.entries) != 3 { // a decision, the swap, and the decisions after it
		t.Fatalf("%d entries: %+v", len(h.entries), h.entries)
	}
	if n := h.entries[0].times + h.entries[2].times; n != 50 {
		t.Errorf("%d decisions", n)
	}
	if e := h.entries[2]; !e.time.Equal(start.Add(49 * time.Second)) {
		t.Errorf("the newest is of %v", e.time)
	}
	if e := h.entries[1]; e.swap == nil {
		t.Errorf("%+v", e)
	}
	other := status(50, 0)
	other.LastDecision.Reasons[0] = "the host is idle"
	if h.add(&other); len(h.entries) != 4 {
		t.Error("another reason is another decision")
	}
}

func TestALongRunKeepsMemoryFlat(t *testing.T) {
	m := shows(40, 10)
	st, tick := status(0, 5), 0
	run := func(n int) uint64 {
		for range n {
			tick++
			st.Time, st.Samples = st.Time.Add(time.Second), st.Samples+1
			d, s := *st.LastDecision, *st.LastSwap
			d.Time, s.Time = st.Time, st.Time
			d.Reasons = []string{strings.Repeat("x", 1000) + string(rune('a'+tick%26))}
			st.LastDecision, st.LastSwap = &d, &s
			m.Update(statusMsg{st})
		}
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := run(2 * maxHistory)
	if after := run(10_000); after > before+before/2+1<<20 {
		t.Errorf("%d KiB after %d statuses, %d KiB after 10,000 more", before>>10, 2*maxHistory, after>>10)
	}
	if len(m.history.entries) != maxHistory || cap(m.history.entries) > 4*maxHistory {
		t.Errorf("%d entries, capacity %d", len(m.history.entries), cap(m.history.entries))
	}
}

func TestTasksAreAskedForOnlyWhileTheyAreLookedAt(t *testing.T) {
	m := shows(80, 24, status(10, 3))
	asked := 0
	m.fetch = func() ([]Task, error) {
		asked++
		return []Task{{PID: 7, Comm: "cc1plus", Group: "/build", CPUShare: 0.9, WaitShare: 0.05, SwitchesPerSecond: 1200}, {PID: 8, Comm: "sh", Group: "/x"}}, nil
	}
	if _, cmd := m.Update(statusMsg{status(11, 3)}); cmd != nil {
		t.Error("asked for, and nobody looks")
	}
	cmd := press(m, "t")
	if cmd == nil {
		t.Fatal("not asked for")
	}
	if _, second := m.Update(statusMsg{status(12, 3)}); second != nil {
		t.Error("asked again before the answer")
	}
	m.Update(cmd())
	if page := ansi.Strip(strings.Join(m.page(), "\n")); !strings.Contains(page, "  7  cc1plus  90 %  5.0 %  1,200  /build") || asked != 1 {
		t.Errorf("asked %d times:\n%s", asked, page)
	}
	press(m, "/", "c", "c", "1", "enter")
	if page := strings.Join(m.page(), "\n"); strings.Contains(page, "/x") || !strings.Contains(page, "cc1plus") {
		t.Errorf("filtered:\n%s", page)
	}
	if page := m.tasksAre(errors.New("user 5 may not see single tasks")); !strings.Contains(page, "user 5 may not") {
		t.Error(page)
	}
	m.fetch = nil
	if page := strings.Join(m.page(), "\n"); !strings.Contains(page, "Per-task data needs") {
		t.Error(page)
	}
}

func TestWithheldTasksAreSaidToBe(t *testing.T) {
	st := status(11, 3)
	st.Events = api.Events{Withheld: true, WaitedFor: st.Events.WaitedFor}
	m := shows(80, 30, st)
	press(m, "down", "enter")
	page := strings.Join(m.page(), "\n")
	if !strings.Contains(page, "Withheld: single tasks are for root and the operator group.") || !strings.Contains(page, "1.23 s in 412 waits") {
		t.Error(page)
	}
}

func TestColumnsGiveWayInOrder(t *testing.T) {
	m := shows(200, 60, status(11, 10))
	before := 99
	for width := 200; width > 5; width-- {
		title, rows := m.table(m.chosenGroups(), width)
		n := len(strings.Fields(title))
		if n > before {
			t.Errorf("at %d columns there are %d, at more %d", width, n, before)
		}
		before = n
		for _, r := range rows {
			if got := ansi.StringWidth(r); got > width-1 && width > 12 {
				t.Errorf("%d columns: a row of %d: %q", width, got, r)
			}
		}
		if width >= 28 && (!strings.Contains(title, "CPU") || !strings.Contains(title, "GROUP")) {
			t.Errorf("at %d columns: %q", width, title)
		}
	}
}
