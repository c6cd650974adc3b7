// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"autosa/api"
)

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [SCHEDULER]",
		Short: "List the schedulers, which are usable here, and for what",
		Long: `List the schedulers: which are usable here and why others are not, their modes, and
the classes of work for which the table names them. With the name of one, all that is
known of it: its modes with their arguments, what it needs and what it leaves behind.

A mode in brackets is one whose arguments the version at hand does not know.`,
		Example: "  autosa list\n  autosa list lavd",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef(cmd, "unexpected argument %q", args[1])
			}
			return nil
		},
		ValidArgsFunction: a.completeSchedulers,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Schedulers(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				if asJSON {
					return printJSON(a.stdout, list)
				}
				writeSchedulers(a.stdout, stylesFor(a.stdout), list)
				return nil
			}
			i := slices.IndexFunc(list, func(e api.Scheduler) bool { return e.Name == args[0] || e.Name == "scx_"+args[0] })
			switch {
			case i < 0:
				return usagef(cmd, "there is no scheduler %q: see `autosa list`", args[0])
			case asJSON:
				return printJSON(a.stdout, list[i])
			}
			writeScheduler(a.stdout, stylesFor(a.stdout), list[i])
			return nil
		},
	}
	a.clientFlags(cmd, &asJSON)
	return cmd
}

// writeSchedulers prints the schedulers that are installed as a table, and names
// the others.
func writeSchedulers(w io.Writer, s styles, list []api.Scheduler) {
	rows := []row{{"SCHEDULER", "VERSION", "STATE", "FOR", "MODES", ""}}
	for i := range rows[0] {
		rows[0][i] = s.faint.Render(rows[0][i])
	}
	var missing []string
	for _, e := range list {
		if !e.Installed && !e.InCharge {
			missing = append(missing, clean(e.Name))
			continue
		}
		text := clean(e.Description)
		if !e.Usable && e.WhyNot != "" {
			text = clean(e.WhyNot)
		}
		rows = append(rows, row{clean(e.Name), orDash(clean(e.Version)), schedulerState(s, e), orDash(classesOf(e)), orDash(modesOf(e)), text})
	}
	writeTable(w, "", rows)
	if len(missing) > 0 {
		fmt.Fprintf(w, "\nNot installed: %s\n", strings.Join(missing, ", "))
	}
}

func schedulerState(s styles, e api.Scheduler) string {
	switch {
	case e.InCharge:
		return s.good.Render("in charge")
	case !e.Installed:
		return "not installed"
	case !e.Usable:
		return s.bad.Render("unusable")
	}
	return "usable"
}

func classesOf(e api.Scheduler) string {
	classes := make([]string, len(e.Classes))
	for i, c := range e.Classes {
		classes[i] = c.String()
	}
	return strings.Join(classes, ",")
}

// modesOf names the modes; those that this version does not take in brackets.
func modesOf(e api.Scheduler) string {
	names := make([]string, len(e.Modes))
	for i, m := range e.Modes {
		if names[i] = clean(m.Name); m.WhyNot != "" {
			names[i] = "(" + names[i] + ")"
		}
	}
	return strings.Join(names, ",")
}

// writeScheduler prints all that is known of one.
func writeScheduler(w io.Writer, s styles, e api.Scheduler) {
	line := func(label, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(w, "%s%s\n", s.title.Render(fmt.Sprintf("%-15s", label)), text)
		}
	}
	each := func(label string, texts []string) {
		for _, t := range texts {
			line(label, "%s", clean(t))
			label = ""
		}
	}
	line(clean(e.Name), "%s", clean(e.Description))
	line("State", "%s", schedulerState(s, e))
	line("Why not", "%s", clean(e.WhyNot))
	line("Remedy", "%s", clean(e.Remedy))
	line("Version", "%s", clean(e.Version))
	line("Path", "%s", clean(e.Path))
	line("Chosen for", "%s", classesOf(e))
	line("Suits", "%s", clean(strings.Join(e.Suits, ", ")))
	label := "Modes"
	for _, m := range e.Modes {
		text := fmt.Sprintf("%-11s %s", clean(m.Name), clean(cmp.Or(strings.Join(m.Args, " "), "(no arguments)")))
		if m.WhyNot != "" {
			text += s.bad.Render(": " + clean(m.WhyNot))
		}
		line(label, "%s", text)
		label = ""
	}
	if e.ModesUnchecked != "" {
		line("", "%s", s.warn.Render("not checked: "+clean(e.ModesUnchecked)))
	}
	if e.WatchdogSeconds > 0 {
		line("Watchdog", "%s", span(e.WatchdogSeconds))
	}
	honoured := map[bool]string{true: "honoured", false: "ignored"}
	line("Cgroups", "cpu.weight %s, cpu.max %s", honoured[e.HonoursCPUWeight], honoured[e.HonoursCPUMax])
	line("Needs", "%s", clean(strings.Join(e.Needs, ", ")))
	each("Leaves behind", e.LeavesBehind)
	each("Notes", e.Notes)
	if !e.Known {
		line("Notes", "what it honours, needs and leaves behind is not known")
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
