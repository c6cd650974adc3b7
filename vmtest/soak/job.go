// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// job is one run of `go`.
type job struct {
	name, what string
	kernel     string
	args       []string
	env        []string
	limit      time.Duration
	pass       string // what a line of its output says when something has passed
	scratch    string // the last argument, less the directory of its own that it wants behind it; empty: none
}

func (j job) id() string { return j.name + "@" + j.kernel }

// result is what became of a job.
type result string

const (
	passed  result = "passed"
	skipped result = "skipped"
	fails   result = "FAILED"
)

func (r result) orMissing() result {
	if r == "" {
		return "missing"
	}
	return r
}

// outcome is what is kept of a job's run.
type outcome struct {
	Result  result
	Reason  string // why it was skipped, or the first line of a failure
	Counted []string
	Kernel  string
	Took    time.Duration
	Date    string
}

// endTime is how long an interrupted job may take to clean up.
const endTime = time.Minute

// run runs a job, shows that it does, and keeps what it printed in a file in dir. An error means that it could not be run or was
// interrupted, not that it has failed.
func (j job) run(ctx context.Context, label, dir string) (outcome, error) {
	log, err := os.Create(filepath.Join(dir, strings.NewReplacer("/", "_", "@", "-").Replace(j.id())+".log"))
	if err != nil {
		return outcome{}, err
	}
	defer log.Close()
	args := j.args
	if j.scratch != "" {
		own, err := os.MkdirTemp("", "autosa-soak-")
		if err != nil {
			return outcome{}, err
		}
		defer os.RemoveAll(own)
		args = append(slices.Clone(args), j.scratch+own)
	}
	before := cgroupsOfTests()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), j.env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C reaches it once, through cancel, with time to clean up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGINT) }
	cmd.WaitDelay = endTime
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return outcome{}, fmt.Errorf("%s: %w", j.id(), err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = progress(label, began, ended)
	if ctx.Err() != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // what did not heed the interrupt
		removeCgroups(before)
		return outcome{}, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("%s: %w", j.id(), err)
	}
	text, rerr := os.ReadFile(log.Name())
	if rerr != nil {
		return outcome{}, rerr
	}
	o := j.judge(string(text), err == nil)
	o.Kernel, o.Took, o.Date = j.kernel, time.Since(began), time.Now().UTC().Format("2006-01-02 15:04 UTC")
	fmt.Printf("%s: %s after %v", label, o.Result, o.Took.Round(time.Second))
	for _, line := range append([]string{o.Reason}, o.Counted...) {
		if line != "" {
			fmt.Printf("\n    %s", line)
		}
	}
	fmt.Println()
	if o.Result == fails {
		fmt.Printf("    its output is in %s\n", log.Name())
	}
	return o, nil
}

// progress waits for the end and says now and then that it does.
func progress(label string, began time.Time, ended <-chan error) error {
	terminal := isTerminal(os.Stdout)
	every := 30 * time.Second
	if terminal {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if terminal {
				fmt.Print("\r\033[K")
			}
			return err
		case <-tick.C:
			line := fmt.Sprintf("%s … %v", label, time.Since(began).Round(time.Second))
			if terminal {
				fmt.Print("\r\033[K" + line)
			} else {
				fmt.Println(line)
			}
		}
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

var (
	countedLine = regexp.MustCompile(`(?m)counted: (.*)$`)
	executions  = regexp.MustCompile(`(?m)^fuzz: elapsed: .*?execs: (\d+) .*$`)
	failedLine  = regexp.MustCompile(`(?m)^.*(?:_test\.go:\d+: |panic: |--- FAIL: ).*$`)
	skippedLine = regexp.MustCompile(`(?m)^.*_test\.go:\d+: (.*)\n?.*--- SKIP|--- SKIP: .*\n\s*\S+\.go:\d+: (.*)$`)
)

// judge reads what a job has printed. That nothing has passed is a failure, unless something says why it was skipped.
func (j job) judge(text string, ok bool) outcome {
	o := outcome{Result: passed}
	for _, m := range countedLine.FindAllStringSubmatch(text, -1) {
		o.Counted = append(o.Counted, strings.TrimSpace(m[1]))
	}
	if all := executions.FindAllStringSubmatch(text, -1); len(all) > 0 {
		o.Counted = append(o.Counted, all[len(all)-1][1]+" inputs")
	}
	switch {
	case !ok:
		o.Result, o.Reason = fails, lastLine(text)
		for _, line := range failedLine.FindAllString(text, -1) {
			if !strings.Contains(line, "counted: ") {
				o.Reason = strings.TrimSpace(line)
				break
			}
		}
	case strings.Contains(text, j.pass):
		for _, m := range skippedLine.FindAllStringSubmatch(text, -1) {
			o.Counted = append(o.Counted, "a part was skipped: "+strings.TrimSpace(m[1]+m[2]))
		}
	case skippedLine.MatchString(text):
		m := skippedLine.FindStringSubmatch(text)
		o.Result, o.Reason = skipped, strings.TrimSpace(m[1]+m[2])
	default:
		o.Result, o.Reason = fails, "nothing was run: the package has no such test"
	}
	return o
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// cgroupsOfTests lists the cgroups that tests have made and not yet removed.
func cgroupsOfTests() map[string]bool {
	found := make(map[string]bool)
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return found
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); bytes.Contains(line, []byte(" - cgroup2 ")) {
			paths, err := filepath.Glob(filepath.Join(string(f[4]), "autosa-test-*"))
			if err != nil {
				return found
			}
			for _, p := range paths {
				found[p] = true
			}
		}
	}
	return found
}

// removeCgroups removes the cgroups that an interrupted test has left. The kernel keeps those that somebody is in.
func removeCgroups(before map[string]bool) {
	for p := range cgroupsOfTests() {
		if before[p] {
			continue
		}
		children, err := filepath.Glob(filepath.Join(p, "*/"))
		if err != nil {
			continue
		}
		for _, c := range children {
			_ = unix.Rmdir(c)
		}
		_ = unix.Rmdir(p)
	}
}
