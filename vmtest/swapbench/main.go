// SPDX-License-Identifier: Apache-2.0

// Command swapbench measures how long tasks run on EEVDF while one real sched_ext scheduler gives way to another, in virtual
// machines, beside a load:
//
//	swapbench [-series 6.18,7.2] [-rounds N] [-document PAGE] [-icount OPTIONS]
//
// Each round swaps scx_rusty → scx_lavd and back in every way there is: with scxctl and scx_loader, by stopping one process and
// starting the next, and through the gate that autosa's own switcher has. The gap runs from the last task switch under the
// old scheduler to the first under the new one, as package gap traces it in the kernel, which tells the kernel's own part too.
//
// `vmtest/prepare.sh --only loader` prepares scx_loader. Exit code 1 when a promise is broken or a figure could not be had, 2 for
// wrong usage, 130 when interrupted.
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

	"autosa/scx"
	"autosa/vmtest"
)

type settings struct {
	series   []string
	rounds   int
	ways     []string
	load     string
	document string
	icount   string
	other    string
	timeout  time.Duration
}

// minRounds is how many swaps each way a verdict takes.
const minRounds = 10

func main() {
	if len(os.Args) > 1 && os.Args[1] == scx.SuperviseWord {
		os.Exit(scx.SuperviseMain(os.Args[2:]))
	}
	var s settings
	series := flag.String("series", "6.18,7.2", "kernel `series` to boot, separated by commas")
	ways := flag.String("ways", strings.Join(wayNames(), ","), "ways to swap, in the order of a round")
	flag.IntVar(&s.rounds, "rounds", minRounds, "rounds; a verdict takes at least 10")
	flag.StringVar(&s.load, "load", "server -n 2 -think 5ms,periodic -n 2", "loads beside the swaps (vmtest/load), separated by commas; none when empty")
	flag.StringVar(&s.document, "document", "", "page to put the tables into, e.g. docs/BENCHMARKS.md")
	flag.StringVar(&s.icount, "icount", vmtest.VirtualTime, "run in virtual time, with these `options` of the emulator's -icount; empty for this machine's clock")
	flag.DurationVar(&s.timeout, "timeout", 3*time.Hour, "give a machine up after this time")
	flag.StringVar(&s.other, "other", lavd, "the scheduler that takes turns with scx_rusty; the promises are about scx_lavd")
	inGuest := flag.String("guest", "", "internal: measure here, with the programs of this `directory`")
	flag.Parse()
	s.series, s.ways = strings.Split(*series, ","), strings.Split(*ways, ",")
	if flag.NArg() > 0 || s.rounds < 1 || len(s.series) == 0 || unknownWay(s.ways) {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	if *inGuest != "" {
		err = measureHere(ctx, s, *inGuest)
	} else {
		err = bench(ctx, s)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "swapbench: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "swapbench:", err)
		os.Exit(1)
	}
}

func unknownWay(names []string) bool {
	for _, n := range names {
		if ways[n] == nil {
			return true
		}
	}
	return false
}

// errShort says that there are too few swaps for a verdict.
var errShort = errors.New("too few swaps for a verdict")
