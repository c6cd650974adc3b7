// SPDX-License-Identifier: Apache-2.0

// Package tui is the terminal view that refreshes: statuses and keys in, pages
// out. The model is pure (model.go, page.go); this file and feed.go connect it to
// a terminal and to a daemon.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime/debug"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sync/errgroup"

	"autosa/api"
)

// framesPerSecond bounds how often the screen is written. Keys are answered within
// one frame; more of them would cost wakeups that the view is there to show.
const framesPerSecond = 20

// Watch yields a daemon's present status and then one a tick, and an error when it
// ends, like [autosa/api/client.Client.Watch].
type Watch func(context.Context) iter.Seq2[api.Status, error]

// Options say what is shown and where.
type Options struct {
	// Watch must not be nil. It is called again when a watch has ended.
	Watch Watch
	// Tasks gives per-task figures; it is called at each status while the tasks
	// view is open, and only then. Nil where there are none.
	Tasks func(context.Context) ([]Task, error)
	// Sort is one of Columns, else "cpu"; Filter is what groups must contain.
	Sort, Filter string
	// Input and Output are the terminal, Environ says which.
	Input   *os.File
	Output  *os.File
	Environ []string
}

// Run shows the view until the user leaves it or ctx ends; neither is an error. It
// leaves the terminal as it was, whatever happens. Signals are the caller's to
// turn into the end of ctx.
func Run(ctx context.Context, o Options) error {
	return run(ctx, o, newModel(o))
}

// run shows m; tests wrap the model to make it fail.
func run(ctx context.Context, o Options, m tea.Model) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if base, ok := m.(*model); ok && o.Tasks != nil {
		base.fetch = func() ([]Task, error) { return o.Tasks(ctx) }
	}
	program := tea.NewProgram(guarded{m}, tea.WithInput(o.Input), tea.WithOutput(o.Output), tea.WithEnvironment(o.Environ),
		tea.WithFPS(framesPerSecond), tea.WithoutSignalHandler())
	// The program is asked to quit, not killed by its context: it then waits for its
	// own goroutines.
	defer context.AfterFunc(ctx, program.Quit)()
	var g errgroup.Group
	g.Go(func() (err error) {
		// A panic would end the process with the terminal in its raw state.
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("watch the daemon: panic: %v", r)
				cancel()
			}
		}()
		feed(ctx, o.Watch, program.Send)
		return nil
	})
	_, err := program.Run()
	cancel()
	fed := g.Wait()
	switch {
	case fed != nil:
		return fed
	case errors.Is(err, tea.ErrProgramPanic):
		return errors.New("the view met a defect of its own, see above")
	case err != nil:
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}

// guarded is a model whose commands panic in the program's own loop: there the
// panic's text is out before the program ends, of its goroutines the end may come
// first.
type guarded struct{ tea.Model }

// defect is a panic on its way to the program's loop.
type defect struct {
	value any
	stack []byte
}

func (g guarded) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if d, ok := msg.(defect); ok {
		panic(fmt.Sprintf("%v\n\n%s", d.value, d.stack))
	}
	m, cmd := g.Model.Update(msg)
	if cmd == nil {
		return guarded{m}, nil
	}
	return guarded{m}, func() (msg tea.Msg) {
		defer func() {
			if r := recover(); r != nil {
				msg = defect{r, debug.Stack()}
			}
		}()
		return cmd()
	}
}

// Once writes one page as plain text, width cells wide and as long as it has to
// be. It waits for the second sample: rates take two, and a daemon that has just
// begun has no groups in its first.
func Once(ctx context.Context, w io.Writer, o Options, width int) error {
	m := newModel(o)
	for st, err := range o.Watch(ctx) {
		if err != nil {
			return fmt.Errorf("watch the daemon: %w", err)
		}
		m.observe(st)
		if !m.live.switchesKnown || st.Samples < 2 {
			continue
		}
		_, err := io.WriteString(w, m.whole(width))
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("the daemon stopped before there was anything to show")
}

// whole is the page of groups with nothing left out for want of lines.
func (m *model) whole(width int) string {
	groups := m.chosenGroups()
	title, rows := m.table(groups, width)
	st := &m.shown.status
	lines := append(m.header(width), m.panels(width, len(st.Warnings)+len(st.Events.WaitedFor)+len(m.shown.history)+2)...)
	lines = append(append(lines, title), rows...)
	if len(groups) == 0 {
		lines = append(lines, m.whyEmpty())
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(ansi.Strip(l), " ") + "\n")
	}
	return b.String()
}
