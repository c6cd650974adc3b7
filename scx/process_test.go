// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// begin spawns and starts a program, and ends it with the test.
func begin(t *testing.T, path string, args ...string) (*process, error) {
	t.Helper()
	p := spawned(t, noGate, path, args...)
	return p, p.start(t.Context())
}

// spawned makes a program's supervisor, and ends both with the test.
func spawned(t *testing.T, state, path string, args ...string) *process {
	t.Helper()
	p, err := spawn(t.Context(), testLog(t), state, path, args, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.destroy()
		<-p.done
	})
	return p
}

// wait returns how it ended.
func wait(t *testing.T, p *process) Exit {
	t.Helper()
	select {
	case <-p.done:
		return p.ending()
	case <-time.After(time.Minute):
		t.Fatal("it did not end")
		return Exit{}
	}
}

func TestProcessThatExitsAtOnceReportsStatusAndComplaint(t *testing.T) {
	p, err := begin(t, script(t, "scx_x", `echo before >&2; echo "Error: no such luck" >&2; exit 3`))
	if err != nil {
		t.Fatal(err)
	}
	exit := wait(t, p)
	if exit.Code != 3 || exit.Signal != 0 || exit.Requested || exit.Complaint != "Error: no such luck" {
		t.Errorf("got %+v", exit)
	}
	if got, want := exit.String(), "exited with status 3: Error: no such luck"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProcessThatCannotBeExecutedSaysWhy(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "scx_x")
	write(t, notExecutable, "#!/bin/sh\n")
	for name, c := range map[string]struct{ path, want string }{
		"missing":        {"/nonexistent/scx_x", "no such file"},
		"not executable": {notExecutable, "permission denied"},
		"no program":     {garbage(t), "exec format error"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := begin(t, c.path)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got error %v, want %q in it", err, c.want)
			}
			wait(t, p)
			if p.PID() != 0 {
				t.Errorf("it has PID %d", p.PID())
			}
		})
	}
}

// garbage is an executable file that is no program.
func garbage(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "scx_garbage")
	if err := os.WriteFile(path, []byte{0, 1, 2, 3}, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProcessGetsACleanEnvironmentAndItsArgumentsVerbatim(t *testing.T) {
	t.Setenv("AUTOSA_TEST_SECRET", "leak")
	p, err := begin(t, script(t, "scx_x", `env | sort; for a in "$@"; do printf '<%s>\n' "$a"; done; readlink /proc/self/fd/0; ls /proc/self/fd | wc -l`),
		"-a", "two words", "$(id)", "")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	got := p.out.text()
	if strings.Contains(got, "SECRET") || strings.Contains(got, "GOMAXPROCS") {
		t.Errorf("the environment leaks:\n%s", got)
	}
	for _, want := range []string{"PATH=" + strings.Join(searchPath, ":"), "<-a>\n<two words>\n<$(id)>\n<>\n", "/dev/null\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	// Standard descriptors and the one that ls reads the directory with.
	if lines := strings.Fields(got); lines[len(lines)-1] != "4" {
		t.Errorf("descriptors leak: %s", lines[len(lines)-1])
	}
}

func TestProcessThatIgnoresSIGTERMEndsBySIGKILL(t *testing.T) {
	p, err := begin(t, script(t, "scx_x", `trap "" TERM INT HUP; echo armed; while :; do sleep 0.05; done`))
	if err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "armed", func() bool { return strings.Contains(p.out.text(), "armed") })
	p.terminate()
	select {
	case <-p.done:
		t.Fatal("it ended on SIGTERM")
	case <-time.After(300 * time.Millisecond):
	}
	p.kill()
	if exit := wait(t, p); exit.Signal != unix.SIGKILL || !exit.Requested {
		t.Errorf("got %+v", exit)
	}
}

func TestProcessMayTakeAsLongToEndAsItsDaemonAllows(t *testing.T) {
	// Begun with a grace period of a second, which is for a daemon that is gone.
	p, err := begin(t, script(t, "scx_x", `trap "sleep 2; exit 7" TERM; echo armed; while :; do sleep 0.05; done`))
	if err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "armed", func() bool { return strings.Contains(p.out.text(), "armed") })
	p.terminate()
	if exit := wait(t, p); exit.Code != 7 || exit.Signal != 0 {
		t.Errorf("got %+v", exit)
	}
}

