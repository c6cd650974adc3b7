// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

func TestLinesLeaveOutWhatMattersLeast(t *testing.T) {
	pieces := []piece{{"first", plain, 3}, {"", plain, 9}, {"least", plain, 1}, {"second", plain, 2}}
	for width, want := range map[int]string{40: "first  least  second", 20: "first  least  second", 19: "first  second", 12: "first", 5: "first", 3: "fi…", 0: ""} {
		if got := line(width, pieces...); got != want {
			t.Errorf("%d: %q, want %q", width, got, want)
		}
	}
}

func TestTextIsCutToCells(t *testing.T) {
	for _, s := range []string{"", "plain", "漢字漢字漢字", "a漢b字c", strings.Repeat("x", 50)} {
		for width := range 30 {
			for how, got := range map[string]string{"cut": cut(s, width), "cutLeft": cutLeft(s, width)} {
				if n := ansi.StringWidth(got); n > width {
					t.Errorf("%s(%q, %d) = %q is %d wide", how, s, width, got, n)
				}
			}
			if got := pad(s, width, true); ansi.StringWidth(got) != width {
				t.Errorf("pad(%q, %d) = %q", s, width, got)
			}
			for _, l := range wrap(s+" "+s, width, "  ") {
				if ansi.StringWidth(l) > width {
					t.Errorf("wrap(%q, %d): %q", s, width, l)
				}
			}
		}
	}
	if got := cutLeft("/user.slice/session-2.scope", 12); got != "…ion-2.scope" {
		t.Errorf("%q", got)
	}
}

func TestWindowsStayWithinTheText(t *testing.T) {
	for _, tt := range [][5]int{{0, 5, 10, 0, 5}, {7, 5, 10, 5, 10}, {-3, 5, 10, 0, 5}, {2, 5, 3, 0, 3}, {0, 0, 9, 0, 0}, {farAway, 4, 9, 5, 9}, {0, 5, 0, 0, 0}} {
		if from, to := window(tt[0], tt[1], tt[2]); from != tt[3] || to != tt[4] {
			t.Errorf("%v: %d, %d", tt, from, to)
		}
	}
}
