// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"compress/gzip"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"autosa/bpf/sched"
)

// Capability sets as /proc/PID/status shows them.
const (
	capsAll     = "000001ffffffffff"
	capsNone    = "0000000000000000"
	capsBPF     = "000000c000000000" // CAP_PERFMON (38) and CAP_BPF (39)
	capsBPFOnly = "0000008000000000"
)

// fakeHost is a machine on which everything is well.
func fakeHost(t *testing.T) Host {
	t.Helper()
	h := Host{Sys: fakeSys(t, map[string]string{"state": "disabled", "enable_seq": "0"}), Proc: t.TempDir(), Boot: t.TempDir(), Dev: t.TempDir()}
	write(t, filepath.Join(h.Sys, "kernel/btf/vmlinux"), "x")
	write(t, filepath.Join(h.Sys, "devices/system/cpu/isolated"), "\n")
	write(t, filepath.Join(h.Boot, "config-"+Release()), "CONFIG_X=y\nCONFIG_SCHED_CLASS_EXT=y\nCONFIG_EXT_GROUP_SCHED=y\n")
	write(t, filepath.Join(h.Proc, "cmdline"), "root=/dev/sda quiet\n")
	caps(t, h, capsAll)
	write(t, filepath.Join(h.Proc, "self/uid_map"), "         0          0 4294967295\n")
	cgroups := t.TempDir()
	write(t, filepath.Join(h.Proc, "self/mountinfo"), "30 25 0:26 / "+cgroups+" rw,nosuid - cgroup2 cgroup2 rw\n")
	write(t, filepath.Join(cgroups, "a.slice/cpu.max"), "max 100000\n")
	write(t, filepath.Join(cgroups, "a.slice/cpu.weight"), "100\n")
	return h
}

func caps(t *testing.T, h Host, effective string) {
	t.Helper()
	write(t, filepath.Join(h.Proc, "self/status"), "Name:\tx\nCapPrm:\t"+capsAll+"\nCapEff:\t"+effective+"\n")
}

func check(t *testing.T, checks []Check, name string) Check {
	t.Helper()
	for _, c := range checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s", name)
	return Check{}
}

