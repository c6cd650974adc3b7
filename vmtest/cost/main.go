// SPDX-License-Identifier: Apache-2.0

// Command cost measures what the autosa daemon itself costs on this machine:
// CPU time of its process and resident memory, on the machine as it is and
// beside a load that switches contexts at a set rate. It starts the daemon
// given as its argument, as root so that the tracer runs, and ends it again.
//
//	cost [-seconds N] [-rate SWITCHES] bin/autosa
//
// What the BPF program takes is part of the switching tasks' time and not of
// the daemon's process; it is printed beside, from the daemon's own status.
// Exit code 1 when a figure is past its limit.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"autosa/api"
	"autosa/workload"
)

// The limits: shares of one CPU, and bytes.
const (
	maxIdleShare = 0.005
	maxBusyShare = 0.02
	maxResident  = 48 << 20
)

func main() {
	seconds := flag.Int("seconds", 30, "seconds to measure in each state")
	rate := flag.Int("rate", 100_000, "context switches a second of the load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if flag.NArg() != 1 || *seconds < 1 || *rate < 1 {
		fmt.Fprintln(os.Stderr, "usage: cost [-seconds N] [-rate SWITCHES] AUTOSA")
		os.Exit(2)
	}
	if err := run(ctx, flag.Arg(0), time.Duration(*seconds)*time.Second, *rate); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, length time.Duration, rate int) error {
	dir, err := os.MkdirTemp("", "autosa-cost-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "autosa.sock")
	daemon := exec.Command(bin, "start", "--socket", socket, "--state-dir", filepath.Join(dir, "state"), "--log-level", "warn")
	daemon.Stdout, daemon.Stderr = os.Stderr, os.Stderr
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- daemon.Wait() }()
	m := &meter{bin: bin, socket: socket, pid: daemon.Process.Pid, length: length}
	err = m.measure(ctx, rate)
	_ = daemon.Process.Signal(syscall.SIGTERM)
	select {
	case end := <-gone:
		return errors.Join(err, end)
	case <-time.After(20 * time.Second):
		return errors.Join(err, errors.New("the daemon did not end within 20 s of SIGTERM"), daemon.Process.Kill())
	}
}

// meter measures one daemon.
type meter struct {
	bin, socket string
	pid         int
	length      time.Duration
}

// figures are what one state of the machine gave.
type figures struct {
	switches float64 // of the machine, a second
	share    float64 // of one CPU, by the daemon's process
	resident uint64  // bytes
	tracer   api.Tracer
}

func (m *meter) measure(ctx context.Context, rate int) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "measuring the machine as it is for %v …\n", m.length)
	idle, err := m.window(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "measuring at %d switches a second for %v …\n", rate, m.length)
	stop, err := pingpong(rate)
	if err != nil {
		return err
	}
	busy, err := m.window(ctx)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	return report(idle, busy, rate)
}

// ready waits until the daemon answers and has settled for a few ticks.
func (m *meter) ready(ctx context.Context) error {
	for tries := 0; ; tries++ {
		if st, err := m.status(ctx); err == nil && st.Samples >= 5 {
			if st.Tracer.Source != workload.SourceBPF {
				return fmt.Errorf("the daemon's source is %s, not the BPF tracer: %s", st.Tracer.Source, st.Tracer.Reason)
			}
			return nil
		} else if tries > 60 {
			return fmt.Errorf("the daemon did not become ready within 60 s: %w", err)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (m *meter) status(ctx context.Context) (api.Status, error) {
	var st api.Status
	out, err := exec.CommandContext(ctx, m.bin, "status", "--socket", m.socket, "--json").Output()
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(out, &st)
}

func (m *meter) window(ctx context.Context) (figures, error) {
	if err := sleep(ctx, 2*time.Second); err != nil { // let the load begin
		return figures{}, err
	}
	cpu0, err0 := cpuTime(m.pid)
	n0, err1 := machineSwitches()
	began := time.Now()
	if err := errors.Join(err0, err1, sleep(ctx, m.length)); err != nil {
		return figures{}, err
	}
	cpu1, err0 := cpuTime(m.pid)
	n1, err1 := machineSwitches()
	took := time.Since(began).Seconds()
	resident, err2 := residentBytes(m.pid)
	st, err3 := m.status(ctx) // after the window: asking costs the daemon too
	return figures{
		switches: float64(n1-n0) / took,
		share:    (cpu1 - cpu0).Seconds() / took,
		resident: resident,
		tracer:   st.Tracer,
	}, errors.Join(err0, err1, err2, err3)
}

func report(idle, busy figures, rate int) error {
	fmt.Printf("%-22s %12s %14s %14s %12s %16s\n", "machine", "switches/s", "daemon", "limit", "BPF ns/switch", "BPF of machine")
	line := func(name string, f figures, limit float64) {
		fmt.Printf("%-22s %12.0f %12.3f %% %12.1f %% %12.0f %14.3f %%\n", name, f.switches, 100*f.share, 100*limit,
			f.tracer.Cost.NanosPerSwitch, 100*f.tracer.Cost.BPFCPURatio)
	}
	line("as it is", idle, maxIdleShare)
	line(fmt.Sprintf("%d switches/s", rate), busy, maxBusyShare)
	fmt.Printf("resident: %.1f MiB (limit %d MiB)\n", float64(busy.resident)/(1<<20), maxResident>>20)
	var errs []error
	if busy.switches < 0.9*float64(rate) {
		errs = append(errs, fmt.Errorf("the load reached %.0f switches a second of the %d asked for: the figure does not count", busy.switches, rate))
	}
	if idle.share > maxIdleShare {
		errs = append(errs, fmt.Errorf("idle: %.3f %% of one CPU is past the limit of %.1f %%", 100*idle.share, 100*maxIdleShare))
	}
	if busy.share > maxBusyShare {
		errs = append(errs, fmt.Errorf("busy: %.3f %% of one CPU is past the limit of %.1f %%", 100*busy.share, 100*maxBusyShare))
	}
	if r := max(idle.resident, busy.resident); r > maxResident {
		errs = append(errs, fmt.Errorf("resident: %d bytes are past the limit of %d", r, maxResident))
	}
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
