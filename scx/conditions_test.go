// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every condition that refuses a swap is brought about, and nothing of the
// scheduler runs. A condition without a case fails the test.
func TestEachConditionRefusesASwapBeforeAnythingRuns(t *testing.T) {
	cases := map[string]struct {
		spoil func(k *fakeKernel, s *Switcher)
		want  error
		says  string
	}{
		"sched_ext":     {func(k *fakeKernel, s *Switcher) { s.kernel.Root = t.TempDir() }, ErrNotSupported, ""},
		"permission":    {func(k *fakeKernel, s *Switcher) { caps(t, k.host, capsNone) }, ErrNotPermitted, "CAP_BPF"},
		"isolated-cpus": {func(k *fakeKernel, s *Switcher) { write(t, k.host.Sys+"/devices/system/cpu/isolated", "1\n") }, ErrUnusable, "CPUs 1 are isolated"},
		"in-charge":     {func(k *fakeKernel, s *Switcher) { k.enable("other_1.0.0_x", 7) }, ErrForeign, "other_1.0.0_x"},
		"schedulers": {func(k *fakeKernel, s *Switcher) {
			if err := os.Chmod(k.bin+"/scx_lavd", 0o644); err != nil {
				t.Fatal(err)
			}
		}, ErrUnusable, "not executable"},
		"kernel-needs": {func(k *fakeKernel, s *Switcher) { s.opt.Catalogue.host.Boot = t.TempDir() }, ErrUnusable, "configuration"},
	}
	for _, c := range conditions {
		if c.refuse == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			how, ok := cases[c.name]
			if !ok {
				t.Fatal("there is no case for it")
			}
			k := newFakeKernel(t)
			k.scheduler("scx_lavd", "lavd_1.0.0_x", "touch $K/ran")
			s := k.switcher(Options{})
			how.spoil(k, s)
			_, err := s.Switch(t.Context(), Target{Name: "lavd"})
			var f *SwitchError
			if !errors.Is(err, how.want) || !errors.As(err, &f) || f.Phase != PhasePreflight || !strings.Contains(err.Error(), how.says) {
				t.Errorf("%v", err)
			}
			if c.name == "kernel-needs" && f.Ending != EndingKernelConfig {
				t.Errorf("ending %s", f.Ending)
			}
			if _, err := os.Stat(k.dir + "/ran"); err == nil {
				t.Error("the scheduler ran")
			}
			k.disable() // what is foreign is gone before the end
			s.kernel.Root = k.host.Sys
		})
	}
}

func TestPreflightHasARowForEachCondition(t *testing.T) {
	checks := Preflight(t.Context(), PreflightOptions{Host: fakeHost(t), Catalogue: catalogue(t, CatalogueOptions{}), Gate: opens})
	names := Conditions()
	if len(checks) != len(names) || len(names) != len(conditions) {
		t.Fatalf("%d rows for %d conditions", len(checks), len(names))
	}
	for i, c := range checks {
		if c.Name != names[i] || c.Detail == "" {
			t.Errorf("row %d is %+v, not of %s", i, c, names[i])
		}
	}
}

// opens is a gate that works.
func opens(context.Context) error { return nil }

func TestPreflightSaysWhatTheKernelLacksAndForWhom(t *testing.T) {
	dir := trustedDir(t)
	install(t, dir, "scx_lavd", "echo scx_lavd 1.1.4")
	install(t, dir, "scx_flash", "echo scx_flash 1.1.4")
	c := catalogue(t, CatalogueOptions{Dirs: []string{dir}})
	o := PreflightOptions{Host: c.host, Catalogue: c, Gate: opens}
	if got := check(t, Preflight(t.Context(), o), "kernel-needs"); got.Level != LevelOK || !strings.Contains(got.Detail, "group-sched for scx_flash") {
		t.Errorf("%+v", got)
	}
	write(t, filepath.Join(c.host.Boot, "config-"+Release()), "CONFIG_SCHED_CLASS_EXT=y\n")
	c = catalogueOn(t, c.host, CatalogueOptions{Dirs: []string{dir}})
	o.Catalogue = c
	checks := Preflight(t.Context(), o)
	if got := check(t, checks, "kernel-needs"); got.Level != LevelWarn || !strings.Contains(got.Detail, "scx_flash: this kernel's sched_ext was built without cgroup support") || got.Remedy == "" {
		t.Errorf("%+v", got)
	}
	if got := check(t, checks, "schedulers"); strings.Contains(got.Detail, "scx_flash") || !strings.Contains(got.Detail, "scx_lavd") {
		t.Errorf("%+v", got)
	}
}

func TestPreflightSaysWhyTheGateDoesNotWork(t *testing.T) {
	failing := func(context.Context) error { return &gateError{why: "filter system calls: operation not permitted"} }
	got := check(t, Preflight(t.Context(), PreflightOptions{Host: fakeHost(t), Gate: failing}), "gate")
	if got.Level != LevelWarn || !strings.Contains(got.Detail, "operation not permitted") || got.Remedy == "" {
		t.Errorf("%+v", got)
	}
	h := fakeHost(t)
	caps(t, h, capsNone)
	for name, h := range map[string]Host{"no permission": h, "no sched_ext": {Sys: t.TempDir(), Proc: h.Proc}} {
		if got := check(t, Preflight(t.Context(), PreflightOptions{Host: h, Gate: failing}), "gate"); got.Level != LevelOK || !strings.Contains(got.Detail, "not tried") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTheGateIsTriedForReal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a gate takes root")
	}
	h := fakeHost(t)
	if err := tryGate(t.Context(), Kernel{Root: h.Sys}.path("state")); err != nil {
		t.Error(err)
	}
	var g *gateError
	if err := tryGate(t.Context(), filepath.Join(t.TempDir(), "none/state")); !errors.As(err, &g) {
		t.Errorf("without a state file: %v", err)
	}
	if left := childrenOf(os.Getpid()); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tryGate(ctx, Kernel{Root: h.Sys}.path("state")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPreflightOfTheStatisticsSocket(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]Level{dir: LevelWarn, dir + "/none": LevelOK, dir + "/file": LevelOK} {
		write(t, dir+"/file", "left over")
		got := check(t, Preflight(t.Context(), PreflightOptions{Host: fakeHost(t), Gate: opens, Stats: path}), "stats-socket")
		if got.Level != want || want == LevelWarn && got.Remedy != "rmdir "+dir {
			t.Errorf("%s: %+v", path, got)
		}
	}
}
