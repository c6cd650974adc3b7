// SPDX-License-Identifier: Apache-2.0

package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

var classes = []string{"idle", "interactive", "media", "server", "compute", "batch", "io", "mixed"}

// load loads a file's text, an environment and a command line together; in
// messages the file is called config.toml.
func load(t testing.TB, text string, environ []string, args ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Sources{Flags: parseFlags(t, append([]string{"-c", path}, args...)...), Environ: environ, Classes: classes, Words: testWords})
}

func parseFlags(t testing.TB, args ...string) *Flags {
	t.Helper()
	var f Flags
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &f
}

// messages returns an error's lines with the file's directory cut off.
func messages(err error) []string {
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	for i, l := range lines {
		if j := strings.Index(l, "config.toml"); j > 0 && l[0] == '/' {
			lines[i] = l[j:]
		}
	}
	return lines
}

func TestEachSourceOverridesTheOneBefore(t *testing.T) {
	const file = `
collection_interval_secs = 2
aggregation_window_secs = "2m"
min_confidence_threshold = 0.5
min_switch_interval_secs = 10.5
enable_auto_switch = false
`
	env := []string{"AUTOSA_AGGREGATION_WINDOW=90", "AUTOSA_MIN_CONFIDENCE=0.8", "AUTOSA_NO_AUTO_SWITCH=no", "AUTOSA_SOCKET="}
	c, err := load(t, file, env, "--min-confidence", "0.9", "--log-level=debug")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.CollectionInterval = 2 * time.Second               // file
	want.AggregationWindow = 90 * time.Second               // environment over file
	want.MinConfidence = 0.9                                // flag over environment
	want.MinSwitchInterval = 10*time.Second + 500*1000*1000 // file
	want.AutoSwitch = true                                  // environment over file
	want.LogLevel = slog.LevelDebug                         // flag
	want.File = c.File
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	c, err := load(t, `
collection_interval_secs = "500ms"
aggregation_window_secs = 30
min_confidence_threshold = 1
min_switch_interval_secs = 0
enable_auto_switch = false
socket = "/tmp/a//b.sock"
state_dir = "/tmp/state/"
operator_group = ""
log_level = "warn"
log_format = "json"
start_timeout_secs = 20
stop_timeout_secs = 1.5

[quarantine]
first_secs = 90
longest_secs = "2h"

[schedulers]
dirs = ["/opt/scx", "/usr/libexec"]
paths = { lavd = "/opt/lavd", scx_rusty = "/opt/rusty" }

[tracer]
groups = 8
slots = 32
events_per_second = 500
ring_bytes = 65536
wait_threshold = "5ms"
budget = 0.01

[arms.server]
scheduler = "bpfland"
args = ["-m", "performance"]

[[arms.compute]]
scheduler = "scx_rusty"

[[arms.compute]]
scheduler = "builtin:throughput"

[[arms.compute]]
scheduler = "eevdf"
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		CollectionInterval: 500 * time.Millisecond,
		AggregationWindow:  30 * time.Second,
		MinConfidence:      1,
		Socket:             "/tmp/a/b.sock",
		StateDir:           "/tmp/state",
		LogLevel:           slog.LevelWarn,
		LogFormat:          LogJSON,
		StartTimeout:       20 * time.Second,
		StopTimeout:        1500 * time.Millisecond,
		Backoff:            90 * time.Second,
		MaxBackoff:         2 * time.Hour,
		Foreign:            ForeignLeave,
		Schedulers: Schedulers{
			Dirs:  []string{"/opt/scx", "/usr/libexec"},
			Paths: map[string]string{"scx_lavd": "/opt/lavd", "scx_rusty": "/opt/rusty"},
		},
		Tracer: Tracer{Groups: 8, Slots: 32, EventsPerSecond: 500, RingBytes: 65536, WaitThreshold: 5 * time.Millisecond, Budget: 0.01},
		Arms: map[string][]Arm{
			"server":  {{Scheduler: "scx_bpfland", Args: []string{"-m", "performance"}}},
			"compute": {{Scheduler: "scx_rusty"}, {Scheduler: "builtin:throughput"}, {Scheduler: "eevdf"}},
		},
		File: c.File,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestLongestRestIsNoShorterThanTheFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte("[quarantine]\nfirst_secs = 90\nlongest_secs = 60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Sources{Environ: []string{"AUTOSA_CONFIG=" + path}})
	if want := path + ":3: quarantine.longest_secs: the longest rest of 1m0s is shorter than the first of 1m30s (quarantine.first_secs of " + path + ":2)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestEveryMistakeInAFileIsNamedWithItsLine(t *testing.T) {
	long := "/" + strings.Repeat("s", 107)
	tests := []struct {
		name, file string
		want       []string
	}{
		{"all at once, in order", `socket = "run/a.sock"
collection_interval = 1
min_confidence_threshold = 1.5
enable_auto_switch = "yes"
[tracer]
groups = 0
`, []string{
			`config.toml:1: socket: "run/a.sock" is not an absolute path`,
			`config.toml:2: collection_interval: unknown key (did you mean "collection_interval_secs"?)`,
			`config.toml:3: min_confidence_threshold: must be from 0 to 1, not 1.5`,
			`config.toml:4: enable_auto_switch: want true or false, got the string "yes"`,
			`config.toml:6: tracer.groups: must be from 1 to 1024, not 0`,
		}},
		{"unknown keys", `colour = 1
dirs = ["/x"]
[tracer]
group = 1
socket = "/a"
[tracers]
groups = 1
`, []string{
			`config.toml:1: colour: unknown key`,
			`config.toml:2: dirs: unknown key (did you mean "schedulers.dirs"?)`,
			`config.toml:4: tracer.group: unknown key (did you mean "groups"?)`,
			`config.toml:5: tracer.socket: unknown key (did you mean "socket"?)`,
			`config.toml:6: tracers: unknown key (did you mean "tracer"?)`,
		}},
		{"a key that needs quotes keeps them", `"a\nb" = 1` + "\n" + `"tracer.groups" = 5`, []string{
			`config.toml:1: "a\nb": unknown key`,
			`config.toml:2: "tracer.groups": unknown key (did you mean "tracer.groups"?)`,
		}},
		{"wrong types", `collection_interval_secs = true
min_confidence_threshold = "0.7"
socket = 5
log_level = ["info"]
schedulers = 1
arms = []
start_timeout_secs = 2020-01-01
stop_timeout_secs = {}
tracer.groups = 1.5
tracer.wait_threshold = "3"
`, []string{
			`config.toml:1: collection_interval_secs: want seconds as a number, or a duration such as "1m30s", got true`,
			`config.toml:2: min_confidence_threshold: want a number, got the string "0.7"`,
			`config.toml:3: socket: want a string, got the number 5`,
			`config.toml:4: log_level: want a string, got an array`,
			`config.toml:5: schedulers: want a table, got the number 1`,
			`config.toml:6: arms: want a table, got an array`,
			`config.toml:7: start_timeout_secs: want seconds as a number, or a duration such as "1m30s", got a date or time`,
			`config.toml:8: stop_timeout_secs: want seconds as a number, or a duration such as "1m30s", got a table`,
			`config.toml:9: tracer.groups: want a whole number, got the number 1.5`,
			`config.toml:10: tracer.wait_threshold: want seconds as a number, or a duration such as "1m30s", got the string "3"`,
		}},
		{"ranges", `collection_interval_secs = 0.05
aggregation_window_secs = 100000
min_confidence_threshold = -0.1
min_switch_interval_secs = -1
start_timeout_secs = "0s"
stop_timeout_secs = 1e300
[tracer]
groups = 1025
wait_threshold = "1us"
slots = 16385
events_per_second = 9
ring_bytes = 100000000
budget = 1.5
`, []string{
			`config.toml:1: collection_interval_secs: must be from 0.1 to 60 seconds, not 0.05`,
			`config.toml:2: aggregation_window_secs: must be from 0.1 to 86400 seconds, not 100000`,
			`config.toml:3: min_confidence_threshold: must be from 0 to 1, not -0.1`,
			`config.toml:4: min_switch_interval_secs: must be from 0 to 604800 seconds, not -1`,
			`config.toml:5: start_timeout_secs: must be from 1 to 600 seconds, not "0s"`,
			`config.toml:6: stop_timeout_secs: must be from 0.1 to 120 seconds, not 1e+300`,
			`config.toml:8: tracer.groups: must be from 1 to 1024, not 1025`,
			`config.toml:9: tracer.wait_threshold: must be from 0.00001 to 10 seconds, not "1us"`,
			`config.toml:10: tracer.slots: must be from 0 to 16384, not 16385`,
			`config.toml:11: tracer.events_per_second: must be from 10 to 100000, not 9`,
			`config.toml:12: tracer.ring_bytes: must be from 4096 to 67108864, not 100000000`,
			`config.toml:13: tracer.budget: must be from 0 to 1, not 1.5`,
		}},
		{"fewer slots than groups", "[tracer]\nslots = 63\n", []string{
			`config.toml:2: tracer.slots: 63 are too few to list 64 groups (tracer.groups of default)`,
		}},
		{"not numbers", "min_confidence_threshold = nan\ncollection_interval_secs = inf\ntracer.groups = 99999999999999999999\n", []string{
			`config.toml:1: min_confidence_threshold: want a number, got the number NaN`,
			`config.toml:2: collection_interval_secs: want seconds as a number, or a duration such as "1m30s", got the number +Inf`,
			`config.toml:3: tracer.groups: decimal number is too large to fit in a 64-bit signed integer`,
		}},
		{"words", `log_level = "inof"
log_format = "xml"
operator_group = "-x"
`, []string{
			`config.toml:1: log_level: "inof" is not debug, info, warn or error (did you mean "info"?)`,
			`config.toml:2: log_format: "xml" is not auto, text, logfmt or json`,
			`config.toml:3: operator_group: "-x" is not a group's name`,
		}},
		{"paths", `socket = "` + long + `"
state_dir = ""
[schedulers]
dirs = [
  "/fine",
  "opt",
  7,
]
[schedulers.paths]
eevdf = "/bin/true"
"../x" = "/bin/true"
lavd = "lavd"
scx_rusty = "/a"
rusty = "/b"
"builtin:latency" = "/c"
`, []string{
			`config.toml:1: socket: is 108 bytes long, a socket's path may have 107`,
			`config.toml:2: state_dir: is empty`,
			`config.toml:7: schedulers.dirs: item 3: want a string, got the number 7`,
			`config.toml:10: schedulers.paths.eevdf: eevdf is in the kernel, it has no path`,
			`config.toml:11: schedulers.paths."../x": "../x" is not a scheduler's name`,
			`config.toml:12: schedulers.paths.lavd: "lavd" is not an absolute path`,
			`config.toml:14: schedulers.paths.rusty: scx_rusty has a path already: /a`,
			`config.toml:15: schedulers.paths."builtin:latency": builtin:latency is within autosa, it has no path`,
		}},
		{"relative directories", "[schedulers]\ndirs = [\n\"a\",\n\"/\", \"b\",\n\"c\\u0000\",\n]\n", []string{
			`config.toml:5: schedulers.dirs: item 4: contains a NUL character`,
		}},
		{"each item of a list", "[schedulers]\ndirs = [\n\"a\",\n\"/\",\n\"/b\"]\n", []string{
			`config.toml:3: schedulers.dirs: item 1: "a" is not an absolute path`,
			`config.toml:4: schedulers.dirs: item 2: is the root directory`,
		}},
		{"arms", `[arms.computer]
scheduler = "scx_rusty"
[arms.party]
[arms.io]
args = ["-x"]
[arms.idle]
scheduler = "eevdf"
args = ["-x"]
[[arms.server]]
scheduler = "scx_lavd"
nice = 3
[[arms.server]]
scheduler = "lavd"
[[arms.batch]]
scheduler = "rm -rf"
args = "-x"
[[arms.media]]
scheduler = "builtin:latncy"
[[arms.media]]
scheduler = "builtin:latency"
args = ["-x"]
`, []string{
			`config.toml:1: arms.computer: unknown workload class (did you mean "compute"?)`,
			`config.toml:3: arms.party: unknown workload class (classes: idle, interactive, media, server, compute, batch, io, mixed)`,
			`config.toml:4: arms.io: names no scheduler`,
			`config.toml:6: arms.idle: eevdf takes no arguments`,
			`config.toml:11: arms.server[0].nice: unknown key`,
			`config.toml:12: arms.server[1]: is the same as arms.server[0]`,
			`config.toml:15: arms.batch[0].scheduler: "rm -rf" is not a scheduler's name`,
			`config.toml:16: arms.batch[0].args: want an array of strings, got the string "-x"`,
			`config.toml:18: arms.media[0].scheduler: the built-in scheduler has no policy "latncy" (did you mean "latency"?): it has latency, balanced, throughput`,
			`config.toml:19: arms.media[1]: builtin:latency takes no arguments`,
		}},
		{"arms of other shapes", "arms.mixed = []\narms.media = [\"scx_lavd\"]\narms.io = 1\n", []string{
			`config.toml:1: arms.mixed: names no scheduler`,
			`config.toml:2: arms.media[0]: want a table with scheduler and args, got the string "scx_lavd"`,
			`config.toml:3: arms.io: want a table with scheduler and args, got the number 1`,
		}},
		{"too many arguments", "[arms.io]\nscheduler = \"lavd\"\nargs = [" + strings.Repeat(`"x",`, 65) + "]\n", []string{
			`config.toml:3: arms.io.args: has 65 arguments, 64 are allowed`,
		}},
		{"duplicate keys", `socket = "/a"
log_level = "info"
socket = "/b"
tracer.groups = 1
tracer.groups = 2
[schedulers]
[schedulers]
`, []string{
			`config.toml:3: socket: is already set on line 1`,
			`config.toml:5: tracer.groups: is already set on line 4`,
			`config.toml:7: schedulers: is already set on line 6`,
		}},
		{"tables that are none", `socket = "/a"
socket.path = 1
[socket.x]
[[schedulers]]
[arms]
io = [{scheduler = "lavd"}]
batch = {scheduler = "lavd"}
batch.args = []
[arms.io.x]
[[arms.batch]]
`, []string{
			`config.toml:2: socket.path: socket on line 1 is no table`,
			`config.toml:3: socket.x: socket on line 1 is no table`,
			`config.toml:4: schedulers: want a table, got an array`,
			`config.toml:8: batch.args: the inline table batch on line 7 cannot be added to`,
			`config.toml:9: arms.io.x: io on line 6 is an array, not a table`,
			`config.toml:10: arms.batch: is already set on line 7`,
		}},
		{"syntax, with what stood before", "min_confidence_threshold = 7\nlog_level = \"info\nsocket = 5\n", []string{
			`config.toml:1: min_confidence_threshold: must be from 0 to 1, not 7`,
			`config.toml:2:18: syntax: basic strings cannot have new lines`,
		}},
		{"syntax at the end", "socket =", []string{`config.toml:1:8: syntax: expected value, not end of input`}},
		{"not UTF-8", "socket = \"\xff\"", []string{`config.toml:1:11: syntax: invalid UTF-8 character in basic string`}},
		{"rules of TOML that only the library knows", "[tracer]\n[schedulers]\n[tracer.x]\ny.z=1\n[tracer.x.y]\n", []string{
			`config.toml:3: tracer.x: unknown key`,
			`config.toml:5:2: table y already exists as defined by a dotted key`,
		}},
		{"a window shorter than the interval", "collection_interval_secs = 10\naggregation_window_secs = 5\n", []string{
			`config.toml:2: aggregation_window_secs: the window of 5s is shorter than the collection interval of 10s (config.toml:1)`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, tt.file, nil)
			got := messages(err)
			for i := range got {
				if j := strings.Index(got[i], "(/"); j >= 0 {
					k := strings.Index(got[i][j:], "config.toml")
					got[i] = got[i][:j+1] + got[i][j+k:]
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(Config{}, c); diff != "" {
				t.Error("a configuration came with the errors:", diff)
			}
		})
	}
}

