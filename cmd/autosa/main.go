// SPDX-License-Identifier: Apache-2.0

// Command autosa watches how a machine schedules its tasks and keeps the right
// sched_ext scheduler in charge. `autosa start` is the daemon; most other
// subcommands are its clients.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/api/client"
	"autosa/config"
	"autosa/scx"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == scx.SuperviseWord {
		os.Exit(scx.SuperviseMain(os.Args[2:]))
	}
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), now: time.Now}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// app is one run of the command and what it touches.
type app struct {
	stdin          io.Reader // of commands that are run; not closed
	stdout, stderr io.Writer
	environ        []string
	now            func() time.Time
	flags          config.Flags
}

// run executes the command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	return a.report(root.ExecuteContext(ctx))
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "autosa",
		Short: "Keep the right CPU scheduler in charge",
		Long: `autosa watches how this machine schedules its tasks, says what kind of work it is
doing, and keeps the right sched_ext scheduler in charge of it.

Begin with ` + "`autosa doctor`" + `, which says what works here, and ` + "`sudo autosa start`" + `.`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				nearest := slices.MaxFunc(near, func(x, y string) int { return cmp.Compare(common(args[0], x), common(args[0], y)) })
				hint = fmt.Sprintf(" (did you mean %q?)", nearest)
			}
			return usagef(cmd, "unknown command %q%s", args[0], hint)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("autosa {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%v", err) })
	root.AddGroup(&cobra.Group{ID: "daemon", Title: "The daemon:"}, &cobra.Group{ID: "orders", Title: "Reads and orders:"})
	root.SetHelpCommandGroupID("")
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("daemon", a.startCommand(), a.stopCommand())
	add("orders", a.statusCommand(), a.topCommand(), a.traceCommand(), a.listCommand(), a.switchCommand(), a.autoCommand(), a.holdCommand(),
		a.incidentsCommand(), a.quarantineCommand(), a.recordCommand(), a.replayCommand())
	add("", a.doctorCommand(), a.versionCommand(), exitCodesTopic())
	return root
}

// common is the length of what two words begin with together.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// exitCodesTopic is `autosa help exit-codes`.
func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What autosa's exit codes mean",
		Long: `autosa ends with one of these exit codes:

  0  done, everything is fine
  1  failed: it was tried and did not succeed
  2  the command line or the configuration is wrong; nothing was done
  3  no daemon is running
  4  not permitted: it takes root or the operator group
  5  conflict: another daemon, another manager's scheduler, a quarantine
  6  not supported here, such as a swap on a kernel without sched_ext`,
	}
}

// usageError is a mistake on the command line.
type usageError struct {
	command string
	text    string
}

func (e *usageError) Error() string { return e.text }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{command: cmd.CommandPath(), text: fmt.Sprintf(format, args...)}
}

// exactly is cobra.ExactArgs with our kind of error.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef(cmd, "unexpected argument %q", args[n])
		}
		if len(args) < n {
			return usagef(cmd, "an argument is missing: %s", cmd.UseLine())
		}
		return nil
	}
}

// exitError ends the command with a code, and without a message if text is
// empty: all has been said.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// report prints what went wrong, if anything, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return api.ExitOK
	}
	text, code := err.Error(), api.ExitFailed
	var (
		usage    *usageError
		exit     *exitError
		refusal  *api.Error
		mistakes config.Errors
	)
	switch {
	case errors.As(err, &usage):
		code = api.ExitUsage
		text += fmt.Sprintf("; see `%s --help`", usage.command)
	case errors.As(err, &mistakes):
		code = api.ExitUsage
		text = fmt.Sprintf("the configuration has %s; nothing was done\n%s", count(len(mistakes), "mistake"), mistakes.Error())
	case errors.Is(err, client.ErrNoDaemon):
		code = api.ExitNoDaemon
		text += ": start it with `sudo autosa start`"
	case errors.As(err, &refusal):
		code = refusal.ExitCode()
	case errors.As(err, &exit):
		code = exit.code
	}
	if text != "" {
		lines := strings.Split(text, "\n")
		for i := range lines {
			lines[i] = clean(lines[i])
		}
		prefix := "autosa: "
		if strings.HasPrefix(text, "autosa ") { // says who it is itself
			prefix = ""
		}
		fmt.Fprintf(a.stderr, "%s%s\n", prefix, strings.Join(lines, "\n"))
	}
	return code
}

func count(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// client returns a client of the daemon that flags, environment and
// configuration point to.
func (a *app) client() (*client.Client, error) {
	socket, err := config.Socket(config.Sources{Flags: &a.flags, Environ: a.environ})
	if err != nil {
		return nil, err
	}
	return client.New(socket), nil
}

// clientFlags adds the flags that every client of the daemon has.
func (a *app) clientFlags(cmd *cobra.Command, asJSON *bool) {
	a.flags.RegisterSocket(cmd.Flags())
	if asJSON != nil {
		cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
	}
}

// interruptible returns a context that ends with Ctrl-C or SIGTERM.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
}
