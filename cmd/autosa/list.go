// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"autosa/api"
)

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the schedulers, which are usable here, and for what",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Schedulers(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, list)
			}
			writeSchedulers(a.stdout, stylesFor(a.stdout), list)
			return nil
		},
	}
	a.clientFlags(cmd, &asJSON)
	return cmd
}

// writeSchedulers prints the schedulers that are installed as a table, and names
// the others.
func writeSchedulers(w io.Writer, s styles, list []api.Scheduler) {
	rows := []row{{"SCHEDULER", "VERSION", "STATE", "FOR", ""}}
	for i := range rows[0] {
		rows[0][i] = s.faint.Render(rows[0][i])
	}
	var missing []string
	for _, e := range list {
		if !e.Installed && !e.InCharge {
			missing = append(missing, clean(e.Name))
			continue
		}
		var classes []string
		for _, c := range e.Classes {
			classes = append(classes, c.String())
		}
		state := "usable"
		switch {
		case e.InCharge:
			state = s.good.Render("in charge")
		case !e.Usable:
			state = s.bad.Render("unusable")
		}
		text := clean(e.Description)
		if !e.Usable && e.WhyNot != "" {
			text = clean(e.WhyNot)
		}
		rows = append(rows, row{clean(e.Name), orDash(clean(e.Version)), state, orDash(strings.Join(classes, ",")), text})
	}
	writeTable(w, "", rows)
	if len(missing) > 0 {
		fmt.Fprintf(w, "\nNot installed: %s\n", strings.Join(missing, ", "))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
