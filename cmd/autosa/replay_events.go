// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"autosa/api"
	"autosa/daemon"
	"autosa/recording"
)

// replayEvents prints the events of a recording as a trace would have.
func (a *app) replayEvents(ctx context.Context, path string, in *recording.Reader, o replayOptions) error {
	if h, ok := in.Header(); ok && !h.Events {
		return fmt.Errorf("%s holds no single events: they are recorded with `autosa record --events`", path)
	}
	p := newTracePrinter(a.stdout, o.json)
	p.zone = time.UTC
	lasted, err := printEvents(ctx, in, o.until, p, a.stderr)
	if err := errors.Join(err, p.Flush()); err != nil {
		return err
	}
	p.sum.write(a.stderr, lasted)
	return nil
}

// printEvents prints events until that long after the recording's beginning, 0
// for its end, and returns how long that was. What is damaged is said where it
// is, on its own in JSON.
func printEvents(ctx context.Context, in *recording.Reader, until time.Duration, p *tracePrinter, notes io.Writer) (time.Duration, error) {
	if p.enc == nil {
		notes = p.out
	}
	var seen stretch
	for {
		rec, err := in.Next()
		switch {
		case ctx.Err() != nil:
			return 0, &exitError{api.ExitFailed, "interrupted"}
		case errors.Is(err, io.EOF):
			return seen.length(), nil
		case errors.Is(err, recording.ErrDamaged):
			fmt.Fprintf(notes, "lost: %s\n", clean(err.Error()))
			continue
		case err != nil:
			return 0, err
		}
		var at int64
		var line api.TraceEvent
		switch rec := rec.(type) {
		case *recording.State:
			at = rec.At
		case *recording.Sample:
			at = rec.At
		case *recording.Event:
			at, line = rec.At, daemon.RecordedEvent(rec)
		case *recording.Total:
			at, line = rec.At, daemon.RecordedTotal(rec)
			if rec.Error != "" {
				fmt.Fprintf(notes, "the events end here: %s\n", clean(string(rec.Error)))
			}
		default:
			continue
		}
		if seen.add(at); until > 0 && seen.length() > until {
			return until, nil
		}
		if line.Kind == "" {
			continue
		}
		if err := p.Event(&line); err != nil {
			return 0, fmt.Errorf("print events: %w", err)
		}
	}
}

// stretch is a stretch of the steady clock.
type stretch struct{ from, to int64 }

func (s *stretch) add(at int64) {
	if s.from == 0 {
		s.from = at
	}
	s.to = max(s.to, at)
}

func (s *stretch) length() time.Duration { return time.Duration(s.to - s.from) }
