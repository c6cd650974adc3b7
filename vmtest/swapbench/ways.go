// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"autosa/scx"
)

// way is one way to have another scheduler in charge. Methods are called in turns by one goroutine.
type way interface {
	// first puts a scheduler in charge where there is none, and last leaves EEVDF.
	first(ctx context.Context, name string) error
	swap(ctx context.Context, name string) error
	last(ctx context.Context) error
	// close ends what the way keeps running between rounds.
	close() error
}

// Ways to swap, by the names that they have in results.
const (
	byLoader = "loader"
	byHand   = "hand"
	byGate   = "gate"
)

var ways = map[string]func(dir string) (way, error){
	byLoader: newLoader, byHand: newHand, byGate: newGate,
}

func wayNames() []string { return []string{byLoader, byHand, byGate} }

// gate is autosa's own switcher.
type gate struct{ s *scx.Switcher }

// slow is how long an emulated machine may take to verify a scheduler's programs.
const slow = 5 * time.Minute

func newGate(string) (way, error) {
	cat, err := scx.NewCatalogue(scx.CatalogueOptions{Dirs: []string{schedulers()}})
	if err != nil {
		return nil, err
	}
	s, err := scx.NewSwitcher(scx.Options{
		Catalogue: cat, ReadyTimeout: slow, StopTimeout: time.Minute, DisableTimeout: time.Minute,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	return &gate{s}, err
}

func (g *gate) first(ctx context.Context, name string) error { return g.swap(ctx, name) }

func (g *gate) swap(ctx context.Context, name string) error {
	res, err := g.s.Switch(ctx, scx.Target{Name: name})
	if err == nil && res.Ungated != "" {
		err = fmt.Errorf("%s was not held at its registration: %s", name, res.Ungated)
	}
	return err
}

func (g *gate) last(ctx context.Context) error { return g.swap(ctx, scx.EEVDF) }

func (g *gate) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	return g.s.Close(ctx)
}

// hand stops one process and then starts the next, as a script does.
type hand struct{ current *child }

func newHand(string) (way, error) { return &hand{}, nil }

func (h *hand) first(_ context.Context, name string) (err error) {
	h.current, err = start(filepath.Join(schedulers(), name))
	return err
}

func (h *hand) swap(ctx context.Context, name string) error {
	return errors.Join(h.last(ctx), h.first(ctx, name))
}

func (h *hand) last(context.Context) error {
	c := h.current
	h.current = nil
	if c == nil {
		return nil
	}
	return c.stop()
}

func (h *hand) close() error { return h.last(context.Background()) }

// loader is scx_loader on a bus of its own, spoken to by scxctl.
type loader struct {
	dir      string
	children []*child // in the order of their start
}

func newLoader(dir string) (_ way, err error) {
	l := &loader{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := prepareBus(); err != nil {
		return l, fmt.Errorf("system bus: %w", err)
	}
	for _, argv := range [][]string{
		{"/usr/bin/dbus-daemon", "--config-file", busConfig, "--nofork", "--nopidfile"},
		{"/usr/lib/polkit-1/polkitd", "--no-debug"},
		{filepath.Join(dir, "scx_loader")},
	} {
		c, err := start(argv[0], argv[1:]...)
		if err != nil {
			return l, err
		}
		l.children = append(l.children, c)
		if argv[0] == "/usr/bin/dbus-daemon" {
			if err := await(time.Minute, "the bus's socket", func() bool { _, err := os.Stat(busSocket); return err == nil }); err != nil {
				return l, err
			}
		}
	}
	// It is there once it has answered.
	var last error
	err = await(2*time.Minute, "an answer of scx_loader", func() bool { last = l.ctl("get"); return last == nil })
	if err != nil {
		err = errors.Join(err, last)
	}
	return l, err
}

func (l *loader) ctl(args ...string) error {
	cmd := exec.Command(filepath.Join(l.dir, "scxctl"), args...)
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("scxctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (l *loader) first(_ context.Context, name string) error {
	return l.ctl("start", "-s", short(name))
}
func (l *loader) swap(_ context.Context, name string) error {
	return l.ctl("switch", "-s", short(name))
}
func (l *loader) last(context.Context) error { return l.ctl("stop") }

func (l *loader) close() error {
	var errs []error
	for i := len(l.children) - 1; i >= 0; i-- {
		errs = append(errs, l.children[i].stop())
	}
	l.children = nil
	return errors.Join(errs...)
}

func short(name string) string { return strings.TrimPrefix(name, "scx_") }

func schedulers() string { return os.Getenv("AUTOSA_SCX_DIR") }

// environment has the schedulers in PATH, where scx_loader looks for them.
func environment() []string {
	return []string{"PATH=" + schedulers() + ":/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
}

// child is a program that runs beside the measurement; its output is kept.
type child struct {
	cmd  *exec.Cmd
	out  *os.File
	done chan struct{}
}

func start(path string, args ...string) (*child, error) {
	out, err := os.CreateTemp("", filepath.Base(path)+"-")
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(path, args...), out: out, done: make(chan struct{})}
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = environment(), out, out
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", path, err), out.Close(), os.Remove(out.Name()))
	}
	go func() {
		_ = c.cmd.Wait() // how it ends on a signal is its own matter
		close(c.done)
	}()
	return c, nil
}

// stop ends it with SIGTERM and waits. One that has ended by itself is an error, with the end of what it printed.
func (c *child) stop() error {
	var err error
	select {
	case <-c.done:
		text, _ := os.ReadFile(c.out.Name())
		err = fmt.Errorf("%s ended by itself (%v): %s", c.cmd.Path, c.cmd.ProcessState, text[max(0, len(text)-2000):])
	default:
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.done:
		case <-time.After(slow):
			_ = c.cmd.Process.Kill()
			<-c.done
			err = fmt.Errorf("%s did not end within %v of SIGTERM", c.cmd.Path, slow)
		}
	}
	return errors.Join(err, c.out.Close(), os.Remove(c.out.Name()))
}

// await looks every few milliseconds. It is no part of what is measured.
func await(limit time.Duration, what string, ok func() bool) error {
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
	}
	return nil
}
