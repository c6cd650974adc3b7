// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/api/client"
	"autosa/config"
	"autosa/daemon"
	"autosa/tui"
	"autosa/workload"
)

// pipeWidth is how wide a page is that goes to no terminal.
const pipeWidth = 120

// topOptions are the flags of top.
type topOptions struct {
	once         bool
	sort, filter string
}

func (a *app) topCommand() *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the busiest groups of tasks, and who made whom wait",
		Long: `Show a view of the machine that refreshes at every sample of the daemon: the kind
of work, the scheduler in charge, waits, pressure, the busiest groups of tasks, who
waited for whom, and what autosa decided and did. Press ? for the keys.

Where no daemon runs, top observes by itself until it ends, and changes nothing.

With --once it prints one page as plain text, for pipes too.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(tui.Columns(), o.sort) {
				return usagef(cmd, "--sort: no column %q (columns: %s)", o.sort, strings.Join(tui.Columns(), ", "))
			}
			if err := a.canShow(cmd, o); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
			defer stop()
			return a.top(ctx, o)
		},
	}
	a.clientFlags(cmd, nil)
	cmd.Flags().BoolVar(&o.once, "once", false, "print one page as plain text and end")
	cmd.Flags().StringVar(&o.sort, "sort", "cpu", "column to sort by: "+strings.Join(tui.Columns(), ", "))
	cmd.Flags().StringVar(&o.filter, "filter", "", "show only the groups whose name or class contains this text")
	if err := cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(tui.Columns(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// canShow says why the view cannot be shown here, if it cannot.
func (a *app) canShow(cmd *cobra.Command, o topOptions) error {
	if o.once {
		return nil
	}
	if _, _, ok := terminal(a.stdout); !ok {
		return usagef(cmd, "standard output is not a terminal: use `autosa status --watch`, or --once for one page")
	}
	if term := a.getenv("TERM"); term == "" || term == "dumb" {
		return usagef(cmd, "a terminal of type %q (TERM) cannot show it: use `autosa status --watch`, or --once for one page", term)
	}
	return nil
}

// getenv is the value of an environment variable, "" where it is not set.
func (a *app) getenv(name string) string {
	for _, kv := range slices.Backward(a.environ) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// top shows the daemon's statuses, or those of an observer of its own where no
// daemon runs.
func (a *app) top(ctx context.Context, o topOptions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	_, err = c.Status(ctx)
	switch {
	case errors.Is(err, client.ErrNoDaemon):
		return a.observeAlone(ctx, o, fmt.Sprintf("no daemon at %s: top observes by itself", c.Socket()))
	case err != nil:
		return err
	}
	return a.view(ctx, o, c.Watch, tasksOf(c.Tasks))
}

// view shows the view, or one page of it.
func (a *app) view(ctx context.Context, o topOptions, watch tui.Watch, tasks func(context.Context) ([]tui.Task, error)) error {
	options := tui.Options{Watch: watch, Tasks: tasks, Sort: o.sort, Filter: o.filter, Environ: a.environ}
	if o.once {
		width, _, ok := terminal(a.stdout)
		if !ok {
			width = pipeWidth
			if n, err := strconv.Atoi(a.getenv("COLUMNS")); err == nil && n > 0 {
				width = n
			}
		}
		return tui.Once(ctx, a.stdout, options, width)
	}
	options.Input = os.Stdin
	options.Output = a.stdout.(*os.File) // canShow has seen that it is a terminal
	return tui.Run(ctx, options)
}

// observeAlone runs a daemon that only watches within this process for as long as
// the view is shown. It logs nothing: what it has to say is in its status.
func (a *app) observeAlone(ctx context.Context, o topOptions, why string) error {
	cfg, err := config.Load(config.Sources{Flags: &a.flags, Environ: a.environ, Classes: classNames(), Words: daemon.Words()})
	if err != nil {
		return err
	}
	d, err := daemon.New(daemon.Options{Config: cfg, Version: buildVersion(), Logger: slog.New(slog.DiscardHandler), ObserveOnly: why})
	if err != nil {
		return fmt.Errorf("observe without a daemon: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.Run(ctx) })
	g.Go(func() error {
		defer cancel()
		return a.view(ctx, o, watchOf(d), tasksOf(d.Tasks))
	})
	return g.Wait()
}

// topTasks is how many tasks the view has; more than fit on most terminals.
const topTasks = 100

// tasksOf gives the view the busiest tasks, from the daemon or in this process.
func tasksOf(ask func(context.Context, api.TasksRequest) (api.TaskList, error)) func(context.Context) ([]tui.Task, error) {
	return func(ctx context.Context) ([]tui.Task, error) {
		list, err := ask(ctx, api.TasksRequest{Count: topTasks})
		if err != nil {
			return nil, err
		}
		tasks := make([]tui.Task, 0, len(list.Top))
		for _, t := range list.Top {
			tasks = append(tasks, tui.Task{
				PID: t.PID, Comm: t.Comm, Group: workload.ParseCgroup(t.Group).Label,
				CPUShare: t.RunShare, WaitShare: t.WaitShare, SwitchesPerSecond: t.SwitchesPerSecond,
			})
		}
		return tasks, nil
	}
}

// watchOf is a daemon's watch as a client would see it.
func watchOf(d *daemon.Daemon) tui.Watch {
	return func(ctx context.Context) iter.Seq2[api.Status, error] {
		return func(yield func(api.Status, error) bool) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			for st := range d.Watch(ctx) {
				if !yield(st, nil) {
					return
				}
			}
		}
	}
}
