// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// execute compiles a package of testdata/guests as for a guest, runs it here and reads what it left behind.
func execute(t *testing.T, name string) (Package, error) {
	t.Helper()
	s, results := build(t, name)
	bin := s.binaries[0]
	out, err := os.Create(filepath.Join(results, "0.out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(bin.dir, binaryName), "-test.v=test2json", "-test.run=^TestVM")
	cmd.Stdout, cmd.Stderr = out, out
	code := 0
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	write(t, filepath.Join(results, "0.code"), strconv.Itoa(code))
	return s.packageReport(results, 0, bin)
}

// build compiles a package of testdata/guests.
func build(t *testing.T, name string) (s *Suite, results string) {
	t.Helper()
	stage := &Stage{Dir: t.TempDir()}
	s, err := NewSuite(context.Background(), stage, ".", []string{"./testdata/guests/" + name})
	if err != nil {
		t.Fatal(err)
	}
	results, err = stage.Mkdir("results")
	if err != nil {
		t.Fatal(err)
	}
	return s, results
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// outline shows results in one line each.
func outline(indent string, tests []*Result) string {
	var b strings.Builder
	for _, r := range tests {
		fmt.Fprintf(&b, "%s%s %s\n%s", indent, r.Outcome, r.Name, outline(indent+"  ", r.Sub))
	}
	return b.String()
}

func TestOutcomesOfAGuestComeBackAsTheyWere(t *testing.T) {
	p, err := execute(t, "outcomes")
	if err != nil {
		t.Error(err)
	}
	want := "pass TestVMPasses\n" +
		"fail TestVMFails\n  pass good\n  fail bad/with_slash\n" +
		"skip TestVMSkips\n" +
		"pass TestVMRunsInParallel\n  pass a\n  pass b\n"
	if got := outline("", p.Tests); got != want {
		t.Fatalf("results:\n%swant:\n%s", got, want)
	}
	if !p.Failed || p.Path != "vmtest/testdata/guests/outcomes" {
		t.Errorf("package %q failed: %t", p.Path, p.Failed)
	}
	passes := p.Tests[0]
	for _, want := range []string{"a word\n", "a line on stderr\n", "no newline"} {
		if !strings.Contains(passes.Output, want) {
			t.Errorf("output %q lacks %q", passes.Output, want)
		}
	}
	if strings.Contains(passes.Output, "--- PASS") || strings.Contains(passes.Output, "=== RUN") {
		t.Errorf("output has framing: %q", passes.Output)
	}
	if passes.Elapsed < 20*time.Millisecond {
		t.Errorf("elapsed %s", passes.Elapsed)
	}
	if out := p.Tests[1].Sub[1].Output; !strings.Contains(out, "the reason") {
		t.Errorf("a failure lost its reason: %q", out)
	}
	for i, want := range []string{"this is a", "this is b"} {
		if out := p.Tests[3].Sub[i].Output; !strings.Contains(out, want) {
			t.Errorf("output of parallel tests was mixed up: %q lacks %q", out, want)
		}
	}
}

func TestPanicIsTheFailureOfTheTestThatPanicked(t *testing.T) {
	p, err := execute(t, "panics")
	if err != nil {
		t.Error(err)
	}
	if got, want := outline("", p.Tests), "pass TestVMPasses\nfail TestVMPanics\n"; got != want {
		t.Errorf("results:\n%swant:\n%s", got, want)
	}
	if !p.Failed || !strings.Contains(p.Tests[1].Output+p.Output, "panic: lost") {
		t.Errorf("failed %t, output %q", p.Failed, p.Output)
	}
}

func TestTestWhoseProcessDiesIsUnfinished(t *testing.T) {
	p, err := execute(t, "exits")
	if err != nil {
		t.Error(err)
	}
	if got, want := outline("", p.Tests), "pass TestVMPasses\nunfinished TestVMIsKilled\n"; got != want || !p.Failed {
		t.Errorf("failed %t, results:\n%swant:\n%s", p.Failed, got, want)
	}
}

func TestPackageThatRunsNothingFails(t *testing.T) {
	p, err := execute(t, "empty")
	if err == nil || !strings.Contains(err.Error(), "no test was run") || !p.Failed {
		t.Errorf("failed %t, error %v", p.Failed, err)
	}
}

func TestPackageReportNamesWhatWentWrongAroundTheTests(t *testing.T) {
	const good = "\x16=== RUN   TestVMA\n\x16--- PASS: TestVMA (0.00s)\nPASS\n"
	for _, c := range []struct {
		name             string
		out, code, state string
		err              string
	}{
		{"all is well", good, "0", "disabled", ""},
		{"a kernel without sched_ext", good, "0", "", ""},
		{"the guest died between two packages", "", "", "", "were not started"},
		{"the guest died in the middle", good, "", "", "the guest died"},
		{"the binary cannot be run", "sh: not found\n", "127", "", "exit status 127 and no test that failed"},
		{"a scheduler was left attached", good, "0", "enabled", "left sched_ext enabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			results := t.TempDir()
			for suffix, text := range map[string]string{".out": c.out, ".code": c.code, ".state": c.state} {
				if text != "" {
					write(t, filepath.Join(results, "0"+suffix), text)
				}
			}
			p, err := (&Suite{}).packageReport(results, 0, binary{pkg: "some/package"})
			switch {
			case c.err == "" && (err != nil || p.Failed):
				t.Errorf("failed %t, error %v", p.Failed, err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !p.Failed):
				t.Errorf("failed %t, error %v, want one with %q", p.Failed, err, c.err)
			}
		})
	}
}

func TestGuestThatNeverCameUpIsAnErrorWithItsConsole(t *testing.T) {
	_, err := (&Suite{}).report(t.TempDir(), errors.New("exit status 1"), nil, "Kernel panic - not syncing\n")
	if err == nil || !strings.Contains(err.Error(), "did not come up") || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v", err)
	}
}

func TestKernelComplaintFailsTheGuest(t *testing.T) {
	for text, bad := range map[string]bool{
		"[   12.3] BUG: unable to handle page fault for address: 0\n":   true,
		"[   12.3] Oops: 0002 [#1] PREEMPT SMP\n":                       true,
		"[   12.3] general protection fault, probably for x\n":          true,
		"[   12.3] watchdog: BUG: soft lockup - CPU#1 stuck for 26s!\n": false,
		"[   12.3] rcu: INFO: rcu_preempt self-detected stall on CPU\n": false,
		"[   12.3] sched_ext: BPF scheduler \"rusty\" enabled\n":        false,
	} {
		results := t.TempDir()
		write(t, filepath.Join(results, "release"), "7.2")
		write(t, filepath.Join(results, "dmesg"), text)
		r, err := (&Suite{}).report(results, nil, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		if (r.Guest != nil) != bad {
			t.Errorf("%q: error %v", text, r.Guest)
		}
	}
}

func TestProgressIsReportedOnceAndInOrder(t *testing.T) {
	results := t.TempDir()
	var lines []string
	w := newWatch(&Suite{binaries: []binary{{pkg: "a"}, {pkg: "b"}}}, results, func(s string) { lines = append(lines, s) })
	write(t, filepath.Join(results, "0.out"), "\x16--- PASS: TestVMA (0.10s)\n\x16--- FA")
	if w.drain() {
		t.Error("no package has ended")
	}
	write(t, filepath.Join(results, "0.out"), "\x16--- PASS: TestVMA (0.10s)\n\x16--- FAIL: TestVMB (0.20s)\n")
	write(t, filepath.Join(results, "0.code"), "1")
	write(t, filepath.Join(results, "1.out"), "\x16--- SKIP: TestVMC (0.00s)\n")
	if !w.drain() {
		t.Error("a package has ended")
	}
	w.drain()
	want := "a: PASS: TestVMA (0.10s)\na: FAIL: TestVMB (0.20s)\nb: SKIP: TestVMC (0.00s)"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("progress:\n%s\nwant:\n%s", got, want)
	}
}

func TestOnlyPackagesWithGuestTestsAreRun(t *testing.T) {
	pkgs, err := guestPackages(context.Background(), ".", []string{"./guest", "./cmd/testrun"})
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) != 1 || pkgs[0].rel() != "vmtest/guest" {
		t.Errorf("packages %+v, want vmtest/guest alone", pkgs)
	}
	if _, err := NewSuite(context.Background(), &Stage{Dir: t.TempDir()}, ".", []string{"./cmd/testrun"}); err == nil {
		t.Error("a suite without any guest test is no error")
	}
}

