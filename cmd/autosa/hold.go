// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/api/client"
)

func (a *app) holdCommand() *cobra.Command {
	var (
		length          time.Duration
		reason          string
		release, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "hold {--for DURATION | -- COMMAND [ARGS...] | --release [ID...]}",
		Short: "Keep autosa from changing the scheduler for a while, or while a command runs",
		Long: `Keep what is in charge: autosa goes on measuring and changes nothing by itself.
Orders by hand are still followed. Several holds may be in force at a time.

With --for the hold ends by itself, and outlives a restart of the daemon. With a
command it ends with that command, however it ends; the exit code is then the
command's.`,
		Example: "  sudo autosa hold --for 10m --reason 'live demo'\n  sudo autosa hold -- make benchmark\n  sudo autosa hold --release",
		RunE: func(cmd *cobra.Command, args []string) error {
			command := cmd.ArgsLenAtDash() >= 0
			timed := cmd.Flags().Changed("for")
			switch {
			case release && (timed || command || reason != ""):
				return usagef(cmd, "--release goes with nothing but the numbers of holds")
			case timed && command:
				return usagef(cmd, "--for and a command exclude each other: whose end is to count?")
			case cmd.ArgsLenAtDash() > 0, !command && !release && len(args) > 0:
				return usagef(cmd, "unexpected argument %q: a command follows --", args[0])
			case command && len(args) == 0:
				return usagef(cmd, "no command follows --")
			case !release && !timed && !command:
				return usagef(cmd, "for how long? --for 10m, or -- and a command")
			case timed && length <= 0:
				return usagef(cmd, "--for %v: the hold would be over at once", length)
			case command && asJSON:
				return usagef(cmd, "--json does not go with a command, whose output is its own")
			}
			req := api.HoldRequest{Seconds: length.Seconds(), Reason: reason}
			if command && reason == "" {
				req.Reason = runningReason(args)
			}
			if err := req.Check(); err != nil {
				return usagef(cmd, "%v", err)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			switch {
			case release:
				return a.release(cmd, c, args, asJSON)
			case command:
				return a.holdWhile(cmd.Context(), c, req.Reason, args)
			}
			h, err := c.Hold(cmd.Context(), req)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, h)
			}
			fmt.Fprintf(a.stdout, "held until %s; `autosa hold --release %d` ends it before\n", h.Until.Local().Format(time.DateTime), h.ID)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&length, "for", 0, "hold for this long, for example 90s or 10m")
	flags.StringVar(&reason, "reason", "", "why, shown in the status")
	flags.BoolVar(&release, "release", false, "end the holds of these numbers, or all")
	a.clientFlags(cmd, &asJSON)
	return cmd
}

// runningReason names a command as the reason of its hold.
func runningReason(args []string) string {
	text := []rune("running " + clean(strings.Join(args, " ")))
	for len(string(text)) > api.MaxHoldReasonBytes {
		text = append(text[:len(text)-2], '…')
	}
	return string(text)
}

func (a *app) release(cmd *cobra.Command, c *client.Client, args []string, asJSON bool) error {
	ids := []uint64{0}
	for i, arg := range args {
		id, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || id == 0 {
			return usagef(cmd, "%q is not the number of a hold; `autosa status` shows them", arg)
		}
		ids = append(ids[:i], id)
	}
	released := []api.Hold{}
	for _, id := range ids {
		some, err := c.Release(cmd.Context(), id)
		if err != nil {
			return err
		}
		released = append(released, some...)
	}
	if asJSON {
		return printJSON(a.stdout, released)
	}
	if len(released) == 0 {
		fmt.Fprintln(a.stdout, "no hold was in force")
	}
	for _, h := range released {
		fmt.Fprintf(a.stdout, "released %d: %s\n", h.ID, clean(h.Reason))
	}
	return nil
}

// holdWhile runs a command under a hold and ends with its exit code.
func (a *app) holdWhile(ctx context.Context, c *client.Client, reason string, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return &exitError{api.ExitFailed, fmt.Sprintf("%v; nothing was held", err)}
	}
	held, err := c.HoldWhile(ctx, reason)
	if err != nil {
		return err
	}
	defer held.Close()
	// A terminal's Ctrl-C reaches the command by itself; what only this process gets is passed on.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	child := exec.Command(path, args[1:]...)
	child.Args[0] = args[0]
	child.Stdin, child.Stdout, child.Stderr = a.stdin, a.stdout, a.stderr
	if err := child.Start(); err != nil {
		return &exitError{api.ExitFailed, err.Error()}
	}
	done := make(chan error, 1)
	go func() { done <- child.Wait() }()
	ended := held.Ended
	for {
		select {
		case s := <-signals:
			if s == unix.SIGTERM || s == unix.SIGHUP {
				_ = child.Process.Signal(s)
			}
		case <-ended:
			ended = nil
			fmt.Fprintf(a.stderr, "autosa: the hold has ended, %s goes on without it\n", clean(args[0]))
		case err := <-done:
			return commandEnd(err)
		}
	}
}

// commandEnd gives a command's end the exit code that a shell would give it.
func commandEnd(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return &exitError{128 + int(ws.Signal()), ""}
	}
	return &exitError{exit.ExitCode(), ""}
}
