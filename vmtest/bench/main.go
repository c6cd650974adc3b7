// SPDX-License-Identifier: Apache-2.0

// Command bench measures what tracing costs, in two ways.
//
//	bench [-part trace,hackbench] [-autosa BIN] [-load BIN] [-document PAGE] …
//
// Part trace: ns of BPF programs per context switch, for an empty program, autosa's tracer, a tracer of the classical
// kind and libbpf-tools' runqlat, each alone, in turns, on the same load, with the kernel's run-time statistics on.
// Part hackbench: how much slower hackbench is while the daemon runs, in pairs of runs with it and without it whose order
// is drawn by lot, with the statistics off.
//
// Exit code 1 when a promise is broken or a figure could not be had, 2 for wrong usage, 130 when interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"autosa/vmtest/measure"
)

type settings struct {
	autosa, load string
	document     string

	rounds int
	window time.Duration

	pairs      int
	run        time.Duration
	seed       uint64
	daemonArgs []string
}

func main() {
	var s settings
	var args string
	parts := flag.String("part", "trace,hackbench", "`parts` to run")
	flag.StringVar(&s.autosa, "autosa", "bin/autosa", "the program to measure")
	flag.StringVar(&s.load, "load", "bin/load", "the load generator (vmtest/load)")
	flag.StringVar(&s.document, "document", "", "page to put the tables into, e.g. docs/BENCHMARKS.md")
	flag.IntVar(&s.rounds, "rounds", 9, "trace: rounds, at least 3")
	flag.DurationVar(&s.window, "window", 2*time.Second, "trace: how long each program is measured in a round")
	flag.IntVar(&s.pairs, "pairs", 30, "hackbench: pairs of runs, at least 10")
	flag.DurationVar(&s.run, "run", 2500*time.Millisecond, "hackbench: length of a run that its size is chosen for")
	flag.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "hackbench: draws the order within pairs")
	flag.StringVar(&args, "daemon-args", "--tracer-budget 0", "hackbench: more `arguments` for autosa start, separated by spaces; by default it never backs off")
	flag.Parse()
	s.daemonArgs = strings.Fields(args)
	if flag.NArg() > 0 || s.rounds < 3 || s.window < 100*time.Millisecond || s.pairs < 10 || s.run < 100*time.Millisecond {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, s, strings.Split(*parts, ","))
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run runs the parts. A broken promise in one does not keep the next from running.
func run(ctx context.Context, s settings, parts []string) error {
	known := map[string]func(context.Context, settings) (string, error){"trace": benchTrace, "hackbench": benchHackbench}
	for _, p := range parts {
		if known[p] == nil {
			return fmt.Errorf("there is no part %q: trace or hackbench", p)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("root is needed to load BPF programs: run it with sudo")
	}
	var errs []error
	for _, p := range parts {
		where, err := measure.Circumstances(strings.Join(os.Args, " "))
		if err != nil {
			return err
		}
		fmt.Printf("== %s\n%s\n", p, where)
		report, err := known[p](ctx, s)
		fmt.Println(report)
		if report != "" && s.document != "" {
			err = errors.Join(err, measure.Replace(s.document, "bench-"+p, where+"\n"+report))
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}
