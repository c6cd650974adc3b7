// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"autosa/api"
	"autosa/workload"
)

// row is one phase in the summary.
type row struct {
	phase    phase
	lasted   time.Duration
	class    workload.Class
	conf     float64
	decision *api.Decision
	swaps    []api.Swap
	status   api.InCharge
	kernel   kernel
	adjusted []adjustment
}

// adjustment is a change of the built-in scheduler's policy, with the kernel's
// count of enables before and after it.
type adjustment struct {
	to          string
	before, seq uint64
}

// kernel is what sysfs says, read here and not asked of the daemon.
type kernel struct {
	state, ops string
	enableSeq  uint64
}

func readKernel() kernel {
	read := func(name string) string {
		b, err := os.ReadFile("/sys/kernel/sched_ext/" + name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	k := kernel{state: read("state"), ops: read("root/ops")}
	k.enableSeq, _ = strconv.ParseUint(read("enable_seq"), 10, 64)
	return k
}

// show runs one phase's load and prints the daemon's statuses meanwhile.
func (d *daemon) show(ctx context.Context, load string, p phase) (row, error) {
	fmt.Printf("\n== %s: %s\n", p.name, p.what)
	fmt.Printf("   %6s  %-22s %-36s %9s %9s %9s\n", "time", "class", "in charge", "wait p50", "wait p99", "switches")
	cmd := exec.Command(load, p.load...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return row{}, fmt.Errorf("start the %s load: %w", p.name, err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()

	r := row{phase: p}
	if len(p.order) > 0 {
		ordered := make(chan error, 1)
		go func() { ordered <- d.order(ctx, p.order) }()
		for waiting := true; waiting; { // the stream flows meanwhile
			select {
			case err := <-ordered:
				if err != nil {
					return r, err
				}
				waiting = false
			case st, ok := <-d.statuses:
				if !ok {
					return r, fmt.Errorf("the status stream ended during the order %s", strings.Join(p.order, " "))
				}
				d.print(st, &r)
			}
		}
	}
	began, changed := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-d.done:
			return r, fmt.Errorf("the daemon ended during the %s phase: %w", p.name, errors.Join(d.ended, errors.New("see its log above")))
		case st, ok := <-d.statuses:
			if !ok {
				return r, fmt.Errorf("the status stream ended during the %s phase", p.name)
			}
			if d.print(st, &r) {
				changed = time.Now()
			}
			r.lasted = time.Since(began)
			quiet := st.Swap == nil && time.Since(changed) >= phaseSettled
			if r.lasted >= phaseMin && quiet || r.lasted >= phaseMax {
				r.class, r.conf, r.decision, r.status = st.Workload.Class, st.Workload.Confidence, st.LastDecision, st.Scheduler
				r.kernel = readKernel()
				return r, nil
			}
		}
	}
}

// print writes one status as a line, and what is new in it below; it reports
// whether the daemon changed its mind or did something.
func (d *daemon) print(st api.Status, r *row) bool {
	changed := st.Workload.Class != d.seen.Workload.Class || st.Scheduler.Name != d.seen.Scheduler.Name ||
		(st.Swap == nil) != (d.seen.Swap == nil)
	d.line(st, changed)
	if dec := st.LastDecision; dec != nil && (d.seen.LastDecision == nil || dec.Time != d.seen.LastDecision.Time) && dec.Action != "keep" {
		fmt.Printf("           decision: %s %s\n", dec.Action, strings.Join(append([]string{dec.Arm}, dec.Args...), " "))
		for _, why := range dec.Reasons {
			fmt.Printf("             because %s\n", why)
		}
	}
	if b, old := st.Builtin, d.seen.Builtin; b != nil && old != nil && b.Adjustments != old.Adjustments {
		k := readKernel()
		fmt.Printf("           policy changed in place to %s, %d of %d CPUs obey yet; the kernel says ops=%s enable_seq=%d\n",
			b.Policy, b.ObeyingCPUs, b.CPUs, k.ops, k.enableSeq)
		r.adjusted = append(r.adjusted, adjustment{to: b.Policy, before: d.seen.Kernel.EnableSeq, seq: k.enableSeq})
	}
	if s := st.LastSwap; s != nil && (d.seen.LastSwap == nil || s.Time != d.seen.LastSwap.Time) {
		r.swaps = append(r.swaps, *s)
		if s.OK {
			k := readKernel()
			fmt.Printf("           swapped %s → %s in %.1f s (%.2f s on EEVDF); the kernel says ops=%s enable_seq=%d\n",
				s.From, s.To, s.TotalSeconds, s.GapSeconds, k.ops, k.enableSeq)
		} else {
			fmt.Printf("           swap %s → %s failed: %s; %s is in charge\n", s.From, s.To, s.Error, s.InCharge)
		}
	}
	d.seen, d.last = st, st
	return changed
}

// line prints what there is to see: each sample, and each step of a swap, but
// of a swap's long steps one line in a while.
func (d *daemon) line(st api.Status, changed bool) {
	inCharge := st.Scheduler.Name
	if st.Swap != nil {
		if inCharge != st.Swap.To {
			inCharge += " → " + st.Swap.To
		}
		inCharge += " (" + st.Swap.Phase + ")"
		changed = changed || d.seen.Swap == nil || st.Swap.Phase != d.seen.Swap.Phase
		if !changed && st.Time.Sub(d.printed.Time) < 5*time.Second {
			return
		}
	}
	if st.Samples == d.printed.Samples && !changed {
		return
	}
	p50, p99 := "–", "–"
	if st.Waits.Distributions {
		p50, p99 = duration(st.Waits.RunQueueP50Seconds), duration(st.Waits.RunQueueP99Seconds)
	}
	rate := "–"
	if st.Samples != d.printed.Samples {
		rate = fmt.Sprintf("%.0f/s", switchRate(d.printed, st))
	}
	fmt.Printf("   %5.0fs  %-11s %3.0f %%      %-36s %9s %9s %9s\n", time.Since(d.began).Seconds(),
		st.Workload.Class, 100*st.Workload.Confidence, inCharge, p50, p99, rate)
	d.printed = st
}

func switchRate(before, now api.Status) float64 {
	dt := now.Time.Sub(before.Time).Seconds()
	if dt <= 0 || before.Samples == 0 {
		return 0
	}
	return float64(now.Tracer.Switches-before.Tracer.Switches) / dt
}

func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

// summary sets what was decided beside what the kernel confirmed.
func summary(rows []row, last api.Status) {
	fmt.Printf("\n== summary\n   %-18s %-20s %-14s %-14s %-44s %s\n", "work", "seen as", "decided", "status says", "kernel says (root/ops)", "enable_seq")
	for _, r := range rows {
		decided := "–"
		if r.decision != nil {
			decided = r.decision.Arm
		}
		ops := r.kernel.ops
		if r.kernel.state == "disabled" {
			ops = "– (EEVDF)"
		}
		fmt.Printf("   %-18s %-12s %3.0f %%   %-14s %-14s %-44s %d\n", r.phase.name, r.class, 100*r.conf, decided, r.status.Name, ops, r.kernel.enableSeq)
	}
	fmt.Println("\n   swaps, in order:")
	for _, r := range rows {
		for _, s := range r.swaps {
			verdict := "confirmed by the kernel, enable_seq " + strconv.FormatUint(s.EnableSeq, 10)
			if !s.OK {
				verdict = "failed: " + s.Error
			}
			fmt.Printf("     %-12s → %-12s during %-18s %s\n", s.From, s.To, r.phase.name, verdict)
		}
	}
	for _, r := range rows {
		for _, a := range r.adjusted {
			fmt.Printf("     in place     → %-12s during %-18s no swap, enable_seq %d as before\n", a.to, r.phase.name, a.seq)
		}
	}
	var lost []string
	for way, n := range last.Tracer.Losses {
		if n > 0 {
			lost = append(lost, fmt.Sprintf("%s %d", way, n))
		}
	}
	if len(lost) == 0 {
		lost = []string{"nothing"}
	}
	fmt.Printf("\n   %d samples, %d context switches traced (%s), lost: %s; %.0f ns a switch\n", last.Samples, last.Tracer.Switches,
		last.Tracer.Source, strings.Join(lost, ", "), last.Tracer.Cost.NanosPerSwitch)
	k := readKernel()
	fmt.Printf("   the daemon has ended; the kernel's sched_ext state is %q\n", k.state)
}
