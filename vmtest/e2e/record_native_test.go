// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/vmtest/guest"
)

// The daemon in observe mode, in the process of `autosa record`, three times
// beside each other: into a file until SIGINT, into one until SIGKILL, and onto
// a disk that fills up. Each recording holds what was written, and replays.
func TestRecordingOfThisMachineReplaysHoweverItEnded(t *testing.T) {
	needRoot(t)
	bin, dir := build(t), t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24k"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount the small disk: %v", err)
		}
	})
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("collection_interval_secs = \"200ms\"\naggregation_window_secs = 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(file string) *exec.Cmd {
		return beside(t, withoutSettings(), bin, "record", "-o", file, "--config", config, "--socket", filepath.Join(dir, "none.sock"))
	}
	spin := exec.Command("sh", "-c", "while :; do :; done")
	if err := spin.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spin.Process.Kill(); _ = spin.Wait() })

	whole, killed, full := filepath.Join(dir, "whole"), filepath.Join(dir, "killed"), filepath.Join(disk, "full")
	ended, dying, filling := start(whole), start(killed), start(full)
	size := func(file string) int64 {
		st, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return st.Size()
	}
	guest.Await(t, 2*time.Minute, "a full disk", func() bool { return size(full) == 24<<10 })
	guest.Await(t, 2*time.Minute, "as much on the other", func() bool { return size(killed) >= 12<<10 && size(whole) >= 12<<10 })
	_ = dying.Process.Kill()
	_ = ended.Process.Signal(syscall.SIGINT)
	if err := ended.Wait(); err != nil {
		t.Errorf("record until SIGINT: %v", err)
	}
	_ = dying.Wait()
	if err := filling.Wait(); err == nil {
		t.Error("a full disk was no error")
	}

	verdicts := map[string]string{whole: "complete and whole", killed: "cut off", full: "cut off"}
	for file, verdict := range verdicts {
		decisions, sum := replayTwice(t, bin, file)
		if len(decisions) < 3 || sum.Samples < 3 || sum.Compared != sum.Decisions || sum.Different > 0 {
			t.Errorf("%s: %d decisions, %+v", file, len(decisions), sum)
		}
		out, _ := exec.Command(bin, "replay", "--verify", file).Output()
		if !strings.Contains(string(out), verdict) {
			t.Errorf("%s: want %q in\n%s", file, verdict, out)
		}
	}
	survivesAlteration(t, whole, 100)
}

// beside starts a program that ends with the test at the latest; what it printed is shown when that has failed.
func beside(t *testing.T, env []string, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = env
	out := &guest.Output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails where it has ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s printed:\n%s", cmd, out)
		}
	})
	return cmd
}
