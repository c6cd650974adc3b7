// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"autosa/vmtest/swapbench/gap"
)

// measured makes figures in which every swap of a way takes as long as given, the kernel's part 100 ms.
func measured(rounds int, gaps map[string]time.Duration) figures {
	f := figures{Machine: "small"}
	for round := range rounds {
		for name, g := range gaps {
			for _, to := range []string{lavd, rusty} {
				f.Samples = append(f.Samples, sample{Way: name, Round: round + 1, To: to, Span: gap.Span{
					Gap: g, Unregister: 60 * time.Millisecond, Register: 40 * time.Millisecond,
				}})
			}
		}
	}
	return f
}

func TestVerdictFollowsThePromises(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name   string
		rounds int
		gaps   map[string]time.Duration
		text   string // in the table
		broken string // in the error; none when empty
	}{
		{"kept", 10, map[string]time.Duration{byGate: 129 * ms, byLoader: 6460 * ms}, "(a)/(c) → scx_lavd: 50,", ""},
		{"the gate is slow", 10, map[string]time.Duration{byGate: 131 * ms, byLoader: 9000 * ms}, "(c)/(d) → scx_lavd: 1.31", "(c)/(d) → scx_rusty: 1.31"},
		{"scx_loader is fast", 10, map[string]time.Duration{byGate: 120 * ms, byLoader: 5900 * ms}, "**broken**", "(a)/(c) → scx_lavd: 49"},
		{"too few", 9, map[string]time.Duration{byGate: 120 * ms, byLoader: 6500 * ms}, "9 swaps each way", errShort.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := settings{rounds: c.rounds, ways: []string{byLoader, byGate}, load: "spin", other: lavd}
			text, err := s.table("7.2", measured(c.rounds, c.gaps))
			if !strings.Contains(text, c.text) || !strings.Contains(text, "The guest: small\n") {
				t.Errorf("no %q in:\n%s", c.text, text)
			}
			if c.broken == "" && err != nil || c.broken != "" && (err == nil || !strings.Contains(err.Error(), c.broken)) {
				t.Errorf("error %v, want one with %q", err, c.broken)
			}
			if errors.Is(err, errShort) != (c.rounds < minRounds) {
				t.Errorf("error %v after %d rounds", err, c.rounds)
			}
		})
	}
}

func TestIntervalOfTheMedianIsThatOfTheBinomialDistribution(t *testing.T) {
	values := make([]float64, 0, 25)
	for n := 1; n <= 25; n++ {
		values = append(values, float64(26-n)) // 25 down to 26-n
		// Of the tables: ranks from both ends for at least 95 %.
		rank, known := map[int]int{5: 1, 6: 1, 8: 1, 9: 2, 10: 2, 12: 3, 15: 4, 20: 6, 25: 8}[n]
		if !known {
			continue
		}
		least := float64(26 - n)
		low, high := interval(values)
		if low != least+float64(rank-1) || high != 25-float64(rank-1) {
			t.Errorf("of %d values: %v to %v, want the %d. from both ends of %v to 25", n, low, high, rank, least)
		}
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v", m)
	}
}

func TestFiguresAreFoundAmongWhatAGuestPrints(t *testing.T) {
	f, err := parse([]byte("hello\n" + mark + `{"Machine":"here","Samples":[{"Way":"gate","To":"scx_lavd"}]}` + "\nbye\n"))
	if err != nil || f.Machine != "here" || len(f.Samples) != 1 || f.Samples[0].Way != byGate {
		t.Errorf("%+v, %v", f, err)
	}
	for _, text := range []string{"", "hello\n", mark + "{\n"} {
		if _, err := parse([]byte(text)); err == nil {
			t.Errorf("figures in %q", text)
		}
	}
}
