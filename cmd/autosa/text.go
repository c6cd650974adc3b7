// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"

	"autosa/text"
)

// Package text's words, as this package calls them.
var (
	clean   = text.Clean
	span    = text.Span
	figures = text.Figures
	age     = text.Age
	percent = text.Percent
	grouped = text.Grouped
	command = text.Command
	task    = text.Task
)

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
