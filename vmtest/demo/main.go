// SPDX-License-Identifier: Apache-2.0

// Command demo shows autosa at work inside a virtual machine: it starts the
// real daemon in auto mode beside a workload whose kind changes, prints what
// the daemon sees, decides and does while it happens, and ends with a summary
// that sets each decision beside what the kernel itself says.
//
// With -builtin the daemon finds no installed scheduler, as on a machine without
// an scx package: what there is to see are autosa's own, its changes of policy,
// and EEVDF.
//
// It expects the environment that vmtest gives a guest: AUTOSA_BIN,
// AUTOSA_LOAD and AUTOSA_SCX_DIR. Its exit code is 0 when every phase ran, the
// daemon put at least one scheduler in charge with the kernel's word for it,
// and left none behind; with -builtin also when policies were changed and the
// kernel counted no enable for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"autosa/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	builtin := flag.Bool("builtin", false, "as on a machine on which no scheduler is installed")
	flag.Parse()
	if err := run(ctx, *builtin); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// phase is one kind of work. It lasts at least min; after that it ends as soon
// as the daemon has been of one mind for settled, and in any case at max:
// emulated machines take their time to verify a scheduler's programs.
type phase struct {
	name string
	what string
	load []string
	// order is what the operator says when it begins, to be seen in what is in
	// charge; empty: nothing.
	order []string
}

const (
	phaseMin     = 20 * time.Second
	phaseMax     = 150 * time.Second
	phaseSettled = 8 * time.Second
)

func phases(disk string) []phase {
	return []phase{
		{name: "compute", what: "two threads that calculate", load: []string{"spin", "-n", "2"}},
		{name: "latency-sensitive", what: "clients and servers that wake each other", load: []string{"server", "-n", "2", "-think", "20ms"}},
		{name: "storage", what: "direct reads from a disk that takes 5 ms", load: []string{"read", "-file", disk, "-bs", "4096", "-n", "2"}},
		{name: "compute again", what: "two threads that calculate", load: []string{"spin", "-n", "2"}},
		{name: "idle", what: "nothing at all", load: []string{"sleep"}},
	}
}

// builtinPhases are phases without an installed scheduler: the way to EEVDF and
// back is the operator's.
func builtinPhases(disk string) []phase {
	all := phases(disk)
	compute := all[3]
	compute.order = []string{"auto"}
	byHand := phase{name: "by hand", what: "the operator wants EEVDF for a while", load: compute.load, order: []string{"switch", "eevdf"}}
	return append(all[:3:3], byHand, compute)
}

func run(ctx context.Context, builtin bool) error {
	bin, load, scxDir := os.Getenv("AUTOSA_BIN"), os.Getenv("AUTOSA_LOAD"), os.Getenv("AUTOSA_SCX_DIR")
	if bin == "" || load == "" || scxDir == "" {
		return errors.New("AUTOSA_BIN, AUTOSA_LOAD and AUTOSA_SCX_DIR must be set: run it with `make run`")
	}
	disk, err := slowDisk(ctx)
	if err != nil {
		return err
	}
	all := phases(disk)
	if builtin {
		all, scxDir = builtinPhases(disk), ""
	}
	d, err := startDaemon(ctx, bin, scxDir)
	if err != nil {
		return err
	}
	defer d.kill()

	var rows []row
	for _, p := range all {
		r, err := d.show(ctx, load, p)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	last := d.last
	stopErr := d.stop(ctx)
	summary(rows, last)
	if stopErr != nil {
		return stopErr
	}
	return judge(rows, builtin)
}

// slowDisk makes a block device whose reads complete after 5 ms.
func slowDisk(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "modprobe", "null_blk", "completion_nsec=5000000", "irqmode=2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("modprobe null_blk: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return "/dev/nullb0", nil
}

// judge says whether the demonstration showed what it is for.
func judge(rows []row, builtin bool) error {
	confirmed, adjusted, given := 0, 0, 0
	for _, r := range rows {
		for _, s := range r.swaps {
			if s.OK {
				confirmed++
			}
			if s.OK && s.To == api.EEVDF {
				given++
			}
		}
		for _, a := range r.adjusted {
			if a.seq != a.before {
				return fmt.Errorf("the policy was changed to %s and enable_seq went from %d to %d", a.to, a.before, a.seq)
			}
			adjusted++
		}
	}
	if confirmed == 0 {
		return errors.New("no swap was confirmed by the kernel in any phase")
	}
	if builtin && (adjusted == 0 || given == 0) {
		return fmt.Errorf("%d changes of policy and %d swaps to EEVDF, want both", adjusted, given)
	}
	if k := readKernel(); k.state != "disabled" {
		return fmt.Errorf("the daemon is gone and the kernel's sched_ext state is %q, not \"disabled\"", k.state)
	}
	return nil
}
