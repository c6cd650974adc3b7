// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the autosa binary as its user would and compares what it
// says with what the kernel says.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/api"
	"autosa/vmtest/guest"
)

// autosa is one daemon under test and the means to ask it.
type autosa struct {
	t           *testing.T
	bin, socket string
	dir         string
	cmd         *exec.Cmd
	done        chan struct{} // closed when the daemon has ended
	log         *guest.Output
}

// start runs `autosa start` with the given further arguments and waits until
// it answers. The daemon is ended with the test, and its log is printed when
// the test has failed.
func start(t *testing.T, bin string, args ...string) *autosa {
	t.Helper()
	a := newAutosa(t, bin)
	a.launch(args...)
	return a
}

func newAutosa(t *testing.T, bin string) *autosa {
	t.Helper()
	dir := t.TempDir()
	return &autosa{t: t, bin: bin, dir: dir, socket: filepath.Join(dir, "autosa.sock")}
}

// launch starts the daemon; after an earlier one has ended it may be called
// again, with the same socket and state.
func (a *autosa) launch(args ...string) {
	t := a.t
	t.Helper()
	a.log, a.done = &guest.Output{}, make(chan struct{})
	a.cmd = exec.Command(a.bin, append([]string{"start", "--socket", a.socket, "--state-dir", filepath.Join(a.dir, "state"),
		"--log-level", "debug", "--log-format", "logfmt",
		// On an emulated CPU observing takes many times what it takes elsewhere.
		"--tracer-budget", "0"}, args...)...)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	a.cmd.Env = withoutSettings()
	if err := a.cmd.Start(); err != nil {
		t.Fatalf("start the daemon: %v", err)
	}
	cmd, done, log := a.cmd, a.done, a.log
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		if !ended(done) {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-done:
			case <-time.After(2 * time.Minute):
				_ = cmd.Process.Kill()
				<-done
				t.Error("the daemon did not end within two minutes of SIGTERM")
			}
		}
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", tail(log.String(), 200))
		}
	})
	a.await(3*time.Minute, "answer with a sample", func(st api.Status) bool { return st.Samples > 0 })
}

// withoutSettings is the environment less what autosa would take for settings.
func withoutSettings() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AUTOSA_") })
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func tail(s string, lines int) string {
	l := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(l[max(0, len(l)-lines):], "\n")
}

// run runs a client command and returns its standard output, standard error
// and exit code.
func (a *autosa) run(args ...string) (stdout, stderr string, code int) {
	a.t.Helper()
	cmd := exec.Command(a.bin, args...)
	cmd.Env = append(withoutSettings(), "AUTOSA_SOCKET="+a.socket)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		a.t.Fatalf("%s: %v", cmd, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// mustRun is run for commands that have to end with exit code 0.
func (a *autosa) mustRun(args ...string) string {
	a.t.Helper()
	out, errOut, code := a.run(args...)
	if code != 0 {
		a.t.Fatalf("autosa %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// status asks the daemon as `autosa status --json` does.
func (a *autosa) status() (api.Status, error) {
	out, errOut, code := a.run("status", "--json")
	if code != 0 {
		return api.Status{}, fmt.Errorf("autosa status: exit %d: %s", code, errOut)
	}
	var st api.Status
	return st, json.Unmarshal([]byte(out), &st)
}

// pollEvery is how often the status is asked for: to ask is work, on an emulated
// machine so much that it shows in what the daemon sees.
func pollEvery() time.Duration {
	if os.Getenv("AUTOSA_VM") != "" {
		return 2 * time.Second
	}
	return 500 * time.Millisecond
}

// await polls the status until it is as wanted, and fails the test, saying
// what was waited for and what the last status was, when that takes too long
// or the daemon ends.
func (a *autosa) await(within time.Duration, what string, ok func(api.Status) bool) api.Status {
	a.t.Helper()
	deadline := time.Now().Add(within)
	for {
		st, err := a.status()
		if err == nil && ok(st) {
			return st
		}
		if ended(a.done) {
			a.t.Fatalf("the daemon ended (%v) before it did: %s\n%s", a.cmd.ProcessState, what, tail(a.log.String(), 50))
		}
		if time.Now().After(deadline) {
			last, _ := json.MarshalIndent(st, "", "  ")
			a.t.Fatalf("not within %v: %s (%v)\nlast status: %s\nkernel: %+v", within, what, err, last, kernel())
		}
		time.Sleep(pollEvery())
	}
}

// end sends a signal and waits for the daemon's end.
func (a *autosa) end(sig syscall.Signal, within time.Duration) *os.ProcessState {
	a.t.Helper()
	if err := a.cmd.Process.Signal(sig); err != nil {
		a.t.Fatalf("signal the daemon: %v", err)
	}
	select {
	case <-a.done:
	case <-time.After(within):
		a.t.Fatalf("the daemon did not end within %v of %v", within, sig)
	}
	return a.cmd.ProcessState
}

// kernelSays is sysfs as read here, not as autosa reports it.
type kernelSays struct {
	State, Ops string
	EnableSeq  uint64
}

func kernel() kernelSays {
	read := func(name string) string {
		b, err := os.ReadFile("/sys/kernel/sched_ext/" + name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	seq, _ := strconv.ParseUint(read("enable_seq"), 10, 64)
	return kernelSays{State: read("state"), Ops: read("root/ops"), EnableSeq: seq}
}
