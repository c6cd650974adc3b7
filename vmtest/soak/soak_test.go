// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// top is the top of the module.
const top = "../.."

func TestEveryItemNamesATestThatExists(t *testing.T) {
	seen := make(map[string]bool)
	for _, it := range items {
		if seen[it.name] {
			t.Errorf("two items are called %s", it.name)
		}
		seen[it.name] = true
		pattern := regexp.MustCompile("^(" + it.run + ")$")
		files, err := filepath.Glob(filepath.Join(top, it.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range files {
			names, err := functions(f, "Test")
			if err != nil {
				t.Fatal(err)
			}
			found = found || slices.ContainsFunc(names, pattern.MatchString)
		}
		if !found {
			t.Errorf("%s: no test of %s matches %s", it.name, it.pkg, it.run)
		}
		if guest := strings.HasPrefix(it.run, "TestVM"); guest != it.guest {
			t.Errorf("%s: guest is %t, its test is called %s", it.name, it.guest, it.run)
		}
	}
}

func TestFuzzTargetsAreFoundByThemselves(t *testing.T) {
	targets, err := fuzzTargets(context.Background(), top)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []target{{"autosa/config", "FuzzLoad"}, {"autosa/scx", "FuzzKmsg"}, {"autosa/collector", "FuzzMachine"}} {
		if !slices.Contains(targets, want) {
			t.Errorf("%v is not among %v", want, targets)
		}
	}
}

func TestFuzzingWithInputsIsBoundedAndLeavesNothingBehind(t *testing.T) {
	x := target{"autosa/config", "FuzzLoad"}
	timed := x.job(fuzzing{length: 7 * time.Second})
	if timed.scratch != "" || !slices.Contains(timed.args, "7s") || slices.Contains(timed.args, "-parallel") {
		t.Errorf("%+v", timed)
	}
	counted := x.job(fuzzing{length: 7 * time.Second, inputs: 30})
	for _, want := range []string{"30x", "-parallel", "2", "^FuzzLoad$", "autosa/config"} {
		if !slices.Contains(counted.args, want) {
			t.Errorf("no %s in %q", want, counted.args)
		}
	}
	if testing.Short() {
		t.Skip("fuzzing takes an instrumented build")
	}
	t.Setenv("TMPDIR", t.TempDir())
	o, err := counted.run(t.Context(), "test", t.TempDir())
	if err != nil || o.Result != passed || len(o.Counted) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "autosa-soak-*")); len(left) > 0 || err != nil {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestGuestItemsRunOnEveryPreparedKernelOrThoseTheyName(t *testing.T) {
	kernels := func(it item) (all []string) {
		for _, j := range it.jobs([]string{"6.12", "7.2"}) {
			all = append(all, j.kernel)
		}
		return all
	}
	if got := kernels(item{name: "a", guest: true}); !slices.Equal(got, []string{"6.12", "7.2"}) {
		t.Errorf("runs on %v", got)
	}
	if got := kernels(item{name: "a", guest: true, series: []string{"7.2"}}); !slices.Equal(got, []string{"7.2"}) {
		t.Errorf("runs on %v", got)
	}
	if got := kernels(item{name: "a"}); !slices.Equal(got, []string{thisKernel()}) {
		t.Errorf("runs on %v", got)
	}
}

// The outputs are what go test prints.
func TestOutcomesAreReadFromWhatGoTestPrints(t *testing.T) {
	here := job{pass: "--- PASS: "}
	guest := job{pass: "--- PASS: TestMatrix/6.12/bpf/trace/"}
	for _, c := range []struct {
		name, text string
		job        job
		ok         bool
		want       result
		reason     string
		counted    []string
	}{
		{"passed", "=== RUN   TestA\n    a_test.go:9: counted: 3 tasks, 0 lost\n--- PASS: TestA (0.80s)\nPASS\nok  \tautosa/x\t1s\n", here, true, passed, "",
			[]string{"3 tasks, 0 lost"}},
		{"failed", "=== RUN   TestA\n    a_test.go:8: counted: 3\n    a_test.go:9: 3 is not 4\n--- FAIL: TestA (0.80s)\nFAIL\n", here, false, fails,
			"a_test.go:9: 3 is not 4", []string{"3"}},
		{"did not compile", "# autosa/x\nx.go:1: no\nFAIL\tautosa/x [build failed]\n", here, false, fails, "FAIL\tautosa/x [build failed]", nil},
		{"skipped", "=== RUN   TestA\n    a_test.go:9: needs root\n--- SKIP: TestA (0.00s)\nPASS\n", here, true, skipped, "needs root", nil},
		{"skipped in part", "=== RUN   TestA\n    a_test.go:9: needs root\n--- SKIP: TestA (0.00s)\n--- PASS: TestB (0.00s)\nPASS\n", here, true, passed, "",
			[]string{"a part was skipped: needs root"}},
		{"no such test", "testing: warning: no tests to run\nPASS\nok  \tautosa/x\t1s [no tests to run]\n", here, true, fails,
			"nothing was run: the package has no such test", nil},
		{"in a guest", "        stress_vm_test.go:69: counted: 4 cycles\n    --- PASS: TestMatrix (1s)\n            --- PASS: TestMatrix/6.12/bpf/trace/TestVMA (0.00s)\n",
			guest, true, passed, "", []string{"4 cycles"}},
		{"the matrix passed without the test", "--- PASS: TestMatrix (1s)\n    --- PASS: TestMatrix/6.12 (1s)\n", guest, true, fails,
			"nothing was run: the package has no such test", nil},
		{"fuzzed", "fuzz: elapsed: 3s, execs: 9 (3/sec), new interesting: 0 (total: 4)\nfuzz: elapsed: 5s, execs: 77 (3/sec), new interesting: 0\nPASS\nok  \tx\n",
			job{pass: "\nPASS\n"}, true, passed, "", []string{"77 inputs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.job.judge(c.text, c.ok)
			if got.Result != c.want || got.Reason != c.reason || !slices.Equal(got.Counted, c.counted) {
				t.Errorf("%+v, want %s %q %q", got, c.want, c.reason, c.counted)
			}
		})
	}
}

func TestStateSurvivesAndDamageIsAFreshStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	read := func(again bool) *state {
		s, err := readState(path, again)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := read(false)
	s.Done["a@6.18"] = outcome{Result: passed, Counted: []string{"3"}, Took: time.Second}
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	if got := read(false).Done["a@6.18"]; got.Result != passed || len(got.Counted) != 1 {
		t.Errorf("%+v was kept", got)
	}
	if got := read(true).Done; len(got) != 0 {
		t.Errorf("%+v was not forgotten", got)
	}
	for _, text := range []string{"{", "null", `{"Done":null}`, ""} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := read(false).Done; got == nil || len(got) != 0 {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

func TestAnInterruptedJobEndsAtOnceAndIsNoResult(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	j := job{name: "long", kernel: "here", args: []string{"tool", "no-such-tool"}}
	cancel()
	if o, err := j.run(ctx, "test", dir); !errors.Is(err, context.Canceled) || o.Result != "" {
		t.Errorf("%+v, %v", o, err)
	}
}
