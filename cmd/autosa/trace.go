// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"autosa/api"
	"autosa/api/client"
	"autosa/daemon"
)

// traceFlags are what `autosa trace` is told.
type traceFlags struct {
	req                api.TraceRequest
	tasks              int
	rhythm             bool
	json               bool
	summary, noSummary bool
}

func (a *app) traceCommand() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show single waits, context switches, wakeups or block requests as they happen",
		Long: `Show, one by one, the run-queue and I/O waits of at least --min-wait, with the slice
that followed each, who had the CPU before and who has it next. With --switches show
every context switch of chosen tasks. Filters of different kinds must all match.

It goes on until Ctrl-C or --duration and ends with who made whom wait, on standard
error. Events that are lost are counted where they were lost.

--wakeups and --block take one sample of the whole machine instead: who wakes whom,
and how long block requests take. --tasks lists the busiest tasks.

Where no daemon runs it traces by itself, as root.`,
		Example: `  sudo autosa trace --cgroup nginx.service --min-wait 1ms
  sudo autosa trace --comm 'kworker*' --switches --duration 5s --json
  sudo autosa trace --wakeups
  sudo autosa trace --tasks 10 --rhythm`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.trace(cmd, &f) },
	}
	a.clientFlags(cmd, &f.json)
	fs := cmd.Flags()
	fs.IntSliceVar(&f.req.PIDs, "pid", nil, "processes or threads, a process with all of its threads")
	fs.StringVar(&f.req.Comm, "comm", "", "tasks of this name, up to 15 bytes; a prefix if it ends with *")
	fs.StringSliceVar(&f.req.Cgroups, "cgroup", nil, "cgroups with what is below them: paths, or unit names such as nginx.service")
	fs.DurationVar(&f.req.MinWait, "min-wait", 0, "shortest wait shown (default 4ms)")
	fs.BoolVar(&f.req.Switches, "switches", false, "every context switch; takes a filter, or --all")
	fs.BoolVar(&f.req.All, "all", false, "with --switches: of every task on the machine, as far as there is room")
	fs.DurationVar(&f.req.Duration, "duration", 0, "end by itself; for a sample, how long it takes (default 200ms)")
	fs.BoolVar(&f.req.Wakeups, "wakeups", false, "sample who wakes whom")
	fs.BoolVar(&f.req.Block, "block", false, "sample how long block requests take")
	fs.DurationVar(&f.req.Every, "every", 0, "repeat the sample")
	fs.IntVar(&f.tasks, "tasks", 0, "list the `N` busiest tasks of half a second")
	fs.BoolVar(&f.rhythm, "rhythm", false, "with --tasks: how regularly they wake up")
	fs.BoolVar(&f.summary, "summary", true, "end with who made whom wait")
	fs.BoolVar(&f.noSummary, "no-summary", false, "end without a summary")
	return cmd
}

func (a *app) trace(cmd *cobra.Command, f *traceFlags) error {
	if err := f.req.Validate(); err != nil {
		return usagef(cmd, "%v", err)
	}
	if cmd.Flags().Changed("min-wait") && f.req.MinWait == 0 {
		return usagef(cmd, "min-wait: must be positive; every context switch is what --switches shows")
	}
	if f.noSummary && cmd.Flags().Changed("summary") {
		return usagef(cmd, "--summary and --no-summary exclude each other")
	}
	for _, filter := range []struct {
		name  string
		empty bool
	}{{"pid", len(f.req.PIDs) == 0}, {"comm", f.req.Comm == ""}, {"cgroup", len(f.req.Cgroups) == 0}} {
		if filter.empty && cmd.Flags().Changed(filter.name) {
			return usagef(cmd, "--%s is empty: it would choose everything", filter.name)
		}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	if cmd.Flags().Changed("tasks") {
		return a.traceTasks(ctx, cmd, c, f)
	}
	if f.rhythm {
		return usagef(cmd, "--rhythm goes with --tasks")
	}
	p := newTracePrinter(a.stdout, f.json)
	began := a.now()
	err = traceWith(ctx, c, f.req, p)
	var refusal *api.Error
	if p.begun && f.summary && !f.noSummary && f.req.Every == 0 && !f.req.Wakeups && !f.req.Block && !errors.As(err, &refusal) {
		p.sum.write(a.stderr, a.now().Sub(began))
	}
	return err
}

// traceWith traces through the daemon, or by itself where none runs.
func traceWith(ctx context.Context, c *client.Client, req api.TraceRequest, sink *tracePrinter) error {
	for e, err := range c.Trace(ctx, req) {
		switch {
		case errors.Is(err, client.ErrNoDaemon):
			return daemon.Trace(ctx, req, sink)
		case err != nil:
			return err
		}
		if err := errors.Join(sink.Event(&e), sink.Flush()); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) traceTasks(ctx context.Context, cmd *cobra.Command, c *client.Client, f *traceFlags) error {
	if f.tasks < 1 {
		return usagef(cmd, "--tasks must be positive, not %d", f.tasks)
	}
	for _, name := range []string{"pid", "comm", "cgroup", "min-wait", "switches", "all", "wakeups", "block", "every"} {
		if cmd.Flags().Changed(name) {
			return usagef(cmd, "--tasks lists all tasks, and takes no --%s", name)
		}
	}
	req := api.TasksRequest{Count: f.tasks, Rhythm: f.rhythm, Interval: f.req.Duration}
	if err := req.Validate(); err != nil {
		return usagef(cmd, "%v", err)
	}
	list, err := c.Tasks(ctx, req)
	if errors.Is(err, client.ErrNoDaemon) {
		list, err = daemon.Tasks(ctx, req)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C
		}
		return err
	}
	if f.json {
		return printJSON(a.stdout, list)
	}
	writeTasks(a.stdout, &list)
	if list.Unwatched > 0 {
		fmt.Fprintf(a.stderr, "%d of %d tasks were too many to look at\n", list.Unwatched, list.Tasks)
	}
	return nil
}

// secondsOf is a duration as the pages print it.
func secondsOf(d time.Duration) string { return span(d.Seconds()) }
