// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// words are those of a catalogue.
var testWords = Words{
	Modes: []string{"auto", "gaming", "lowlatency", "powersave", "server"}, Needs: []string{"group-sched", "kernel-config"},
	Ops: map[string]string{"lavd": "scx_lavd", "rusty": "scx_rusty"},
}

func TestWhatIsKnownOfASchedulerIsRead(t *testing.T) {
	c, err := load(t, `
foreign = "adopt"

[scheduler.mine]
description = "my own"
ops = "my_own"
classes = ["io", "batch"]
version_flag = "-V"
help_flag = "--usage"
min_kernel = "6.14"
watchdog_secs = "2.5s"
needs = ["group-sched"]
honours_cpu_weight = true
honours_cpu_max = false
leaves_behind = ["nothing"]
notes = []
modes = { auto = [], server = ["-s", "20000"] }

[scheduler.scx_lavd.modes]
gaming = ["--performance"]
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	str := func(s string) *string { return &s }
	watchdog, yes, no := 2500*time.Millisecond, true, false
	want := map[string]Known{
		"scx_mine": {
			Description: str("my own"), Ops: str("my_own"), VersionFlag: str("-V"), HelpFlag: str("--usage"), MinKernel: str("6.14"),
			Classes: []string{"io", "batch"}, Needs: []string{"group-sched"}, LeavesBehind: []string{"nothing"}, Notes: []string{},
			Watchdog: &watchdog, CPUWeight: &yes, CPUMax: &no, Modes: map[string][]string{"auto": {}, "server": {"-s", "20000"}},
		},
		"scx_lavd": {Modes: map[string][]string{"gaming": {"--performance"}}},
	}
	if diff := cmp.Diff(want, c.Schedulers.Known); diff != "" || c.Foreign != ForeignAdopt {
		t.Errorf("foreign %s, %s", c.Foreign, diff)
	}
}

func TestMistakesInWhatIsKnownHaveTheirKeyAndLine(t *testing.T) {
	_, err := load(t, `foreign = "fight"
[scheduler.eevdf]
notes = ["x"]
[scheduler."rm -rf"]
[scheduler.scx_rusty]
colour = 1
desription = "x"
description = ""
ops = "rusty_1.1.4"
classes = ["io", "compu"]
version_flag = "version"
help_flag = "--help me"
min_kernel = "6"
watchdog_secs = 31
needs = ["luck"]
honours_cpu_max = "yes"
leaves_behind = ["a\nb"]
notes = "x"
[scheduler.rusty]
ops = "other"
[scheduler.scx_a]
ops = "lavd"
modes = 1
[scheduler.scx_b]
ops = "same"
[scheduler.scx_b.modes]
fast = []
gamin = []
auto = ["a\u0000"]
[scheduler.scx_c]
ops = "same"
[scheduler]
x = 3
`, nil)
	want := []string{
		`config.toml:1: foreign: "fight" is not leave or adopt`,
		`config.toml:2: scheduler.eevdf: eevdf is the kernel's own, there is nothing to say of it`,
		`config.toml:4: scheduler."rm -rf": "rm -rf" is not a scheduler's name`,
		`config.toml:6: scheduler.scx_rusty.colour: unknown key`,
		`config.toml:7: scheduler.scx_rusty.desription: unknown key (did you mean "description"?)`,
		`config.toml:8: scheduler.scx_rusty.description: is empty`,
		`config.toml:9: scheduler.scx_rusty.ops: "rusty_1.1.4" is not a name as root/ops has it before the version`,
		`config.toml:10: scheduler.scx_rusty.classes: item 2: unknown workload class "compu" (did you mean "compute"?)`,
		`config.toml:11: scheduler.scx_rusty.version_flag: "version" is not an option`,
		`config.toml:12: scheduler.scx_rusty.help_flag: "--help me" is not an option`,
		`config.toml:13: scheduler.scx_rusty.min_kernel: "6" is not a series such as "6.14"`,
		`config.toml:14: scheduler.scx_rusty.watchdog_secs: must be from 0 to 30 seconds, not 31`,
		`config.toml:15: scheduler.scx_rusty.needs: item 1: unknown need "luck" (there is group-sched, kernel-config)`,
		`config.toml:16: scheduler.scx_rusty.honours_cpu_max: want true or false, got the string "yes"`,
		`config.toml:17: scheduler.scx_rusty.leaves_behind: item 1: has several lines`,
		`config.toml:18: scheduler.scx_rusty.notes: want an array of strings, got the string "x"`,
		`config.toml:19: scheduler.rusty: scx_rusty has a table already, under its other name`,
		`config.toml:22: scheduler.scx_a.ops: scx_lavd registers as "lavd" already`,
		`config.toml:23: scheduler.scx_a.modes: want a table, got the number 1`,
		`config.toml:27: scheduler.scx_b.modes.fast: is not one of the modes auto, gaming, lowlatency, powersave, server`,
		`config.toml:28: scheduler.scx_b.modes.gamin: is not one of the modes auto, gaming, lowlatency, powersave, server (did you mean "gaming"?)`,
		`config.toml:29: scheduler.scx_b.modes.auto: item 1: contains a NUL character`,
		`config.toml:31: scheduler.scx_c.ops: scx_b registers as "same" already`,
		`config.toml:33: scheduler.x: want a table, got the number 3`,
	}
	if diff := cmp.Diff(want, messages(err)); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"[scheduler.a]\ndescription = '" + strings.Repeat("x", maxText+1) + "'":       "is 513 bytes long",
		"[scheduler.a]\nnotes = [" + strings.Repeat("'x',", maxTexts+1) + "]":         "has 33 items",
		"[scheduler.a]\nmodes = {auto = [" + strings.Repeat("'x',", maxArgs+1) + "]}": "has 65 arguments",
		"[scheduler.a]\ndescription = 1":                                              "want a string",
		"[scheduler.a]\nwatchdog_secs = 'soon'":                                       "want seconds",
		"[scheduler.a]\nclasses = 3":                                                  "want an array",
		"[scheduler.a]\nops = 3":                                                      "want a string",
	} {
		if _, err := load(t, text, nil); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "config.toml:2: scheduler.a.") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}
