// SPDX-License-Identifier: Apache-2.0

// Command demo shows autosa at work inside a virtual machine: it starts the
// real daemon in auto mode beside a workload whose kind changes, prints what
// the daemon sees, decides and does while it happens, and ends with a summary
// that sets each decision beside what the kernel itself says.
//
// It expects the environment that vmtest gives a guest: AUTOSA_BIN,
// AUTOSA_LOAD and AUTOSA_SCX_DIR. Its exit code is 0 when every phase ran, the
// daemon put at least one scheduler in charge with the kernel's word for it,
// and left none behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
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
}

const (
	phaseMin     = 20 * time.Second
	phaseMax     = 150 * time.Second
	phaseSettled = 8 * time.Second
)

func phases(disk string) []phase {
	return []phase{
		{"compute", "two threads that calculate", []string{"spin", "-n", "2"}},
		{"latency-sensitive", "clients and servers that wake each other", []string{"server", "-n", "2", "-think", "20ms"}},
		{"storage", "direct reads from a disk that takes 5 ms", []string{"read", "-file", disk, "-bs", "4096", "-n", "2"}},
		{"compute again", "two threads that calculate", []string{"spin", "-n", "2"}},
		{"idle", "nothing at all", []string{"sleep"}},
	}
}

func run(ctx context.Context) error {
	bin, load, scxDir := os.Getenv("AUTOSA_BIN"), os.Getenv("AUTOSA_LOAD"), os.Getenv("AUTOSA_SCX_DIR")
	if bin == "" || load == "" || scxDir == "" {
		return errors.New("AUTOSA_BIN, AUTOSA_LOAD and AUTOSA_SCX_DIR must be set: run it with `make run`")
	}
	disk, err := slowDisk(ctx)
	if err != nil {
		return err
	}
	d, err := startDaemon(ctx, bin, scxDir)
	if err != nil {
		return err
	}
	defer d.kill()

	var rows []row
	for _, p := range phases(disk) {
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
	return judge(rows)
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
func judge(rows []row) error {
	confirmed := 0
	for _, r := range rows {
		for _, s := range r.swaps {
			if s.OK {
				confirmed++
			}
		}
	}
	if confirmed == 0 {
		return errors.New("no swap was confirmed by the kernel in any phase")
	}
	if k := readKernel(); k.state != "disabled" {
		return fmt.Errorf("the daemon is gone and the kernel's sched_ext state is %q, not \"disabled\"", k.state)
	}
	return nil
}
