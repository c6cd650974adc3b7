// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package scx

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/vmtest/guest"
)

// scx_bpfland gives every CPU a latency for coming out of idle, which nobody takes back when it is killed.
func TestVMSettingsOfAKilledSchedulerArePutBack(t *testing.T) {
	guest.SchedExt(t)
	guest.On(t, "6.18")
	paths, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/power/pm_qos_resume_latency_us")
	if err != nil || len(paths) == 0 {
		t.Skipf("this kernel's CPUs have no resume latency: %v", err)
	}
	read := func() (all []string) {
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, strings.TrimSpace(string(b)))
		}
		return all
	}
	is := func(want []string) bool { return strings.Join(read(), " ") == strings.Join(want, " ") }
	before := read()
	s := vmSwitcher(t, Options{}, nil)
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		res := to(t, s, "scx_bpfland", "--idle-resume-us", "7")
		for i, v := range read() {
			if v != "7" {
				t.Fatalf("%s is %s under scx_bpfland, want 7", paths[i], v)
			}
		}
		if err := unix.Kill(res.InCharge.PID, sig); err != nil {
			t.Fatal(err)
		}
		<-s.Events()
		for end := time.Now().Add(3 * time.Minute); !is(before); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after %v: %v, before %v", sig, read(), before)
			}
		}
	}
}
