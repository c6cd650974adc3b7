// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"autosa/api"
	"autosa/engine"
	"autosa/recording"
)

type replayOptions struct {
	json, verify, fast bool
	events             bool
	speed              float64
	until              time.Duration
	set                []string
}

func (a *app) replayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run a recording again and compare the decisions",
		Long: `Run a recording again: classify its samples, decide on what policy was given, and
compare with what was decided then. It needs neither root nor a daemon, and
changes nothing. The exit code is 0 when every decision is the same to the letter,
and 1 when one differs.

With --set it asks what would have been decided with another configuration. What
was in charge, and how the machine went on, stays as recorded.

With --events it prints the single events that were recorded, as ` + "`autosa trace`" + ` does,
and decides nothing.

With --verify it looks at the file only: which blocks and records there are and
what is damaged, where.`,
		Example: "  autosa replay autosa-web1-20260301T120000Z.autosa\n  autosa replay FILE --set min_confidence=0.8 --set min_switch_interval=60s\n  autosa replay FILE --verify",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.speed < 0 || cmd.Flags().Changed("speed") && (o.fast || !(o.speed > 0)) {
				return usagef(cmd, "--speed takes a number above 0, and not --fast beside it")
			}
			if o.until < 0 {
				return usagef(cmd, "--until %v is negative", o.until)
			}
			adjust, err := whatIf(o.set)
			if err != nil {
				return usagef(cmd, "%v", err)
			}
			if o.events && (o.verify || o.fast || adjust != nil || cmd.Flags().Changed("speed")) {
				return usagef(cmd, "--events prints what was recorded: it goes with --json and --until only")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("open the recording: %w", err)
			}
			defer f.Close()
			if o.verify {
				return a.verify(ctx, args[0], f, o.json)
			}
			in, err := recording.NewReader(bufio.NewReader(f))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if o.events {
				return a.replayEvents(ctx, args[0], in, o)
			}
			return a.replay(ctx, in, o, adjust)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, one decision on each line, the summary last")
	cmd.Flags().BoolVar(&o.verify, "verify", false, "check the file only")
	cmd.Flags().BoolVar(&o.events, "events", false, "print the single events")
	cmd.Flags().BoolVar(&o.fast, "fast", false, "as fast as possible, the default")
	cmd.Flags().Float64Var(&o.speed, "speed", 0, "so many times as fast as it was, as in 1 or 10")
	cmd.Flags().DurationVar(&o.until, "until", 0, "end that long after the recording's beginning, as in 90s")
	cmd.Flags().StringArrayVar(&o.set, "set", nil, "decide with another `KEY=VALUE`: "+strings.Join(whatIfKeys(), ", "))
	return cmd
}

// replay replays a recording to standard output.
func (a *app) replay(ctx context.Context, in *recording.Reader, o replayOptions, adjust adjustment) error {
	p := replayPage{app: a, json: o.json, whatIf: adjust != nil}
	p.out = bufio.NewWriter(a.stdout)
	began := a.now()
	res, err := engine.Replay(in, engine.ReplayOptions{
		Adjust: adjust, Until: o.until, Step: p.step,
		Before: func(since time.Duration) error {
			if o.speed > 0 {
				if err := p.out.Flush(); err != nil {
					return err
				}
				return sleep(ctx, began.Add(time.Duration(float64(since)/o.speed)).Sub(a.now()))
			}
			return ctx.Err()
		},
	})
	if errors.Is(err, context.Canceled) {
		err = &exitError{api.ExitFailed, "interrupted"}
	}
	if err != nil {
		return errors.Join(p.out.Flush(), err)
	}
	a.replayNotes(in)
	if err := errors.Join(p.summary(&res), p.out.Flush()); err != nil {
		return fmt.Errorf("print replay: %w", err)
	}
	if !p.whatIf && res.Different+res.DifferentStates > 0 {
		return &exitError{code: api.ExitFailed}
	}
	return nil
}

// sleep waits, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// replayNotes says what may make a replay differ that is not in the recording.
func (a *app) replayNotes(in *recording.Reader) {
	h, ok := in.Header()
	switch {
	case !ok:
		fmt.Fprintln(a.stderr, "the header is damaged: what machine was recorded, and by which autosa, is not known")
	case h.Machine.Arch != runtime.GOARCH:
		fmt.Fprintf(a.stderr, "recorded on %s, replayed on %s: the last bits of floating point may differ\n", clean(h.Machine.Arch), runtime.GOARCH)
	case h.Autosa != buildVersion():
		fmt.Fprintf(a.stderr, "recorded by autosa %s, replayed by %s\n", clean(h.Autosa), buildVersion())
	}
}

// replayPage prints what a replay decides.
type replayPage struct {
	*app
	out    *bufio.Writer
	json   bool
	whatIf bool
	last   *recording.Decision
}