func TestMistakesInEnvironmentAndFlagsNameTheirSource(t *testing.T) {
	_, err := load(t, "min_confidence_threshold = 2\n",
		[]string{"AUTOSA_COLLECTION_INTERVAL=soon", "AUTOSA_NO_AUTO_SWITCH=perhaps", "AUTOSA_SCHEDULER_DIR=/a:b"},
		"--min-confidence", "2", "--min-switch-interval=-5s", "--socket", "x", "--log-format=yaml",
		"--scheduler-dir", "", "--state-dir", "/", "--aggregation-window=1e99")
	want := []string{
		`config.toml:1: min_confidence_threshold: must be from 0 to 1, not 2`,
		`AUTOSA_COLLECTION_INTERVAL: "soon" is not seconds as a number, or a duration such as "1m30s"`,
		`AUTOSA_NO_AUTO_SWITCH: "perhaps" is not true or false`,
		`AUTOSA_SCHEDULER_DIR: item 2: "b" is not an absolute path`,
		`--min-confidence: must be from 0 to 1, not "2"`,
		`--min-switch-interval: must be from 0 to 604800 seconds, not "-5s"`,
		`--socket: "x" is not an absolute path`,
		`--log-format: "yaml" is not auto, text, logfmt or json`,
		`--scheduler-dir: is empty`,
		`--state-dir: is the root directory`,
		`--aggregation-window: must be from 0.1 to 86400 seconds, not "1e99"`,
	}
	if diff := cmp.Diff(want, messages(err)); diff != "" {
		t.Error(diff)
	}
}

