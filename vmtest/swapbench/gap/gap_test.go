// SPDX-License-Identifier: Apache-2.0

package gap

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSpanIsTheOneSwapThatTheKernelWentThrough(t *testing.T) {
	whole := gapSpan{LastOld: 100, UnregBegin: 110, UnregEnd: 150, RegBegin: 160, RegEnd: 230, FirstNew: 220, Between: 3, Unregs: 1, Regs: 1}
	s, err := span(whole)
	if want := (Span{Gap: 120, Unregister: 40, Register: 70, Between: 3}); err != nil || s != want || s.Kernel() != 110*time.Nanosecond {
		t.Errorf("got %+v, %v, want %+v", s, err, want)
	}
	for name, change := range map[string]func(*gapSpan){
		"two registrations":      func(s *gapSpan) { s.Regs = 2 },
		"two unregisterings":     func(s *gapSpan) { s.Unregs = 2 },
		"refused":                func(s *gapSpan) { s.Refused = 1 },
		"no task before":         func(s *gapSpan) { s.LastOld = 0 },
		"new before old":         func(s *gapSpan) { s.FirstNew = 90 },
		"never unregistered":     func(s *gapSpan) { s.UnregBegin = 0 },
		"unregistered backwards": func(s *gapSpan) { s.UnregEnd = 100 },
		"registered backwards":   func(s *gapSpan) { s.RegEnd = 150 },
	} {
		bad := whole
		change(&bad)
		if s, err := span(bad); err == nil || errors.Is(err, ErrUnfinished) {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
	for name, change := range map[string]func(*gapSpan){
		"no task under the new one": func(s *gapSpan) { s.FirstNew = 0 },
		"registering":               func(s *gapSpan) { s.RegEnd = 0 },
	} {
		yet := whole
		change(&yet)
		if s, err := span(yet); !errors.Is(err, ErrUnfinished) {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
}

func TestSymbolsThatAreMissingOrHiddenAreErrors(t *testing.T) {
	text := "ffffffff81000010 d one\nffffffff81000020 D two\t[module]\nshort\n0000000000000000 d hidden\nzz d bad\n"
	at, err := symbols(strings.NewReader(text), "one", "two")
	if err != nil || at["one"] != 0xffffffff81000010 || at["two"] != 0xffffffff81000020 {
		t.Errorf("%v, %v", at, err)
	}
	for _, name := range []string{"three", "hidden", "bad"} {
		if at, err := symbols(strings.NewReader(text), "one", name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, at, err)
		}
	}
}
