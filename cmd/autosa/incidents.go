// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"autosa/api"
)

func (a *app) incidentsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "incidents [ID]",
		Short: "What went wrong with schedulers: those that failed to come up, or ended without an order",
		Long: `List the schedulers that failed to come up or ended without an order, newest first:
when, which, why. With an ID, all that is known of one: the kernel's log, the samples
before, and the end of what the scheduler printed. That names tasks, and is for
operators.`,
		Example: "  autosa incidents\n  sudo autosa incidents 3",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef(cmd, "unexpected argument %q", args[1])
			}
			return nil
		},
		ValidArgsFunction: a.completeIncidents,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				list, err := c.Incidents(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.stdout, list)
				}
				writeIncidents(a.stdout, stylesFor(a.stdout), list)
				return nil
			}
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usagef(cmd, "%q is not an incident's number", args[0])
			}
			in, err := c.Incident(cmd.Context(), id)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, in)
			}
			writeIncident(a.stdout, in)
			return nil
		},
	}
	a.clientFlags(cmd, &asJSON)
	return cmd
}

// completeIncidents offers the incidents' numbers to the shell.
func (a *app) completeIncidents(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const keep = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	c, err := a.client()
	if err != nil || len(args) > 0 {
		return nil, keep
	}
	list, err := c.Incidents(cmd.Context())
	if err != nil {
		return nil, keep
	}
	var ids []string
	for _, in := range list {
		ids = append(ids, fmt.Sprintf("%d\t%s %s: %s", in.ID, in.Time.Local().Format(time.DateTime), clean(in.Scheduler), clean(in.Ending)))
	}
	return ids, keep
}

func writeIncidents(w io.Writer, s styles, list []api.Incident) {
	if len(list) == 0 {
		fmt.Fprintln(w, "nothing went wrong")
		return
	}
	rows := []row{heading(s, "ID", "TIME", "SCHEDULER", "ENDING", "WHEN", "THEN", "REASON")}
	for _, in := range list {
		rows = append(rows, row{
			strconv.FormatUint(in.ID, 10), in.Time.Local().Format(time.DateTime), command(in.Scheduler, in.Args), s.bad.Render(clean(in.Ending)),
			clean(cmp.Or(in.Phase, "in charge")), clean(in.InCharge), clean(shortened(in.Reason, 80)),
		})
	}
	writeTable(w, "", rows, 0)
}

// heading is a table's first row.
func heading(s styles, names ...string) row {
	r := row(names)
	for i := range r {
		r[i] = s.faint.Render(r[i])
	}
	return r
}

// shortened cuts a text to n characters.
func shortened(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func writeIncident(w io.Writer, in api.Incident) {
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-11s%s\n", name, fmt.Sprintf(format, args...))
	}
	field("Incident", "%d, %s", in.ID, in.Time.Local().Format(time.RFC3339))
	field("Scheduler", "%s", command(in.Scheduler, in.Args))
	field("Version", "%s", orDash(clean(in.Version)))
	field("File", "%s", orDash(clean(in.Path)))
	field("Kernel", "%s", clean(in.Kernel))
	field("Ending", "%s", clean(in.Ending))
	field("Reason", "%s", clean(in.Reason))
	field("Process", "%s", orDash(clean(in.Exit)))
	field("When", "%s", clean(cmp.Or(in.Phase, "in charge")))
	then := clean(in.InCharge) + " in charge"
	if in.GapSeconds > 0 {
		then += ", after " + span(in.GapSeconds) + " without a scheduler"
	}
	field("Then", "%s", then)
	for i, line := range in.KernelLog {
		field(map[bool]string{true: "Kernel log"}[i == 0], "%s", clean(line))
	}
	for i, name := range slices.Sorted(maps.Keys(in.Counters)) {
		field(map[bool]string{true: "Counters"}[i == 0], "%s %s", clean(name), grouped(in.Counters[name]))
	}
	if len(in.Samples) > 0 {
		fmt.Fprintln(w, "\nThe samples before:")
		rows := []row{{"TIME", "SCHEDULER", "CLASS", "SW/S", "P99"}}
		for _, s := range in.Samples {
			rows = append(rows, row{
				s.Time.Local().Format(time.TimeOnly), clean(s.Scheduler), s.Class.String(), grouped(uint64(max(s.SwitchesPerSecond, 0))), span(s.WaitP99Seconds),
			})
		}
		writeTable(w, "  ", rows, 3, 4)
	}
	if in.Output != "" {
		fmt.Fprintln(w, "\nWhat it printed:")
		for line := range strings.Lines(in.Output) {
			fmt.Fprintf(w, "  %s\n", clean(strings.TrimRight(line, "\n")))
		}
	}
}