func TestPreflightOfASoundMachineIsAllWell(t *testing.T) {
	dir := trustedDir(t)
	install(t, dir, "scx_lavd", "echo scx_lavd 1.1.4")
	all := catalogue(t, CatalogueOptions{Dirs: []string{dir}})
	all.probe = func() error { return nil }
	for _, c := range Preflight(t.Context(), PreflightOptions{Host: fakeHost(t), Catalogue: all, Gate: opens, Stats: dir + "/stats"}) {
		if c.Level != LevelOK || c.Detail == "" || c.Remedy != "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestPreflightNamesEachTroubleWithItsRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		check  string
		spoil  func(t *testing.T, h *Host)
		level  Level
		detail string
	}{
		"no sched_ext": {"sched_ext", func(t *testing.T, h *Host) { h.Sys = t.TempDir() }, LevelFail, "no sched_ext"},
		"built without": {"sched_ext", func(t *testing.T, h *Host) {
			h.Sys, h.Boot = t.TempDir(), t.TempDir()
			var b strings.Builder
			z := gzip.NewWriter(&b)
			if _, err := z.Write([]byte("CONFIG_X=y\n# CONFIG_SCHED_CLASS_EXT is not set\n")); err != nil || z.Close() != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(h.Proc, "config.gz"), b.String())
		}, LevelFail, "config.gz"},
		"no BTF":    {"btf", func(t *testing.T, h *Host) { h.Sys = t.TempDir() }, LevelFail, "type information"},
		"no config": {"kernel-config", func(t *testing.T, h *Host) { h.Boot = t.TempDir() }, LevelWarn, "scx_lavd"},
		"empty config": {"kernel-config", func(t *testing.T, h *Host) {
			write(t, filepath.Join(h.Boot, "config-"+Release()), "")
		}, LevelWarn, "not a readable file"},
		"no capability":  {"permission", func(t *testing.T, h *Host) { caps(t, *h, capsNone) }, LevelFail, "CAP_BPF and CAP_PERFMON"},
		"one capability": {"permission", func(t *testing.T, h *Host) { caps(t, *h, capsBPFOnly) }, LevelFail, "takes CAP_PERFMON (or"},
		"user namespace": {"permission", func(t *testing.T, h *Host) {
			write(t, filepath.Join(h.Proc, "self/uid_map"), "0 100000 65536\n")
		}, LevelFail, "user namespace"},
		"isolated": {"isolated-cpus", func(t *testing.T, h *Host) {
			write(t, filepath.Join(h.Sys, "devices/system/cpu/isolated"), "1-3\n")
			write(t, filepath.Join(h.Proc, "cmdline"), "quiet isolcpus=1-3\n")
		}, LevelFail, "isolcpus=1-3 on the kernel command line"},
		"foreign": {"in-charge", func(t *testing.T, h *Host) {
			h.Sys = fakeSys(t, map[string]string{"state": "enabled", "enable_seq": "1", "root/ops": "p2dq_1.0_x"})
		}, LevelWarn, "p2dq_1.0_x is in charge"},
		"limits": {"cgroup-cpu", func(t *testing.T, h *Host) {
			root, err := h.Cgroup2()
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(root, "b.slice/c.scope/cpu.max"), "50000 100000\n")
		}, LevelWarn, "cpu.max is set in /b.slice/c.scope"},
	} {
		t.Run(name, func(t *testing.T) {
			h := fakeHost(t)
			c.spoil(t, &h)
			got := check(t, Preflight(t.Context(), PreflightOptions{Host: h, Gate: opens}), c.check)
			if got.Level != c.level || !strings.Contains(got.Detail, c.detail) || got.Remedy == "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestPreflightWithoutAScheduler(t *testing.T) {
	c := catalogue(t, CatalogueOptions{})
	c.probe = func() error { return &sched.UnsupportedError{Feature: "function scx_bpf_now", Needs: "Linux 6.14"} }
	got := check(t, Preflight(t.Context(), PreflightOptions{Host: fakeHost(t), Catalogue: c, Gate: opens}), "schedulers")
	if got.Level != LevelFail || got.Remedy == "" || !strings.Contains(got.Detail, "the built-in one: the kernel has no function scx_bpf_now") {
		t.Errorf("%+v", got)
	}
	c.probe = func() error { return nil }
	got = check(t, Preflight(t.Context(), PreflightOptions{Host: fakeHost(t), Catalogue: c, Gate: opens}), "schedulers")
	if got.Level != LevelOK || got.Detail != "the built-in one" {
		t.Errorf("with the built-in one: %+v", got)
	}
}

func TestPreflightKnowsAutosasOwnFromTheDaemon(t *testing.T) {
	got := check(t, Preflight(t.Context(), PreflightOptions{Host: fakeHost(t), InCharge: &InCharge{Name: "scx_lavd", Ops: "lavd_1", Owner: OwnerAutosa}, Gate: opens}), "in-charge")
	if got.Level != LevelOK || !strings.Contains(got.Detail, "started by autosa") {
		t.Errorf("%+v", got)
	}
}

func TestPermissionNeedsTheRightCapabilities(t *testing.T) {
	h := fakeHost(t)
	for set, ok := range map[string]bool{capsAll: true, capsBPF: true, capsBPFOnly: false, capsNone: false} {
		caps(t, h, set)
		if err := h.checkPermission(); (err == nil) != ok || err != nil && !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: %v", set, err)
		}
	}
	h.Proc = t.TempDir()
	if err := h.checkPermission(); err == nil {
		t.Error("unreadable capabilities passed")
	}
}

func TestIsolcpusMattersWithTheDomainFlagOrNone(t *testing.T) {
	for line, want := range map[string]string{
		"quiet isolcpus=1,3-5 ro":       "isolcpus=1,3-5",
		"isolcpus=domain,1-3":           "isolcpus=domain,1-3",
		"isolcpus=nohz,domain,1":        "isolcpus=nohz,domain,1",
		"isolcpus=nohz,1-3":             "",
		"isolcpus=managed_irq,nohz,1-3": "",
		"noisolcpus=1 nohz_full=1":      "",
		"isolcpus=":                     "",
		"":                              "",
	} {
		if got := isolcpusDomain(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestVersion2HierarchyIsFoundInHybridMode(t *testing.T) {
	h := fakeHost(t)
	write(t, filepath.Join(h.Proc, "self/mountinfo"), `1 2 0:3 / /sys/fs/cgroup ro - tmpfs tmpfs ro
2 2 0:4 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
3 2 0:5 / /sys/fs/cgroup/uni\040fied rw shared:3 - cgroup2 cgroup2 rw
`)
	if got, err := h.Cgroup2(); err != nil || got != "/sys/fs/cgroup/uni fied" {
		t.Errorf("%q, %v", got, err)
	}
}
