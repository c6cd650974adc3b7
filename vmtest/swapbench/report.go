// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"autosa/vmtest/measure"
)

// What is promised of the gate: its gap against the kernel's own part of it, both ways, and scx_loader's gap against the gate's
// for swaps to scx_lavd.
const (
	maxGateToKernel = 1.3
	minLoaderToGate = 50
)

var described = map[string]string{
	byLoader: "(a) scxctl, scx_loader",
	byHand:   "(b) stop, then start",
	byGate:   "(c) the gate",
}

// table lays out a kernel's figures. The error is a broken promise, or [errShort] where there are too few swaps for one.
func (s settings) table(series string, f figures) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Kernel %s: %d swaps each way, in turns, beside `%s`; medians with intervals of at least 95 %%, ms:\n\n", series, s.rounds, s.load)
	rows := [][]string{{"", "gap → " + s.other, "gap → " + rusty, "(d) the kernel's part → " + s.other, "(d) → " + rusty}}
	for _, name := range s.ways {
		row := []string{described[name]}
		for _, of := range []func(sample) time.Duration{gapOf, kernelOf} {
			for _, to := range []string{s.other, rusty} {
				row = append(row, estimate(f.of(name, to, of)))
			}
		}
		rows = append(rows, row)
	}
	b.WriteString(measure.Table(rows))
	fmt.Fprintf(&b, "\nThe guest: %s\n", f.Machine)
	if s.icount != "" {
		fmt.Fprintf(&b, "Its clock counts instructions (`-icount %s`).\n", s.icount)
	}
	var errs []error
	verdict := func(kept bool, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if !kept {
			errs = append(errs, errors.New("a promise is broken: "+text))
			text += " **broken**"
		}
		fmt.Fprintf(&b, "- %s\n", text)
	}
	b.WriteByte('\n')
	if slices.Contains(s.ways, byGate) {
		for _, to := range []string{s.other, rusty} {
			gaps, own := f.of(byGate, to, gapOf), f.of(byGate, to, kernelOf)
			r := median(gaps) / median(own)
			verdict(r <= maxGateToKernel, "(c)/(d) → %s: %.2f, at most %.1f is promised; of single swaps %.2f to %.2f", to, r, maxGateToKernel,
				slices.Min(quotients(gaps, own)), slices.Max(quotients(gaps, own)))
		}
	}
	if slices.Contains(s.ways, byGate) && slices.Contains(s.ways, byLoader) && s.other == lavd {
		r := median(f.of(byLoader, lavd, gapOf)) / median(f.of(byGate, lavd, gapOf))
		verdict(r >= minLoaderToGate, "(a)/(c) → %s: %.0f, at least %d is promised", lavd, r, minLoaderToGate)
		fmt.Fprintf(&b, "- (a)/(c) → %s: %.0f\n", rusty, median(f.of(byLoader, rusty, gapOf))/median(f.of(byGate, rusty, gapOf)))
	}
	if s.rounds < minRounds || s.other != lavd {
		errs = append(errs, fmt.Errorf("%w: %d rounds with %s, %d with %s are needed", errShort, s.rounds, s.other, minRounds, lavd))
	}
	return b.String(), errors.Join(errs...)
}

func gapOf(s sample) time.Duration    { return s.Span.Gap }
func kernelOf(s sample) time.Duration { return s.Span.Kernel() }

// of picks the figures of a way and a direction, in ms, in the order of the rounds.
func (f figures) of(name, to string, what func(sample) time.Duration) []float64 {
	var values []float64
	for _, s := range f.Samples {
		if s.Way == name && s.To == to {
			values = append(values, milli(what(s)))
		}
	}
	return values
}

func quotients(a, b []float64) []float64 {
	q := make([]float64, len(a))
	for i := range a {
		q[i] = a[i] / b[i]
	}
	return q
}

func estimate(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	low, high := interval(values)
	return fmt.Sprintf("%s (%s to %s)", digits(median(values)), digits(low), digits(high))
}

// digits writes milliseconds with three significant digits.
func digits(ms float64) string {
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.2f", ms)
	}
}

// median is that of values that are at least one.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return (v[mid-1] + v[mid]) / 2
}

// interval covers the median with a probability of at least 95 %, whatever the distribution: two of the values, by the binomial
// distribution. Of fewer than six values it is the least and the greatest, which cover it less often.
func interval(values []float64) (low, high float64) {
	v := slices.Sorted(slices.Values(values))
	half := distuv.Binomial{N: float64(len(v)), P: 0.5}
	k := 0
	for half.CDF(float64(k+1)) <= 0.025 { // the chance that the median lies below v[k+1]
		k++
	}
	return v[k], v[len(v)-1-k]
}
