// SPDX-License-Identifier: Apache-2.0

// Package text makes figures fit for people and text from elsewhere fit for a
// terminal. It is pure.
package text

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Clean makes text from elsewhere fit to print: names of tasks and cgroups are
// chosen by whoever runs them and may hold terminal control sequences. The result
// is valid UTF-8.
func Clean(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, unprintable) {
		return s
	}
	return escape(s, unprintable)
}

// escape writes the characters for which which is true as Go would.
func escape(s string, which func(rune) bool) string {
	var b strings.Builder
	for _, r := range s {
		if which(r) {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// unprintable is true for control and format characters, such as those that
// turn the direction of text.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Cells is Clean for text whose width on a terminal must be known. Terminals
// measure joined characters (combining marks, flags, emoji sequences) in two
// ways, one by one or as what they look like; where the two do not agree about s,
// all that is not ASCII is escaped.
func Cells(s string) string {
	s = Clean(s)
	if !strings.ContainsFunc(s, beyondASCII) {
		return s
	}
	oneByOne := 0
	for _, r := range s {
		oneByOne += ansi.StringWidthWc(string(r))
	}
	if ansi.StringWidth(s) == oneByOne && ansi.StringWidthWc(s) == oneByOne {
		return s
	}
	return escape(s, beyondASCII)
}

func beyondASCII(r rune) bool { return r > unicode.MaxASCII }

// Span prints seconds with three figures at most and a fitting unit.
func Span(seconds float64) string {
	abs := math.Abs(seconds)
	switch {
	case abs == 0:
		return "0"
	case abs < 1e-6:
		return Figures(seconds*1e9) + " ns"
	case abs < 1e-3:
		return Figures(seconds*1e6) + " µs"
	case abs < 1:
		return Figures(seconds*1e3) + " ms"
	case abs < 120:
		return Figures(seconds) + " s"
	}
	return Age(time.Duration(seconds * float64(time.Second)))
}

// Figures prints a number with three figures.
func Figures(v float64) string {
	switch abs := math.Abs(v); {
	case abs < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case abs < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// Age prints how long something has lasted, in two units at most.
func Age(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// Percent prints a share of 0 to 1.
func Percent(share float64) string {
	p := share * 100
	switch {
	case p == 0:
		return "0 %"
	case p < 0.1:
		return strconv.FormatFloat(p, 'f', 2, 64) + " %"
	case p < 10:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + " %"
}

// Grouped prints a count with thousands separated.
func Grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Task names a task.
func Task(comm string, pid int) string { return fmt.Sprintf("%s[%d]", Clean(comm), pid) }

// Command prints a scheduler with its arguments, quoted where a shell would
// need it.
func Command(name string, args []string) string {
	parts := []string{Clean(name)}
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>()*?[]#~`!{}") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		parts = append(parts, Clean(a))
	}
	return strings.Join(parts, " ")
}
