// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"
)

// clean makes text from elsewhere fit to print: names of tasks and cgroups are
// chosen by whoever runs them and may hold terminal control sequences.
func clean(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// unprintable is true for control and format characters (such as those that
// turn the direction of text) and for what was not UTF-8.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// printJSON prints v, indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// terminal returns the size of the terminal that w is; ok is false where it is
// none.
func terminal(w io.Writer) (width, height int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	if size.Col == 0 || size.Row == 0 { // a serial line does not know its size
		return 80, 24, true
	}
	return int(size.Col), int(size.Row), true
}

// styles are the few that the pages use; on anything but a terminal, and with
// NO_COLOR, they leave text alone.
type styles struct{ title, good, bad, warn, faint lipgloss.Style }

func stylesFor(w io.Writer) styles {
	r := lipgloss.NewRenderer(w)
	if _, _, ok := terminal(w); ok {
		// Never ask the terminal for its colours: the answer would arrive on
		// standard input, in the middle of what is typed.
		r.SetHasDarkBackground(true)
	}
	return styles{
		title: r.NewStyle().Bold(true),
		good:  r.NewStyle().Foreground(lipgloss.Color("2")),
		bad:   r.NewStyle().Foreground(lipgloss.Color("1")).Bold(true),
		warn:  r.NewStyle().Foreground(lipgloss.Color("3")),
		faint: r.NewStyle().Faint(true),
	}
}

// row is a line of a table; its cells may be styled.
type row []string

// writeTable prints rows with columns as wide as their widest cell, two spaces
// apart; right names the columns that are set to the right.
func writeTable(w io.Writer, indent string, rows []row, right ...int) {
	var widths []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	toRight := make(map[int]bool)
	for _, i := range right {
		toRight[i] = true
	}
	for _, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			pad := strings.Repeat(" ", widths[i]-ansi.StringWidth(cell))
			if toRight[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
			b.WriteString("  ")
		}
		fmt.Fprintln(w, strings.TrimRight(indent+b.String(), " "))
	}
}

// span prints seconds with three figures at most and a fitting unit.
func span(seconds float64) string {
	abs := math.Abs(seconds)
	switch {
	case abs == 0:
		return "0"
	case abs < 1e-6:
		return figures(seconds*1e9) + " ns"
	case abs < 1e-3:
		return figures(seconds*1e6) + " µs"
	case abs < 1:
		return figures(seconds*1e3) + " ms"
	case abs < 120:
		return figures(seconds) + " s"
	}
	return age(time.Duration(seconds * float64(time.Second)))
}

func figures(v float64) string {
	switch abs := math.Abs(v); {
	case abs < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case abs < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// age prints how long something has lasted, in two units at most.
func age(d time.Duration) string {
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

// percent prints a share of 0 to 1.
func percent(share float64) string {
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

// grouped prints a count with thousands separated.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// command prints a scheduler with its arguments, quoted where a shell would
// need it.
func command(name string, args []string) string {
	parts := []string{clean(name)}
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>()*?[]#~`!{}") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		parts = append(parts, clean(a))
	}
	return strings.Join(parts, " ")
}
