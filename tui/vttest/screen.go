// SPDX-License-Identifier: Apache-2.0

// Package vttest is a terminal for tests: a program runs on a real
// pseudo-terminal, and what it writes is interpreted strictly. Whatever the
// screen does not know, and whatever is written past a line's end, is a defect.
package vttest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// blank is an empty cell.
const blank = " "

// screen is what a program's output makes of a terminal.
type screen struct {
	parser        *ansi.Parser
	width, height int
	// next is the size that the program has been told of; it becomes the size
	// when the program begins its page anew.
	next    [2]int
	cells   [][]string // a wide character is followed by ""
	x, y    int
	last    rune
	full    bool // the line's last cell was written: the next character would wrap
	defects []string
	colours bool // some colour was used
	pages   int  // full erasures

	// What a program has to put back. Private modes are those that differ from
	// their default.
	modes    map[int]bool
	keyboard int  // entries on the stack of keyboard protocols
	otherKey int  // modifyOtherKeys
	styled   bool // graphic rendition not reset
	title    string
	margins  [2]int // of the scrolling region: its first line, and the one after it
	replies  []string
	ended    bool // the mark was seen that the terminal writes behind all else
}

// endMark is a title that no program sets.
const endMark = "vttest: end"

// altScreen is the private mode of a screen that is put aside at the end.
const altScreen = 1049

// onByDefault are the private modes that a terminal starts with.
var onByDefault = map[int]bool{7: true, 25: true}

func newScreen(width, height int) *screen {
	s := &screen{modes: map[int]bool{}, parser: ansi.NewParser()}
	s.resize(width, height)
	s.parser.SetHandler(ansi.Handler{
		Print: s.print, Execute: s.execute, HandleCsi: s.csi, HandleEsc: s.esc, HandleOsc: s.osc,
		HandleDcs: func(ansi.Cmd, ansi.Params, []byte) { s.defect("a device control string") },
		HandlePm:  func([]byte) { s.defect("a privacy message") },
		HandleApc: func([]byte) { s.defect("an application program command") },
		HandleSos: func([]byte) { s.defect("a start of string") },
	})
	return s
}

func (s *screen) defect(format string, args ...any) {
	if len(s.defects) < 20 {
		s.defects = append(s.defects, fmt.Sprintf(format, args...))
	}
}

func (s *screen) resize(width, height int) {
	s.width, s.height, s.next = width, height, [2]int{width, height}
	s.x, s.y, s.full = min(s.x, width-1), min(s.y, height-1), false
	s.margins = [2]int{0, height}
	s.erase()
}

func (s *screen) erase() {
	s.cells = make([][]string, s.height)
	for i := range s.cells {
		s.cells[i] = blanks(s.width)
	}
}

func blanks(n int) []string { return slices.Repeat([]string{blank}, n) }

// lines is the screen as text.
func (s *screen) lines() []string {
	out := make([]string, len(s.cells))
	for i, row := range s.cells {
		out[i] = strings.TrimRight(strings.Join(row, ""), " ")
	}
	return out
}

func (s *screen) print(r rune) {
	n := ansi.StringWidthWc(string(r))
	s.last = r
	if n == 0 {
		if s.x > 0 {
			s.cells[s.y][s.x-1] += string(r)
		}
		return
	}
	wraps := (s.full || s.x+n > s.width) && !s.modes[7]
	switch {
	case wraps && s.modes[altScreen]:
		s.defect("%q past the end of line %d of %d columns: %s", r, s.y, s.width, strings.Join(s.cells[s.y], ""))
		return
	case wraps: // as it should where lines follow one another
		s.execute('\r')
		s.execute('\n')
	case s.x+n > s.width:
		return
	}
	s.cells[s.y][s.x] = string(r)
	if n == 2 {
		s.cells[s.y][s.x+1] = ""
	}
	if s.x += n; s.x == s.width {
		s.x, s.full = s.width-1, true
	}
}

func (s *screen) execute(b byte) {
	switch b {
	case '\r':
		s.x, s.full = 0, false
	case '\n':
		switch s.y {
		case s.margins[1] - 1:
			s.scroll(s.margins[0], s.margins[1], 1)
		case s.height - 1:
		default:
			s.y++
		}
	case '\b':
		s.x, s.full = max(s.x-1, 0), false
	case '\t':
		s.move(min((s.x/8+1)*8, s.width-1), s.y)
	default:
		s.defect("control character %#x", b)
	}
}

func (s *screen) move(x, y int) {
	s.x, s.y, s.full = min(max(x, 0), s.width-1), min(max(y, 0), s.height-1), false
}

// scroll moves lines from to to up by n, or down.
func (s *screen) scroll(from, to, n int) {
	rows := s.cells[from:to]
	moved := make([][]string, len(rows))
	for i := range moved {
		if j := i + n; j >= 0 && j < len(rows) {
			moved[i] = rows[j]
		} else {
			moved[i] = blanks(s.width)
		}
	}
	copy(rows, moved)
}

func (s *screen) esc(cmd ansi.Cmd) {
	switch {
	case cmd.Final() == 'M' && s.y == s.margins[0]:
		s.scroll(s.margins[0], s.margins[1], -1)
	case cmd.Final() == 'M' && s.y > 0:
		s.y--
	case cmd.Final() == '\\': // the end of a string
	default:
		s.defect("escape %q", rune(cmd.Final()))
	}
}

func (s *screen) osc(cmd int, data []byte) {
	if cmd != 0 && cmd != 2 {
		s.defect("operating system command %q", data)
		return
	}
	switch _, title, _ := strings.Cut(string(data), ";"); title {
	case endMark:
		s.ended = true
	default:
		s.title = title
	}
}

