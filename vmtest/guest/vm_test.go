// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package guest

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestVMKernelIsOfTheSeriesThatWasAskedFor(t *testing.T) {
	release := read(t, "/proc/sys/kernel/osrelease")
	if !strings.HasPrefix(release, Series(t)+".") {
		t.Errorf("kernel %s is not of series %s", release, Series(t))
	}
}

func TestVMCgroupsAreVersionTwoWithTheControllersThatMatter(t *testing.T) {
	controllers := strings.Fields(read(t, "/sys/fs/cgroup/cgroup.controllers"))
	for _, want := range []string{"cpu", "io", "memory", "cpuset"} {
		if !contains(controllers, want) {
			t.Errorf("controllers %v lack %s", controllers, want)
		}
	}
}

func TestVMPressureStallInformationIsReadable(t *testing.T) {
	for _, r := range []string{"cpu", "io", "memory"} {
		if text := read(t, "/proc/pressure/"+r); !strings.HasPrefix(text, "some avg10=") {
			t.Errorf("/proc/pressure/%s: %q", r, text)
		}
	}
}

func TestVMKernelHasTypeInformation(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Error(err)
	}
}

func TestVMResultsReachTheHost(t *testing.T) {
	if err := os.WriteFile(Results(t)+"/written", []byte("by a test\n"), 0o644); err != nil {
		t.Error(err)
	}
}

func TestVMRealSchedulersAnswerWithTheirVersion(t *testing.T) {
	On(t, "6.18")
	for _, name := range []string{"scx_rusty", "scx_lavd", "scx_bpfland", "scx_flash"} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(Scheduler(t, name), "--version").CombinedOutput()
			if err != nil || !strings.Contains(string(out), name) {
				t.Errorf("--version: %v: %s", err, out)
			}
		})
	}
}

func TestVMKernelHasSchedExtWhereItIsPromised(t *testing.T) {
	SchedExt(t)
	if s := State(t); s != "disabled" {
		t.Errorf("state %q after boot, want disabled", s)
	}
}

func TestVMRealSchedulerTakesChargeAndLeaves(t *testing.T) {
	SchedExt(t)
	rusty := Start(t, Scheduler(t, "scx_rusty"))
	Await(t, 2*time.Minute, "scx_rusty in charge", func() bool {
		if rusty.Ended() {
			t.Fatal("scx_rusty ended before it was in charge")
		}
		return State(t) == "enabled"
	})
	if ops := Ops(t); !strings.HasPrefix(ops, "rusty") {
		t.Errorf("root/ops is %q, want rusty", ops)
	}
	_ = rusty.Stop() // how a scheduler's process ends on a signal is its own matter
	Await(t, 2*time.Minute, "state disabled", func() bool { return State(t) == "disabled" })
	if ops := Ops(t); ops != "" {
		t.Errorf("root/ops is %q with no scheduler attached", ops)
	}
}

func TestVMSlowDiskTakesAsLongAsItSays(t *testing.T) {
	On(t, "6.12")
	dev := NullBlock(t)
	// Past the page cache: the kernel, or udev, reads a new disk's first pages by itself.
	f, err := os.OpenFile(dev, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(page) }()
	began := time.Now()
	if _, err := f.Read(page); err != nil {
		t.Fatal(err)
	}
	// A lower bound only: an emulated processor may come back late, never early.
	if d := time.Since(began); d < 4*time.Millisecond {
		t.Errorf("a read took %s, want at least the 5 ms the disk takes", d)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
