// SPDX-License-Identifier: Apache-2.0

// Command load makes known kinds of work, for tests that must know what the
// machine is doing:
//
//	spin         threads that never sleep                        (compute)
//	build        short-lived processes, more than CPUs           (batch)
//	periodic     wakes at even distances and works a little      (media)
//	interactive  long-tailed sleeps of human length, short work  (interactive)
//	server       requests and answers over sockets, short work   (server)
//	pingpong     pairs of processes that wake each other         (server)
//	read         O_DIRECT reads at random places                 (io)
//	sleep        nothing                                         (idle)
//	sequence     several of these in turn, e.g. compute:20s,latency:20s,idle:10s
//
// Each worker is a forked process of one thread that runs no part of the Go
// runtime besides its own code, so the kernel sees the named work and little
// else. Amounts of work are CPU time, calibrated at start: they mean the same
// on an emulated machine. The result is a line of JSON; sequence also prints
// a line at the start of each phase. SIGTERM and SIGINT end it early, with the
// result so far and exit code 0.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	// Workers are forks of this process: nothing may be collected, and so moved
	// or locked, behind their backs.
	debug.SetGCPercent(-1)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	var usage usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// params are what a kind of work can be told. Zero is the kind's default.
type params struct {
	workers  int
	cpu      int // -1: any
	period   time.Duration
	work     time.Duration
	think    time.Duration
	file     string
	bs       int
	duration time.Duration // 0: until a signal
	cgroup   string
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return usagef("name a kind of work: %s or sequence", strings.Join(kindNames(), ", "))
	}
	name, args := args[0], args[1:]
	var p params
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.IntVar(&p.workers, "n", 0, "workers, or pairs of them (default: by kind and CPUs)")
	fs.IntVar(&p.cpu, "cpu", -1, "pin every worker to this CPU")
	fs.DurationVar(&p.period, "period", 10*time.Millisecond, "periodic: distance of wakeups")
	fs.DurationVar(&p.work, "work", 0, "CPU time of one piece of work (default: by kind)")
	fs.DurationVar(&p.think, "think", 0, "server: mean pause of a client between requests; interactive: median pause (default: by kind)")
	fs.StringVar(&p.file, "file", "", "read: file or block device")
	fs.IntVar(&p.bs, "bs", 4096, "read: bytes a read, a multiple of the block size")
	fs.DurationVar(&p.duration, "duration", 0, "how long (default: until SIGTERM or SIGINT)")
	fs.StringVar(&p.cgroup, "cgroup", "", "move into this cgroup v2 directory first, made if need be")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if p.workers < 0 || p.workers > maxWorkers || p.work < 0 || p.think < 0 || p.period <= 0 || p.duration < 0 || p.bs <= 0 {
		return usagef("numbers must not be negative, period and bs must be positive, n at most %d", maxWorkers)
	}

	type phase struct {
		name string
		kind kind
		p    params
	}
	var phases []phase
	switch {
	case name == "sequence":
		if fs.NArg() != 1 {
			return usagef("sequence takes one argument, e.g. compute:20s,latency:20s,idle:10s")
		}
		for _, part := range strings.Split(fs.Arg(0), ",") {
			what, length, ok := strings.Cut(part, ":")
			d, err := time.ParseDuration(length)
			k, known := phaseKinds[what]
			if !ok || err != nil || d <= 0 || !known {
				return usagef("phase %q is not NAME:DURATION with one of %s", part, strings.Join(phaseNames(), ", "))
			}
			pp := p
			pp.duration = d
			phases = append(phases, phase{what, kinds[k], pp})
		}
	default:
		k, ok := kinds[name]
		if !ok {
			return usagef("unknown kind of work %q: one of %s or sequence", name, strings.Join(kindNames(), ", "))
		}
		if fs.NArg() > 0 {
			return usagef("%s takes no arguments: %q", name, fs.Args())
		}
		phases = []phase{{name, k, p}}
	}
	for _, ph := range phases {
		if ph.kind.needsFile && p.file == "" {
			return usagef("%s needs -file", ph.name)
		}
	}

	if p.cgroup != "" {
		if err := enterCgroup(p.cgroup); err != nil {
			return err
		}
	}
	speed := calibrate()
	enc := json.NewEncoder(out)
	for _, ph := range phases {
		if ctx.Err() != nil {
			return nil
		}
		if name == "sequence" {
			if err := enc.Encode(started{ph.name, time.Now(), ph.p.duration.Seconds()}); err != nil {
				return fmt.Errorf("write phase: %w", err)
			}
		}
		res, err := ph.kind.run(ctx, ph.name, ph.p, speed)
		if err != nil {
			return fmt.Errorf("%s: %w", ph.name, err)
		}
		if err := enc.Encode(res); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}

// started is the line that sequence prints at the start of a phase.
type started struct {
	Phase   string    `json:"phase"`
	Start   time.Time `json:"start"`
	Seconds float64   `json:"for_seconds"`
}

// phaseKinds are the names that a sequence may use: the kinds of work
// themselves, and what they stand for.
var phaseKinds = map[string]string{
	"compute": "spin", "batch": "build", "media": "periodic", "latency": "server",
	"storage": "read", "io": "read", "idle": "sleep",
	"spin": "spin", "build": "build", "periodic": "periodic", "interactive": "interactive",
	"server": "server", "pingpong": "pingpong", "read": "read", "sleep": "sleep",
}

func phaseNames() []string { return sortedKeys(phaseKinds) }
func kindNames() []string  { return sortedKeys(kinds) }

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func enterCgroup(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	procs := filepath.Join(dir, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("enter cgroup: %w", err)
	}
	return nil
}

func cpus() int { return runtime.NumCPU() }
