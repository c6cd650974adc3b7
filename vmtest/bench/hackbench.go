// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"autosa/vmtest/measure"
)

const (
	// maxSlowdown is the promise: the upper end of the 95 % interval.
	maxSlowdown = 0.03
	// warmPairs are run first and dropped.
	warmPairs = 1
	groups    = 2 // of hackbench: 40 tasks each
)

// benchHackbench runs hackbench with the daemon and without, in pairs. A broken promise is an error beside the report.
func benchHackbench(ctx context.Context, s settings) (string, error) {
	if on, err := measure.RunTimeStatistics(); err != nil {
		return "", err
	} else if on {
		return "", errors.New("kernel.bpf_stats_enabled is on and would be measured too: sysctl kernel.bpf_stats_enabled=0")
	}
	loops, err := size(ctx, s.run)
	if err != nil {
		return "", err
	}
	fmt.Printf("hackbench -p -g %d -l %d, order drawn with seed %d\n", groups, loops, s.seed)
	lot := rand.New(rand.NewPCG(s.seed, 0))
	var pairs []pair
	var rates, costs []float64
	for n := range warmPairs + s.pairs {
		var p pair
		onFirst := lot.IntN(2) == 0
		for _, on := range []bool{onFirst, !onFirst} {
			if !on {
				// A daemon settles for as long: neither run finds the CPUs warmer than the other.
				if err := measure.Sleep(ctx, 2*time.Second); err != nil {
					return "", err
				}
				if p.off, _, err = hackbench(ctx, loops); err != nil {
					return "", err
				}
				continue
			}
			var rate float64
			var cost time.Duration
			if p.on, rate, cost, err = s.withDaemon(ctx, loops); err != nil {
				return "", err
			}
			rates, costs = append(rates, rate), append(costs, cost.Seconds()/p.on)
		}
		what := fmt.Sprintf("pair %d of %d", n+1-warmPairs, s.pairs)
		if n < warmPairs {
			what = "warm-up, dropped"
		} else {
			pairs = append(pairs, p)
		}
		fmt.Fprintf(os.Stderr, "hackbench: %s: on %.3f s, off %.3f s, slowdown %+.2f %%\n", what, p.on, p.off, 100*(p.on/p.off-1))
	}
	return judge(s, pairs, loops, rates, costs)
}

func judge(s settings, pairs []pair, loops int, rates, costs []float64) (string, error) {
	mean, low, high := slowdown(pairs)
	var slow, off []float64
	for _, p := range pairs {
		slow, off = append(slow, 100*(p.on/p.off-1)), append(off, p.off)
	}
	least, most := spread(slow)
	var b strings.Builder
	fmt.Fprintf(&b, "`hackbench -p -g %d -l %d` with the daemon (`autosa start%s`) and without, BPF run-time statistics off: %d pairs, order drawn with seed %d.\n\n",
		groups, loops, strings.Join(append([]string{""}, s.daemonArgs...), " "), len(pairs), s.seed)
	b.WriteString(measure.Table([][]string{
		{"slowdown, mean", "95 % interval", "limit of its upper end", "median", "least to most", "run without", "switches/s with", "daemon's CPU"},
		{fmt.Sprintf("%+.2f %%", 100*mean), fmt.Sprintf("%+.2f to %+.2f %%", 100*low, 100*high), fmt.Sprintf("%.0f %%", 100*maxSlowdown),
			fmt.Sprintf("%+.2f %%", median(slow)), fmt.Sprintf("%+.1f to %+.1f %%", least, most), fmt.Sprintf("%.2f s", median(off)),
			fmt.Sprintf("%.0f", median(rates)), fmt.Sprintf("%.2f %% of one CPU", 100*median(costs))},
	}))
	if high > maxSlowdown {
		err := fmt.Errorf("the slowdown's interval reaches to %+.2f %%, promised are %.0f %% at most", 100*high, 100*maxSlowdown)
		if low <= 0 {
			err = fmt.Errorf("%w; it includes none at all: the machine is too noisy for %d pairs, run more with -pairs", err, len(pairs))
		}
		fmt.Fprintf(&b, "\nVerdict: **broken**: %v.\n", err)
		return b.String(), err
	}
	b.WriteString("\nVerdict: the promise is kept.\n")
	return b.String(), nil
}

// withDaemon runs hackbench beside a daemon that has settled. It also returns the machine's switches a second and the CPU time that the
// daemon's process took meanwhile.
func (s settings) withDaemon(ctx context.Context, loops int) (took, rate float64, cost time.Duration, err error) {
	d, err := measure.StartDaemon(ctx, s.autosa, 2, s.daemonArgs...)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	before, err := measure.CPUTime(d.PID)
	if err != nil {
		return 0, 0, 0, err
	}
	if took, rate, err = hackbench(ctx, loops); err != nil {
		return 0, 0, 0, err
	}
	after, err := measure.CPUTime(d.PID)
	return took, rate, after - before, err
}

// size finds the number of loops with which a run takes about as long as asked for.
func size(ctx context.Context, want time.Duration) (int, error) {
	loops := 250
	for range 5 {
		took, _, err := hackbench(ctx, loops)
		if err != nil {
			return 0, err
		}
		wanted := max(int(float64(loops)*want.Seconds()/took), 1)
		if took > want.Seconds()/3 {
			return wanted, nil
		}
		loops = wanted
	}
	return loops, nil
}

// hackbench runs once and returns the time that it prints, which leaves out the start of its tasks, and the machine's
// switches a second.
func hackbench(ctx context.Context, loops int) (took, rate float64, err error) {
	n0, err := measure.Switches()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	out, err := exec.CommandContext(ctx, "hackbench", "-p", "-g", strconv.Itoa(groups), "-l", strconv.Itoa(loops)).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("hackbench: %w: %s", err, out)
	}
	whole := time.Since(began)
	n1, err := measure.Switches()
	if err != nil {
		return 0, 0, err
	}
	_, text, ok := strings.Cut(string(out), "Time: ")
	took, perr := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if !ok || perr != nil || took <= 0 {
		return 0, 0, fmt.Errorf("hackbench printed no time: %q", out)
	}
	return took, float64(n1-n0) / whole.Seconds(), nil
}
