// SPDX-License-Identifier: Apache-2.0

// Command testrun runs the parts of `make test` one at a time, shows their progress, keeps their results in a file, and at the end
// says what became of everything.
//
//	testrun -record FILE go NAME [-live N] [-again] -- GO-TEST-ARGUMENT…
//	testrun -record FILE step NAME -- COMMAND [ARGUMENT…]
//	testrun -record FILE report [REQUIRED…]
//
// go runs `go test -json` with the arguments; with -live N it also shows, as it comes, what tests of up to N levels print. With
// -again, which is for tests that measure a machine which is not theirs alone, the tests that fail are run again by themselves, twice at
// most, when the host gives little of this machine's time to others (the kernel's steal time) or after a minute; one
// that passes then is unsteady, and said to be. One that fails each time while a quarter or more of the CPUs' time went to others
// is undecided: said to be, with the share, and counted with the skipped. Races and panics are final, and so are more than two packages that
// fail on a machine that is given its time. step
// runs any other check, which passes or fails as a whole. Both record a failure and exit 1. report
// prints every failed, unsteady and skipped test with its reason, then one line "N passed, N failed, N skipped", and
// exits 1 when something has failed or when a REQUIRED step, or test whose name begins so, has not passed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"autosa/vmtest"
)

func main() {
	record := flag.String("record", "", "`file` of results")
	flag.Parse()
	if *record == "" || flag.NArg() == 0 {
		usage()
	}
	var ok bool
	var err error
	switch args := flag.Args()[1:]; flag.Arg(0) {
	case "go":
		ok, err = runGo(*record, args)
	case "step":
		ok, err = runStep(*record, args)
	case "report":
		ok, err = report(*record, args, os.Stdout)
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: testrun -record FILE go NAME [-live N] [-again] -- ARG… | step NAME -- COMMAND… | report [REQUIRED…]")
	os.Exit(2)
}

// run is what the command line asks for: NAME [-live N] [-again] -- REST.
type run struct {
	name  string
	live  int
	again bool
	rest  []string

	// read reads the CPUs' time, look is how long a look at it takes, and wait how long a calm moment is waited for.
	read       func() (cpuTime, error)
	look, wait time.Duration
}

func parse(args []string) run {
	if len(args) == 0 {
		usage()
	}
	r := run{name: args[0], read: readCPUTime, look: calmLook, wait: calmWait}
	flags := flag.NewFlagSet(r.name, flag.ExitOnError)
	flags.Usage = usage
	flags.IntVar(&r.live, "live", 0, "")
	flags.BoolVar(&r.again, "again", false, "")
	_ = flags.Parse(args[1:]) // which exits
	if r.rest = flags.Args(); len(r.rest) == 0 || args[len(args)-len(r.rest)-1] != "--" {
		usage()
	}
	return r
}

func runGo(record string, args []string) (ok bool, err error) {
	return parse(args).goTests(record)
}

func (r run) goTests(record string) (ok bool, err error) {
	w, err := openRecord(record, r.name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	fmt.Printf("== %s: go test", r.name)
	for _, a := range r.rest {
		fmt.Printf(" %s", a)
	}
	fmt.Println()
	began := time.Now()
	var f failures
	var stolen float64
	runErr, err := r.metered(&stolen, func() (error, error) { return goTest(w, r, r.rest, &f) })
	if err != nil {
		return false, err
	}
	var exit *exec.ExitError
	if r.again && errors.As(runErr, &exit) && !f.final && len(f.packages) > 0 && (len(f.packages) <= vmtest.MaxAgain || stolen >= muchStolen) {
		runErr = nil
		for _, pkg := range f.packages {
			againErr, err := r.goTestAgain(w, pkg, f.tests[pkg])
			if err != nil {
				return false, err
			}
			runErr = errors.Join(runErr, againErr)
		}
	}
	return finish(w, r.name, began, runErr)
}

// metered runs the tests and leaves the share of the CPUs' time in stolen that went to others meanwhile.
func (r run) metered(stolen *float64, tests func() (runErr, err error)) (runErr, err error) {
	before, err := r.read()
	if err != nil {
		return nil, err
	}
	runErr, err = tests()
	if err != nil {
		return runErr, err
	}
	after, err := r.read()
	*stolen = after.since(before)
	return runErr, err
}

// rounds is how often what has failed is run again.
const rounds = 2

// goTestAgain runs the tests of a package again, or all of it when none of them is to blame for its failure, until they pass. runErr is
// nil when they did, or when this machine was not there for long enough to tell.
func (r run) goTestAgain(w *recorder, pkg string, tests []string) (runErr, err error) {
	for round := 1; ; round++ {
		args, what := flagsOf(r.rest), pkg
		if len(tests) > 0 {
			args, what = append(args, "-run=^("+strings.Join(tests, "|")+")$"), pkg+" "+strings.Join(tests, ", ")
		} else {
			tests = []string{""}
		}
		if err := awaitCalm(r.read, r.look, r.wait); err != nil {
			return nil, err
		}
		fmt.Printf("== %s: %s: failed and run again (%d of %d)\n", r.name, what, round, rounds)
		for _, t := range tests {
			if err := w.put(event{Action: "again", Package: pkg, Test: t}); err != nil {
				return nil, err
			}
		}
		var f failures
		var stolen float64
		runErr, err = r.metered(&stolen, func() (error, error) { return goTest(w, r, append(args, pkg), &f) })
		switch {
		case err != nil || runErr == nil || f.final:
			return runErr, err
		case round < rounds:
			tests = f.tests[pkg]
		case stolen >= muchStolen:
			why := fmt.Sprintf("not decided: %.0f %% of the CPUs' time went to other machines while it failed", 100*stolen)
			fmt.Printf("== %s: %s: %s\n", r.name, what, why)
			return nil, w.put(event{Action: "undecided", Package: pkg, Output: why})
		default:
			return runErr, nil
		}
	}
}

// flagsOf leaves the packages out of the arguments of go test. A flag's value belongs to its flag: -timeout=15m.
func flagsOf(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !strings.HasPrefix(a, "-") })
}

