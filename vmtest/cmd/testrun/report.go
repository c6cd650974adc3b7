// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"autosa/vmtest"
)

// result is what became of one test, one package as a whole, or one step.
type result struct {
	run, pkg, test string
	outcome        string // pass, fail, skip, or empty if it never ended
	output         strings.Builder
	parent         *result
	children       int // tests
	failedBelow    bool
	failedFirst    bool   // and was run again
	undecided      string // why its failure says nothing
}

func (r *result) String() string {
	switch {
	case r.test != "":
		return r.pkg + " " + r.test
	case r.pkg != "":
		return r.pkg
	default:
		return r.run
	}
}

var position = regexp.MustCompile(`^[\w.-]+\.go:\d+: `)

// reason is what a test said, in one line.
func (r *result) reason() string {
	var said []string
	if r.undecided != "" {
		said = append(said, r.undecided)
	}
	for line := range strings.Lines(r.output.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !isFraming(line) {
			said = append(said, position.ReplaceAllString(line, ""))
		}
	}
	if len(said) == 0 {
		return "(it did not say why)"
	}
	return strings.Join(slices.Compact(said), "; ") // each run of a test says it
}

// unsteady tells whether the test, or a package for no test's sake, passed when it was run again, here or in a guest.
func (r *result) unsteady() bool {
	if r.outcome != "pass" {
		return false
	}
	for line := range strings.Lines(r.output.String()) {
		if strings.HasPrefix(strings.TrimSpace(line), vmtest.Unsteady) {
			return true
		}
	}
	return r.failedFirst
}

// tally is everything that has been recorded.
type tally struct {
	results []*result // in the order of their start
}

// failed tells whether the result is a failure: a test or a run that never ended is one. A package which never ended
// shows in its run.
func (r *result) failed() bool {
	return r.outcome == "fail" || r.outcome == "" && (r.test != "" || r.pkg == "")
}

// readTally reads the file of results.
func readTally(in io.Reader) (*tally, error) {
	t := &tally{}
	var run *result
	var index map[string]*result // of the run: package, or package and test
	add := func(r *result, parent *result) *result {
		r.parent = parent
		t.results = append(t.results, r)
		return r
	}
	at := func(pkg, test string) *result {
		if index[pkg] == nil {
			index[pkg] = add(&result{run: run.run, pkg: pkg}, run)
		}
		if test == "" {
			return index[pkg]
		}
		key := pkg + " " + test
		if index[key] == nil {
			parent := index[pkg]
			for i := range len(test) { // the longest test that this one's name begins with
				if p := index[pkg+" "+test[:i]]; test[i] == '/' && p != nil {
					parent = p
				}
			}
			parent.children++
			index[key] = add(&result{run: run.run, pkg: pkg, test: test}, parent)
		}
		return index[key]
	}
	for dec := json.NewDecoder(bufio.NewReader(in)); ; {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the results: %w", err)
		}
		if run == nil && e.Action != "begin" {
			return nil, errors.New("read the results: they do not begin with a run")
		}
		switch e.Action {
		case "begin":
			run, index = add(&result{run: e.Run}, nil), map[string]*result{}
		case "again":
			for _, r := range t.results {
				below := e.Test == "" || r.test == "" || r.test == e.Test || strings.HasPrefix(r.test, e.Test+"/")
				if r.run == run.run && r.pkg == e.Package && below { // nothing of the first run counts
					r.failedFirst, r.outcome = r.failedFirst || r.failed(), ""
				}
			}
		case "undecided":
			t.undecide(run.run, e.Package, e.Output)
		case "end":
			run.outcome = e.Outcome
			run.output.WriteString(e.Output)
		case "run", "output", "pass", "fail", "skip":
			r := at(e.Package, e.Test)
			r.output.WriteString(e.Output)
			if e.Action != "run" && e.Action != "output" {
				r.outcome = e.Action
			}
		}
	}
	for _, r := range t.results {
		for p := r.parent; r.failed() && p != nil; p = p.parent {
			p.failedBelow = true
		}
	}
	return t, nil
}

