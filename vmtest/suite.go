// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	bootTime = 10 * time.Minute // emulated, beside a busy machine; 10–20 s when it is idle
	tailSize = 8 << 10
)

// ErrNoBoot is in the chain of errors of a guest whose kernel never came to run a program.
var ErrNoBoot = errors.New("the guest did not come up")

// Suite is a set of compiled guest tests.
type Suite struct {
	Stage    *Stage
	Programs Programs
	// Run is the pattern of tests to run; a package may then have none.
	Run string
	// Short is handed to the tests as -test.short, see guest.On.
	Short bool
	// Timeout bounds each package's tests.
	Timeout time.Duration
	// RealTime has emulated guests follow this machine's clock, see [VirtualTime].
	RealTime bool

	round    string        // tells the files of a second run from those of the first
	grace    time.Duration // for a test binary to end after its own timeout, and for power-off
	binaries []binary
}

// VirtualTime is the [Machine.Icount] of guests on emulated processors: their clock counts instructions, 8 ns each, and follows this
// machine's only while they are idle. A guest is then as slow as an emulated one on a busy machine is anyhow, but evenly so, takes one
// processor of this machine, and sees nothing of what else this machine does.
const VirtualTime = "shift=3,sleep=on"

// Report is what came back from one guest.
type Report struct {
	Packages []Package
	// Guest is what is wrong with the guest itself: it died, hung, left tests out, or its kernel complained. It has the
	// console's tail where that helps.
	Guest error
}

// NewSuite compiles the guest tests of the packages that match. src is a directory in the module.
func NewSuite(ctx context.Context, stage *Stage, src string, patterns []string) (*Suite, error) {
	s := &Suite{Stage: stage, Timeout: 25 * time.Minute, grace: time.Minute}
	var err error
	if s.binaries, err = stage.buildTests(ctx, src, patterns); err != nil {
		return nil, err
	}
	if len(s.binaries) == 0 {
		return nil, fmt.Errorf("no package among %s has guest tests", strings.Join(patterns, " "))
	}
	return s, nil
}

