// SPDX-License-Identifier: Apache-2.0

// Command cost measures what the autosa daemon itself costs on this machine: CPU time and memory of its process. It starts
// the daemon given as its argument, as root so that the tracer runs, and ends it again.
//
//	cost [-seconds N] [-rate SWITCHES] AUTOSA
//	cost -grid [-seconds N] [-rates N,…] [-cgroups N,…] [-ring PROGRAM] [-document PAGE] [-again] AUTOSA
//
// The first form measures the machine as it is and beside a load that switches contexts at a set rate, against limits that a
// quiet machine keeps. With -grid it measures every rate with every number of busy cgroups, and goes on where it was
// interrupted.
//
// What the BPF program takes is part of the switching tasks' time and not of the daemon's process; it is printed beside,
// from the daemon's own status. Exit code 1 when a figure is past its limit, 2 for wrong usage, 130 when interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"autosa/api"
	"autosa/vmtest/measure"
)

// The limits of the first form: shares of one CPU, and bytes.
const (
	maxIdleShare = 0.005
	maxBusyShare = 0.02
	maxResident  = 48 << 20
)

func main() {
	seconds := flag.Int("seconds", 0, "seconds to measure in each state (default 30, with -grid 15)")
	rate := flag.Int("rate", 100_000, "context switches a second of the load")
	wholeGrid := flag.Bool("grid", false, "measure rates × cgroups")
	rates := flag.String("rates", "10000,100000,0", "-grid: switches a second, 0 for as many as the machine makes")
	cgroups := flag.String("cgroups", "10,1000,10000", "-grid: numbers of busy cgroups")
	ring := flag.String("ring", "bin/ring", "-grid: the load, built from vmtest/cost/ring")
	document := flag.String("document", "", "-grid: page to put the table into, e.g. docs/BENCHMARKS.md")
	again := flag.Bool("again", false, "-grid: measure again what an interrupted run has measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	rateList, err := numbers(*rates, 0)
	groupList, gerr := numbers(*cgroups, 2)
	if err := errors.Join(err, gerr); err != nil || flag.NArg() != 1 || *seconds < 0 || *rate < 1 {
		fmt.Fprintln(os.Stderr, "usage: cost [-seconds N] [-rate SWITCHES | -grid …] AUTOSA", err)
		os.Exit(2)
	}
	length := func(otherwise time.Duration) time.Duration {
		if *seconds > 0 {
			return time.Duration(*seconds) * time.Second
		}
		return otherwise
	}
	if *wholeGrid {
		g := grid{bin: flag.Arg(0), ring: *ring, length: length(15 * time.Second), rates: rateList, groups: groupList, document: *document}
		err = g.run(ctx, *again)
	} else {
		err = run(ctx, flag.Arg(0), length(30*time.Second), *rate)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "cost: interrupted;", err)
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

// numbers reads a list of numbers that are at least least.
func numbers(text string, least int) (all []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < least {
			return nil, fmt.Errorf("%q in %q is no number from %d on", word, text, least)
		}
		all = append(all, n)
	}
	return all, nil
}

func run(ctx context.Context, bin string, length time.Duration, rate int) error {
	d, err := measure.StartDaemon(ctx, bin, 5)
	if err != nil {
		return err
	}
	return errors.Join(measureStates(ctx, d, length, rate), d.Stop())
}

// figures are what one state of the machine gave.
type figures struct {
	Switches float64 // of the machine, a second
	Share    float64 // of one CPU, by the daemon's process
	Tick     time.Duration
	Memory   measure.Memory
	Tracer   api.Tracer
}

func measureStates(ctx context.Context, d *measure.Daemon, length time.Duration, rate int) error {
	fmt.Fprintf(os.Stderr, "measuring the machine as it is for %v …\n", length)
	idle, err := window(ctx, d, length)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "measuring at %d switches a second for %v …\n", rate, length)
	stop, err := pingpong(rate)
	if err != nil {
		return err
	}
	busy, err := window(ctx, d, length)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	return report(idle, busy, rate)
}

// window measures a daemon for so long.
func window(ctx context.Context, d *measure.Daemon, length time.Duration) (figures, error) {
	if err := measure.Sleep(ctx, 2*time.Second); err != nil { // let the load begin
		return figures{}, err
	}
	// The status is asked for outside of the window: answering costs the daemon too.
	first, err := d.Status(ctx)
	if err != nil {
		return figures{}, err
	}
	cpu0, err0 := measure.CPUTime(d.PID)
	n0, err1 := measure.Switches()
	began := time.Now()
	if err := errors.Join(err0, err1, measure.Sleep(ctx, length)); err != nil {
		return figures{}, err
	}
	cpu1, err0 := measure.CPUTime(d.PID)
	n1, err1 := measure.Switches()
	took := time.Since(began).Seconds()
	memory, err2 := measure.MemoryOf(d.PID)
	last, err3 := d.Status(ctx)
	if err := errors.Join(err0, err1, err2, err3); err != nil {
		return figures{}, err
	}
	ticks := last.Samples - first.Samples
	if ticks == 0 {
		return figures{}, fmt.Errorf("the daemon took no sample within %v", length)
	}
	return figures{
		Switches: float64(n1-n0) / took,
		Share:    (cpu1 - cpu0).Seconds() / took,
		Tick:     (cpu1 - cpu0) / time.Duration(ticks),
		Memory:   memory,
		Tracer:   last.Tracer,
	}, nil
}

func report(idle, busy figures, rate int) error {
	fmt.Printf("%-22s %12s %14s %14s %12s %16s\n", "machine", "switches/s", "daemon", "limit", "BPF ns/switch", "BPF of machine")
	line := func(name string, f figures, limit float64) {
		fmt.Printf("%-22s %12.0f %12.3f %% %12.1f %% %12.0f %14.3f %%\n", name, f.Switches, 100*f.Share, 100*limit,
			f.Tracer.Cost.NanosPerSwitch, 100*f.Tracer.Cost.BPFCPURatio)
	}
	line("as it is", idle, maxIdleShare)
	line(fmt.Sprintf("%d switches/s", rate), busy, maxBusyShare)
	fmt.Printf("resident: %s MiB (limit %d MiB)\n", mib(busy.Memory.Resident), maxResident>>20)
	var errs []error
	if busy.Switches < 0.9*float64(rate) {
		errs = append(errs, fmt.Errorf("the load reached %.0f switches a second of the %d asked for: the figure does not count", busy.Switches, rate))
	}
	if idle.Share > maxIdleShare {
		errs = append(errs, fmt.Errorf("idle: %.3f %% of one CPU is past the limit of %.1f %%", 100*idle.Share, 100*maxIdleShare))
	}
	if busy.Share > maxBusyShare {
		errs = append(errs, fmt.Errorf("busy: %.3f %% of one CPU is past the limit of %.1f %%", 100*busy.Share, 100*maxBusyShare))
	}
	if r := max(idle.Memory.Resident, busy.Memory.Resident); r > maxResident {
		errs = append(errs, fmt.Errorf("resident: %d bytes are past the limit of %d", r, maxResident))
	}
	return errors.Join(errs...)
}

func mib(bytes uint64) string { return fmt.Sprintf("%.1f", float64(bytes)/(1<<20)) }
