// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/workload"
)

func TestCatalogueDataIsWhole(t *testing.T) {
	list, err := parseKnown(catalogueData)
	if err != nil || len(list) < 15 {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	for _, k := range list {
		if got := SchedulerName(k.Ops + "_1.0.0_x86_64_unknown_linux_gnu"); got != k.Name || k.Ops == "" {
			t.Errorf("ops %q is %s, not %s", k.Ops, got, k.Name)
		}
		for _, class := range k.Classes {
			if _, err := workload.ParseClass(class); err != nil {
				t.Errorf("%s: %v", k.Name, err)
			}
		}
		if _, ok := k.Modes["auto"]; len(k.Modes) > 0 && !ok {
			t.Errorf("%s has modes and none is auto", k.Name)
		}
		if k.HelpFlag != "" || k.VersionFlag != "" && k.VersionFlag != "--version" {
			t.Errorf("%s is asked with %q and %q", k.Name, k.HelpFlag, k.VersionFlag)
		}
	}
}

func TestMistakesInCatalogueDataAreAllNamed(t *testing.T) {
	const good = "name = \"scx_a\"\ndescription = \"x\"\n"
	for data, want := range map[string][]string{
		good:                                     nil,
		"name = \"scx_a\"\nops = \"a_1.0\"\n":    {"has no description", `"a_1.0" is not a name within root/ops`},
		good + "watchdog_secs = 31\n":            {"a watchdog of 31s"},
		good + "watchdog_secs = -1\n":            {"a watchdog of -1s"},
		good + "needs = [\"luck\"]\n":            {`needs "luck"`, "group-sched, kernel-config"},
		good + "min_kernel = \"new\"\n":          {`min_kernel "new"`},
		good + "version_flag = \"version\"\n":    {`"version" is not an option`},
		good + "[scheduler.modes]\nfast = []\n":  {`mode "fast" is none of auto, gaming`},
		good + "colour = 1\n":                    {"colour"},
		"name = \"lavd\"\ndescription = \"x\"\n": {"is not a scheduler's name"},
		good + "[[scheduler]]\n" + good:          {"scx_a is there twice"},
		good + "ops = \"a\"\n[[scheduler]]\nname = \"scx_b\"\ndescription = \"x\"\nops = \"a\"\n": {`scx_b: scx_a has the ops "a" already`},
		good + "[scheduler.modes]\nauto = [\"a\\u0000\"]\n":                                       {"mode auto: bad scheduler arguments"},
	} {
		_, err := parseKnown([]byte("[[scheduler]]\n" + data))
		if (err == nil) != (want == nil) {
			t.Errorf("%q: %v", data, err)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v, want %q", data, err, w)
			}
		}
	}
}

