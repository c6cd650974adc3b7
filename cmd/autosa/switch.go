// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"autosa/api"
	"autosa/api/client"
	"autosa/scx"
)

func (a *app) switchCommand() *cobra.Command {
	var asJSON, noWait, force bool
	var mode string
	cmd := &cobra.Command{
		Use:   "switch SCHEDULER [--mode MODE | -- ARGS...]",
		Short: "Put a scheduler in charge by hand, until `autosa auto`",
		Long: `Put a scheduler in charge and keep it there until ` + "`autosa auto`" + `. It is named with or
without "scx_"; eevdf is the kernel's own, builtin:latency, builtin:balanced and
builtin:throughput are autosa's. What follows -- are its arguments.

From one policy of the built-in scheduler to another nothing is swapped: it takes
effect at once.

The command ends when the kernel has confirmed the scheduler, or autosa has gone
back to the one before. Ctrl-C ends the waiting, not the swap. With --no-wait it ends
when the order is taken, which says nothing about how the swap will end.

One that is quarantined because it failed is refused with exit code 5, and tried
all the same with --force.`,
		Example: "  sudo autosa switch rusty\n  sudo autosa switch lavd --mode gaming\n  sudo autosa switch lavd -- --performance\n  sudo autosa switch eevdf",
		Args: func(cmd *cobra.Command, args []string) error {
			n := len(args)
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				n = dash
			}
			switch {
			case n == 0:
				return usagef(cmd, "which scheduler? %s", cmd.UseLine())
			case n > 1:
				return usagef(cmd, "unexpected argument %q: a scheduler's arguments follow --", args[1])
			case cmd.Flags().Changed("mode") && mode == "":
				return usagef(cmd, "which mode? `autosa list` shows them")
			case mode != "" && len(args) > 1:
				return usagef(cmd, "--mode stands for all arguments: give it, or what follows --")
			}
			return nil
		},
		ValidArgsFunction: a.completeSchedulers,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			result, err := a.switchTo(ctx, c, api.SwitchRequest{Scheduler: args[0], Args: args[1:], Mode: mode, NoWait: noWait, Force: force})
			switch {
			case ctx.Err() != nil:
				return &exitError{api.ExitFailed, "no longer waiting; the swap goes on, see `autosa status`"}
			case err != nil:
				return err
			case asJSON:
				return printJSON(a.stdout, result)
			}
			a.sayResult(result)
			return nil
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "", "arguments by name: "+strings.Join(scx.Modes(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(scx.Modes(), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the outcome, only for the order being taken")
	a.clientFlags(cmd, &asJSON)
	cmd.Flags().BoolVar(&force, "force", false, "try it though it is quarantined")
	return cmd
}

// switchTo orders a scheduler and, on a terminal, shows the steps until it is in
// charge.
func (a *app) switchTo(ctx context.Context, c *client.Client, req api.SwitchRequest) (api.SwitchResult, error) {
	watching, stop := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		if _, _, ok := terminal(a.stderr); ok && !req.NoWait {
			a.showPhases(watching, c)
		}
	}()
	result, err := c.Switch(ctx, req)
	stop()
	<-shown
	return result, err
}

// showPhases prints each step of the swap under way as it begins.
func (a *app) showPhases(ctx context.Context, c *client.Client) {
	var last string
	for st, err := range c.Watch(ctx) {
		if err != nil {
			return // the order itself will say what is wrong
		}
		if st.Swap == nil || st.Swap.Phase == last {
			continue
		}
		last = st.Swap.Phase
		fmt.Fprintf(a.stderr, "%5s  %s %s\n", a.now().Sub(st.Swap.Since).Round(100*time.Millisecond), clean(last), clean(st.Swap.To))
	}
}

func (a *app) sayResult(r api.SwitchResult) {
	if r.Unchanged {
		fmt.Fprintln(a.stdout, "in charge already; it stays until `autosa auto`")
		return
	}
	if r.InPlace {
		fmt.Fprintf(a.stdout, "%s follows %s without a gap: the same scheduler under another policy; it stays until `autosa auto`\n",
			command(r.Swap.To, nil), clean(r.Swap.From))
		return
	}
	if r.Accepted {
		fmt.Fprintln(a.stdout, "ordered, and not yet done: `autosa status` shows how it ends")
		return
	}
	gap := ""
	if r.Swap.GapSeconds > 0 {
		gap = fmt.Sprintf(", %s of them without either", span(r.Swap.GapSeconds))
	}
	if r.Swap.Ungated != "" {
		gap += fmt.Sprintf(" (it could not be loaded beforehand: %s)", clean(r.Swap.Ungated))
	}
	fmt.Fprintf(a.stdout, "%s is in charge, after %s in %s%s; it stays until `autosa auto`\n",
		command(r.Swap.To, r.Swap.Args), clean(r.Swap.From), span(r.Swap.TotalSeconds), gap)
}

func (a *app) autoCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "auto",
		Short: "Withdraw the choice made by hand and let autosa decide again",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			st, err := c.Auto(cmd.Context())
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("%w; see `autosa status`", err)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, st)
			}
			reason := ""
			if st.ModeReason != "" {
				reason = ": " + clean(st.ModeReason)
			}
			fmt.Fprintf(a.stdout, "mode %s%s; %s is in charge\n", clean(string(st.Mode)), reason, command(st.Scheduler.Name, st.Scheduler.Args))
			if len(st.Holds) > 0 {
				fmt.Fprintf(a.stdout, "%s in force: nothing changes until then, or until `autosa hold --release`\n", count(len(st.Holds), "hold"))
			}
			return nil
		},
	}
	a.clientFlags(cmd, &asJSON)
	return cmd
}
