// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/api/server"
	"autosa/config"
	"autosa/daemon"
	"autosa/workload"
)

func (a *app) startCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground, until Ctrl-C, SIGTERM or ` + "`autosa stop`" + `. A second
signal ends it at once. SIGHUP reads the configuration anew: what can change at once
does, the log and the status name what waits for a restart, and one with mistakes
changes nothing.

As root on a kernel with sched_ext it changes schedulers; elsewhere, and as any
other user, it observes and says what is missing.

Each flag is also an environment variable, --min-confidence is
AUTOSA_MIN_CONFIDENCE, and most are a key of the configuration file. Flags come
before the environment, and that before the file.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.start(cmd.Context(), func() (config.Config, error) {
				return config.Load(config.Sources{Flags: &a.flags, Environ: a.environ, Classes: classNames(), Words: daemon.Words()})
			})
		},
	}
	a.flags.Register(cmd.Flags())
	return cmd
}

// classNames are the workload classes as the configuration names them.
func classNames() []string {
	var names []string
	for _, c := range workload.Classes() {
		names = append(names, c.String())
	}
	return names
}

// start runs the daemon and its server until one of them ends. load reads the
// configuration, now and at every SIGHUP.
func (a *app) start(ctx context.Context, load func() (config.Config, error)) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	log, setLevel := newLogger(a.stderr, cfg)
	for _, text := range cfg.Warnings {
		log.Warn("configuration", "warning", text)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hangups := make(chan os.Signal, 1) // one that waits says all that another would
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	defer a.onSignals(log, cancel)()

	notify := newNotifier(log, cfg.CollectionInterval)
	d, err := daemon.New(daemon.Options{Config: cfg, Version: buildVersion(), Logger: log, OnTick: notify.tick,
		OnReload: func(c config.Config) { setLevel(c.LogLevel) }})
	if err != nil {
		var running *daemon.AlreadyRunningError
		if errors.As(err, &running) {
			return &exitError{api.ExitConflict, err.Error()}
		}
		return err
	}
	srv, err := server.Listen(cfg.Socket, server.Options{
		Backend: backend{Daemon: d, notify: notify}, Logger: log.With("component", "api"), OperatorGroup: cfg.OperatorGroup,
	})
	if err != nil {
		return errors.Join(explainListen(err, cfg.Socket), d.Close())
	}
	// The server outlives the daemon's work, so that clients see it end.
	serving, endServing := context.WithCancel(context.WithoutCancel(ctx))
	defer endServing()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer endServing()
		return d.Run(ctx)
	})
	g.Go(func() error { return srv.Serve(serving) })
	g.Go(func() error {
		for {
			select {
			case <-serving.Done():
				return nil
			case <-hangups:
				cfg, err := load()
				d.Reload(serving, cfg, err)
			}
		}
	})
	notify.ready(d.Status())
	context.AfterFunc(ctx, notify.stopping)
	return g.Wait()
}

// backend is the daemon, with the service manager told of an order to stop.
type backend struct {
	*daemon.Daemon
	notify *notifier
}

// Stop asks the daemon to end.
func (b backend) Stop(ctx context.Context) (api.Stopping, error) {
	s, err := b.Daemon.Stop(ctx)
	if err == nil {
		b.notify.stopping()
	}
	return s, err
}

// explainListen gives an error of the socket the exit code and the way out that
// it has.
func explainListen(err error, socket string) error {
	switch {
	case errors.Is(err, server.ErrInUse):
		return &exitError{api.ExitConflict, err.Error()}
	case errors.Is(err, fs.ErrPermission):
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			dir = os.TempDir()
		}
		return &exitError{api.ExitForbidden, fmt.Sprintf("%v; name another socket, for example --socket %s", err, filepath.Join(dir, filepath.Base(socket)))}
	}
	return err
}

// onSignals calls cancel at the first signal and ends the process at the second.
// The function it returns undoes that.
func (a *app) onSignals(log *slog.Logger, cancel context.CancelFunc) func() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-signals:
				if n > 0 {
					// The scheduler ends too: its supervisor notices that we are gone.
					log.Error("second signal, ending at once", "signal", s.String())
					os.Exit(api.ExitFailed)
				}
				log.Info("signal", "signal", s.String())
				cancel()
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
