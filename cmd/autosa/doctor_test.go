// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/config"
	"autosa/scx"
)

func TestDoctorsConclusionsAndExitCodes(t *testing.T) {
	ext := check{Name: checkNameSchedExt, Verdict: verdictOK, swapping: true}
	noExt := check{Name: checkNameSchedExt, Verdict: verdictFail, swapping: true, Detail: "kernel 6.6 has no sched_ext", Remedy: "boot another"}
	trace := check{Name: checkNameTracing, Verdict: verdictOK, Detail: "the BPF tracer can run"}
	noTrace := check{Name: checkNameTracing, Verdict: verdictFail, Detail: "missing CAP_BPF"}
	noSchedulers := check{Name: "schedulers", Verdict: verdictFail, swapping: true, Detail: "none is installed"}
	warn := check{Name: "pressure", Verdict: verdictWarn, Detail: "off", Remedy: "psi=1"}
	noState := check{Name: "state", Verdict: verdictFail, Detail: "read-only"}
	for _, tt := range []struct {
		name        string
		checks      []check
		verdict     verdict
		code        int
		trace, swap bool
	}{
		{"all well", []check{trace, ext}, verdictOK, 0, true, true},
		{"a warning", []check{trace, ext, warn}, verdictWarn, 0, true, true},
		{"no sched_ext", []check{trace, noExt}, verdictFail, 6, true, false},
		{"no sched_ext and what follows", []check{trace, noExt, noSchedulers, warn}, verdictFail, 6, true, false},
		{"no sched_ext and something else", []check{trace, noExt, noState}, verdictFail, 1, true, false},
		{"nothing installed", []check{trace, ext, noSchedulers}, verdictFail, 1, true, false},
		{"no permission", []check{noTrace, noExt}, verdictFail, 1, false, false},
		{"read-only", []check{trace, ext, noState}, verdictFail, 1, true, true},
	} {
		r := summarize(tt.checks)
		code := 0
		var exit *exitError
		if errors.As(r.outcome(), &exit) {
			code = exit.code
		}
		if r.Verdict != tt.verdict || code != tt.code || r.CanTrace != tt.trace || r.CanSwap != tt.swap {
			t.Errorf("%s: %+v, exit %d", tt.name, r, code)
		}
	}
	var b bytes.Buffer
	for _, checks := range [][]check{{trace, ext}, {trace, noExt, noSchedulers, warn}, {noTrace, noExt}} {
		writeReport(&b, stylesFor(io.Discard), summarize(checks))
		b.WriteString("---\n")
	}
	golden(t, "doctor", b.String())
}

func TestDoctorReportsThisMachine(t *testing.T) {
	socket := serve(t, &fake{status: api.Status{PID: 7, Version: "0.0.1", Mode: api.ModeAuto}})
	out, errOut, code := autosa(t, nil, "doctor", "--json", "--socket", socket, "--state-dir", filepath.Join(t.TempDir(), "a/b"))
	var r doctorReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out, errOut)
	}
	if (code == 0) != (r.Verdict != verdictFail) || errOut != "" {
		t.Errorf("exit %d with verdict %s: %s", code, r.Verdict, errOut)
	}
	by := map[string]check{}
	for _, c := range r.Checks {
		if c.Name == "" || c.Detail == "" || (c.Verdict != verdictOK && c.Verdict != verdictWarn && c.Verdict != verdictFail) {
			t.Errorf("check without name, detail or verdict: %+v", c)
		}
		if _, twice := by[c.Name]; twice {
			t.Errorf("%s is there twice", c.Name)
		}
		by[c.Name] = c
	}
	for name, want := range map[string]verdict{"state": verdictOK, "daemon": verdictWarn, "configuration": verdictOK} {
		if by[name].Verdict != want {
			t.Errorf("%s: %+v, want %s", name, by[name], want)
		}
	}
	for _, name := range []string{checkNameTracing, "pressure", "cgroups", "operators"} {
		if _, ok := by[name]; !ok {
			t.Errorf("%s was not looked at", name)
		}
	}
	// What a swap's preflight asks for, and the quarantine that the daemon asks for,
	// are doctor's rows about swapping: none more, none less.
	swapping := append(scx.Conditions(), checkNameQuarantine)
	for _, name := range swapping {
		if _, ok := by[name]; !ok {
			t.Errorf("preflight asks for %s, and doctor has no row for it", name)
		}
	}
	a := app{environ: []string{}}
	for _, c := range a.examine(t.Context(), config.Default(), nil) {
		if c.swapping && !slices.Contains(swapping, c.Name) {
			t.Errorf("doctor has a row %s about swapping that no swap asks for", c.Name)
		}
		if c.swapping && c.Verdict != verdictOK && c.Remedy == "" {
			t.Errorf("%s has no remedy: %+v", c.Name, c)
		}
	}
}

func TestDoctorNamesWhatRestsAfterFailures(t *testing.T) {
	q := api.Quarantine{Scheduler: "scx_lavd", Args: []string{"-x"}, Reason: "stall", Until: time.Now().Add(time.Hour)}
	for name, c := range map[string]struct {
		check check
		want  verdict
		says  string
	}{
		"by the daemon":       {checkQuarantine("/none", &api.Status{Quarantine: []api.Quarantine{q}}), verdictWarn, "scx_lavd -x until "},
		"nothing, by it":      {checkQuarantine("/none", &api.Status{}), verdictOK, "no scheduler rests"},
		"nothing in the file": {checkQuarantine(t.TempDir(), nil), verdictOK, "no scheduler rests"},
	} {
		if c.check.Verdict != c.want || !strings.Contains(c.check.Detail, c.says) || (c.check.Remedy == "") != (c.want == verdictOK) {
			t.Errorf("%s: %+v", name, c.check)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "quarantine.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := checkQuarantine(dir, nil); c.Verdict != verdictWarn || !strings.Contains(c.Detail, "cannot be understood") || c.Remedy == "" {
		t.Errorf("%+v", c)
	}
}

func TestDoctorNamesMistakesInTheConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("x = 1\ny = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(config.Sources{Environ: []string{"AUTOSA_CONFIG=" + path}})
	c := checkConfig(config.Default(), err)
	if want := path + ":1: x: unknown key; " + path + ":2: y: unknown key"; c.Verdict != verdictFail || c.Detail != want {
		t.Errorf("%+v, want %s", c, want)
	}
}

func TestChecksOfPlacesThatAreMissing(t *testing.T) {
	dir := t.TempDir()
	file, host := filepath.Join(dir, "self", "mountinfo"), scx.Host{Proc: dir}
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("29 23 0:26 / /sys/fs/cgroup rw - tmpfs x rw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := checkPSI(filepath.Join(dir, "none")); c.Verdict != verdictWarn || c.Remedy == "" {
		t.Errorf("%+v", c)
	}
	if c := checkCgroup(host); c.Verdict != verdictWarn || c.Remedy == "" {
		t.Errorf("%+v", c)
	}
	if err := os.WriteFile(file, []byte("30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup rw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := checkCgroup(host); c.Verdict != verdictOK || c.Detail != "version 2 at /sys/fs/cgroup/unified" {
		t.Errorf("%+v", c)
	}
	if c := checkStateDir(filepath.Join(file, "x")); c.Verdict != verdictFail || c.Remedy == "" {
		t.Errorf("%+v", c)
	}
	if c := checkStateDir(file); c.Verdict != verdictFail || c.Remedy == "" {
		t.Errorf("%+v", c)
	}
}
