// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// tone is how a piece of text looks. It only ever repeats what the text says:
// the page means the same without it.
type tone int

const (
	plain tone = iota
	strong
	faint
	good
	warn
	bad
	chosen // the selected line
)

var styles = [...]ansi.Style{
	strong: ansi.Style{}.Bold(),
	faint:  ansi.Style{}.Faint(),
	good:   ansi.Style{}.ForegroundColor(ansi.Green),
	warn:   ansi.Style{}.ForegroundColor(ansi.Yellow),
	bad:    ansi.Style{}.Bold().ForegroundColor(ansi.Red),
	chosen: ansi.Style{}.Reverse(true),
}

func (t tone) of(s string) string { return styles[t].Styled(s) }

// piece is a part of a line that gives way, or is cut, where the line is too
// long. Its text must have passed text.Cells.
type piece struct {
	text string
	tone tone
	rank int // the lowest ones give way first
}

// gap is between the pieces of a line.
const gap = "  "

// line joins pieces until they are width cells wide at most; the pieces of the
// lowest rank are left out first, of equals the last, and what remains is cut.
func line(width int, pieces ...piece) string {
	pieces = slices.DeleteFunc(slices.Clone(pieces), func(p piece) bool { return p.text == "" })
	for len(pieces) > 1 && wide(pieces) > width {
		least := 0
		for i, p := range pieces {
			if p.rank <= pieces[least].rank {
				least = i
			}
		}
		pieces = slices.Delete(pieces, least, least+1)
	}
	var b strings.Builder
	for i, p := range pieces {
		if i > 0 {
			b.WriteString(gap)
		}
		b.WriteString(p.tone.of(p.text))
	}
	return cut(b.String(), width)
}

func wide(pieces []piece) int {
	n := len(gap) * (len(pieces) - 1)
	for _, p := range pieces {
		n += ansi.StringWidth(p.text)
	}
	return n
}

// cut shortens s to width cells, from the right.
func cut(s string, width int) string { return ansi.Truncate(s, max(width, 0), "…") }

// cutLeft shortens s to width cells from the left: the end of a cgroup's path
// says most.
func cutLeft(s string, width int) string {
	n := ansi.StringWidth(s)
	if n <= width {
		return s
	}
	if width <= 0 {
		return ""
	}
	s = ansi.TruncateLeft(s, n-width+1, "…")
	// A wide character that did not fit whole leaves a cell too many.
	return cut(s, width)
}

// pad fills s up to width cells, or cuts it.
func pad(s string, width int, toRight bool) string {
	s = cut(s, width)
	space := strings.Repeat(" ", max(width-ansi.StringWidth(s), 0))
	if toRight {
		return space + s
	}
	return s + space
}

// wrap breaks s into lines of at most width cells, the second and later ones
// indented.
func wrap(s string, width int, indent string) []string {
	if ansi.StringWidth(s) <= width || width <= 2*len(indent)+2 {
		return []string{cut(s, width)}
	}
	first, rest, _ := strings.Cut(ansi.Wrap(s, width, " "), "\n")
	lines := []string{first}
	if rest != "" {
		// What follows the first line is wrapped anew, narrower.
		for l := range strings.SplitSeq(ansi.Wrap(strings.ReplaceAll(rest, "\n", " "), width-len(indent), " "), "\n") {
			lines = append(lines, indent+l)
		}
	}
	return lines
}

// beside sets two blocks next to each other, the left one width cells wide.
func beside(left, right []string, width int) []string {
	var out []string
	for i := range max(len(left), len(right)) {
		var l, r string
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		out = append(out, pad(l, width, false)+gap+r)
	}
	return out
}

// window is the part of n lines that is seen: size of them from offset on.
func window(offset, size, n int) (from, to int) {
	from = min(max(offset, 0), max(n-size, 0))
	return from, min(from+max(size, 0), n)
}