// goTest runs `go test` and records what became of it; runErr is how it ended.
func goTest(w *recorder, r run, args []string, f *failures) (runErr, err error) {
	out, in := io.Pipe()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stdout, cmd.Stderr = in, os.Stderr
	read := make(chan error, 1)
	go func() {
		err := follow(out, w, &printer{out: os.Stdout, live: r.live}, f)
		_ = out.CloseWithError(err) // so that nobody writes to a reader that is gone
		read <- err
	}()
	runErr = await(cmd)
	_ = in.Close()
	return runErr, <-read
}

func runStep(record string, args []string) (ok bool, err error) {
	r := parse(args)
	w, err := openRecord(record, r.name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	fmt.Printf("== %s\n", r.name)
	began := time.Now()
	cmd := exec.Command(r.rest[0], r.rest[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return finish(w, r.name, began, await(cmd))
}

// await runs a command to its end. A terminal's Ctrl-C reaches the command by itself, and this program waits for it.
func await(cmd *exec.Cmd) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s != os.Interrupt {
				_ = cmd.Process.Signal(s)
			}
		case err := <-done:
			return err
		}
	}
}

// finish records how a run ended.
func finish(w *recorder, name string, began time.Time, runErr error) (bool, error) {
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		runErr = fmt.Errorf("%s: %w", name, runErr)
	}
	end := event{Action: "end", Outcome: "pass"}
	if runErr != nil {
		end.Outcome, end.Output = "fail", runErr.Error()
	}
	fmt.Printf("== %s: %s after %.0f s\n", name, end.Outcome, time.Since(began).Seconds())
	return runErr == nil, w.put(end)
}
