// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever the kernel or a scheduler writes: no panic, bounded lines that may be
// printed, and nothing that the text does not say.

func FuzzKmsg(f *testing.F) {
	for _, seed := range []string{
		"6,1234,567890,-;sched_ext: BPF scheduler \"rusty\" enabled\n SUBSYSTEM=x\n", "3,1,2,-;sched_ext: BPF scheduler \"x\" disabled (runtime error)",
		"3,1,2,-;sched_ext: \x1b[31mred\x1b", ";", "sched_ext: x", "4,2,3,-;other: x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, record string) {
		line, ok := parseKmsg(record)
		if ok && (line == "" || !strings.Contains(record, "sched_ext: ")) {
			t.Fatalf("line %q from %q", line, record)
		}
		if ok && (strings.ContainsAny(line, "\n\x1b\x00") || !utf8.ValidString(line)) {
			t.Fatalf("line %q may not be printed", line)
		}
		if reason := kernelReason([]string{line, record}); strings.ContainsAny(reason, "\n") || len(reason) > 500 {
			t.Fatalf("reason of %d bytes: %q", len(reason), reason)
		}
	})
}

// FuzzSysfs gives the reading of the kernel's state any text in its files.
func FuzzSysfs(f *testing.F) {
	root := f.TempDir()
	f.Add("enabled\n", "rusty_1.1.4_x86_64_unknown_linux_gnu\n", "42\n", "SCX_EV_SELECT_CPU_FALLBACK 3\n", "1-3\n")
	f.Add("disabled\n", "", "0\n", "", "(null)\n")
	f.Add("enabled\n", "\n", "18446744073709551616\n", "a b c\nx 1\n", "\n")
	f.Add("strange", "x_1", "-1", "\x00 1", "a")
	f.Fuzz(func(t *testing.T, state, ops, number, events, isolated string) {
		for name, text := range map[string]string{
			"kernel/sched_ext/state": state, "kernel/sched_ext/enable_seq": number, "kernel/sched_ext/hotplug_seq": number,
			"kernel/sched_ext/nr_rejected": number, "kernel/sched_ext/switch_all": number, "kernel/sched_ext/root/ops": ops,
			"kernel/sched_ext/root/events": events, "devices/system/cpu/isolated": isolated,
		} {
			write(t, filepath.Join(root, name), text)
		}
		k := Kernel{Root: root}
		s, err := k.Read()
		if err == nil {
			switch s.State {
			case StateDisabled, StateEnabling, StateEnabled, StateDisabling:
			default:
				t.Fatalf("state %q from %q", s.State, state)
			}
			if s.State == StateEnabled && s.Ops == "" || s.State == StateDisabled && s.Ops != "" || s.Scheduler() == "" {
				t.Fatalf("%+v (%s) is no state", s, s.Scheduler())
			}
		} else if !strings.Contains(err.Error(), "sched_ext") {
			t.Fatalf("an error that names nothing: %v", err)
		}
		all, err := k.Events()
		if err != nil {
			t.Fatal(err)
		}
		for name := range all {
			if strings.ContainsAny(name, " \t\n") || !strings.Contains(events, name) {
				t.Fatalf("event %q from %q", name, events)
			}
		}
		if got := (Host{Sys: root}).isolated(); strings.TrimSpace(isolated) == "" && got != "" {
			t.Fatalf("isolated CPUs %q from %q", got, isolated)
		}
	})
}

