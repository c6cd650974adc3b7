// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"autosa/recording"
	"autosa/vmtest/guest"
)

// tape is `autosa record` beside a daemon.
type tape struct {
	*guest.Process
	file string
}

// recordBeside starts `autosa record` and waits until it has begun to write.
func recordBeside(t *testing.T, a *autosa) *tape {
	t.Helper()
	file := filepath.Join(a.dir, "run.autosa")
	p := guest.Start(t, a.bin, "record", "-o", file, "--socket", a.socket)
	guest.Await(t, soon, "the recording to begin", func() bool {
		st, err := os.Stat(file)
		return err == nil && st.Size() > 0
	})
	return &tape{p, file}
}

// loggedDecision is how the daemon logs a decision that asks for something.
var loggedDecision = regexp.MustCompile(`msg=decision .*?action=(\S+) arm=("(?:[^"\\]|\\.)*"|\S+) why=("(?:[^"\\]|\\.)*"|\S+)`)

func logged(t *testing.T, log string) []string {
	t.Helper()
	plain := func(s string) string {
		if s[0] != '"' {
			return s
		}
		u, err := strconv.Unquote(s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		return u
	}
	var out []string
	for _, m := range loggedDecision.FindAllStringSubmatch(log, -1) {
		out = append(out, m[1]+" "+plain(m[2])+": "+plain(m[3]))
	}
	return out
}

// check is for after the daemon's end: the recording has ended with it, is
// whole, and replays to the decisions that the daemon logged.
func (r *tape) check(t *testing.T, a *autosa, swaps int) {
	t.Helper()
	guest.Await(t, soon, "`autosa record` to end with the daemon", r.Ended)
	got := recordedSwaps(t, r.file)
	if len(got) < swaps || !slices.IsSortedFunc(got, func(a, b recording.Swap) int { return int(a.EnableSeq) - int(b.EnableSeq) }) {
		t.Errorf("%d swaps in the recording, want %d or more, with the kernel's numbers in order: %+v", len(got), swaps, got)
	}
	began := time.Now()
	decisions, sum := replayTwice(t, a.bin, r.file)
	if sum.Different+sum.Lost > 0 || sum.Compared == 0 || sum.Compared != sum.Decisions {
		t.Errorf("replay: %+v", sum)
	}
	want, have := logged(t, a.log.String()), changes(decisions)
	// The recording began after the daemon: the log may hold more before it, and
	// the first decision that was recorded may repeat one that was logged before.
	if !endsWith(want, have) && !(len(have) > 0 && endsWith(want, have[1:])) || len(have) < swaps {
		t.Errorf("the daemon logged these decisions:\n%q\nreplay has:\n%q", want, have)
	}
	survivesAlteration(t, r.file, 8)
	st, _ := os.Stat(r.file)
	t.Logf("%d samples, %d decisions, %d swaps in %d bytes; checked in %v", sum.Samples, sum.Decisions, len(got), st.Size(), time.Since(began))
}

// changes are the decisions that the daemon logs: those that ask for something
// and say something else than the one before.
func changes(decisions []recording.Decision) []string {
	var out []string
	before := ""
	for _, d := range decisions {
		words := []string{d.Action, string(d.Arm.Scheduler)}
		for _, a := range d.Arm.Args {
			words = append(words, string(a))
		}
		now := strings.Join(words, " ")
		if now != before && d.Action != "keep" {
			reasons := make([]string, 0, len(d.Reasons))
			for _, r := range d.Reasons {
				reasons = append(reasons, string(r))
			}
			out = append(out, now+": "+strings.Join(reasons, "; "))
		}
		before = now
	}
	return out
}

func endsWith(all, end []string) bool {
	return len(end) <= len(all) && slices.Equal(all[len(all)-len(end):], end)
}

// recordedSwaps reads a recording that has to be whole.
func recordedSwaps(t *testing.T, file string) []recording.Swap {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := recording.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var swaps []recording.Swap
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the recording: %v", err)
		}
		if s, ok := rec.(*recording.Swap); ok {
			swaps = append(swaps, *s)
		}
	}
	if !in.Summary().Complete {
		t.Errorf("the recording is not complete: %+v", in.Summary())
	}
	return swaps
}
