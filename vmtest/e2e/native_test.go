// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"autosa/api"
	"autosa/vmtest/guest"
	"autosa/workload"
)

// build compiles the binary under test once a test.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "autosa")
	cmd := exec.Command("go", "build", "-o", bin, "autosa/cmd/autosa")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to load the tracer")
	}
}

func TestOnAKernelWithoutSchedExtItObserves(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/sys/kernel/sched_ext"); err == nil {
		t.Skip("this kernel has sched_ext; the observe-only case runs on one without, in the VM matrix too")
	}
	checkObserveMode(t, build(t))
}

// SIGHUP reads the file anew; a mistake in it is named, and ends nothing.
func TestHangupReadsTheConfigurationAnew(t *testing.T) {
	needRoot(t)
	a := newAutosa(t, build(t))
	file := filepath.Join(a.dir, "config.toml")
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("aggregation_window_secs = 4\n")
	a.launch("--config", file)
	for _, step := range []struct{ text, warning string }{
		{"aggregation_window_secs = 8\nmin_confidence_threshold = 0.9\n", "waiting for a restart: aggregation_window_secs"},
		{"colour = 1\n", file + ":1: colour: unknown key"},
		{"aggregation_window_secs = 4\n", ""},
	} {
		configure(step.text)
		if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		a.await(2*time.Minute, "what the reload came to: "+step.warning, func(st api.Status) bool {
			if st.PID != a.cmd.Process.Pid {
				t.Fatalf("another daemon answers, of PID %d", st.PID)
			}
			all := strings.Join(st.Warnings, "\n")
			return strings.Contains(all, step.warning) && (step.warning != "" || !strings.Contains(all, "config"))
		})
	}
}

func TestWithoutPermissionItObservesAndNamesTheCapability(t *testing.T) {
	needRoot(t)
	checkUnprivileged(t, build(t))
}

// checkUnprivileged is what an unprivileged user gets: procfs, observe mode and
// the name of the missing capability.
func checkUnprivileged(t *testing.T, bin string) {
	dir, err := os.MkdirTemp("", "autosa-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "autosa")
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, b, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "autosa.sock")
	cmd := exec.Command(copied, "start", "--socket", socket, "--state-dir", filepath.Join(dir, "state"), "--aggregation-window", "4")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	log := &guest.Output{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &autosa{t: t, bin: bin, socket: socket, dir: dir, cmd: cmd, done: make(chan struct{}), log: log}
	go func() { _ = cmd.Wait(); close(a.done) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-a.done })
	st := a.await(2*time.Minute, "a sample", func(st api.Status) bool { return st.Samples >= 3 })
	said, _ := json.Marshal(st.Tracer)
	if st.Mode != api.ModeObserve || st.Tracer.Source != workload.SourceProcfs || !strings.Contains(st.Tracer.Reason, "CAP_") {
		t.Errorf("mode %s (%s), tracer %s; want observe mode at the procfs level and the missing capability named", st.Mode, st.ModeReason, said)
	}
	if ps := a.end(syscall.SIGTERM, time.Minute); ps.ExitCode() != 0 {
		t.Errorf("SIGTERM: %v, want exit 0", ps)
	}
}
