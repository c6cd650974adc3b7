// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"autosa/api"
	"autosa/api/client"
	"autosa/config"
	"autosa/daemon"
	"autosa/recording"
)

// recordFlush is how often what was recorded is written: so much is lost at
// most when the recording command is killed.
const recordFlush = 2 * time.Second

func (a *app) recordCommand() *cobra.Command {
	var o recordOptions
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Record samples and decisions, for `autosa replay`",
		Long: `Record what the daemon measures, is given and decides, until Ctrl-C, until the
duration is over or until the daemon stops. ` + "`autosa replay`" + ` runs the recording again, on
any machine and without a daemon.

Where no daemon runs, this command observes by itself: it changes nothing, and
the decisions say what autosa would do.

With --events it also holds single waits of at least --min-wait, as ` + "`autosa trace`" + ` shows
them, up to a thousand a second; what is missing is counted where it is missing.
` + "`autosa replay FILE --events`" + ` prints them.

The file is written as it grows: however the recording ends, all but its last two
seconds are readable. It holds names of tasks and cgroups; only you may read it.`,
		Example: "  sudo autosa record --duration 10m -o night.autosa\n  sudo autosa record --events --min-wait 1ms --cgroup nginx.service",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.duration < 0 {
				return usagef(cmd, "--duration %v is negative", o.duration)
			}
			if err := o.req.Validate(); err != nil {
				return usagef(cmd, "%v", err)
			}
			if cmd.Flags().Changed("min-wait") && o.req.MinWait == 0 {
				return usagef(cmd, "min-wait: must be positive")
			}
			if cmd.Flags().Changed("cgroup") && len(o.req.Cgroups) == 0 {
				return usagef(cmd, "--cgroup is empty: it would choose everything")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			if o.duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, o.duration)
				defer cancel()
			}
			return a.record(ctx, o)
		},
	}
	a.clientFlags(cmd, nil)
	cmd.Flags().StringVarP(&o.path, "output", "o", "", "file to write (default autosa-HOST-DATE.autosa)")
	cmd.Flags().DurationVar(&o.duration, "duration", 0, "end after this time, as in 10m")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace a file that exists")
	cmd.Flags().BoolVar(&o.req.Events, "events", false, "record single waits too")
	cmd.Flags().DurationVar(&o.req.MinWait, "min-wait", 0, "with --events: shortest wait recorded (default 4ms)")
	cmd.Flags().StringSliceVar(&o.req.Cgroups, "cgroup", nil, "with --events: of these cgroups with what is below them, as in `autosa trace`")
	return cmd
}

type recordOptions struct {
	path     string
	duration time.Duration
	force    bool
	req      api.RecordRequest
}

// record records into a file until ctx ends.
func (a *app) record(ctx context.Context, o recordOptions) (err error) {
	src, err := a.recordingSource(ctx, o.req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if o.path == "" {
		o.path = a.recordingName()
	}
	f, err := createRecording(o)
	if err != nil {
		return err
	}
	t := taping{app: a, ctx: ctx, file: o.path, events: o.req.Events}
	err = t.copy(src, f)
	return errors.Join(err, f.Close())
}

// recordingName is the default name, such as autosa-web1-20260301T120000Z.autosa.
func (a *app) recordingName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	host = strings.ReplaceAll(host, "/", "-")
	return fmt.Sprintf("autosa-%s-%s.autosa", host, a.now().UTC().Format("20060102T150405Z"))
}

// createRecording makes the file, which must be new unless force says
// otherwise.
func createRecording(o recordOptions) (*os.File, error) {
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if o.force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(o.path, mode, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists: name another file with -o, or replace it with --force", o.path)
	}
	if err != nil {
		return nil, fmt.Errorf("create the recording: %w", err)
	}
	return f, nil
}

// recordingSource is the running daemon's recording or, where none runs, one of
// this process's own making.
func (a *app) recordingSource(ctx context.Context, req api.RecordRequest) (io.ReadCloser, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	src, err := c.Record(ctx, req)
	if errors.Is(err, client.ErrNoDaemon) {
		fmt.Fprintf(a.stderr, "no daemon is running: observing by itself\n")
		return a.observer(ctx, req)
	}
	return src, err
}

// ownRecording is a daemon in this process that only watches.
type ownRecording struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  *errgroup.Group
}

// Close ends the daemon.
func (o *ownRecording) Close() error {
	o.cancel()
	_ = o.PipeReader.Close() // never fails
	return o.ended.Wait()
}

