// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"autosa/api"
	"autosa/api/client"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who is in charge, what the machine is doing, and why",
		Long: `Show the mode and its reason, the scheduler in charge, what kind of work the
machine is doing, how long its tasks wait, and what autosa decided and did.

With --watch a new page follows at every sample, until Ctrl-C: redrawn in place on
a terminal, one after the other elsewhere; with --json one object on each line.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if watch {
				ctx, stop := interruptible(cmd.Context())
				defer stop()
				return a.watchStatus(ctx, c, asJSON)
			}
			st, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, st)
			}
			p := page{styles: stylesFor(a.stdout), now: a.now()}
			p.width, _, _ = terminal(a.stdout)
			return p.write(a.stdout, st)
		},
	}
	a.clientFlags(cmd, &asJSON)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until Ctrl-C")
	return cmd
}

// watchStatus prints statuses until ctx ends or the daemon does.
func (a *app) watchStatus(ctx context.Context, c *client.Client, asJSON bool) error {
	p := page{styles: stylesFor(a.stdout)}
	first := true
	for st, err := range c.Watch(ctx) {
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(a.stderr, "autosa has stopped")
			return nil
		case err != nil:
			return err
		}
		var out []byte
		width, height, onTerminal := terminal(a.stdout)
		switch {
		case asJSON:
			if out, err = json.Marshal(st); err != nil {
				return fmt.Errorf("encode status: %w", err)
			}
			out = append(out, '\n')
		default:
			var b bytes.Buffer
			p.now, p.width = a.now(), width
			if err := p.write(&b, st); err != nil {
				return err
			}
			switch {
			case onTerminal:
				out = redraw(b.String(), width, height, first)
			case first:
				out = b.Bytes()
			default:
				out = append([]byte("\n"), b.Bytes()...)
			}
		}
		if _, err := a.stdout.Write(out); err != nil {
			return fmt.Errorf("print status: %w", err)
		}
		first = false
	}
	return nil
}

// redraw returns what puts a page in place of the one before: each line is cut
// to the terminal's width, since one that wraps would move all others, and the
// page to its height.
func redraw(page string, width, height int, first bool) []byte {
	const home, clearLine, clearBelow, clearAll = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
	lines := strings.Split(strings.TrimRight(page, "\n"), "\n")
	if len(lines) > height-1 {
		lines = lines[:max(height-1, 1)]
	}
	var b bytes.Buffer
	b.WriteString(home)
	if first {
		b.WriteString(clearAll)
	}
	for _, l := range lines {
		b.WriteString(ansi.Truncate(l, width, "…") + clearLine + "\r\n")
	}
	b.WriteString(clearBelow)
	return b.Bytes()
}

// completeSchedulers offers the daemon's schedulers to the shell.
func (a *app) completeSchedulers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := c.Schedulers(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range list {
		if s.Usable || s.Name == api.EEVDF {
			names = append(names, s.Name+"\t"+s.Description)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