// jsonStep is a decision of `autosa replay --json`.
type jsonStep struct {
	Time     time.Time           `json:"time"`
	Since    float64             `json:"since_seconds"`
	Decision *recording.Decision `json:"decision"`
	// Same is absent where nothing was recorded to compare with, or a loss
	// before it makes comparing pointless.
	Same     *bool               `json:"same,omitempty"`
	Recorded *recording.Decision `json:"recorded,omitempty"`
}

// jsonResult is the last line of `autosa replay --json`.
type jsonResult struct {
	Samples         uint64   `json:"samples"`
	Skipped         uint64   `json:"skipped"`
	Decisions       uint64   `json:"decisions"`
	Compared        uint64   `json:"compared"`
	Different       uint64   `json:"different"`
	Unsure          uint64   `json:"unsure"`
	States          uint64   `json:"states"`
	DifferentStates uint64   `json:"different_states"`
	Lost            uint64   `json:"lost"`
	Losses          []string `json:"losses"`
}

// step prints a decision: with JSON each one, for people each that says
// something new.
func (p *replayPage) step(s engine.Step) error {
	if p.json {
		line := jsonStep{Time: s.Wall, Since: s.Since.Seconds(), Decision: s.Decision}
		if s.Recorded != nil && !s.Unsure {
			line.Same = &s.Same
			if !s.Same {
				line.Recorded = s.Recorded
			}
		}
		return printLine(p.out, line)
	}
	mark := ""
	if s.Recorded != nil && !s.Same && !s.Unsure {
		mark = "  ≠ recorded: " + decided(s.Recorded)
	}
	if mark == "" && p.last != nil && decided(p.last) == decided(s.Decision) && p.last.Class == s.Decision.Class {
		return nil
	}
	p.last = s.Decision
	_, err := fmt.Fprintf(p.out, "%s  +%-9s %-11s %.2f  %s%s\n", s.Wall.Format("15:04:05.000"), s.Since.Round(time.Millisecond),
		s.Decision.Class, float64(s.Decision.Confidence), decided(s.Decision), mark)
	return err
}

// decided is a decision in a few words.
func decided(d *recording.Decision) string {
	words := []string{d.Action, string(d.Arm.Scheduler)}
	for _, arg := range d.Arm.Args {
		words = append(words, string(arg))
	}
	return clean(strings.Join(words, " "))
}

// summary prints what the replay came to.
func (p *replayPage) summary(r *engine.Result) error {
	if p.json {
		return printLine(p.out, jsonResult{
			Samples: r.Samples, Skipped: r.Skipped, Decisions: r.Decisions, Compared: r.Compared, Different: r.Different, Unsure: r.Unsure,
			States: r.States, DifferentStates: r.DifferentStates, Lost: r.Lost, Losses: append([]string{}, r.Losses...),
		})
	}
	fmt.Fprintf(p.out, "\n%s (%d kept from the classifier), %s\n", count(int(r.Samples), "sample"), r.Skipped, count(int(r.Decisions), "decision"))
	for _, l := range r.Losses {
		fmt.Fprintf(p.out, "lost: %s\n", clean(l))
	}
	if more := r.Lost - uint64(len(r.Losses)); more > 0 {
		fmt.Fprintf(p.out, "lost: %d more\n", more)
	}
	if r.Unsure > 0 {
		fmt.Fprintf(p.out, "%s after a loss were not compared: what the run remembered then is not known\n", count(int(r.Unsure), "decision"))
	}
	if r.First != nil {
		f := r.First
		fmt.Fprintf(p.out, "the first that differs, %v after the beginning:\n", f.Since.Round(time.Millisecond))
		p.reasons("recorded", f.Recorded)
		p.reasons("now", f.Decision)
	}
	switch {
	case r.Different > 0:
		fmt.Fprintf(p.out, "%d of %d decisions differ from what was recorded\n", r.Different, r.Compared)
	case r.DifferentStates > 0:
		fmt.Fprintf(p.out, "the decisions are as recorded, but what is remembered differs in %d of %s\n", r.DifferentStates, count(int(r.States), "state"))
	case p.whatIf:
		fmt.Fprintf(p.out, "nothing else would have been done\n")
	case r.Compared > 0:
		fmt.Fprintf(p.out, "%s as recorded, to the letter\n", count(int(r.Compared), "decision"))
	}
	return nil
}

func (p *replayPage) reasons(when string, d *recording.Decision) {
	fmt.Fprintf(p.out, "  %-9s %s, %s %.2f\n", when+":", decided(d), d.Class, float64(d.Confidence))
	for _, r := range d.Reasons {
		fmt.Fprintf(p.out, "            %s\n", clean(string(r)))
	}
}
