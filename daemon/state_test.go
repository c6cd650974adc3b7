// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStateSurvivesARoundTrip(t *testing.T) {
	s := newStore(filepath.Join(t.TempDir(), "deep", "state"))
	if p, err := s.load(time.Now()); err != nil || p.Manual != nil {
		t.Fatalf("no file: %+v %v", p, err)
	}
	want := persisted{Version: stateVersion, Manual: &persistedArm{Scheduler: "scx_lavd", Args: []string{"--performance"}, Since: time.Unix(1700000000, 0).UTC()}}
	if err := s.save(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.load(time.Now())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %v, want %+v", got, err, want)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.path), ".state-*")); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestDamagedStateIsKeptAsideAndANewOneBegun(t *testing.T) {
	for name, body := range map[string]string{
		"empty":           "",
		"half":            `{"version": 1, "manu`,
		"not JSON":        "\x00\x01\x02",
		"another version": `{"version": 99}`,
		"unknown field":   `{"version": 1, "surprise": true}`,
		"trailing":        `{"version": 1} {}`,
		"no scheduler":    `{"version": 1, "manual": {"scheduler": "", "args": null, "since": "2026-01-01T00:00:00Z"}}`,
		"huge":            `{"version": 1, "x": "` + strings.Repeat("y", maxStateBytes) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t.TempDir())
			if err := os.WriteFile(s.path, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := s.load(time.Now())
			if err == nil || p.Manual != nil {
				t.Fatalf("%+v %v, want an error and an empty state", p, err)
			}
			aside, _ := filepath.Glob(s.path + ".damaged-*")
			if len(aside) != 1 || !strings.Contains(err.Error(), aside[0]) {
				t.Fatalf("kept aside: %v, error: %v", aside, err)
			}
			if kept, _ := os.ReadFile(aside[0]); string(kept) != body {
				t.Error("the file kept aside was changed")
			}
			if err := s.save(persisted{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzState(f *testing.F) {
	f.Add(`{"version": 1}`)
	f.Add(`{"version": 1, "manual": {"scheduler": "scx_lavd", "args": ["-v"], "since": "2026-01-01T00:00:00Z"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		p, err := decodeState(strings.NewReader(body))
		if err == nil && (p.Version != stateVersion || p.Manual != nil && p.Manual.Scheduler == "") {
			t.Errorf("accepted %q as %+v", body, p)
		}
	})
}

// The lock is asked for by another process: within one, record locks do not
// conflict.
func TestSecondDaemonIsRefusedWithTheFirstOnesPID(t *testing.T) {
	if path := os.Getenv("AUTOSA_TEST_LOCK"); path != "" {
		_, err := acquireLock(path)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "run", "daemon.lock")
	l, err := acquireLock(path)
	if err != nil {
		t.Fatal(err)
	}
	other := func() (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestSecondDaemonIsRefusedWithTheFirstOnesPID$")
		cmd.Env = append(os.Environ(), "AUTOSA_TEST_LOCK="+path)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := other(); err == nil || !strings.Contains(out, "PID "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second daemon: %v, want a refusal with PID %d:\n%s", err, os.Getpid(), out)
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	if out, err := other(); err != nil {
		t.Errorf("after the first one's end: %v\n%s", err, out)
	}
}
