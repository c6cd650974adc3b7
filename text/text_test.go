// SPDX-License-Identifier: Apache-2.0

package text

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func TestSpansHaveFittingUnits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 85.4e-9: "85.4 ns", 1.5e-6: "1.50 µs", 12.34e-6: "12.3 µs", 999.7e-6: "1000 µs", 0.0481: "48.1 ms", 2.31: "2.31 s", 119: "119 s", 7260: "2 h 1 min", 1e6: "11 days 13 h",
	} {
		if got := Span(v); got != want {
			t.Errorf("Span(%g) = %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0 %", 0.00041: "0.04 %", 0.021: "2.1 %", 0.86: "86 %", 1: "100 %"} {
		if got := Percent(v); got != want {
			t.Errorf("Percent(%g) = %s, want %s", v, got, want)
		}
	}
	for v, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 12345678: "12,345,678"} {
		if got := Grouped(v); got != want {
			t.Errorf("Grouped(%d) = %s, want %s", v, got, want)
		}
	}
}

func TestCleanTextHasNoControlCharacters(t *testing.T) {
	for in, want := range map[string]string{
		"bash":             "bash",
		"naïve 漢字":         "naïve 漢字",
		"\x1b[2J":          `\x1b[2J`,
		"a\tb\n\a\x7f":     `a\tb\n\a\x7f`,
		"\u202eevil\u200d": `\u202eevil\u200d`,
		"\u009b31m":        `\u009b31m`,
		"not \xff UTF-8":   "not \ufffd UTF-8",
		`C:\x1b`:           `C:\x1b`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whichever way a terminal measures, the result is as wide as we think.
func TestCellsHaveOneWidth(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"漢字":              "漢字",
		"e\u0301te\u0301": "e\u0301te\u0301",
		"flag 🇩🇪":         `flag \U0001f1e9\U0001f1ea`,
		"❤\ufe0f":         `\u2764\ufe0f`,
		"👍🏽 \\ \"":        `\U0001f44d\U0001f3fd \ "`,
	} {
		if got := Cells(in); got != want {
			t.Errorf("Cells(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzCells(f *testing.F) {
	for _, s := range []string{"a", "\x1b]0;x\a", "🇩🇪", "e\u0301", "\u1100\u1161", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Cells(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unprintable) {
			t.Errorf("%q", got)
		}
		if a, b := ansi.StringWidth(got), ansi.StringWidthWc(got); a != b {
			t.Errorf("%q is %d or %d wide", got, a, b)
		}
	})
}

func TestLossesTellWhatIsMissingFromWhatWasSampled(t *testing.T) {
	l := LossesOf(map[string]uint64{"b": 3, "a\x1b": 1000, "none": 0, "event_rate": 7}, 100_000)
	if !slices.Equal(l.Uncounted, []string{`a\x1b 1,000`, "b 3"}) || !slices.Equal(l.Events, []string{"event_rate 7"}) || l.Total != 1003 || !l.Notable {
		t.Errorf("%+v", l)
	}
	if l := LossesOf(map[string]uint64{"first": 1000}, 100_000); l.Notable {
		t.Error("one in a hundred is no warning")
	}
}
