// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tryModule runs `testrun go` on a module of one test file and returns what the report says of it.
func tryModule(t *testing.T, source string, required ...string) (text string, ok bool) {
	t.Helper()
	return tryModuleWith(t, source, quietMachine, nil, required)
}

// quietMachine is one of whose time nothing goes to others.
func quietMachine() (cpuTime, error) { return cpuTime{}, nil }

// busyMachine is one of whose time a share goes to others.
func busyMachine(share float64) func() (cpuTime, error) {
	var c cpuTime
	return func() (cpuTime, error) {
		c.stolen, c.all = c.stolen+share, c.all+1
		return c, nil
	}
}

func tryModuleWith(t *testing.T, source string, read func() (cpuTime, error), flags, required []string) (text string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module tried\n\ngo 1.26\n", "x_test.go": "package tried\n" + source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	record := filepath.Join(dir, "record")
	r := parse(slices.Concat([]string{"tried"}, flags, []string{"--", "-count=1", "./..."}))
	r.read, r.look, r.wait = read, time.Millisecond, 10*time.Millisecond
	runOK, err := r.goTests(record)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ok, err = report(record, required, &out)
	if err != nil {
		t.Fatal(err)
	}
	if !runOK && ok {
		t.Errorf("the run failed and the report does not:\n%s", &out)
	}
	return out.String(), ok
}

func TestReportCountsWhatReallyRan(t *testing.T) {
	const imports = "import \"testing\"\n"
	for _, c := range []struct {
		name, source string
		required     []string
		ok           bool
		last         string
		contains     []string
	}{
		{
			name:   "leaf tests count once",
			source: imports + "func TestA(t *testing.T) { t.Run(\"x\", func(*testing.T) {}); t.Run(\"y/z\", func(*testing.T) {}) }\nfunc TestB(*testing.T) {}",
			ok:     true, last: "3 passed, 0 failed, 0 skipped",
		},
		{
			name:   "skips are named with their reason",
			source: imports + "func TestA(*testing.T) {}\nfunc TestB(t *testing.T) { t.Skip(\"no such device\") }",
			ok:     true, last: "1 passed, 0 failed, 1 skipped", contains: []string{"SKIP tried TestB: no such device\n"},
		},
		{
			name:   "a failed subtest is one failure",
			source: imports + "func TestA(t *testing.T) { t.Run(\"x\", func(t *testing.T) { t.Fail() }); t.Run(\"y\", func(*testing.T) {}) }",
			last:   "1 passed, 1 failed, 0 skipped", contains: []string{"FAIL tried TestA/x\n"},
		},
		{
			name:   "a test that ends its process has failed",
			source: "import (\n\t\"os\"\n\t\"testing\"\n)\nfunc TestA(*testing.T) { os.Exit(3) }",
			last:   "0 passed, 1 failed, 0 skipped", contains: []string{"FAIL tried TestA\n"},
		},
		{
			name:   "a panic is a failure of its test",
			source: imports + "func TestA(*testing.T) { panic(\"lost\") }",
			last:   "0 passed, 1 failed, 0 skipped", contains: []string{"FAIL tried TestA\n"},
		},
		{
			name:   "a package that does not build is a failure",
			source: imports + "func TestA(*testing.T) { undefined() }",
			last:   "0 passed, 1 failed, 0 skipped", contains: []string{"FAIL tried\n"},
		},
		{
			name:   "what is required and skipped fails",
			source: imports + "func TestMatrix(t *testing.T) { t.Run(\"6.18\", func(t *testing.T) { t.Skip(\"not today\") }); t.Run(\"7.2\", func(*testing.T) {}) }",
			last:   "1 passed, 1 failed, 1 skipped", contains: []string{"FAIL TestMatrix/6.18: "},
			required: []string{"TestMatrix/6.18", "TestMatrix/7.2", "tried"},
		},
		{
			name:     "what is required and not there fails",
			source:   imports + "func TestA(*testing.T) {}",
			required: []string{"lint", "TestA"},
			last:     "1 passed, 1 failed, 0 skipped", contains: []string{"FAIL lint: "},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, ok := tryModule(t, c.source, c.required...)
			if ok != c.ok {
				t.Errorf("ok is %t, want %t", ok, c.ok)
			}
			lines := strings.Split(strings.TrimSpace(text), "\n")
			if last := lines[len(lines)-1]; last != c.last {
				t.Errorf("closing line %q, want %q", last, c.last)
			}
			for _, want := range c.contains {
				if !strings.Contains(text, want) {
					t.Errorf("report lacks %q:\n%s", want, text)
				}
			}
		})
	}
}

