// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"autosa/api"
)

// daemon is the autosa daemon under demonstration and the stream of statuses
// that a client reads from it.
type daemon struct {
	bin, socket string
	cmd         *exec.Cmd
	done        chan struct{}   // closed when the daemon has ended
	ended       error           // how, once done is closed
	statuses    chan api.Status // closed when the stream ends
	last        api.Status
	watch       *exec.Cmd
	seen        api.Status // the status before, to see changes
	printed     api.Status // the one that was printed last
	began       time.Time
}

// startDaemon runs `autosa start` as a user would, with intervals shortened to
// the length of a demonstration, and follows it with `autosa status --watch`.
// scxDir has the schedulers; empty for none.
func startDaemon(ctx context.Context, bin, scxDir string) (*daemon, error) {
	dir, err := os.MkdirTemp("", "autosa-demo-")
	if err != nil {
		return nil, err
	}
	d := &daemon{bin: bin, socket: filepath.Join(dir, "autosa.sock"), done: make(chan struct{}), began: time.Now()}
	args := []string{"start", "--socket", d.socket, "--state-dir", filepath.Join(dir, "state")}
	if scxDir != "" {
		args = append(args, "--scheduler-dir", scxDir)
	}
	d.cmd = exec.Command(bin, append(args,
		"--collection-interval", "1", "--aggregation-window", "6", "--min-switch-interval", "10",
		"--log-level", "warn",
		// On an emulated CPU observing takes many times what it takes elsewhere.
		"--tracer-budget", "0")...)
	d.cmd.Stdout, d.cmd.Stderr = os.Stdout, os.Stderr
	// AUTOSA_* variables are settings to the daemon, and here the guest's.
	d.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AUTOSA_") })
	fmt.Println("$", d.cmd)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	go func() { d.ended = d.cmd.Wait(); close(d.done) }()
	if err := d.follow(ctx); err != nil {
		d.kill()
		return nil, err
	}
	return d, nil
}

// order says something to the daemon as its operator does.
func (d *daemon) order(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, d.bin, append(args, "--socket", d.socket)...)
	out, err := cmd.CombinedOutput()
	fmt.Printf("$ autosa %s\n%s", strings.Join(args, " "), out)
	if err != nil {
		return fmt.Errorf("autosa %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// follow waits for the socket and begins to read statuses.
func (d *daemon) follow(ctx context.Context) error {
	deadline := time.After(60 * time.Second)
	for {
		if _, err := os.Stat(d.socket); err == nil {
			break
		}
		select {
		case <-d.done:
			return fmt.Errorf("the daemon ended before it listened: %w", errors.Join(d.ended, errors.New("see its log above")))
		case <-deadline:
			return errors.New("the daemon did not listen within 60 s")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	d.watch = exec.CommandContext(ctx, d.bin, "status", "--socket", d.socket, "--json", "--watch")
	d.watch.Stderr = os.Stderr
	out, err := d.watch.StdoutPipe()
	if err != nil {
		return err
	}
	if err := d.watch.Start(); err != nil {
		return fmt.Errorf("follow the daemon: %w", err)
	}
	d.statuses = make(chan api.Status)
	go d.read(out)
	return nil
}

func (d *daemon) read(r io.Reader) {
	defer close(d.statuses)
	lines := json.NewDecoder(bufio.NewReader(r))
	for {
		var st api.Status
		if err := lines.Decode(&st); err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "demo: read status:", err)
			}
			_ = d.watch.Wait()
			return
		}
		d.statuses <- st
	}
}

// stop ends the daemon as an operator would and says what became of it.
func (d *daemon) stop(ctx context.Context) error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	for {
		select {
		case <-d.done:
			if d.ended != nil {
				return fmt.Errorf("the daemon ended with: %w", d.ended)
			}
			return nil
		case _, ok := <-d.statuses: // keep the stream flowing to its end
			if !ok {
				d.statuses = nil
			}
		case <-time.After(60 * time.Second):
			return errors.New("the daemon did not end within 60 s of SIGTERM")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// kill makes sure that nothing of the demonstration stays behind.
func (d *daemon) kill() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // ended already is as good
	select {
	case <-d.done:
	case <-time.After(20 * time.Second):
		_ = d.cmd.Process.Kill()
	}
	_ = os.RemoveAll(filepath.Dir(d.socket))
}
