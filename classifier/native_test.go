// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package classifier_test

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"autosa/collector"
	"autosa/workload"
)

// knownLoads are those that need no disk.
func knownLoads() []known {
	return []known{
		{"spin 1", []string{"spin", "-n", "1"}, []workload.Class{workload.Compute}, 0},
		{"spin a CPU", []string{"spin"}, []workload.Class{workload.Compute}, 0},
		{"spin 3 a CPU", []string{"spin", "-n", strconv.Itoa(3 * runtime.NumCPU())}, []workload.Class{workload.Batch}, 0},
		{"build", []string{"build"}, []workload.Class{workload.Batch}, 0},
		{"periodic 10 ms", []string{"periodic", "-n", "3", "-period", "10ms", "-work", "1ms"}, []workload.Class{workload.Media}, 0},
		{"periodic 16 ms", []string{"periodic", "-n", "2", "-period", "16667us", "-work", "5ms"}, []workload.Class{workload.Media}, 0},
		{"interactive", []string{"interactive", "-n", "6"}, []workload.Class{workload.Interactive}, 0},
		{"pingpong", []string{"pingpong"}, []workload.Class{workload.Server}, 0},
		{"server", []string{"server"}, []workload.Class{workload.Server}, 0},
	}
}

// Real loads, real samples, this machine's own scheduler. With -v it prints
// rows of the table of docs/CLASSIFIER.md.
func TestEveryLoadIsRecognisedHere(t *testing.T) {
	root, c := realCollector(t, workload.SourceBPF)
	binary := buildLoad(t)
	loads := knownLoads()
	if file := directFile(t); file != "" {
		loads = append(loads, known{"read", []string{"read", "-bs", "65536", "-file", file}, []workload.Class{workload.IO}, 0})
	}
	t.Log("\n" + tableHead)
	for _, k := range loads {
		t.Run(k.id(), func(t *testing.T) {
			stop := startIn(t, binary, filepath.Join(root, k.id()), k.args...)
			o := watchUntilRecognised(t, c, k, 500*time.Millisecond, false)
			t.Log(o.row(k.name, "EEVDF"))
			if late := stop(); late > maxMissed && !k.recognised(o.group) {
				t.Skipf("the machine is too busy: the load missed %.0f %% of its own deadlines", 100*late)
			}
			o.check(t, k)
		})
	}
}

// Totals know no sleeps and no periods: less is told apart, and nothing wrong
// is believed.
func TestLoadsAreSensiblyJudgedByTotalsHere(t *testing.T) {
	root, c := realCollector(t, workload.SourceProcfs)
	binary := buildLoad(t)
	seen := make(map[workload.Class]bool)
	for _, k := range knownLoads() {
		if k.name == "build" {
			continue // its processes are gone before /proc is looked at
		}
		if seen[k.want[0]] {
			continue // one of a kind will do
		}
		seen[k.want[0]] = true
		k.min = 0.3
		if k.want[0].LatencySensitive() {
			k.want = []workload.Class{workload.Interactive, workload.Media, workload.Server}
		}
		t.Run(k.id(), func(t *testing.T) {
			startIn(t, binary, filepath.Join(root, k.id()), k.args...)
			o := watchUntilRecognised(t, c, k, 500*time.Millisecond, false)
			t.Log(o.row(k.name, "EEVDF, totals"))
			o.check(t, k)
		})
	}
}

func TestACallDuringABuildIsMixedHere(t *testing.T) {
	root, c := realCollector(t, workload.SourceBPF)
	binary := buildLoad(t)
	call := known{"call", []string{"periodic", "-n", "3", "-work", "500us"}, []workload.Class{workload.Interactive, workload.Media, workload.Server}, 0}
	startIn(t, binary, filepath.Join(root, "autosa-build"), "build", "-n", strconv.Itoa(3*runtime.NumCPU()))
	stop := startIn(t, binary, filepath.Join(root, call.id()), call.args...)
	mixed := false
	var o observation
	for end := time.Now().Add(time.Minute); !mixed && time.Now().Before(end); {
		o = observe(t, c, call.id(), 500*time.Millisecond, 4)
		mixed = o.host.Class == workload.Mixed && o.host.Confidence >= minConfidence && call.recognised(o.group)
	}
	t.Log(o.row("a call beside a build", "EEVDF"))
	if late := stop(); late > maxMissed && !mixed {
		t.Skipf("the machine is too busy: the load missed %.0f %% of its own deadlines", 100*late)
	}
	if !mixed {
		t.Errorf("the host was taken for %s: %+v\n%s", o.host.Class, o.host.Reasons, strings.Join(o.seen, "\n"))
	}
}

// realCollector collects on this machine, and returns the root of the cgroup
// v2 hierarchy with it.
func realCollector(t *testing.T, source workload.Source) (string, *collector.Collector) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to trace and to make cgroups")
	}
	root := cgroupRoot(t)
	c, err := collector.New(collector.Options{Source: source})
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("tracing is not permitted: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return root, c
}

// startIn starts the load generator in a cgroup of its own. The load ends, and
// the cgroup goes, with the test or with stop, which returns the share of its
// deadlines that the load missed.
func startIn(t *testing.T, binary, cgroup string, args ...string) (stop func() float64) {
	t.Helper()
	cmd := exec.Command(binary, append(args, "-cgroup", cgroup)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceValue(func() float64 {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("load %v: %v: %s", args, err, out.String())
		}
		// A killed child of the load leaves its cgroup a little later.
		err := os.Remove(cgroup)
		for deadline := time.Now().Add(time.Minute); errors.Is(err, syscall.EBUSY) && time.Now().Before(deadline); err = os.Remove(cgroup) {
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		return missed(t, out.String())
	})
	t.Cleanup(func() { stop() })
	return stop
}

func buildLoad(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "load")
	cmd := exec.Command("go", "build", "-o", binary, "autosa/vmtest/load")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the load generator: %v\n%s", err, out)
	}
	return binary
}

// cgroupRoot is where the cgroup v2 hierarchy is mounted.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// ID parent major:minor root mountpoint options … - type source …
		fields := strings.Fields(sc.Text())
		for i, w := range fields {
			if w == "-" && i+1 < len(fields) && fields[i+1] == "cgroup2" {
				return fields[4]
			}
		}
	}
	t.Skip("no cgroup v2 hierarchy is mounted")
	return ""
}

// directFile is a file on a disk that takes direct reads, "" where the
// temporary directory is on none.
func directFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		t.Logf("the storage load is left out: %v", err)
		return ""
	}
	f.Close()
	return name
}
