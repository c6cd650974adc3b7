// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatCannotBeHeldIsRememberedOverARestart(t *testing.T) {
	k := newFakeKernel(t)
	file := filepath.Join(t.TempDir(), "state/ungated.json")
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	const busy = `echo >> $K/starts; [ "$(cat $K/root/ops 2>/dev/null)" ] && { echo "Error: Device or resource busy (os error 16)" >&2; exit 1; }`
	k.scheduler("scx_lavd", "lavd_1.0.0_x", busy)
	starts := func() int { b, _ := os.ReadFile(k.dir + "/starts"); return strings.Count(string(b), "\n") }
	run := func() string {
		s := k.switcher(Options{Ungated: file})
		if err := s.Recover(); err != nil {
			t.Fatal(err)
		}
		mustSwitch(t, s, "rusty")
		why := mustSwitch(t, s, "lavd").Ungated
		mustSwitch(t, s, EEVDF)
		return why
	}
	for i, want := range []int{2, 3, 4} { // tried at the gate the first time only
		if why := run(); !strings.Contains(why, "resource busy") || starts() != want {
			t.Errorf("run %d: %q, started %d times, want %d", i, why, starts(), want)
		}
	}
	k.scheduler("scx_lavd", "lavd_1.0.0_x", busy+" # another version")
	if why := run(); why == "" || starts() != 6 {
		t.Errorf("a new version was not tried: %q, started %d times", why, starts())
	}
	if b, err := os.ReadFile(file); err != nil || strings.Count(string(b), `"path"`) != 1 {
		t.Errorf("%s, %v", b, err)
	}
}

func TestWhatTheMachineRefusesIsNotRememberedOfABinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.json")
	u := newUngated(path, testLog(t))
	u.note(fileID{path: "/a"}, "no filters here", false, time.Now())
	if _, err := os.Stat(path); err == nil || u.why(fileID{path: "/a"}) == "" {
		t.Error("it was kept, or forgotten at once")
	}
	u.note(fileID{path: "/b"}, "busy", true, time.Now())
	again := newUngated(path, testLog(t))
	if err := again.load(time.Now()); err != nil || again.why(fileID{path: "/b"}) != "busy" || again.why(fileID{path: "/a"}) != "" {
		t.Errorf("%v, %+v", err, again.seen)
	}
	old := newUngated(path, testLog(t))
	if err := old.load(time.Now().Add(ungatedFor + time.Hour)); err != nil || len(old.seen) != 0 {
		t.Errorf("after its time: %v, %+v", err, old.seen)
	}
	if err := newUngated("", testLog(t)).load(time.Now()); err != nil {
		t.Error(err)
	}
}

func TestADamagedFileOfWhatCannotBeHeldIsPutAside(t *testing.T) {
	many := ungatedFile{Version: ungatedVersion}
	for i := range maxUngated + 1 {
		many.Entries = append(many.Entries, ungatedEntry{Path: fmt.Sprint(i), Why: "x", At: time.Now()})
	}
	b, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"{": "unexpected end", `{"version":2}`: "format version 2", string(b): "129 entries", `{"version":1,"entries":[{"path":"/a"}]}`: "without a path or a reason",
		strings.Repeat(" ", maxUngatedBytes+1): "longer than",
	} {
		path := filepath.Join(t.TempDir(), "u.json")
		write(t, path, text)
		u := newUngated(path, testLog(t))
		if err := u.load(time.Now()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path+".damaged") {
			t.Errorf("%.40q: %v", text, err)
		}
		if _, err := os.Stat(path + ".damaged"); err != nil {
			t.Error(err)
		}
		u.note(fileID{path: "/a"}, "busy", true, time.Now())
		if err := newUngated(path, testLog(t)).load(time.Now()); err != nil {
			t.Error(err)
		}
	}
	dir := t.TempDir() // a directory stands where the file should be
	if err := newUngated(dir, testLog(t)).load(time.Now()); err == nil {
		t.Error("a directory was read")
	}
	var said strings.Builder
	u := newUngated(filepath.Join(dir, "u.json"), slog.New(slog.NewTextHandler(&said, nil)))
	write(t, filepath.Join(dir, "file"), "")
	u.path = filepath.Join(dir, "file", "u.json")
	if u.note(fileID{path: "/a"}, "busy", true, time.Now()); !strings.Contains(said.String(), "will be forgotten") || u.why(fileID{path: "/a"}) != "busy" {
		t.Errorf("not written, and said %q", said.String())
	}
}

func FuzzUngated(f *testing.F) {
	f.Add([]byte(`{"version":1,"entries":[{"path":"/a","why":"x","at":"2026-01-01T00:00:00Z","inode":1}]}`))
	f.Add([]byte(`{"version":1,"entries":[{"path":"/a","why":"x","at":"9999-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.Unix(1_800_000_000, 0)
		seen, err := decodeUngated(b, now)
		if err == nil && len(seen) > maxUngated {
			t.Fatalf("%d entries", len(seen))
		}
		for id, s := range seen {
			if id.path == "" || s.at.After(now) || now.Sub(s.at) > ungatedFor || strings.Contains(s.why, "\n") {
				t.Fatalf("%+v: %+v", id, s)
			}
		}
	})
}