// What fails once and then passes leaves a file behind the first time.
func TestWhatFailsIsRunAgainAndSaidToBeUnsteady(t *testing.T) {
	const head = "import (\n\t\"os\"\n\t\"testing\"\n)\nvar _ = os.Exit\n" +
		"func first() bool { _, err := os.Stat(\"seen\"); return err != nil && os.WriteFile(\"seen\", nil, 0o600) == nil }\n" +
		"func TestA(*testing.T) {}\n"
	const fails = "func TestB(t *testing.T) { t.Run(\"x\", func(t *testing.T) { if first() { t.Error(\"too far off\") } }) }\n"
	for _, c := range []struct {
		name, source string
		ok           bool
		last         string
		contains     string
	}{
		{"unsteady", fails, true, "2 passed, 0 failed, 0 skipped, 1 unsteady", "UNSTEADY tried TestB/x: too far off\n"},
		{"always", "func TestB(t *testing.T) { t.Error(\"too far off\") }\n", false, "1 passed, 1 failed, 0 skipped", "FAIL tried TestB\n"},
		{"what has passed is left alone", fails + "func TestC(*testing.T) { if _, err := os.Stat(\"then\"); err == nil { panic(\"twice\") }; os.WriteFile(\"then\", nil, 0o600) }\n",
			true, "3 passed, 0 failed, 0 skipped, 1 unsteady", "UNSTEADY tried TestB/x: too far off\n"},
		{"one of two", fails + "func TestBoth(t *testing.T) { t.Error(\"again\") }\n", false, "2 passed, 1 failed, 0 skipped, 1 unsteady", "FAIL tried TestBoth\n"},
		{"panic", "func TestB(t *testing.T) { if first() { panic(\"lost\") } }\n", false, "1 passed, 1 failed, 0 skipped", "FAIL tried TestB\n"},
		{"exit", "func TestMain(m *testing.M) { code := m.Run(); if first() { code = 3 }; os.Exit(code) }\n", true,
			"1 passed, 0 failed, 0 skipped, 1 unsteady", "UNSTEADY tried: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, ok := tryModuleWith(t, head+c.source, quietMachine, []string{"-again"}, nil)
			lines := strings.Split(strings.TrimSpace(text), "\n")
			if last := lines[len(lines)-1]; ok != c.ok || last != c.last || !strings.Contains(text, c.contains) {
				t.Errorf("ok is %t; want %t, %q and %q:\n%s", ok, c.ok, c.last, c.contains, text)
			}
		})
	}
}