func TestAWindowShorterThanTheIntervalNamesBothSources(t *testing.T) {
	_, err := load(t, "", []string{"AUTOSA_COLLECTION_INTERVAL=50"}, "--aggregation-window=20")
	want := []string{`--aggregation-window: aggregation_window_secs: the window of 20s is shorter than the collection interval of 50s (AUTOSA_COLLECTION_INTERVAL)`}
	if diff := cmp.Diff(want, messages(err)); diff != "" {
		t.Error(diff)
	}
}

func TestRepeatedDirectoryFlagsAddUpAndReplaceTheFiles(t *testing.T) {
	c, err := load(t, "schedulers.dirs = [\"/file\"]\n", []string{"AUTOSA_SCHEDULER_DIR=/env1:/env2"}, "--scheduler-dir=/one", "--scheduler-dir=/two/")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/one", "/two"}; !slices.Equal(c.Schedulers.Dirs, want) {
		t.Errorf("dirs = %q, want %q", c.Schedulers.Dirs, want)
	}
}

func TestAFileThatIsNamedMustBeReadable(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "no.toml")
	big := filepath.Join(dir, "big.toml")
	if err := os.WriteFile(big, []byte(strings.Repeat("#", maxFileBytes+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		src  Sources
		want string
	}{
		{"flag", Sources{Flags: parseFlags(t, "-c", missing)}, "--config: open " + missing + ": no such file or directory"},
		{"environment", Sources{Environ: []string{"AUTOSA_CONFIG=" + missing}}, "AUTOSA_CONFIG: open " + missing + ": no such file or directory"},
		{"a directory", Sources{Flags: parseFlags(t, "--config", dir)}, "--config: read " + dir + ": is a directory"},
		{"empty", Sources{Flags: parseFlags(t, "-c", "")}, "--config: names no file"},
		{"too large", Sources{Flags: parseFlags(t, "-c", big)}, "--config: " + big + " is larger than 64 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Load(tt.src); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	l := loader{cfg: Default()}
	if l.file(missing, ""); len(l.errs) > 0 {
		t.Errorf("a missing default file is an error: %v", l.errs)
	}
}

func TestASocketIsFoundWhateverElseIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte("socket = \"/file.sock\"\nnonsense = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want, err string
		environ, args   []string
	}{
		{name: "default", want: Default().Socket},
		{name: "file", args: []string{"-c", path}, want: "/file.sock"},
		{name: "environment", args: []string{"-c", path}, environ: []string{"AUTOSA_SOCKET=/env.sock", "AUTOSA_LOG_LEVEL=x"}, want: "/env.sock"},
		{name: "flag", environ: []string{"AUTOSA_SOCKET=/env.sock"}, args: []string{"--socket", "/flag.sock"}, want: "/flag.sock"},
		{name: "wrong flag", args: []string{"--socket", "x"}, err: `--socket: "x" is not an absolute path`},
		{name: "missing file", args: []string{"-c", "/nonexistent"}, err: "--config: open /nonexistent: no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Socket(Sources{Flags: parseFlags(t, tt.args...), Environ: tt.environ})
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("got %q, %v; want %q, %s", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestStrangeVariablesAreWarnedAboutNotRefused(t *testing.T) {
	c, err := load(t, "", []string{"AUTOSA_MINCONFIDENCE=0.3", "AUTOSA_QUX=1", "HOME=/", "AUTOSA_MINCONFIDENCE=0.3", "AUTOSA", "AUTOSA_"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`environment variable AUTOSA_MINCONFIDENCE is no setting of autosa (did you mean "AUTOSA_MIN_CONFIDENCE"?); it is ignored`,
		`environment variable AUTOSA_QUX is no setting of autosa; it is ignored`,
	}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestAFileThatAnyoneMayWriteIsWarnedAbout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Sources{Flags: parseFlags(t, "-c", path)})
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "can be written by anyone") {
		t.Errorf("warnings = %q, %v", c.Warnings, err)
	}
}

func TestDefaultsPassTheirOwnRules(t *testing.T) {
	d := Default()
	args := []string{
		"--collection-interval", d.CollectionInterval.String(), "--aggregation-window", d.AggregationWindow.String(),
		"--min-switch-interval", d.MinSwitchInterval.String(), "--socket", d.Socket, "--state-dir", d.StateDir,
	}
	for _, s := range settings {
		if s.flag != "" && s.show != "" {
			args = append(args, "--"+s.flag, s.show)
		}
	}
	c, err := load(t, "", nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	d.File = c.File
	if diff := cmp.Diff(d, c); diff != "" {
		t.Errorf("a default shown in the help is not the default: %s", diff)
	}
}

func TestSettingsHaveUniqueNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings {
		for _, name := range []string{s.key, "--" + s.flag} {
			if name == "" || name == "--" {
				continue
			}
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		if s.target() == "" || s.set == nil {
			t.Errorf("setting %+v sets nothing", s)
		}
	}
}
