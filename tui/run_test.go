// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/tui/vttest"
)

// childEnv makes the test binary show a view on the terminal it runs on. Its value
// says what goes wrong in it.
const childEnv = "TUI_TEST_CHILD"

// child is the program that the tests of this file run.
func child() bool {
	fault := os.Getenv(childEnv)
	if fault == "" {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	o := Options{Input: os.Stdin, Output: os.Stdout, Environ: os.Environ(), Sort: "cpu"}
	o.Watch = func(ctx context.Context) iter.Seq2[api.Status, error] {
		return func(yield func(api.Status, error) bool) {
			if yield(status(10, 40), nil) && yield(status(11, 40), nil) {
				if fault == "feed" {
					panic("the feed is broken")
				}
				<-ctx.Done()
			}
		}
	}
	if err := run(ctx, o, &faulty{newModel(o), fault}); err != nil {
		fmt.Fprintln(os.Stderr, "ended with:", err)
		os.Exit(1)
	}
	return true
}

// faulty is a model that panics when F is pressed: at once, or at the next page.
type faulty struct {
	*model
	fault string
}

func (f *faulty) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if k, ok := msg.(tea.KeyPressMsg); ok && k.Key().Text == "F" {
		switch f.fault {
		case "update":
			panic("update is broken")
		case "command":
			return f, func() tea.Msg { panic("a command is broken") }
		case "view":
			f.fault = "broken"
		}
	}
	_, cmd := f.model.Update(msg)
	return f, cmd
}

func (f *faulty) View() tea.View {
	if f.fault == "broken" {
		panic("the view is broken")
	}
	return f.model.View()
}

// terminal runs a view on a terminal; fault says what goes wrong.
func terminal(t *testing.T, fault string, width, height int) *vttest.Terminal {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childEnv + "=" + fault, "TERM=xterm-256color"}
	return vttest.Start(t, cmd, width, height, true)
}

func TestAPanicLeavesTheTerminalAsItWas(t *testing.T) {
	for fault, says := range map[string]string{
		"update": "update is broken", "view": "the view is broken", "command": "a command is broken", "feed": "watch the daemon: panic: the feed is broken",
	} {
		t.Run(fault, func(t *testing.T) {
			term := terminal(t, fault, 100, 30)
			if fault != "feed" {
				term.AwaitText("GROUP")
				term.Send("F")
			}
			if code := term.Wait(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(term.Raw(), says) {
				t.Errorf("it does not say %q:\n%s", says, term.Screen())
			}
		})
	}
}

// Every key of the help does what the help says, typed on a terminal.
func TestEveryKeyDoesWhatTheHelpSays(t *testing.T) {
	shows := func(text string) func(string) bool { return func(s string) bool { return strings.Contains(s, text) } }
	hides := func(text string) func(string) bool { return func(s string) bool { return !strings.Contains(s, text) } }
	const table = "GROUP    "
	steps := []struct {
		key, typed string
		want       func(screen string) bool
	}{
		{"?", "?", shows("HELP")},
		{"h", "h", hides("HELP")},
		{"s", "s", shows("sort: p50")},
		{">", ">", shows("sort: p99")},
		{"<", "<<", shows("sort: cpu")},
		{"r", "r", shows("cpu, reversed")},
		{"r", "r", hides("reversed")},
		{"down", "\x1b[B", shows("  2/40")},
		{"j", "j", shows("  3/40")},
		{"up", "\x1b[A", shows("  2/40")},
		{"k", "k", shows("  1/40")},
		{"pgdown", "\x1b[6~", hides("  1/40")},
		{"pgup", "\x1b[5~", shows("  1/40")},
		{"end", "\x1b[F", shows("  40/40")},
		{"home", "\x1b[H", shows("  1/40")},
		{"G", "G", shows("  40/40")},
		{"g", "g", shows("  1/40")},
		{"/", "/", shows("filter: _")},
		{"", "sessionq\x7f", shows("filter: session_")},
		{"", "\r", shows("  1/13")},
		{"esc", "\x1b", shows("  1/40")},
		{"/", "/build", shows("filter: build_")},
		{"esc", "\x1b", shows("  1/40")},
		{"/", "/zz\x15", shows("filter: _")},
		{"", "\x1b[200~media\r\x1b[201~", shows("filter: media_")}, // pasted, with the end of its line
		{"", "\r", shows("  1/5")},
		{"esc", "\x1b", shows("  1/40")},
		{"p", "p", shows("PAUSED")},
		{"space", " ", hides("PAUSED")},
		{"enter", "\r", shows("ITS RHYTHMS")},
		{"esc", "\x1b", shows(table)},
		{"t", "t", shows("Per-task data needs")},
		{"t", "t", shows(table)},
		{"d", "d", shows("because the host is interactive")},
		{"d", "d", shows(table)},
	}
	pressed := map[string]bool{"q": true, "ctrl+c": true} // below
	term := terminal(t, "none", 140, 24)
	term.AwaitText("18,211 switches/s")
	for _, s := range steps {
		term.Send(s.typed)
		term.Await(fmt.Sprintf("effect of %q (%q)", s.key, s.typed), s.want)
		pressed[s.key] = true
	}
	for _, b := range bindings {
		for _, k := range b.keys {
			if !pressed[k] {
				t.Errorf("%s (%s) is not tested", k, b.help)
			}
		}
	}
	term.Send("\x1b") // nothing is open and nothing filtered: the end
	if code := term.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, typed := range []string{"q", "\x03", "/abc\x03", "?q"} {
		term := terminal(t, "none", 80, 24)
		term.AwaitText(table)
		term.Send(typed)
		if code := term.Wait(); code != 0 {
			t.Errorf("%q: exit code %d", typed, code)
		}
	}
}

func TestEveryKeyIsInTheHelpAndTheDocumentation(t *testing.T) {
	b, err := os.ReadFile("../docs/TOP.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	page := strings.Join(help(200), "\n")
	for _, b2 := range bindings {
		if !strings.Contains(page, b2.label) || !strings.Contains(page, b2.help) {
			t.Errorf("%s is not in the help", b2.label)
		}
		if !strings.Contains(string(b), "| "+b2.label+" | "+b2.help+" |") {
			t.Errorf("docs/TOP.md has no line | %s | %s |", b2.label, b2.help)
		}
		for _, k := range b2.keys {
			if seen[k] {
				t.Errorf("%s is bound twice", k)
			}
			seen[k] = true
		}
	}
	for _, c := range columns {
		if !strings.Contains(string(b), "| "+c.title+" | `"+c.name+"` |") {
			t.Errorf("docs/TOP.md has no line | %s | `%s` |", c.title, c.name)
		}
	}
}

func TestOncePrintsPlainTextWithEverything(t *testing.T) {
	watch := func(statuses ...api.Status) Watch {
		return func(context.Context) iter.Seq2[api.Status, error] {
			return func(yield func(api.Status, error) bool) {
				for _, st := range statuses {
					if !yield(st, nil) {
						return
					}
				}
			}
		}
	}
	var b strings.Builder
	if err := Once(t.Context(), &b, Options{Watch: watch(status(10, 60), status(11, 60)), Sort: "switches", Filter: "build"}, 120); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, "\x1b") || strings.Count(got, "/system.slice/build-") != 20+1 || !strings.Contains(got, "SW/S↓") {
		t.Error(got)
	}
	if err := Once(t.Context(), io.Discard, Options{Watch: watch(status(10, 3))}, 80); err == nil {
		t.Error("a page from one sample")
	}
}