func FuzzKernelConfig(f *testing.F) {
	boot, proc := f.TempDir(), f.TempDir()
	for _, seed := range []string{
		"# Linux\nCONFIG_SCHED_CLASS_EXT=y\n", "# CONFIG_SCHED_CLASS_EXT is not set\n", "", "\x1f\x8b\x08\x00", "CONFIG_SCHED_CLASS_EXT=yes",
	} {
		f.Add([]byte(seed), "isolcpus="+seed)
	}
	f.Fuzz(func(t *testing.T, text []byte, cmdline string) {
		if err := os.WriteFile(filepath.Join(boot, "config-"+Release()), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, "config.gz"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		const line = "CONFIG_SCHED_CLASS_EXT=y"
		has, known, path := Host{Boot: boot, Proc: proc}.configHas(line)
		if want := slices.Contains(strings.Split(string(text), "\n"), line); known && has != want || known != (path != "") {
			t.Fatalf("it has the line: %t, known: %t, by %s, from %q", has, known, path, text)
		}
		if word := isolcpusDomain(cmdline); word != "" && !strings.Contains(cmdline, word) {
			t.Fatalf("%q from %q", word, cmdline)
		}
	})
}

// FuzzSaid gives what schedulers say of themselves and of their end.
func FuzzSaid(f *testing.F) {
	for _, seed := range []string{
		"Error: failed\n\nCaused by:\n  no\nStack backtrace:\n 0", "EXIT: unregistered from user space\n", "EXIT: runtime error (watchdog)\x1b[0m\n",
		"scx_lavd 1.1.4 x86_64-unknown-linux-gnu\n", "v1.2", "\xff\xfe",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v := parseVersion(text); v != "" && (len(v) > 64 || !strings.Contains(text, v)) {
			t.Fatalf("version %q from %q", v, text)
		}
		for _, failed := range []bool{false, true} {
			c := complaint(stripEscapes(text), failed)
			if strings.ContainsRune(c, '\n') || len(c) > 500 || !utf8.ValidString(c) {
				t.Fatalf("complaint %q from %q", c, text)
			}
		}
	})
}

// FuzzSelf gives what the kernel says of this process any text.
func FuzzSelf(f *testing.F) {
	root := f.TempDir()
	f.Add("Name:\tx\nCapEff:\t000001ffffffffff\n", "         0          0 4294967295\n", "42 32 0:26 / /sys/fs/cgroup rw shared:10 - cgroup2 none rw\n")
	f.Add("CapEff: g\n", "0 0 1", `29 23 0:26 / /mnt/a\040b rw - cgroup2 none rw`)
	f.Add("CapEff:\t0\n", "", "x - cgroup2 \n")
	f.Fuzz(func(t *testing.T, status, uids, mounts string) {
		for name, text := range map[string]string{"self/status": status, "self/uid_map": uids, "self/mountinfo": mounts} {
			write(t, filepath.Join(root, name), text)
		}
		h := Host{Proc: root}
		missing, err := h.missingCaps()
		if err == nil && !strings.Contains(status, "CapEff:") || len(missing) > 2 || err != nil && missing != nil {
			t.Fatalf("%v missing, %v, from %q", missing, err, status)
		}
		if fields := strings.Fields(uids); h.inUserNamespace() == slices.Equal(fields, []string{"0", "0", "4294967295"}) {
			t.Fatalf("in a user namespace: %t, from %q", h.inUserNamespace(), uids)
		}
		if path, err := h.Cgroup2(); err == nil && (path == "" || !strings.Contains(mounts, " - cgroup2 ")) {
			t.Fatalf("a hierarchy at %q from %q", path, mounts)
		}
	})
}

// FuzzLink gives the descriptors of a process any text.
func FuzzLink(f *testing.F) {
	proc := f.TempDir()
	for _, seed := range []string{
		"pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1062\nlink_type:\tstruct_ops\nlink_id:\t3\n", "link_type:\ttracing\n", "link_type:", "", "xlink_type:\tstruct_ops",
	} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		write(t, filepath.Join(proc, "12/fdinfo/3"), one)
		write(t, filepath.Join(proc, "12/fdinfo/4"), two)
		holds, known := linkOf(proc, 12)
		if said := strings.Contains(one+"\n"+two, "struct_ops"); !known || holds && !said {
			t.Fatalf("holds a link: %t, known: %t, from %q and %q", holds, known, one, two)
		}
		if holds, known := linkOf(proc, 13); holds || known {
			t.Fatalf("a process that is not there holds a link: %t, known: %t", holds, known)
		}
	})
}
