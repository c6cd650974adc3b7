// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"autosa/vmtest/measure"
)

// What is promised on the hot load, as ratios of ns per switch.
const (
	maxToEmpty     = 2.5
	maxToReference = 1.0 // below
	maxToRunqlat   = 0.25
)

// settle is how long a program runs, or a load, before it is measured.
const settle = 500 * time.Millisecond

// result is what the rounds of one contender gave on one load.
type result struct {
	perSwitch []float64 // ns of its programs per context switch of the machine, a round each
	perRun    []float64 // ns per run of a program
	switches  []float64 // of the machine, a second
	programs  int
}

// benchTrace measures all contenders on both loads. A broken promise is an error beside the report.
func benchTrace(ctx context.Context, s settings) (string, error) {
	always, err := measure.RunTimeStatistics()
	if err != nil {
		return "", err
	}
	if !always {
		on, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
		if err != nil {
			return "", fmt.Errorf("enable BPF run-time statistics: %w", err)
		}
		defer on.Close()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "BPF run time per context switch of the machine: medians over %d rounds of %v, contenders in turns, one attached at a time. "+
		"With the kernel's run-time statistics on, which take their share of every figure.\n", s.rounds, s.window)
	var errs []error
	for i, l := range loads(s) {
		results, err := s.onLoad(ctx, l)
		if err != nil {
			return b.String(), err
		}
		fmt.Fprintf(&b, "\n%s (`%s`), %.0f switches/s without autosa's tracer:\n\n%s", l.title, l.command(), median(results[0].switches), table(results))
		if i == 0 {
			broken := promises(results)
			if len(broken) == 0 {
				b.WriteString("\nVerdict on the hot load: every promise is kept.\n")
			}
			for _, err := range broken {
				fmt.Fprintf(&b, "\nVerdict on the hot load: **broken**: %v.\n", err)
				errs = append(errs, err)
			}
		}
	}
	return b.String(), errors.Join(errs...)
}

// workload is a command that runs until it is told to end.
type workload struct {
	title string
	argv  []string
}

func (l workload) command() string { return strings.Join(l.argv, " ") }

// loads are the hot one, on which promises are judged, and a mixed one.
func loads(s settings) []workload {
	return []workload{
		{"Hot: pipe ping-pong of two tasks on one CPU", []string{s.load, "pingpong", "-n", "1", "-cpu", fmt.Sprint(runtime.NumCPU() - 1)}},
		{"Mixed", strings.Fields("stress-ng --quiet --temp-path /tmp --cpu 2 --switch 2 --pipe 1 --futex 1 --hdd 1 --hdd-bytes 64m")},
	}
}

// onLoad measures every contender in turns on one load.
func (s settings) onLoad(ctx context.Context, l workload) (results []result, err error) {
	p, err := launch(l.argv...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end(syscall.SIGTERM)) }()
	if err := measure.Sleep(ctx, 4*settle); err != nil {
		return nil, err
	}
	results = make([]result, len(contenders))
	for round := range s.rounds {
		for i, c := range contenders {
			if err := results[i].measure(ctx, c, s.window); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(os.Stderr, "%s: round %d of %d: %-13s %6.1f ns a switch\n", l.argv[0], round+1, s.rounds, c.name,
				results[i].perSwitch[round])
		}
	}
	return results, nil
}

// measure attaches a contender, measures one window and detaches it.
func (r *result) measure(ctx context.Context, c contender, window time.Duration) (err error) {
	pid, stop, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	programs, err := programsOf(pid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(programs)) }()
	if err := measure.Sleep(ctx, settle); err != nil {
		return err
	}
	before, err := read(programs)
	if err != nil {
		return err
	}
	if err := measure.Sleep(ctx, window); err != nil {
		return err
	}
	after, err := read(programs)
	if err != nil {
		return err
	}
	switches, runs := float64(after.switches-before.switches), float64(after.runs-before.runs)
	nanos := float64(after.runTime - before.runTime)
	if runs < switches/2 {
		return fmt.Errorf("its programs ran %.0f times in %.0f switches: they are not attached", runs, switches)
	}
	r.perSwitch = append(r.perSwitch, nanos/switches)
	r.perRun = append(r.perRun, nanos/runs)
	r.switches = append(r.switches, switches/after.at.Sub(before.at).Seconds())
	r.programs = len(programs)
	return nil
}

// reading is the state of all counters at a moment.
type reading struct {
	at       time.Time
	switches uint64
	runs     uint64
	runTime  time.Duration
}

func read(programs []*ebpf.Program) (r reading, err error) {
	r.at = time.Now()
	if r.switches, err = measure.Switches(); err != nil {
		return r, err
	}
	for _, p := range programs {
		st, err := p.Stats()
		if err != nil {
			return r, err
		}
		r.runs += st.RunCount
		r.runTime += st.Runtime
	}
	return r, nil
}

func table(results []result) string {
	rows := [][]string{{"", "ns a switch", "least to most", "ns a run", "switches/s", "autosa is of it"}}
	for i, r := range results {
		lo, hi := spread(r.perSwitch)
		ratio := ratios(results[1], r)
		least, most := spread(ratio)
		of := fmt.Sprintf("%.2f (%.2f to %.2f)", median(ratio), least, most)
		if i == 1 {
			of = "–"
		}
		rows = append(rows, []string{contenders[i].name, fmt.Sprintf("%.1f", median(r.perSwitch)), fmt.Sprintf("%.1f to %.1f", lo, hi),
			fmt.Sprintf("%.1f", median(r.perRun)), fmt.Sprintf("%.0f", median(r.switches)), of})
	}
	return measure.Table(rows)
}

// ratios are a's ns per switch over b's, round by round: what changed on the machine between rounds is in both.
func ratios(a, b result) []float64 {
	all := make([]float64, len(a.perSwitch))
	for i := range all {
		all[i] = a.perSwitch[i] / b.perSwitch[i]
	}
	return all
}

func promises(results []result) (broken []error) {
	autosa := results[1]
	for _, p := range []struct {
		to    int
		limit float64
	}{{0, maxToEmpty}, {2, maxToReference}, {3, maxToRunqlat}} {
		got := median(ratios(autosa, results[p.to]))
		if got > p.limit || p.limit == maxToReference && got >= p.limit {
			broken = append(broken, fmt.Errorf("autosa takes %.2f times what %s takes, promised are %.2f at most", got, contenders[p.to].name, p.limit))
		}
	}
	return broken
}