func TestProcessEndsWithEveryDescendant(t *testing.T) {
	// A wrapper, a child of its group, and one in a session of its own.
	p, err := begin(t, script(t, "scx_x", `trap "" TERM
sleep 1000 & echo child $!
setsid sh -c 'echo child $$; exec sleep 1000' &
while :; do sleep 0.05; done`))
	if err != nil {
		t.Fatal(err)
	}
	children := func() (pids []int) {
		for line := range strings.Lines(p.out.text()) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "child" {
				pid, _ := strconv.Atoi(f[1])
				pids = append(pids, pid)
			}
		}
		return pids
	}
	await(t, time.Minute, "children", func() bool { return len(children()) == 2 })
	p.kill()
	wait(t, p)
	for _, pid := range append(children(), p.group, p.PID()) {
		if exists(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestProcessThatEndsBySignalSaysWhich(t *testing.T) {
	p, err := begin(t, script(t, "scx_x", `kill -SEGV $$`))
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, p); exit.Signal != unix.SIGSEGV || !strings.Contains(exit.String(), "SIGSEGV") {
		t.Errorf("got %+v: %s", exit, exit)
	}
}

func TestProcessThatIsStoppedBySIGSTOPStillEnds(t *testing.T) {
	// It handles SIGTERM, as schedulers do, and so never sees it while it is stopped.
	p, err := begin(t, script(t, "scx_x", `trap "exit 7" TERM; echo armed; while :; do sleep 0.05; done`))
	if err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "armed", func() bool { return strings.Contains(p.out.text(), "armed") })
	if err := unix.Kill(p.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.terminate()
	p.kill()
	if exit := wait(t, p); exit.Signal != unix.SIGKILL {
		t.Errorf("got %+v", exit)
	}
}

func TestProcessEndsWhenItsSupervisorIsKilled(t *testing.T) {
	// With a child, which the parent-death signal does not reach.
	p, err := begin(t, script(t, "scx_x", `sleep 1000 & echo child $!; wait`))
	if err != nil {
		t.Fatal(err)
	}
	var child int
	await(t, time.Minute, "the child", func() bool {
		n, _ := fmt.Sscanf(p.out.text(), "child %d\n", &child)
		return n == 1
	})
	if err := unix.Kill(p.group, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit := wait(t, p)
	if exit.Code != -1 || exit.Signal != 0 || exit.Requested {
		t.Errorf("got %+v", exit)
	}
	await(t, time.Minute, "the scheduler's end", func() bool { return !exists(p.PID()) && !exists(child) })
}

func TestSupervisorPassesOnASignalFromOutside(t *testing.T) {
	p, err := begin(t, script(t, "scx_x", `trap "echo EXIT: unregistered from user space; exit 0" TERM; echo armed; while :; do sleep 0.05; done`))
	if err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "armed", func() bool { return strings.Contains(p.out.text(), "armed") })
	if err := unix.Kill(p.group, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, p); exit.Code != 0 || exit.Reason != cleanEnd || exit.Requested {
		t.Errorf("got %+v", exit)
	}
}

func TestSupervisorRefusesToBeRunByHand(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", SuperviseWord, "1s", noGate, "/bin/sleep", "1000").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "internal") {
		t.Errorf("got %v: %s", err, out)
	}
}

func TestUnstartedProcessIsNeverStarted(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	p, err := spawn(t.Context(), testLog(t), noGate, "/bin/touch", []string{mark}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	p.abandon()
	wait(t, p)
	if _, err := os.Stat(mark); err == nil {
		t.Error("it ran")
	}
	if exists(p.group) {
		t.Error("the supervisor is left")
	}
}

// TestKilledDaemonLeavesNothing kills a daemon at every step and at many moments
// between them, and looks for processes left.
func TestKilledDaemonLeavesNothing(t *testing.T) {
	mark := "1000." + strconv.Itoa(os.Getpid()) // tells this test's sleepers
	sleeper := script(t, "scx_sleeper", "exec sleep "+mark)
	left := func() []int {
		return processes("/proc", func(s procStat) bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.pid))
			if err != nil || !exists(s.pid) {
				return false
			}
			text := string(b)
			return strings.Contains(text, mark) || strings.Contains(text, sleeper)
		})
	}
	kill := func(t *testing.T, step, until string, after time.Duration) {
		t.Helper()
		cmd := exec.Command("/proc/self/exe", parentWord, step, sleeper)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			word, rest, _ := strings.Cut(lines.Text(), " ")
			if word == "error" {
				t.Fatal(rest)
			}
			if word == until {
				break
			}
		}
		time.Sleep(after)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		await(t, time.Minute, fmt.Sprintf("nothing left (%v)", left()), func() bool { return len(left()) == 0 })
	}
	t.Run("supervisor waits", func(t *testing.T) { kill(t, "spawn", "supervisor", 0) })
	t.Run("scheduler runs", func(t *testing.T) { kill(t, "start", "scheduler", 0) })
	t.Run("anywhere", func(t *testing.T) {
		const moments = 40
		for i := range moments {
			// From before the fork of the supervisor to after the scheduler's exec.
			kill(t, "start", "begin", time.Duration(i)*500*time.Microsecond)
		}
	})
	t.Run("scheduler ignores SIGTERM", func(t *testing.T) {
		sleeper = script(t, "scx_sleeper", `trap "" TERM; while :; do sleep 0.05; done; echo `+mark)
		kill(t, "start", "scheduler", 100*time.Millisecond)
	})
}

// TestKilledSupervisorLeavesNothingThoughTheDaemonCannotAct leaves the
// parent-death signal alone to work.
func TestKilledSupervisorLeavesNothingThoughTheDaemonCannotAct(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", parentWord, "start", "/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	pids := map[string]int{}
	for lines := bufio.NewScanner(out); pids["scheduler"] == 0 && lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		pids[word], _ = strconv.Atoi(rest)
	}
	if pids["supervisor"] == 0 || pids["scheduler"] == 0 {
		t.Fatalf("got %v", pids)
	}
	if err := errors.Join(unix.Kill(cmd.Process.Pid, unix.SIGSTOP), unix.Kill(pids["supervisor"], unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, "the scheduler's end", func() bool { return !exists(pids["scheduler"]) })
}

func TestSpawnGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := spawn(ctx, testLog(t), noGate, "/bin/sleep", []string{"1000"}, time.Second); err == nil {
		// Ready before the context was looked at: as good.
		p.abandon()
		<-p.done
	}
}