func TestConsoleTailIsBounded(t *testing.T) {
	var console tail
	for range 100 {
		if _, err := console.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = console.Write([]byte("end"))
	if s := console.String(); len(s) != tailSize || !strings.HasSuffix(s, "end") {
		t.Errorf("%d bytes, ending %q", len(s), s[len(s)-5:])
	}
}

func TestOnlyWrongFiguresAreMeasuredAgain(t *testing.T) {
	one := func(r Result) []*Result { return []*Result{{Name: "TestVMFine", Outcome: Passed}, &r} }
	for _, c := range []struct {
		name  string
		tests []*Result
		want  bool
	}{
		{"nothing failed", one(Result{Outcome: Passed}), false},
		{"a figure", one(Result{Outcome: Failed, Output: "3, want 4"}), true},
		{"a figure of a subtest", one(Result{Outcome: Failed, Sub: one(Result{Outcome: Failed})}), true},
		{"no end", one(Result{Outcome: Unfinished}), false},
		{"no end of a subtest", one(Result{Outcome: Failed, Sub: one(Result{Outcome: Unfinished})}), false},
		{"a panic", one(Result{Outcome: Failed, Output: "panic: lost"}), false},
		{"a race", one(Result{Outcome: Failed, Output: "WARNING: DATA RACE"}), false},
	} {
		if got := measuredWrong(c.tests); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

func TestOutputOfTheFirstRunIsKeptBesideThatOfTheSecond(t *testing.T) {
	first := []*Result{{Name: "TestVMA", Outcome: Failed, Output: "one\n", Sub: []*Result{
		{Name: "x", Outcome: Failed, Output: "two\n"}, {Name: "y", Outcome: Passed, Output: "three\n"},
	}}}
	second := []*Result{{Name: "TestVMB", Outcome: Passed, Output: "new\n"}, {Name: "TestVMA", Outcome: Passed, Output: "four\n", Sub: []*Result{
		{Name: "x", Outcome: Passed, Output: "five\n"}, {Name: "y", Outcome: Failed, Output: "six\n"},
	}}}
	inherit(second, first)
	got := []string{second[0].Output, second[1].Output, second[1].Sub[0].Output, second[1].Sub[1].Output}
	want := []string{"new\n", "four\n", Unsteady + "it failed at first:\ntwo\nand then, in a guest of its own:\nfive\n", "six\n"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSecondRunReplacesOnlyWhatItRan(t *testing.T) {
	first := []*Result{{Name: "TestVMA", Outcome: Failed}, {Name: "TestVMB", Outcome: Passed}, {Name: "TestVMC", Outcome: Failed}}
	all := replaced(first, []*Result{{Name: "TestVMC", Outcome: Passed}})
	if got, want := outline("", all), "fail TestVMA\npass TestVMB\npass TestVMC\n"; got != want {
		t.Errorf("results:\n%swant:\n%s", got, want)
	}
	if first[2].Outcome != Failed {
		t.Error("the first run's results were written to")
	}
}
