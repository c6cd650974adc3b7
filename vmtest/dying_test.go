// SPDX-License-Identifier: Apache-2.0

//go:build vmmatrix

package vmtest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runBroken boots the newest kernel with the tests of a package in testdata/guests, which break their guest.
func runBroken(t *testing.T, name string, timeout, grace time.Duration) Report {
	t.Helper()
	cache, stage := openStage(t)
	kernel, err := cache.Kernel(DefaultSeries[len(DefaultSeries)-1])
	if err != nil {
		t.Fatal(err)
	}
	suite, err := NewSuite(context.Background(), stage, "..", []string{"./vmtest/testdata/guests/" + name})
	if err != nil {
		t.Fatal(err)
	}
	suite.Timeout, suite.grace = timeout, grace
	report, err := suite.Execute(context.Background(), cache, kernel, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestGuestWhoseKernelCrashesFailsWithItsConsole(t *testing.T) {
	r := runBroken(t, "crash", time.Minute, time.Minute)
	if got, want := outline("", r.Packages[0].Tests), "pass TestVMPasses\nunfinished TestVMCrashesTheKernel\n"; got != want || !r.Packages[0].Failed {
		t.Errorf("failed %t, results:\n%swant:\n%s", r.Packages[0].Failed, got, want)
	}
	if r.Guest == nil {
		t.Fatal("nothing is wrong with a guest whose kernel crashed")
	}
	for _, want := range []string{"the guest died", "Kernel panic - not syncing: sysrq triggered crash"} {
		if !strings.Contains(r.Guest.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, r.Guest)
		}
	}
}

// needLong leaves a boot of its own out of the short form.
func needLong(t *testing.T) {
	t.Helper()
	if os.Getenv("AUTOSA_VM_SHORT") != "" {
		t.Skip("boots a machine of its own; not in the short form, `go test -tags vmmatrix -run TestGuest ./vmtest` has it")
	}
}

func TestGuestThatHangsIsKilledInTime(t *testing.T) {
	needLong(t)
	r := runBroken(t, "hang", 10*time.Second, 5*time.Second)
	if got, want := outline("", r.Packages[0].Tests), "pass TestVMPasses\nunfinished TestVMStopsItself\n"; got != want || !r.Packages[0].Failed {
		t.Errorf("failed %t, results:\n%swant:\n%s", r.Packages[0].Failed, got, want)
	}
	if r.Guest == nil || !strings.Contains(r.Guest.Error(), "the guest hung: vmtest/testdata/guests/hang did not end within 25s") {
		t.Errorf("error %v", r.Guest)
	}
}

func TestGuestPackageThatFailsIsRunAgainOnce(t *testing.T) {
	needLong(t)
	cache, stage := openStage(t)
	kernel, err := cache.Kernel(DefaultSeries[len(DefaultSeries)-1])
	if err != nil {
		t.Fatal(err)
	}
	suite, err := NewSuite(t.Context(), stage, "..", []string{"./vmtest/testdata/guests/unsteady"})
	if err != nil {
		t.Fatal(err)
	}
	progress := func(line string) { t.Log(line) }
	first, err := suite.Execute(t.Context(), cache, kernel, progress)
	if err != nil {
		t.Fatal(err)
	}
	if want := "pass TestVMPasses\nfail TestVMFailsOnce\n"; outline("", first.Packages[0].Tests) != want {
		t.Fatalf("results:\n%swant:\n%s", outline("", first.Packages[0].Tests), want)
	}
	r, err := suite.Again(t.Context(), cache, kernel, first, progress)
	if err != nil {
		t.Fatal(err)
	}
	p := r.Packages[0]
	if want := "pass TestVMPasses\npass TestVMFailsOnce\n"; outline("", p.Tests) != want || p.Failed || r.Guest != nil {
		t.Errorf("failed %t, guest %v, results:\n%swant:\n%s", p.Failed, r.Guest, outline("", p.Tests), want)
	}
	if !strings.Contains(p.Tests[1].Output, Unsteady) || !strings.Contains(p.Tests[1].Output, "one run is not enough") {
		t.Errorf("output %q", p.Tests[1].Output)
	}
}

func TestGuestJobReturnsOutputAndExitCode(t *testing.T) {
	needLong(t)
	cache, err := OpenCache()
	if err != nil {
		t.Fatal(err)
	}
	stage, err := cache.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	interrupt := make(chan struct{})
	go func() {
		// The command below says so in a file that both sides see.
		for {
			if _, err := os.Stat(filepath.Join(stage.Dir, "results", "6.18", "ready")); err == nil {
				close(interrupt)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	code, err := cache.RunJob(context.Background(), stage, "..", Job{
		Series: "6.18",
		Args: []string{"sh", "-c", `echo "to stdout"; echo "to stderr" >&2; uname -r; test -x "$AUTOSA_BIN" && echo "has autosa"
			trap 'echo interrupted; exit 5' INT; touch "$AUTOSA_RESULTS/ready"; while :; do sleep 0.1; done`},
		Output: &out, Interrupt: interrupt,
	})
	if err != nil || code != 5 {
		t.Errorf("exit code %d, %v; want 5", code, err)
	}
	for _, want := range []string{"to stdout\n", "to stderr\n", "6.18.", "has autosa\n", "interrupted\n"} {
		if !strings.Contains(strings.ReplaceAll(out.String(), "\r", ""), want) {
			t.Errorf("output lacks %q:\n%s", want, &out)
		}
	}
}
