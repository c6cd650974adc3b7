// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// median is that of values that are at least one.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

// spread returns the least and the greatest value.
func spread(values []float64) (least, greatest float64) {
	return slices.Min(values), slices.Max(values)
}

// pair is how long the same work took with autosa and without, one soon after the other.
type pair struct{ on, off float64 }

// slowdown is the mean of on/off - 1 over pairs with its 95 % confidence interval: Student's over the logarithms of the
// ratios, so that twice as slow and twice as fast weigh the same.
func slowdown(pairs []pair) (mean, low, high float64) {
	logs := make([]float64, len(pairs))
	for i, p := range pairs {
		logs[i] = math.Log(p.on / p.off)
	}
	m, sd := stat.MeanStdDev(logs, nil)
	t := distuv.StudentsT{Sigma: 1, Nu: float64(len(logs) - 1)}.Quantile(0.975)
	half := t * stat.StdErr(sd, float64(len(logs)))
	return math.Expm1(m), math.Expm1(m - half), math.Expm1(m + half)
}
