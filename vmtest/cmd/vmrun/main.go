// SPDX-License-Identifier: Apache-2.0

// Command vmrun boots a prepared kernel and runs one command in it, with its output as it comes. The words @autosa, @load,
// and @demo in the command stand for the programs of this module, compiled and put where the guest sees them.
//
//	vmrun -series 7.2 -- @demo
//	vmrun -- sh -c 'uname -r; cat /sys/kernel/sched_ext/state'
//
// Its exit code is that of the command. On Ctrl-C the command is interrupted, and killed with its machine if that has not ended it
// within 20 seconds or when Ctrl-C is pressed again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"autosa/vmtest"
)

func main() {
	series := flag.String("series", vmtest.DefaultSeries[len(vmtest.DefaultSeries)-1], "kernel `series` to boot")
	memory := flag.String("memory", "2G", "the machine's memory")
	cpus := flag.Int("cpus", 2, "the machine's processors")
	icount := flag.String("icount", "", "run in virtual time, with these `options` of the emulator's -icount, such as shift=3,sleep=on")
	limit := flag.Duration("timeout", 30*time.Minute, "kill the machine after this time")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: vmrun [flags] -- COMMAND [ARGUMENT…]\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	code, err := run(vmtest.Job{
		Series: *series, Memory: *memory, CPUs: *cpus, Icount: *icount, Args: flag.Args(), Output: os.Stdout,
	}, *limit)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(job vmtest.Job, limit time.Duration) (code int, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	interrupt := make(chan struct{})
	job.Interrupt = interrupt
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		fmt.Fprintln(os.Stderr, "\nvmrun: stopping the command in the machine; again to kill both")
		close(interrupt)
		select {
		case <-signals:
			kill(errors.New("killed"))
		case <-time.After(20 * time.Second):
			kill(errors.New("the command did not stop within 20 s"))
		case <-ctx.Done():
		}
	}()

	cache, err := vmtest.OpenCache()
	if err != nil {
		return 1, err
	}
	stage, err := cache.NewStage()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	src, err := moduleDir()
	if err != nil {
		return 1, err
	}
	return cache.RunJob(ctx, stage, src, job)
}

// moduleDir finds the module from the current directory upwards.
func moduleDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod in %s or above it", dir)
		}
	}
}
