// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fakeCache is a cache whose vng is a shell script.
func fakeCache(t *testing.T, script string) Cache {
	t.Helper()
	c := Cache{dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Dir(c.vng()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.vng(), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHungMachineIsKilledWithEverythingItStarted(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := fakeCache(t, "sleep 600 & echo $! $$ >"+pids+"; wait\n")
	ctx, cancel := context.WithCancelCause(context.Background())
	hung := errors.New("hung")
	go func() {
		for {
			if text, err := os.ReadFile(pids); err == nil && bytes.HasSuffix(text, []byte("\n")) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel(hung)
	}()
	if err := c.run(ctx, Machine{TempDir: t.TempDir()}, false); !errors.Is(err, hung) {
		t.Errorf("error %v, want the context's cause", err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(text)) {
		awaitDeath(t, pid)
	}
}

// awaitDeath waits until a process has ended; nobody may have reaped it yet.
func awaitDeath(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s still runs: %s", pid, stat)
		}
	}
}

func TestGroupDiesWithTheProcessThatGuardsIt(t *testing.T) {
	victim := exec.Command("sleep", "600")
	victim.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		killGroup(victim.Process.Pid)
		_ = victim.Wait()
	}()
	guard, err := guardGroup(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// What happens to the guard's pipe when this process dies.
	if err := guard.line.Close(); err != nil {
		t.Fatal(err)
	}
	_ = guard.cmd.Wait()
	awaitDeath(t, strconv.Itoa(victim.Process.Pid))
}

func TestMachineThatEndsByItselfIsNotKilled(t *testing.T) {
	var out, console bytes.Buffer
	c := fakeCache(t, "echo said; echo logged >&2; exit 3\n")
	err := c.run(context.Background(), Machine{Stdout: &out, Console: &console, TempDir: t.TempDir()}, false)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("error %v, want exit status 3", err)
	}
	if out.String() != "said\n" || console.String() != "logged\n" {
		t.Errorf("output %q, console %q", &out, &console)
	}
}

func TestKVMIsTriedOnceAndRemembered(t *testing.T) {
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skipf("KVM is not tried here: %v", err)
	} else {
		_ = f.Close()
	}
	for _, c := range []struct {
		name, script string
		want         bool
	}{
		{"it works", "echo " + kvmTrialWord, true},
		{"the emulator stops with an error", "echo KVM internal error. Suberror: 1 >&2; sleep 600", false},
		{"the guest says nothing", "exit 0", false},
		{"the boot fails", "exit 1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := filepath.Join(t.TempDir(), "calls")
			cache := fakeCache(t, "echo x >>"+calls+"\n"+c.script+"\n")
			for range 2 {
				got, err := cache.kvmWorks(context.Background(), Kernel{Release: "7.2.1"}, t.TempDir())
				if err != nil || got != c.want {
					t.Errorf("works %t, %v; want %t", got, err, c.want)
				}
			}
			if text, err := os.ReadFile(calls); err != nil || string(text) != "x\n" {
				t.Errorf("tried %q times, %v; want once", text, err)
			}
		})
	}
}

func TestKVMTrialThatIsInterruptedIsNotRemembered(t *testing.T) {
	cache := fakeCache(t, "sleep 600\n")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if v, err := cache.tryKVM(ctx, Kernel{}, t.TempDir()); err == nil {
		t.Errorf("verdict %q of a trial that was interrupted", v)
	}
}

func TestStagesOfLivingRunsAreLeftAlone(t *testing.T) {
	c := Cache{dir: t.TempDir()}
	one, err := c.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	abandoned := filepath.Join(c.dir, "run", "abandoned")
	if err := os.MkdirAll(abandoned, 0o755); err != nil {
		t.Fatal(err)
	}
	two, err := c.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(one.Dir); err != nil || one.Dir == two.Dir {
		t.Errorf("a living run's stage is gone or shared: %v", err)
	}
	if _, err := os.Stat(abandoned); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an abandoned stage is still there: %v", err)
	}
	for _, s := range []*Stage{one, two} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("stage %s outlived its run: %v", s.Dir, err)
		}
	}
}

func TestWhatIsNotPreparedSaysSo(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := OpenCache(); !errors.Is(err, ErrNotPrepared) {
		t.Errorf("error %v, want ErrNotPrepared", err)
	}
	if _, err := (Cache{dir: t.TempDir()}).Kernel("7.2"); !errors.Is(err, ErrNotPrepared) {
		t.Errorf("error %v, want ErrNotPrepared", err)
	}
}

func TestPrepareScriptPreparesTheSeriesOfTheMatrix(t *testing.T) {
	text, err := os.ReadFile("prepare.sh")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nseries=(" + strings.Join(DefaultSeries, " ") + ")\n"; !bytes.Contains(text, []byte(want)) {
		t.Errorf("prepare.sh lacks %q", want)
	}
}

func TestJobScriptPassesOnArgumentsExitCodeAndInterrupt(t *testing.T) {
	results := t.TempDir()
	sh := func(args ...string) *exec.Cmd {
		return exec.Command("sh", "-c", jobScript("AUTOSA_VM=1", results, args))
	}
	out, err := sh("sh", "-c", `echo "$AUTOSA_VM $1"; exit 7`, "sh", "it's  one").Output()
	if err != nil || string(out) != "1 it's  one\n" {
		t.Errorf("output %q, %v", out, err)
	}
	if code, err := os.ReadFile(filepath.Join(results, "code")); err != nil || string(code) != "7\n" {
		t.Errorf("exit code %q, %v", code, err)
	}

	cmd := sh("sh", "-c", `trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.1; done`)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(pipe, ready); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(results, "interrupt"), "")
	rest, err := io.ReadAll(pipe)
	if err != nil || string(rest) != "interrupted\n" {
		t.Errorf("output after the interrupt %q, %v", rest, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if code, err := os.ReadFile(filepath.Join(results, "code")); err != nil || string(code) != "4\n" {
		t.Errorf("exit code %q, %v", code, err)
	}
}
