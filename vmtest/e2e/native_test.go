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
