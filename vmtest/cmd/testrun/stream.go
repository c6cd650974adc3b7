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
	"strings"
)

// event is a line of `go test -json`, or one of ours: "begin" and "end" of a run, "again" of a test, or of a package when none of its tests is
// to blame, "undecided" of what has failed of a package.
type event struct {
	Action     string
	Package    string  `json:",omitempty"`
	ImportPath string  `json:",omitempty"` // of build output
	Test       string  `json:",omitempty"`
	Elapsed    float64 `json:",omitempty"`
	Output     string  `json:",omitempty"`

	Run     string `json:",omitempty"` // of begin: the run's name
	Outcome string `json:",omitempty"` // of end: pass or fail
}

// recorder appends events to the file of results.
type recorder struct {
	f *os.File
	w *bufio.Writer
}

func openRecord(path, run string) (*recorder, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the results: %w", err)
	}
	r := &recorder{f: f, w: bufio.NewWriter(f)}
	return r, r.put(event{Action: "begin", Run: run})
}

func (r *recorder) put(e event) error {
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.w.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record results: %w", err)
	}
	return nil
}

func (r *recorder) Close() error {
	if err := errors.Join(r.w.Flush(), r.f.Close()); err != nil {
		return fmt.Errorf("record results: %w", err)
	}
	return nil
}

// failures are the packages that have failed, the tests of the first level that did so, and whether one of them did in a way that a
// second try must not excuse.
type failures struct {
	packages []string
	tests    map[string][]string // by package
	final    bool
}

var final = regexp.MustCompile(`^\s*(panic: |fatal error: |WARNING: DATA RACE|testing.go:\d+: race detected)|\[build failed\]`)

func (f *failures) note(e event) {
	switch {
	case e.Action == "fail" && e.Test == "":
		f.packages = append(f.packages, e.Package)
	case e.Action == "fail" && !strings.Contains(e.Test, "/"):
		if f.tests == nil {
			f.tests = map[string][]string{}
		}
		f.tests[e.Package] = append(f.tests[e.Package], e.Test)
	case e.Action == "output" && final.MatchString(e.Output), e.Action == "build-fail":
		f.final = true
	}
}

// follow records and prints a stream of events. What is no event, such as a linker's message, is shown as it stands.
func follow(in io.Reader, w *recorder, p *printer, f *failures) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				fmt.Fprint(p.out, line)
			} else {
				if err := w.put(e); err != nil {
					return err
				}
				p.show(e)
				f.note(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test events: %w", err)
		}
	}
}

// printer shows a stream of events: one line a package, whatever failed in full, and what tests of the outer levels print as it comes.
type printer struct {
	out  io.Writer
	live int

	held map[string]string // output of tests that have not ended, by package and test
}

func (p *printer) show(e event) {
	if p.held == nil {
		p.held = map[string]string{}
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		switch {
		case e.Test == "" && (strings.HasPrefix(e.Output, "ok  \t") || strings.HasPrefix(e.Output, "FAIL\t")):
			fmt.Fprint(p.out, e.Output)
		case e.Test != "" && strings.Count(e.Test, "/") < p.live:
			if !isFraming(e.Output) {
				fmt.Fprint(p.out, "  ", position.ReplaceAllString(strings.TrimLeft(e.Output, " "), ""))
			}
		case !strings.HasPrefix(e.Output, "=== "):
			p.held[key] += e.Output
		}
	case "build-output":
		fmt.Fprint(p.out, e.Output)
	case "pass", "skip":
		delete(p.held, key)
	case "fail":
		fmt.Fprint(p.out, p.held[key])
		delete(p.held, key)
	}
}

func isFraming(line string) bool {
	line = strings.TrimLeft(line, " ")
	for _, prefix := range []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME ", "--- PASS: ", "--- FAIL: ", "--- SKIP: "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}