func (a *app) observer(ctx context.Context, req api.RecordRequest) (io.ReadCloser, error) {
	cfg, err := config.Load(config.Sources{Flags: &a.flags, Environ: a.environ, Classes: classNames(), Words: daemon.Words()})
	if err != nil {
		return nil, err
	}
	cfg.LogLevel = max(cfg.LogLevel, slog.LevelWarn)
	log, _ := newLogger(a.stderr, cfg)
	d, err := daemon.New(daemon.Options{
		Config: cfg, Version: buildVersion(), Logger: log, ObserveOnly: "it runs for a recording only",
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	g := &errgroup.Group{}
	g.Go(func() error { return d.Run(ctx) })
	g.Go(func() error {
		err := d.Record(ctx, req, w)
		w.CloseWithError(err)
		if errors.Is(err, io.ErrClosedPipe) {
			return nil // whoever read it is done
		}
		return err
	})
	return &ownRecording{PipeReader: r, cancel: cancel, ended: g}, nil
}

// taping is a recording that is being written to a file.
type taping struct {
	*app
	ctx  context.Context
	file string
	// events says that they were asked for.
	events bool
	gaps   uint64
	// What recorded events say is missing among them, and their total once it is
	// there.
	lost  uint64
	total *recording.Total
}

// copy writes what src records until that or ctx ends. What it has written is
// whole at any time, but for the block at the end.
func (t *taping) copy(src io.Reader, f *os.File) error {
	in, err := recording.NewReader(src)
	if err != nil {
		if t.ctx.Err() != nil {
			return errors.New("ended before the recording began")
		}
		return fmt.Errorf("recording of the daemon: %w", err)
	}
	h, _ := in.Header()
	out, err := recording.NewWriter(f, h)
	if err != nil {
		return err
	}
	flushed := t.now()
	var at int64
	for {
		rec, err := in.Next()
		if err != nil {
			return t.end(in, out, f, at, err)
		}
		switch rec := rec.(type) {
		case *recording.End:
			at = rec.At
			continue
		case *recording.Sample:
			at = rec.At
		case *recording.Gap:
			t.gaps += rec.Lost
		case *recording.Event:
			t.lost += rec.LostBefore
		case *recording.Total:
			t.total = rec
		}
		if err := out.Write(rec); err != nil {
			return t.broken(out, err)
		}
		if now := t.now(); now.Sub(flushed) >= recordFlush {
			flushed = now
			if err := out.Flush(); err != nil {
				return t.broken(out, err)
			}
		}
		if _, ok := rec.(*recording.Sample); ok {
			t.progress(out)
		}
	}
}

// broken says what is left when the file cannot be written.
func (t *taping) broken(out *recording.Writer, err error) error {
	return fmt.Errorf("%s: %w; %d bytes were written and can be replayed", t.file, err, out.Bytes())
}

// end writes the recording's end; why is what reading met.
func (t *taping) end(in *recording.Reader, out *recording.Writer, f *os.File, at int64, why error) error {
	if err := out.Close(at); err != nil {
		return t.broken(out, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%s: %w", t.file, err)
	}
	if _, _, onTerminal := terminal(t.stderr); onTerminal {
		fmt.Fprint(t.stderr, "\r\x1b[K")
	}
	fmt.Fprintf(t.stderr, "%s: %s\n", clean(t.file), t.figures(out))
	if n := in.Summary().Unknown; n > 0 {
		fmt.Fprintf(t.stderr, "%s of types that this autosa does not know were left out\n", count(int(n), "record"))
	}
	if t.total != nil && t.total.Error != "" {
		fmt.Fprintf(t.stderr, "the events ended early: %s\n", clean(string(t.total.Error)))
	}
	switch {
	case t.ctx.Err() != nil:
		return nil
	case errors.Is(why, io.EOF):
		fmt.Fprintln(t.stderr, "autosa has stopped")
		return nil
	case errors.Is(why, recording.ErrCutOff):
		return errors.New("the daemon went away without a word; what it sent until then is in the file")
	}
	return fmt.Errorf("recording of the daemon: %w", why)
}

func (t *taping) figures(out *recording.Writer) string {
	s := fmt.Sprintf("%s, %s, %s", count(int(out.Records(recording.TypeSample)), "sample"),
		count(int(out.Records(recording.TypeDecision)), "decision"), count(int(out.Records(recording.TypeSwap)), "swap"))
	if t.events {
		s += ", " + t.eventFigures(out.Records(recording.TypeEvent))
	}
	s += fmt.Sprintf(", %s bytes", grouped(uint64(out.Bytes())))
	if t.gaps > 0 {
		s += fmt.Sprintf(", %d records lost because writing was too slow", t.gaps)
	}
	return s
}

// eventFigures says how many events there are and how many are missing.
func (t *taping) eventFigures(n uint64) string {
	s := count64(n, "event")
	switch {
	case t.total == nil && t.lost > 0:
		s += fmt.Sprintf(" (at least %s missing)", grouped(t.lost))
	case t.total != nil && t.total.LeftOut > 0:
		s += fmt.Sprintf(" (%s missing, %s of these because they were too many)", grouped(t.total.Lost), grouped(t.total.LeftOut))
	case t.total != nil && t.total.Lost > 0:
		s += fmt.Sprintf(" (%s missing)", grouped(t.total.Lost))
	}
	return s
}

// progress shows on a terminal how far the recording is.
func (t *taping) progress(out *recording.Writer) {
	if _, _, onTerminal := terminal(t.stderr); onTerminal {
		fmt.Fprintf(t.stderr, "\r%s: %s; Ctrl-C ends it\x1b[K", clean(t.file), t.figures(out))
	}
}