// Execute boots the kernel once, runs all tests in it and returns what became of them. progress is called with a line
// for each test that has ended, while the guest runs. An error means that the guest could not be started at all.
func (s *Suite) Execute(ctx context.Context, c Cache, k Kernel, progress func(string)) (Report, error) {
	results, err := s.Stage.Mkdir("results", k.Series+s.round)
	if err != nil {
		return Report{}, err
	}
	icount := ""
	if !s.RealTime {
		if icount, err = c.clock(ctx, k, s.Stage.Dir); err != nil {
			return Report{}, err
		}
	}
	script := filepath.Join(s.Stage.files(), "run-"+k.Series+s.round+".sh")
	if err := os.WriteFile(script, []byte(s.script(c, k, results, icount)), 0o755); err != nil {
		return Report{}, fmt.Errorf("stage a run: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := newWatch(s, results, progress)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch.follow(ctx, cancel)
	}()
	var console tail
	runErr := c.Run(ctx, Machine{
		Kernel: k, Command: "sh " + script, TempDir: s.Stage.Dir, Icount: icount,
		ReadWrite: []string{results}, ReadOnly: []string{s.Stage.files(), c.Schedulers()},
		Stdout: &console, Console: &console,
	})
	interrupted := context.Cause(ctx)
	cancel(nil)
	<-watched
	return s.report(results, runErr, interrupted, console.String())
}

// patience is how long a package may take by this machine's clock. In virtual time a guest that waits for its turn does not see its own
// timeout come nearer.
func (s *Suite) patience() time.Duration {
	if s.RealTime {
		return s.Timeout + s.grace
	}
	return 2*s.Timeout + s.grace
}

// script is what the guest's shell runs.
func (s *Suite) script(c Cache, k Kernel, results, icount string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("export %s", environment(c, k, s.Programs, results))
	line("export AUTOSA_VM_ICOUNT=%s", quote(icount))
	line("R=%s", quote(results))
	line("uname -r >$R/release")
	pattern := s.Run
	if pattern == "" {
		pattern = "^TestVM"
	}
	for i, bin := range s.binaries {
		line("echo 'guest tests of %s'", bin.pkg)
		line("cd %s && ./%s -test.v=test2json -test.run %s -test.timeout %s -test.short=%t >$R/%d.out 2>&1",
			quote(bin.dir), binaryName, quote(pattern), s.Timeout, s.Short, i)
		line("echo $? >$R/%d.code.new", i)
		line("cat /sys/kernel/sched_ext/state >$R/%d.state 2>/dev/null", i)
		line("mv $R/%d.code.new $R/%d.code", i, i)
	}
	line("dmesg >$R/dmesg.new && mv $R/dmesg.new $R/dmesg")
	return b.String()
}

// environment is what guests find in theirs.
func environment(c Cache, k Kernel, p Programs, results string) string {
	return strings.Join([]string{
		"AUTOSA_VM=1",
		"AUTOSA_KERNEL_SERIES=" + quote(k.Series),
		"AUTOSA_SCX_DIR=" + quote(c.Schedulers()),
		"AUTOSA_BIN=" + quote(p.Autosa),
		"AUTOSA_LOAD=" + quote(p.Load),
		"AUTOSA_RESULTS=" + quote(results),
		"AUTOSA_SOAK=" + quote(os.Getenv("AUTOSA_SOAK")),
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}, " ")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// complaint is what a kernel says when something is broken in it. A lockup or a stall is no defect of the kernel's on an emulated
// processor that has to wait for its turn.
var complaint = regexp.MustCompile(`(?m)^.*(\bBUG: (?:unable|kernel NULL|KASAN|sleeping|scheduling)|\bkernel BUG at|\bOops:|general protection fault|Kernel panic).*$`)

func (s *Suite) report(results string, runErr, interrupted error, console string) (Report, error) {
	var r Report
	var faults []error
	if _, err := os.Stat(filepath.Join(results, "release")); err != nil {
		return r, fmt.Errorf("%w: %w\n%s", ErrNoBoot, whyEnded(interrupted, runErr), console)
	}
	for i, bin := range s.binaries {
		p, err := s.packageReport(results, i, bin)
		if err != nil {
			faults = append(faults, err)
		}
		r.Packages = append(r.Packages, p)
	}
	dmesg, err := os.ReadFile(filepath.Join(results, "dmesg"))
	if err != nil {
		faults = append(faults, fmt.Errorf("the guest died before its end: %w\nthe end of its console:\n%s",
			whyEnded(interrupted, runErr), console))
	}
	if lines := complaint.FindAllString(string(dmesg)+console, 10); lines != nil {
		faults = append(faults, fmt.Errorf("the kernel complained:\n%s", strings.Join(lines, "\n")))
	}
	r.Guest = errors.Join(faults...)
	return r, nil
}

func whyEnded(interrupted, runErr error) error {
	switch {
	case interrupted != nil:
		return interrupted
	case runErr != nil:
		return runErr
	default:
		return errors.New("it powered off")
	}
}

// packageReport reads what one package's tests left behind. The error is for what no test of it can be blamed for.
func (s *Suite) packageReport(results string, i int, bin binary) (Package, error) {
	name := func(suffix string) string { return filepath.Join(results, strconv.Itoa(i)+suffix) }
	printed, err := os.ReadFile(name(".out"))
	if err != nil {
		return Package{Path: bin.pkg, Failed: true}, fmt.Errorf("%s: its tests were not started", bin.pkg)
	}
	p, err := convert(bin.pkg, bytes.NewReader(printed))
	if err != nil {
		return p, err
	}
	code, err := os.ReadFile(name(".code"))
	if err != nil {
		p.Failed = true
		return p, fmt.Errorf("%s: the guest died while its tests ran", bin.pkg)
	}
	if c := strings.TrimSpace(string(code)); c != "0" {
		p.Failed = true
		if !anyFailed(p.Tests) {
			return p, fmt.Errorf("%s: exit status %s and no test that failed\n%s", bin.pkg, c, p.Output)
		}
	}
	if len(p.Tests) == 0 && s.Run == "" {
		p.Failed = true
		return p, fmt.Errorf("%s: no test was run", bin.pkg)
	}
	if state, err := os.ReadFile(name(".state")); err == nil {
		if st := strings.TrimSpace(string(state)); st != "" && st != "disabled" {
			p.Failed = true
			return p, fmt.Errorf("%s: its tests left sched_ext %s", bin.pkg, st)
		}
	}
	return p, nil
}

func anyFailed(tests []*Result) bool {
	for _, t := range tests {
		if t.Outcome == Failed || t.Outcome == Unfinished {
			return true
		}
	}
	return false
}

// watch follows a guest through what it writes into the results directory.
type watch struct {
	suite    *Suite
	results  string
	progress func(string)
	running  int   // index of the package that runs
	read     int64 // how much of its output has been seen
}

func newWatch(s *Suite, results string, progress func(string)) *watch {
	return &watch{suite: s, results: results, progress: progress}
}

var ended = regexp.MustCompile(`(?m)^\x16?--- ((?:PASS|FAIL|SKIP): .*)$`)

// follow reports progress until ctx ends, and ends it itself when the guest hangs.
func (w *watch) follow(ctx context.Context, cancel context.CancelCauseFunc) {
	deadline := time.Now().Add(bootTime)
	booted := false
	for tick := time.NewTicker(250 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			w.drain()
			return
		case <-tick.C:
		}
		if !booted {
			if _, err := os.Stat(filepath.Join(w.results, "release")); err == nil {
				booted = true
				deadline = time.Now().Add(w.suite.patience())
			}
		}
		if w.drain() {
			deadline = time.Now().Add(w.suite.patience())
		}
		if time.Now().After(deadline) {
			if !booted {
				cancel(fmt.Errorf("the guest did not boot within %s", bootTime))
			} else {
				cancel(fmt.Errorf("the guest hung: %s did not end within %s", w.current(), w.suite.patience()))
			}
			return
		}
	}
}

func (w *watch) current() string {
	if w.running < len(w.suite.binaries) {
		return w.suite.binaries[w.running].pkg
	}
	return "its power-off"
}

// drain reports the tests that have ended since it was last called, and whether a package has.
func (w *watch) drain() bool {
	moved := false
	for w.running < len(w.suite.binaries) {
		base := filepath.Join(w.results, strconv.Itoa(w.running))
		_, codeErr := os.Stat(base + ".code") // before the output is read, which is then complete
		out, err := os.ReadFile(base + ".out")
		if err == nil && int64(len(out)) > w.read {
			fresh := out[w.read:]
			if cut := bytes.LastIndexByte(fresh, '\n'); cut >= 0 {
				for _, m := range ended.FindAllSubmatch(fresh[:cut], -1) {
					w.progress(w.current() + ": " + string(m[1]))
				}
				w.read += int64(cut) + 1
			}
		}
		if codeErr != nil {
			return moved
		}
		moved = true
		w.running, w.read = w.running+1, 0
	}
	return moved
}

// tail keeps the last part of what is written to it. It is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
