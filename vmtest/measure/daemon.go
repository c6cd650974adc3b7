// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"autosa/api"
	"autosa/workload"
)

// readyTime bounds the wait for a daemon that answers and traces.
const readyTime = 3 * time.Minute

// Daemon is a daemon that was started to be measured. Stop it.
type Daemon struct {
	PID int

	bin, dir string
	cmd      *exec.Cmd
	gone     chan struct{}
	end      error // valid once gone is closed
}

// StartDaemon starts a daemon with a socket and a state of its own, and waits
// until it has taken so many samples with the BPF tracer.
func StartDaemon(ctx context.Context, bin string, samples uint64, args ...string) (*Daemon, error) {
	dir, err := os.MkdirTemp("", "autosa-measure-")
	if err != nil {
		return nil, err
	}
	d := &Daemon{bin: bin, dir: dir, gone: make(chan struct{})}
	d.cmd = exec.Command(bin, append([]string{
		"start", "--socket", d.socket(), "--state-dir", filepath.Join(dir, "state"), "--log-level", "warn",
	}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = os.Stderr, os.Stderr
	// A Ctrl-C at the terminal is for the measurement, which then ends the daemon.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the daemon: %w", err), os.RemoveAll(dir))
	}
	d.PID = d.cmd.Process.Pid
	go func() {
		d.end = d.cmd.Wait()
		close(d.gone)
	}()
	if err := d.ready(ctx, samples); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

func (d *Daemon) socket() string { return filepath.Join(d.dir, "autosa.sock") }

func (d *Daemon) ready(ctx context.Context, samples uint64) error {
	var last error
	for began := time.Now(); time.Since(began) < readyTime; {
		st, err := d.Status(ctx)
		switch {
		case err == nil && st.Samples >= samples && st.Tracer.Source != workload.SourceBPF:
			return fmt.Errorf("the daemon's source is %s, not the BPF tracer: %s", st.Tracer.Source, st.Tracer.Reason)
		case err == nil && st.Samples >= samples:
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.gone:
			return fmt.Errorf("the daemon ended at its start: %w", d.end)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("the daemon did not take %d samples within %v: %w", samples, readyTime, last)
}

// Status asks the daemon, which costs it a little.
func (d *Daemon) Status(ctx context.Context) (api.Status, error) {
	var st api.Status
	out, err := exec.CommandContext(ctx, d.bin, "status", "--socket", d.socket(), "--json").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("autosa status: %w: %s", err, exit.Stderr)
		}
		return st, err
	}
	return st, json.Unmarshal(out, &st)
}

// Stop ends the daemon and removes what it kept. A daemon that does not end by
// itself is killed, which is an error.
func (d *Daemon) Stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	const limit = 20 * time.Second
	var late error
	select {
	case <-d.gone:
	case <-time.After(limit):
		late = fmt.Errorf("the daemon did not end within %v of SIGTERM", limit)
		_ = d.cmd.Process.Kill()
		<-d.gone
	}
	return errors.Join(late, d.end, os.RemoveAll(d.dir))
}

// Sleep waits, or returns why the measurement ends early.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
