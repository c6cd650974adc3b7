// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fakeSys writes a sysfs tree with these sched_ext files and returns its root.
func fakeSys(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(root, "kernel/sched_ext", name), text+"\n")
	}
	return root
}

func TestReadSeesAnEnabledScheduler(t *testing.T) {
	k := Kernel{Root: fakeSys(t, map[string]string{
		"state": "enabled", "switch_all": "1", "nr_rejected": "3", "hotplug_seq": "7", "enable_seq": "42",
		"root/ops": "rusty_1.1.4_x86_64_unknown_linux_gnu",
	})}
	got, err := k.Read()
	if err != nil {
		t.Fatal(err)
	}
	want := KernelState{
		Supported: true, State: StateEnabled, Ops: "rusty_1.1.4_x86_64_unknown_linux_gnu",
		EnableSeq: 42, HotplugSeq: 7, NrRejected: 3, SwitchAll: true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got.Scheduler() != "scx_rusty" {
		t.Errorf("scheduler %q", got.Scheduler())
	}
}

func TestReadOfAKernelWithoutSchedExtIsNoError(t *testing.T) {
	k := Kernel{Root: t.TempDir()}
	got, err := k.Read()
	if err != nil || got.Supported || k.Supported() || got.Scheduler() != EEVDF {
		t.Errorf("got %+v, %v", got, err)
	}
	if e, err := k.Events(); e != nil || err != nil {
		t.Errorf("events %v, %v", e, err)
	}
}

func TestReadWithoutTheCountersOfLaterKernels(t *testing.T) {
	got, err := Kernel{Root: fakeSys(t, map[string]string{"state": "disabled", "enable_seq": "0"})}.Read()
	if err != nil || got.State != StateDisabled || got.Ops != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestReadRefusesWhatTheKernelNeverSays(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"state":        {"state": "confused", "enable_seq": "0"},
		"number":       {"state": "disabled", "enable_seq": "many"},
		"no count":     {"state": "disabled"},
		"without name": {"state": "enabled", "enable_seq": "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := (Kernel{Root: fakeSys(t, files)}).Read(); err == nil {
				t.Errorf("got %+v and no error", got)
			}
		})
	}
}

// TestReadStartsAgainWhenTheSchedulerChangesMeanwhile has a pipe for root/ops: who
// reads it is in the middle of a reading.
func TestReadStartsAgainWhenTheSchedulerChangesMeanwhile(t *testing.T) {
	root := fakeSys(t, map[string]string{"state": "enabled", "enable_seq": "1", "root/none": ""})
	dir := filepath.Join(root, "kernel/sched_ext")
	if err := unix.Mkfifo(filepath.Join(dir, "root/ops"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		pipe, err := os.OpenFile(filepath.Join(dir, "root/ops"), os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer pipe.Close()
		// A swap behind the reader's back.
		write(t, filepath.Join(dir, "root/ops"), "lavd_1.0\n")
		write(t, filepath.Join(dir, "enable_seq"), "2\n")
		_, _ = pipe.WriteString("rusty_1.0\n")
	})
	got, err := Kernel{Root: root}.Read()
	wg.Wait()
	if err != nil || got.Ops != "lavd_1.0" || got.EnableSeq != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestReadNeverMixesTwoStates reads while two coherent states alternate.
func TestReadNeverMixesTwoStates(t *testing.T) {
	root := fakeSys(t, map[string]string{"state": "disabled", "enable_seq": "0"})
	dir := filepath.Join(root, "kernel/sched_ext")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		put := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name+".new"), []byte(text), 0o644); err == nil {
				_ = os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name))
			}
		}
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			// As the kernel does it: the name comes first and goes last but one.
			put("state", "enabling")
			_ = os.MkdirAll(filepath.Join(dir, "root"), 0o755)
			put("root/ops", "lavd_1.0")
			put("state", "enabled")
			put("enable_seq", strings.Repeat("1", n%7+1))
			put("state", "disabling")
			_ = os.RemoveAll(filepath.Join(dir, "root"))
			put("state", "disabled")
		}
	})
	k := Kernel{Root: root}
	seen := map[State]int{}
	for range 3000 {
		s, err := k.Read()
		if err != nil {
			continue // this writer is far faster than a kernel
		}
		seen[s.State]++
		if s.State == StateEnabled && s.Ops != "lavd_1.0" || s.State == StateDisabled && s.Ops != "" {
			t.Errorf("mixed: %+v", s)
		}
	}
	close(stop)
	wg.Wait()
	if len(seen) < 2 {
		t.Errorf("only %v was seen", seen)
	}
}

