// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/api"
	"autosa/bpf/trace/tracetest"
	"autosa/recording"
	"autosa/vmtest/guest"
)

// Two that share a CPU wait for each other: a recording beside the daemon has
// their waits, and no others where it was told whose to have. It replays to the
// same decisions with them and without, and says so where it was altered.
func TestRecordedEventsAreTheWaitsOfTheChosenAndChangeNoDecision(t *testing.T) {
	needRoot(t)
	tracetest.RequireTracer(t)
	a := start(t, build(t))
	c := tracetest.NewCgroup(t)
	one, other := tracetest.Spin(t, c, 0), tracetest.Spin(t, c, 0)
	before := tracetest.Kernel(t)
	tapes := map[string]*exec.Cmd{
		filepath.Join(a.dir, "chosen"): nil,
		filepath.Join(a.dir, "all"):    nil,
	}
	for file := range tapes {
		args := []string{"record", "--events", "--min-wait", "1us", "-o", file}
		if filepath.Base(file) == "chosen" {
			args = []string{"record", "--events", "--min-wait", "2ms", "--cgroup", c.Name, "-o", file}
		}
		tapes[file] = beside(t, append(withoutSettings(), "AUTOSA_SOCKET="+a.socket), a.bin, args...)
	}
	for file, cmd := range tapes {
		guest.Await(t, 2*time.Minute, "events and samples in "+file, func() bool {
			_, n := recorded(t, file)
			return n[recording.TypeEvent] >= 100 && n[recording.TypeSample] >= 5
		})
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s until SIGINT: %v", cmd, err)
		}
	}
	tracetest.AwaitKernel(t, before)
	for file := range tapes {
		all, n := recorded(t, file)
		if n[recording.TypeTotal] != 1 {
			t.Errorf("%s: %v", file, n)
		}
		checkEventsArePrinted(t, a.bin, file, all)
		decisions, sum := replayTwice(t, a.bin, file)
		bare, _ := replayTwice(t, a.bin, withoutEvents(t, file))
		if diff := cmp.Diff(bare, decisions); diff != "" || sum.Compared < 4 {
			t.Errorf("%s: %+v, and without its events otherwise: %s", file, sum, diff)
		}
		survivesAlteration(t, file, 50)
	}
	waits := make(map[int]int)
	all, _ := recorded(t, filepath.Join(a.dir, "chosen"))
	for _, r := range all {
		if e, ok := r.(*recording.Event); ok {
			if !e.IO && e.Wait < int64(2*time.Millisecond) || string(e.Group) != c.Name {
				t.Errorf("not asked for: %+v", e)
			}
			waits[e.TGID]++
		}
	}
	if waits[one.PID()] < 20 || waits[other.PID()] < 20 {
		t.Errorf("waits of the two that share a CPU: %d and %d", waits[one.PID()], waits[other.PID()])
	}
}

// recorded is what can be read of a recording so far.
func recorded(t *testing.T, file string) (all []recording.Record, n map[recording.Type]int) {
	t.Helper()
	n = make(map[recording.Type]int)
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	in, err := recording.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, n // not yet begun
	}
	for {
		r, err := in.Next()
		switch {
		case errors.Is(err, recording.ErrDamaged): // where it is being written
			continue
		case err != nil:
			return all, n
		}
		all = append(all, r)
		n[r.Type()]++
	}
}

// withoutEvents is a recording less its events.
func withoutEvents(t *testing.T, file string) string {
	t.Helper()
	all, _ := recorded(t, file)
	bare, err := os.Create(file + "-bare")
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	out, err := recording.NewWriter(bare, recording.Header{})
	for _, r := range all {
		switch r.(type) {
		case *recording.Event, *recording.Total, *recording.End:
			continue
		}
		if err == nil {
			err = out.Write(r)
		}
	}
	if err := errors.Join(err, out.Close(1)); err != nil {
		t.Fatal(err)
	}
	return bare.Name()
}

// checkEventsArePrinted compares what `autosa replay --events --json` prints with
// the events of a recording, and these with their total.
func checkEventsArePrinted(t *testing.T, bin, file string, all []recording.Record) {
	t.Helper()
	out, err := exec.Command(bin, "replay", "--events", "--json", file).Output()
	if err != nil {
		t.Errorf("replay --events: %v", err)
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	var events, missing uint64
	for _, r := range all {
		e, isEvent := r.(*recording.Event)
		total, isTotal := r.(*recording.Total)
		if !isEvent && !isTotal {
			continue
		}
		var line api.TraceEvent
		if err := lines.Decode(&line); err != nil {
			t.Fatalf("after %d lines: %v", events, err)
		}
		if isTotal {
			if total.Events != events || total.Lost < missing || line.End == nil || line.End.Events != events || line.End.Lost != total.Lost {
				t.Errorf("%d events, %d said to be missing before them; the total is %+v, printed as %+v", events, missing, total, line.End)
			}
			t.Logf("%s: %+v", filepath.Base(file), total)
			continue
		}
		events++
		missing += e.LostBefore
		s := line.Slice
		if s == nil || s.PID != e.PID || s.Comm != string(e.Comm) || line.Time.UnixNano() != e.Time || s.Arrivals != e.Arrivals || s.LostBefore != e.LostBefore {
			t.Fatalf("event %d is %+v and printed as %+v", events, e, s)
		}
	}
	if lines.More() {
		t.Error("more is printed than was recorded")
	}
}