func (s *screen) csi(cmd ansi.Cmd, params ansi.Params) {
	n := func(i, def int) int {
		v, _, ok := params.Param(i, def)
		if !ok {
			return def
		}
		return v
	}
	one := max(n(0, 1), 1)
	switch string([]byte{cmd.Prefix(), cmd.Intermediate(), cmd.Final()}) {
	case "\x00\x00H":
		s.move(n(1, 1)-1, n(0, 1)-1)
	case "\x00\x00G", "\x00\x00`":
		s.move(one-1, s.y)
	case "\x00\x00d":
		s.move(s.x, one-1)
	case "\x00\x00A":
		s.move(s.x, s.y-one)
	case "\x00\x00B":
		s.move(s.x, s.y+one)
	case "\x00\x00C":
		s.move(s.x+one, s.y)
	case "\x00\x00D":
		s.move(s.x-one, s.y)
	case "\x00\x00E":
		s.move(0, s.y+one)
	case "\x00\x00F":
		s.move(0, s.y-one)
	case "\x00\x00I":
		s.move(min((s.x/8+one)*8, s.width-1), s.y)
	case "\x00\x00Z":
		s.move((s.x+7)/8*8-8*one, s.y)
	case "\x00\x00J":
		s.eraseDisplay(n(0, 0))
	case "\x00\x00K":
		switch n(0, 0) {
		case 0:
			s.eraseCells(s.x, s.width)
		case 1:
			s.eraseCells(0, s.x+1)
		default:
			s.eraseCells(0, s.width)
		}
	case "\x00\x00X":
		s.eraseCells(s.x, min(s.x+one, s.width))
	case "\x00\x00b":
		for range one {
			s.print(s.last)
		}
	case "\x00\x00P":
		row := s.cells[s.y]
		s.cells[s.y] = append(append(row[:s.x:s.x], row[min(s.x+one, s.width):]...), blanks(min(one, s.width-s.x))...)
	case "\x00\x00@":
		row := s.cells[s.y]
		s.cells[s.y] = append(append(row[:s.x:s.x], blanks(min(one, s.width-s.x))...), row[s.x:]...)[:s.width]
	case "\x00\x00L":
		s.scroll(s.y, s.margins[1], -one)
	case "\x00\x00M":
		s.scroll(s.y, s.margins[1], one)
	case "\x00\x00S":
		s.scroll(s.margins[0], s.margins[1], one)
	case "\x00\x00T":
		s.scroll(s.margins[0], s.margins[1], -one)
	case "\x00\x00r":
		s.margins = [2]int{n(0, 1) - 1, n(1, s.height)}
		s.move(0, 0)
	case "\x00\x00m":
		s.style(params)
	case "?\x00h", "?\x00l":
		params.ForEach(0, func(_, mode int, _ bool) { s.set(mode, cmd.Final() == 'h') })
	case "?$p":
		s.replies = append(s.replies, fmt.Sprintf("\x1b[?%d;2$y", n(0, 0)))
	case ">\x00m":
		s.otherKey = n(1, 0)
	case ">\x00u":
		s.keyboard++
	case "<\x00u":
		s.keyboard -= one
	case "=\x00u", "?\x00W": // keyboard flags; tab stops as they always are
	case "?\x00u":
		s.replies = append(s.replies, "\x1b[?0u")
	default:
		s.defect("control sequence %q %q %q", rune(cmd.Prefix()), rune(cmd.Intermediate()), rune(cmd.Final()))
	}
}

func (s *screen) style(params ansi.Params) {
	s.styled = false
	params.ForEach(0, func(_, p int, _ bool) {
		s.styled = s.styled || p != 0
		s.colours = s.colours || p >= 30 && p <= 38 || p >= 40 && p <= 48 || p >= 90 && p <= 107
	})
}

func (s *screen) set(mode int, on bool) {
	// Entering or leaving the alternate screen clears it.
	if mode == altScreen {
		s.erase()
	}
	if on == onByDefault[mode] {
		delete(s.modes, mode)
		return
	}
	s.modes[mode] = true
}

func (s *screen) eraseDisplay(what int) {
	switch what {
	case 0:
		if s.x == 0 && s.y == 0 {
			s.begin()
			return
		}
		s.eraseCells(s.x, s.width)
		for y := s.y + 1; y < s.height; y++ {
			s.cells[y] = blanks(s.width)
		}
	case 2, 3:
		s.begin()
	default:
		s.defect("erasing the display upwards")
	}
}

// begin erases everything; a new size takes effect now, since what came before
// was written for the old one.
func (s *screen) begin() {
	s.pages++
	if s.next != [2]int{s.width, s.height} {
		s.resize(s.next[0], s.next[1])
	}
	s.erase()
}

func (s *screen) eraseCells(from, to int) {
	for x := from; x < to; x++ {
		s.cells[s.y][x] = blank
	}
}

// left is what a program has not put back.
func (s *screen) left() []string {
	var out []string
	for mode := range s.modes {
		out = append(out, fmt.Sprintf("private mode %d", mode))
	}
	if s.keyboard != 0 {
		out = append(out, fmt.Sprintf("%d entries of keyboard protocols", s.keyboard))
	}
	if s.otherKey != 0 {
		out = append(out, "modifyOtherKeys")
	}
	if s.styled {
		out = append(out, "a style")
	}
	if s.margins != [2]int{0, s.height} {
		out = append(out, "a scrolling region")
	}
	if s.title != "" {
		out = append(out, "a title")
	}
	return out
}
