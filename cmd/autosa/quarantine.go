// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"autosa/api"
)

func (a *app) quarantineCommand() *cobra.Command {
	var asJSON bool
	list := func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		entries, err := c.Quarantine(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(a.stdout, entries)
		}
		writeQuarantine(a.stdout, stylesFor(a.stdout), entries, a.now())
		return nil
	}
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "The schedulers that rest because they failed; `clear` forgets their failures",
		Long: `A scheduler that failed rests, in that version, with those arguments, on that kernel:
a minute at first, twice as long after each further failure, up to a day. It is forgiven
once it has been in charge for as long as its last rest. ` + "`autosa incidents`" + ` says what
happened.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef(cmd, "unknown command %q: it takes list or clear", args[0])
			}
			return nil
		},
		RunE: list,
	}
	a.clientFlags(cmd, &asJSON)
	sub := &cobra.Command{Use: "list", Short: "List them", Args: exactly(0), RunE: list}
	a.clientFlags(sub, &asJSON)
	cmd.AddCommand(sub, a.clearCommand())
	return cmd
}

func (a *app) clearCommand() *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:     "clear SCHEDULER|--all",
		Short:   "Forget a scheduler's failures, in every version and with any arguments",
		Example: "  sudo autosa quarantine clear lavd\n  sudo autosa quarantine clear --all",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usagef(cmd, "unexpected argument %q", args[1])
			case (len(args) == 1) == all:
				return usagef(cmd, "which scheduler? It takes a name or --all, and not both")
			}
			return nil
		},
		ValidArgsFunction: a.completeQuarantined,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			name := ""
			if !all {
				if name = args[0]; name == "" {
					return usagef(cmd, "which scheduler?")
				}
			}
			done, err := c.ClearQuarantine(cmd.Context(), name)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, done)
			}
			entries := fmt.Sprintf("%d entries", done.Cleared)
			if done.Cleared == 1 {
				entries = "one entry"
			}
			fmt.Fprintf(a.stdout, "%s cleared\n", entries)
			return nil
		},
	}
	a.clientFlags(cmd, &asJSON)
	cmd.Flags().BoolVar(&all, "all", false, "of all schedulers")
	return cmd
}

// completeQuarantined offers the schedulers with failures to the shell.
func (a *app) completeQuarantined(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := c.Quarantine(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, q := range list {
		names = append(names, fmt.Sprintf("%s\t%s", clean(q.Scheduler), clean(shortened(q.Reason, 60))))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func writeQuarantine(w io.Writer, s styles, list []api.Quarantine, now time.Time) {
	if len(list) == 0 {
		fmt.Fprintln(w, "nothing is quarantined")
		return
	}
	rows := []row{heading(s, "SCHEDULER", "VERSION", "KERNEL", "FAILED", "RESTS FOR", "LAST", "REASON")}
	for _, q := range list {
		rests := "-"
		if q.Resting {
			rests = s.warn.Render(age(q.Until.Sub(now)))
		}
		rows = append(rows, row{
			command(q.Scheduler, q.Args), orDash(clean(q.Version)), clean(q.Kernel), strconv.Itoa(q.Failures), rests,
			q.Time.Local().Format(time.DateTime), clean(shortened(q.Reason, 80)),
		})
	}
	writeTable(w, "", rows, 3, 4)
}