// undecide takes back what has failed of a package: what is to blame for it counts as skipped, for the given reason.
func (t *tally) undecide(run, pkg, why string) {
	explained := map[*result]bool{}
	for _, r := range slices.Backward(t.results) { // parents come before their tests
		if r.run != run || r.pkg != pkg || r.outcome != "fail" && !(r.outcome == "" && r.test != "") {
			continue
		}
		explained[r.parent] = true
		r.failedFirst = false
		if r.outcome = "pass"; !explained[r] {
			r.outcome, r.undecided = "skip", why
		}
	}
}

// count sorts the results. A test with subtests counts only for what is its own: a failure or a skip that none of them
// explains. So do packages and runs; a run without tests, such as lint, counts as one.
func (t *tally) count() (passed, failed, skipped []*result) {
	tested := map[string]bool{}
	for _, r := range t.results {
		if r.pkg != "" {
			tested[r.run] = true
		}
	}
	for _, r := range t.results {
		leaf := r.test != "" && r.children == 0 || r.pkg == "" && !tested[r.run]
		switch {
		case r.failed() && !r.failedBelow:
			failed = append(failed, r)
		case r.outcome == "skip" && (r.test != "" || r.undecided != ""):
			skipped = append(skipped, r)
		case r.outcome == "pass" && leaf:
			passed = append(passed, r)
		}
	}
	return passed, failed, skipped
}

// unsteady are the results that passed in a second run, without those whose subtests explain it.
func (t *tally) unsteady() []*result {
	var all []*result
	explained := map[*result]bool{}
	for _, r := range t.results {
		if r.unsteady() {
			all = append(all, r)
			explained[r.parent] = true
		}
	}
	return slices.DeleteFunc(all, func(r *result) bool { return explained[r] })
}

func report(path string, required []string, out io.Writer) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("open the results: %w", err)
	}
	defer f.Close()
	t, err := readTally(f)
	if err != nil {
		return false, err
	}
	return t.print(required, out), nil
}

func (t *tally) print(required []string, out io.Writer) bool {
	passed, failed, skipped := t.count()
	missing := t.missing(passed, required)
	unsteady := t.unsteady()
	if len(skipped) > 0 {
		fmt.Fprintln(out, "\nSkipped:")
		for _, r := range skipped {
			fmt.Fprintf(out, "  SKIP %s: %s\n", r, r.reason())
		}
	}
	if len(unsteady) > 0 {
		fmt.Fprintln(out, "\nUnsteady, passed when run again:")
		for _, r := range unsteady {
			fmt.Fprintf(out, "  UNSTEADY %s: %s\n", r, r.reason())
		}
	}
	if len(failed)+len(missing) > 0 {
		fmt.Fprintln(out, "\nFailed:")
		for _, r := range failed {
			fmt.Fprintf(out, "  FAIL %s\n", r)
		}
		for _, m := range missing {
			fmt.Fprintf(out, "  FAIL %s: it was to be run and nothing of it has passed\n", m)
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped", len(passed), len(failed)+len(missing), len(skipped))
	if len(unsteady) > 0 {
		fmt.Fprintf(out, ", %d unsteady", len(unsteady))
	}
	fmt.Fprintln(out)
	return len(failed)+len(missing) == 0
}

// missing are the required names of which nothing has passed: a run's name, or the beginning of tests' names. What has
// failed is counted already and not missing.
func (t *tally) missing(passed []*result, required []string) []string {
	var missing []string
	for _, name := range required {
		is := func(r *result) bool {
			return r.run == name && r.test == "" && r.pkg == "" || r.test == name || strings.HasPrefix(r.test, name+"/")
		}
		if !slices.ContainsFunc(passed, is) && !slices.ContainsFunc(t.results, func(r *result) bool {
			return is(r) && (r.failed() || r.outcome == "pass" && r.pkg == "")
		}) {
			missing = append(missing, name)
		}
	}
	return missing
}
