// SPDX-License-Identifier: Apache-2.0

// Command testrun runs the parts of `make test` one at a time, shows their progress, keeps their results in a file, and at the end
// says what became of everything.
//
//	testrun -record FILE go NAME [-live N] -- GO-TEST-ARGUMENT…
//	testrun -record FILE step NAME -- COMMAND [ARGUMENT…]
//	testrun -record FILE report [REQUIRED…]
//
// go runs `go test -json` with the arguments; with -live N it also shows, as it comes, what tests of up to N levels print. step
// runs any other check, which passes or fails as a whole. Both record a failure and exit 1. report
// prints every failed and every skipped test with its reason, then one line "N passed, N failed, N skipped", and
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
	"strconv"
	"syscall"
	"time"
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
	fmt.Fprintln(os.Stderr, "usage: testrun -record FILE go NAME [-live N] -- ARG… | step NAME -- COMMAND… | report [REQUIRED…]")
	os.Exit(2)
}

// split parses NAME [-live N] -- REST.
func split(args []string) (name string, live int, rest []string) {
	if len(args) == 0 {
		usage()
	}
	name, args = args[0], args[1:]
	if len(args) > 1 && args[0] == "-live" {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			usage()
		}
		live, args = n, args[2:]
	}
	if len(args) < 2 || args[0] != "--" {
		usage()
	}
	return name, live, args[1:]
}

func runGo(record string, args []string) (ok bool, err error) {
	name, live, rest := split(args)
	w, err := openRecord(record, name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	fmt.Printf("== %s: go test", name)
	for _, a := range rest {
		fmt.Printf(" %s", a)
	}
	fmt.Println()
	began := time.Now()
	out, in := io.Pipe()
	cmd := exec.Command("go", append([]string{"test", "-json"}, rest...)...)
	cmd.Stdout, cmd.Stderr = in, os.Stderr
	read := make(chan error, 1)
	go func() {
		err := follow(out, w, &printer{out: os.Stdout, live: live})
		_ = out.CloseWithError(err) // so that nobody writes to a reader that is gone
		read <- err
	}()
	runErr := await(cmd)
	_ = in.Close()
	if err := <-read; err != nil {
		return false, err
	}
	return finish(w, name, began, runErr)
}

func runStep(record string, args []string) (ok bool, err error) {
	name, _, rest := split(args)
	w, err := openRecord(record, name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	fmt.Printf("== %s\n", name)
	began := time.Now()
	cmd := exec.Command(rest[0], rest[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return finish(w, name, began, await(cmd))
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
