// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes of a test. A test that was started and never ended is Unfinished: its binary or its machine died.
const (
	Passed     Outcome = "pass"
	Failed     Outcome = "fail"
	Skipped    Outcome = "skip"
	Unfinished Outcome = "unfinished"
)

// Result is what became of a test and its subtests.
type Result struct {
	Name    string // the last element: a subtest's own name
	Outcome Outcome
	Elapsed time.Duration // by the guest's clock
	Output  string
	Sub     []*Result // in the order of their start
}

// Package is what became of one package's tests in a guest.
type Package struct {
	Path   string // relative to the module
	Output string // what belongs to no test: a fatal error of the runtime, for instance
	Tests  []*Result
	Failed bool // as a whole, perhaps with no test to blame
}

// event is a line of `go tool test2json`.
type event struct {
	Action  string
	Test    string
	Elapsed float64
	Output  string
}

// framing is what the testing package prints about tests, which is in the events anyway.
var framing = regexp.MustCompile(`^(=== (RUN|PAUSE|CONT|NAME) |\s*--- (PASS|FAIL|SKIP): )`)

// convert reads what a test binary printed with -test.v=test2json. The binary may have died at any point.
func convert(path string, printed io.Reader) (Package, error) {
	var events, stderr bytes.Buffer
	cmd := exec.Command("go", "tool", "test2json", "-t")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = printed, &events, &stderr
	if err := cmd.Run(); err != nil {
		return Package{}, fmt.Errorf("convert the output of %s: %w: %s", path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return collect(path, &events)
}

// collect gathers a stream of events into a tree of results.
func collect(path string, events io.Reader) (Package, error) {
	p := Package{Path: path}
	var rest strings.Builder
	tests := map[string]*Result{}
	output := map[*Result]*strings.Builder{}
	for dec := json.NewDecoder(events); ; {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return p, fmt.Errorf("read the test events of %s: %w", path, err)
		}
		if e.Test == "" {
			switch e.Action {
			case "output":
				rest.WriteString(e.Output)
			case "fail":
				p.Failed = true
			}
			continue
		}
		r := tests[e.Test]
		if r == nil {
			r = &Result{Outcome: Unfinished, Name: e.Test}
			tests[e.Test], output[r] = r, &strings.Builder{}
			if parent := parentOf(tests, e.Test); parent != nil {
				r.Name = strings.TrimPrefix(e.Test[len(parentName(tests, e.Test)):], "/")
				parent.Sub = append(parent.Sub, r)
			} else {
				p.Tests = append(p.Tests, r)
			}
		}
		switch e.Action {
		case "output":
			switch {
			case !framing.MatchString(e.Output):
				output[r].WriteString(e.Output)
			case strings.HasPrefix(strings.TrimLeft(e.Output, " "), "--- FAIL: "):
				r.Outcome = Failed // no event follows when a panic ends the binary here
			}
		case "pass", "fail", "skip":
			r.Outcome = Outcome(e.Action)
			r.Elapsed = time.Duration(e.Elapsed * float64(time.Second))
		}
	}
	for r, b := range output {
		r.Output = b.String()
	}
	p.Output = rest.String()
	return p, nil
}

// parentName is the longest known test whose subtest name is. Names of subtests may hold slashes of their own.
func parentName(tests map[string]*Result, name string) string {
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if tests[name[:i]] != nil {
			return name[:i]
		}
	}
	return ""
}

func parentOf(tests map[string]*Result, name string) *Result { return tests[parentName(tests, name)] }
