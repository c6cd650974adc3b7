// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"autosa/api"
	"autosa/config"
	"autosa/daemon"
)

// doctorTimeout bounds all checks together.
const doctorTimeout = 60 * time.Second

// verdict is how a check came out.
type verdict string

const (
	verdictOK   verdict = "ok"
	verdictWarn verdict = "warn" // works, but something is worth knowing
	verdictFail verdict = "fail"
)

// check is one thing that doctor looked at.
type check struct {
	Name    string  `json:"name"`
	Verdict verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	// Remedy is what would change it.
	Remedy string `json:"remedy,omitempty"`
	// swapping is true for what only concerns changing schedulers.
	swapping bool
	// lacking is true where the kernel itself has not got what it takes.
	lacking bool
}

// doctorReport is what `autosa doctor --json` prints.
type doctorReport struct {
	// Verdict is the worst of the checks'.
	Verdict  verdict `json:"verdict"`
	SchedExt bool    `json:"sched_ext"`
	// CanTrace and CanSwap say what autosa could do here, run by this user. It
	// can always watch what /proc says.
	CanTrace bool    `json:"can_trace"`
	CanSwap  bool    `json:"can_swap"`
	Checks   []check `json:"checks"`
	// others is true when something failed that does not concern swapping and is
	// not the kernel's lack.
	others bool
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what works on this machine, and what would change it",
		Long: `Check what autosa needs on this machine, without a daemon and without changing
anything. Each line says what was found and, where something is amiss, what would
change it.

The exit code is 0 when everything works, 6 on a kernel without sched_ext, where
autosa can only observe, and 1 when something else fails.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
			defer cancel()
			cfg, mistakes := config.Load(config.Sources{Flags: &a.flags, Environ: a.environ, Classes: classNames(), Words: daemon.Words()})
			if mistakes != nil {
				cfg = config.Default()
			}
			r := summarize(a.examine(ctx, cfg, mistakes))
			if asJSON {
				if err := printJSON(a.stdout, r); err != nil {
					return err
				}
			} else {
				writeReport(a.stdout, stylesFor(a.stdout), r)
			}
			return r.outcome()
		},
	}
	a.flags.Register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// summarize draws the conclusions from the checks.
func summarize(checks []check) doctorReport {
	r := doctorReport{Verdict: verdictOK, CanTrace: true, CanSwap: true, Checks: checks}
	for _, c := range checks {
		failed := c.Verdict == verdictFail
		switch {
		case failed:
			r.Verdict = verdictFail
		case c.Verdict == verdictWarn && r.Verdict == verdictOK:
			r.Verdict = verdictWarn
		}
		switch c.Name {
		case checkNameSchedExt:
			r.SchedExt = !failed
		case checkNameTracing:
			r.CanTrace = !failed
		}
		if failed && c.swapping {
			r.CanSwap = false
		}
		if failed && !c.swapping && !c.lacking {
			r.others = true
		}
	}
	return r
}

// outcome is the exit code, as an error that says nothing more.
func (r doctorReport) outcome() error {
	switch {
	case r.Verdict != verdictFail:
		return nil
	case !r.SchedExt && !r.others:
		// What else fails about swapping follows from it, or does not matter.
		return &exitError{code: api.ExitUnsupported}
	}
	return &exitError{code: api.ExitFailed}
}

func writeReport(w io.Writer, s styles, r doctorReport) {
	words := map[verdict]string{
		verdictOK:   s.good.Render("OK  "),
		verdictWarn: s.warn.Render("WARN"),
		verdictFail: s.bad.Render("FAIL"),
	}
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s  %-14s %s\n", words[c.Verdict], c.Name, clean(c.Detail))
		if c.Remedy != "" && c.Verdict != verdictOK {
			fmt.Fprintf(w, "%20s %s\n", "", s.faint.Render("→ "+clean(c.Remedy)))
		}
	}
	fmt.Fprintln(w)
	observe := "from the kernel's tracepoints"
	if !r.CanTrace {
		observe = "what /proc says, without distributions"
	}
	change := "and change schedulers"
	if !r.CanSwap {
		change = "but not change schedulers"
	}
	fmt.Fprintln(w, s.title.Render(fmt.Sprintf("Here autosa can observe (%s) %s.", observe, change)))
}