func TestTheConfigurationAddsAndOverrides(t *testing.T) {
	str := func(s string) *string { return &s }
	watchdog, yes := 4*time.Second, true
	dir := trustedDir(t)
	install(t, dir, "scx_mine", "echo scx_mine 7.1")
	c := catalogue(t, CatalogueOptions{Dirs: []string{dir}, Known: map[string]Override{
		"mine":     {Ops: str("mine"), VersionFlag: str("--version"), Classes: []string{"io"}, Modes: map[string][]string{"auto": {}}},
		"scx_lavd": {Description: str("other"), Watchdog: &watchdog, CPUMax: &yes, CPUWeight: &yes, Needs: []string{}, Modes: map[string][]string{"gaming": {"--balanced"}}},
	}})
	e, err := c.Lookup(t.Context(), "mine")
	if err != nil || !e.Known || !e.Usable || e.Version != "7.1" || e.Description != "named in the configuration" || !slices.Equal(e.Suits, []string{"io"}) || len(e.Modes) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if c.SchedulerName("mine_7.1_x") != "scx_mine" || c.SchedulerName("lavd_1.1") != "scx_lavd" || c.SchedulerName("") != EEVDF || c.SchedulerName("what") != "what" {
		t.Error("names of ops")
	}
	lavd := findKnown(c.known, "scx_lavd")
	if lavd.Description != "other" || lavd.watchdog() != watchdog || !lavd.CPUMax || !lavd.CPUWeight || len(lavd.Needs) != 0 || lavd.Ops != "lavd" ||
		!slices.Equal(lavd.Modes["gaming"], []string{"--balanced"}) || len(lavd.Modes) != 5 {
		t.Errorf("%+v", lavd)
	}
	if shipped := findKnown(known(), "scx_lavd"); shipped.Description == "other" || slices.Equal(shipped.Modes["gaming"], []string{"--balanced"}) {
		t.Error("the shipped data was changed")
	}
	list := slices.DeleteFunc(c.List(t.Context()), func(e Entry) bool { return IsBuiltin(e.Name) })
	if list[0].Name != EEVDF || list[1].Name != "scx_lavd" || list[len(list)-1].Name != "scx_mine" {
		t.Errorf("order: %v", list)
	}
	for name, o := range map[string]map[string]Override{
		`scx_mine: scx_lavd has the ops "lavd" already`: {"mine": {Ops: str("lavd")}},
		"is there twice":             {"mine": {}, "scx_mine": {}},
		`eevdf: is not a scheduler`:  {"eevdf": {}},
		`scx_loader: is not a sched`: {"loader": {}},
		`scx_rusty: needs "x"`:       {"rusty": {Needs: []string{"x"}}},
	} {
		if _, err := NewCatalogue(CatalogueOptions{Known: o}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASchedulerThatTheKernelIsTooOldForIsNotUsable(t *testing.T) {
	str := func(s string) *string { return &s }
	dir := trustedDir(t)
	install(t, dir, "scx_rusty", "echo scx_rusty 1.1.4")
	for series, ok := range map[string]bool{"6.12": true, "6.18": true, "6.19": false, "7.0": false, "5.99": true} {
		c := catalogue(t, CatalogueOptions{Dirs: []string{dir}, Known: map[string]Override{"rusty": {MinKernel: str(series)}}})
		c.release = "6.18.5+deb14-amd64"
		e, err := c.Lookup(t.Context(), "rusty")
		if err != nil || e.Usable != ok || !ok && (e.Lacks != "min_kernel" || e.Remedy == "" || !strings.Contains(e.WhyNot, "it takes Linux "+series+", and this is 6.18.5+deb14-amd64")) {
			t.Errorf("%s: %+v, %v", series, e, err)
		}
	}
	for text, ok := range map[string]bool{"6.1": true, "6.12-rc3": true, "6": false, "6.": false, ".1": false, "": false, "x.y": false, "99999999999999999999.1": false} {
		if _, got := parseSeries(text); got != ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestGroupSchedulingIsAskedOfTheConfigurationThenOfTheTypes(t *testing.T) {
	h := fakeHost(t)
	lacks := func() string { return needs[needGroupSched].lacks(h) }
	if why := lacks(); why != "" {
		t.Error(why)
	}
	config := filepath.Join(h.Boot, "config-"+Release())
	write(t, config, "# CONFIG_EXT_GROUP_SCHED is not set\nCONFIG_EXT_GROUP_SCHED=yes\n")
	if why := lacks(); !strings.Contains(why, "CONFIG_EXT_GROUP_SCHED") {
		t.Errorf("%q", why)
	}
	write(t, config, "") // not readable: the types are asked, and here they are none
	if why := lacks(); why != "" {
		t.Errorf("what cannot be told: %q", why)
	}
	h.Sys = "/sys" // this kernel's
	if has, known := h.opsMember("init"); known && !has {
		t.Error("sched_ext_ops has no member init")
	}
}

func FuzzCatalogueData(f *testing.F) {
	f.Add(catalogueData)
	f.Add([]byte("[[scheduler]]\nname = \"scx_a\"\nmodes = {auto = [\"-x\"]}"))
	f.Add([]byte("[[scheduler]]\nname = \"scx_a\"\nwatchdog_secs = 1e300\nmin_kernel = \"6.x\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseKnown(data)
		if err != nil {
			return
		}
		for _, k := range list {
			if !isSchedulerName(k.Name) || k.Description == "" || k.watchdog() < 0 || k.watchdog() > maxWatchdog {
				t.Fatalf("accepted: %+v", k)
			}
		}
		if _, err := merge(list, nil); err != nil {
			t.Fatalf("accepted, and refused with no overrides: %v", err)
		}
	})
}
