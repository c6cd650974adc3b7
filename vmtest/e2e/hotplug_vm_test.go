// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"os"
	"slices"
	"testing"

	"autosa/api"
	"autosa/vmtest/guest"
	"autosa/workload"
)

// CPUs that go and come are no change of workload: the daemon goes on and its
// class stays.
func TestVMCPUsGoingOfflineAndOnlineChangeNoClass(t *testing.T) {
	guest.Tracing(t)
	guest.On(t, "6.18")
	guest.Long(t)
	const online = "/sys/devices/system/cpu/cpu1/online"
	set := func(value string) {
		if err := os.WriteFile(online, []byte(value), 0); err != nil {
			t.Fatalf("CPU 1: %v", err)
		}
	}
	t.Cleanup(func() { set("1") })
	a := startInVM(t, "--no-auto-switch")
	// So much that it is the same class with one CPU and with two.
	guest.Load(t, "build", "-n", "8")
	st := a.await(soon, "batch", func(st api.Status) bool { return st.Workload.Class == workload.Batch && st.Workload.Confidence > 0.7 })
	cycles := 2
	if os.Getenv("AUTOSA_SOAK") != "" {
		cycles = 60
	}
	since := st.Workload.Since
	var classes []workload.Class
	for range cycles {
		for _, value := range []string{"0", "1"} {
			set(value)
			from := st.Samples
			st = a.await(soon, "two more samples", func(st api.Status) bool { return st.Samples >= from+2 })
			if !slices.Contains(classes, st.Workload.Class) {
				classes = append(classes, st.Workload.Class)
			}
		}
	}
	t.Logf("counted: %d cycles off and on, classes %v, losses %v", cycles, classes, st.Tracer.Losses)
	if len(classes) != 1 || classes[0] != workload.Batch || !st.Workload.Since.Equal(since) {
		t.Errorf("classes were %v since %v, want batch all the time since %v", classes, st.Workload.Since, since)
	}
	if st.Tracer.Source != workload.SourceBPF {
		t.Errorf("the tracer's source is %s: %s", st.Tracer.Source, st.Tracer.Reason)
	}
	for _, name := range []string{"switch_no_cell", "switch_backwards"} {
		if n := st.Tracer.Losses[name]; n > 0 {
			t.Errorf("loss %s: %d", name, n)
		}
	}
}
