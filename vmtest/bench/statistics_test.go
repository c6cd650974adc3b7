// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6 }

// Student's quantile for 4 degrees of freedom is 2.776445 (any table).
func TestSlowdownIsStudentsIntervalOfTheLogarithms(t *testing.T) {
	var pairs []pair
	for _, log := range []float64{0.01, 0.02, 0.03, 0.04, 0.05} {
		pairs = append(pairs, pair{on: math.Exp(log), off: 1})
	}
	mean, low, high := slowdown(pairs)
	half := 2.776445 * math.Sqrt(0.00025/5) // variance of the five
	if !near(mean, math.Expm1(0.03)) || !near(low, math.Expm1(0.03-half)) || !near(high, math.Expm1(0.03+half)) {
		t.Errorf("%v, %v to %v, want about 3 %% and %v around", mean, low, high, half)
	}
}

func TestIntervalHoldsTheTruthNineteenTimesInTwenty(t *testing.T) {
	const trials, truth = 2000, 0.01
	lot := rand.New(rand.NewPCG(1, 2))
	held := 0
	for range trials {
		pairs := make([]pair, 20)
		for i := range pairs {
			drift := math.Exp(0.2 * lot.NormFloat64()) // of the machine, in both
			pairs[i] = pair{on: drift * math.Exp(math.Log1p(truth)+0.03*lot.NormFloat64()), off: drift}
		}
		if _, low, high := slowdown(pairs); low <= truth && truth <= high {
			held++
		}
	}
	if share := float64(held) / trials; share < 0.93 || share > 0.97 {
		t.Errorf("the interval held the truth in %.3f of the trials, want 0.95", share)
	}
}

func TestPromisesAreJudgedByRatiosOfTheSameRound(t *testing.T) {
	rounds := func(ns ...float64) result { return result{perSwitch: ns} }
	// The machine is three times slower in the second round, for everybody.
	kept := []result{rounds(30, 90, 30), rounds(70, 210, 70), rounds(190, 570, 190), rounds(500, 1500, 500)}
	if broken := promises(kept); len(broken) > 0 {
		t.Errorf("kept promises are broken: %v", broken)
	}
	for i, worse := range map[int]result{0: rounds(20, 60, 20), 2: rounds(70, 210, 70), 3: rounds(270, 810, 270)} {
		results := append([]result(nil), kept...)
		results[i] = worse
		broken := promises(results)
		if len(broken) != 1 || !strings.Contains(broken[0].Error(), contenders[i].name) {
			t.Errorf("against %s: %v", contenders[i].name, broken)
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("median %v, want 5", got)
	}
	if got := median([]float64{4, 1, 9, 2}); got != 3 {
		t.Errorf("median %v, want 3", got)
	}
}