// On a machine whose time went to others, what fails each time is neither passed nor failed.
func TestWhatFailsOnAMachineThatIsNotThereIsUndecided(t *testing.T) {
	const source = "import \"testing\"\nfunc TestA(*testing.T) {}\nfunc TestB(t *testing.T) { t.Run(\"x\", func(t *testing.T) { t.Error(\"too far off\") }) }\n"
	const race = "import (\n\t\"fmt\"\n\t\"testing\"\n)\nfunc TestB(t *testing.T) { fmt.Println(\"WARNING: DATA RACE\"); t.Fail() }\n"
	const exits = "import (\n\t\"os\"\n\t\"testing\"\n)\nfunc TestA(*testing.T) {}\nfunc TestMain(m *testing.M) { m.Run(); os.Exit(3) }\n"
	for _, c := range []struct {
		name, source string
		share        float64
		ok           bool
		last         string
		contains     string
	}{
		{"away", source, 0.4, true, "1 passed, 0 failed, 1 skipped", "SKIP tried TestB/x: not decided: 40 % of the CPUs' time went to other machines while it failed; too far off\n"},
		{"package", exits, 0.4, true, "1 passed, 0 failed, 1 skipped", "SKIP tried: not decided: 40 %"},
		{"almost", source, 0.24, false, "1 passed, 1 failed, 0 skipped", "FAIL tried TestB/x\n"},
		{"race", race, 0.9, false, "0 passed, 1 failed, 0 skipped", "FAIL tried TestB\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, ok := tryModuleWith(t, c.source, busyMachine(c.share), []string{"-again"}, []string{"tried"})
			lines := strings.Split(strings.TrimSpace(text), "\n")
			if last := lines[len(lines)-1]; ok != c.ok || last != c.last || !strings.Contains(text, c.contains) {
				t.Errorf("ok is %t; want %t, %q and %q:\n%s", ok, c.ok, c.last, c.contains, text)
			}
		})
	}
}

func TestFailuresThatNoSecondRunExcuses(t *testing.T) {
	for _, output := range []string{"panic: test timed out after 1s\n", "WARNING: DATA RACE\n", "    testing.go:1712: race detected during execution of test\n",
		"fatal error: all goroutines are asleep - deadlock!\n", "FAIL\ttried [build failed]\n"} {
		var f failures
		f.note(event{Action: "output", Package: "tried", Output: output})
		if !f.final {
			t.Errorf("%q would be run again", output)
		}
	}
}

func TestUnsteadyGuestTestIsNamed(t *testing.T) {
	text, ok := tryModule(t, "import (\n\t\"fmt\"\n\t\"testing\"\n)\nfunc TestA(t *testing.T) { fmt.Fprintln(t.Output(), \"unsteady: 3 is not 4\") }")
	if want := "UNSTEADY tried TestA: unsteady: 3 is not 4\n"; !ok || !strings.Contains(text, want) {
		t.Errorf("ok is %t, want %q:\n%s", ok, want, text)
	}
}

func TestStepCountsAsOneTest(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	for name, want := range map[string]bool{"true": true, "false": false} {
		ok, err := runStep(record, []string{name, "--", name})
		if err != nil || ok != want {
			t.Errorf("step %s: %t, %v", name, ok, err)
		}
	}
	var out bytes.Buffer
	ok, err := report(record, []string{"true", "false"}, &out)
	if err != nil || ok {
		t.Errorf("report: %t, %v", ok, err)
	}
	if !strings.HasSuffix(out.String(), "\n1 passed, 1 failed, 0 skipped\n") {
		t.Errorf("report ends wrongly:\n%s", &out)
	}
}

func TestRunThatNeverEndedHasFailed(t *testing.T) {
	var out bytes.Buffer
	tally, err := readTally(strings.NewReader(`{"Action":"begin","Run":"matrix"}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if tally.print(nil, &out) || !strings.Contains(out.String(), "FAIL matrix") {
		t.Errorf("report:\n%s", &out)
	}
}

func TestOnlyOuterTestsAreShownLive(t *testing.T) {
	var out bytes.Buffer
	p := printer{out: &out, live: 2}
	for _, e := range []event{
		{Action: "output", Package: "p", Test: "T/6.18", Output: "=== RUN   T/6.18\n"},
		{Action: "output", Package: "p", Test: "T/6.18", Output: "    m_test.go:1: 6.18 booted\n"},
		{Action: "output", Package: "p", Test: "T/6.18/x", Output: "    m_test.go:2: quiet\n"},
		{Action: "pass", Package: "p", Test: "T/6.18/x"},
		{Action: "output", Package: "p", Test: "T/6.18/y", Output: "    m_test.go:3: broken\n"},
		{Action: "fail", Package: "p", Test: "T/6.18/y"},
	} {
		p.show(e)
	}
	if got, want := out.String(), "  6.18 booted\n    m_test.go:3: broken\n"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
}