func TestOpsNamesBecomeSchedulerNames(t *testing.T) {
	for ops, want := range map[string]struct{ name, version string }{
		"rusty_1.1.4_x86_64_unknown_linux_gnu":     {"scx_rusty", "1.1.4"},
		"lavd_1.0.10_gabc123_x86_64_unknown_linux": {"scx_lavd", "1.0.10"},
		"p2dq_1.2.0_x86_64_unknown_linux_gnu":      {"scx_p2dq", "1.2.0"},
		"cake":                                     {"scx_cake", ""},
		"simple":                                   {"scx_simple", ""},
		"rustland_1.0.0_x86_64":                    {"scx_rustland", "1.0.0"},
		"rust":                                     {"rust", ""},
		"my_own_2":                                 {"my_own_2", ""},
		"somebody_9.9.9_riscv64":                   {"somebody_9.9.9_riscv64", "9.9.9"},
		"lavdish_1.0.0":                            {"lavdish_1.0.0", "1.0.0"},
		"_1.0":                                     {"_1.0", "1.0"},
		"":                                         {EEVDF, ""},
	} {
		if got := SchedulerName(ops); got != want.name {
			t.Errorf("SchedulerName(%q) = %q, want %q", ops, got, want.name)
		}
		if got := OpsVersion(ops); got != want.version && ops != "_1.0" {
			t.Errorf("OpsVersion(%q) = %q, want %q", ops, got, want.version)
		}
	}
	if opsMatch("rustland_1.0.0", "rust") || opsMatch("rusty_1.1.4", "") || !opsMatch("rusty_1.1.4_x", "rusty") || !opsMatch("cake", "cake") {
		t.Error("opsMatch")
	}
}

func TestEventsAreReadLeniently(t *testing.T) {
	k := Kernel{Root: fakeSys(t, map[string]string{
		"state": "enabled", "root/events": "SCX_EV_SELECT_CPU_FALLBACK 12\nSCX_EV_NEW_ONE 7\n\nnonsense\nSCX_EV_BAD x\nSCX_EV_NEG -1\na b c",
	})}
	got, err := k.Events()
	if d := cmp.Diff(map[string]uint64{"SCX_EV_SELECT_CPU_FALLBACK": 12, "SCX_EV_NEW_ONE": 7}, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add("SCX_EV_A 1\nSCX_EV_B 18446744073709551615\n")
	f.Add("SCX_EV_A 1 2\n\x00\xff 3")
	f.Fuzz(func(t *testing.T, text string) {
		for name := range parseEvents(text) {
			if name == "" || strings.ContainsAny(name, " \n") {
				t.Errorf("name %q", name)
			}
		}
	})
}

func FuzzOpsNames(f *testing.F) {
	for _, s := range []string{"", "rusty_1.1.4_x86_64_unknown_linux_gnu", "cake", "_1.2", "a_1", "a_1.", "a_1.2_3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ops string) {
		base := opsBase(ops)
		if !strings.HasPrefix(ops, base) || ops != "" && base == "" {
			t.Errorf("base %q of %q", base, ops)
		}
		if !strings.Contains(ops, OpsVersion(ops)) {
			t.Errorf("version %q of %q", OpsVersion(ops), ops)
		}
		if SchedulerName(ops) == "" {
			t.Errorf("no name for %q", ops)
		}
	})
}
