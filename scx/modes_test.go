// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clapHelp is how the Rust schedulers print their options.
const clapHelp = `scx_x: a scheduler

Usage: scx_x [OPTIONS]

Options:
  -v, --verbose...
          Print more. With --nothing it prints

          - nothing
  -s, --slice-us <SLICE_US>
          Maximum slice

          [default: 1000]
      --performance
          Run in performance mode (not with --powersave)
  -m, --primary-domain <PRIMARY_DOMAIN>
          Special values:
           - "auto" = all

          [default: auto]
  -k, --keep
          -q is no option here
  -p, --profile <PROFILE>
          Possible values:
          - esports: one,
            and more of it
          - gaming:  two

          [default: gaming]
      --sched-mode <SCHED_MODE>
          [default: default] [possible values: default, performance,
          efficiency]
  -t, --topology[=<TOPOLOGY>]
          Perhaps [possible values: true, false]
  -V, --version
          Print version
  -h, --help
          Print help (see a summary with '-h')
`

// getoptHelp is how the kernel's examples print theirs.
const getoptHelp = "A simple sched_ext scheduler.\n\nUsage: scx_simple [-f] [-v]\n\n  -f            Use FIFO\n  -s SLICE_US\tSlice\n\t-d\tDump\n  -v            Print\n  -h            Display this help and exit\n"

func TestHelpIsReadForItsOptions(t *testing.T) {
	o := parseHelp(clapHelp)
	var names []string
	for name := range o.known {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"--help", "--keep", "--performance", "--primary-domain", "--profile", "--sched-mode", "--slice-us", "--topology", "--verbose", "--version",
		"-V", "-h", "-k", "-m", "-p", "-s", "-t", "-v"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	for name, value := range map[string]bool{"-s": true, "--slice-us": true, "--performance": false, "-t": true, "--verbose": false} {
		if o.known[name].value != value {
			t.Errorf("%s takes a value: %v", name, !value)
		}
	}
	if got := o.known["-p"].values; !slices.Equal(got, []string{"esports", "gaming"}) {
		t.Errorf("values of -p: %q", got)
	}
	if got := o.known["--sched-mode"].values; !slices.Equal(got, []string{"default", "performance", "efficiency"}) {
		t.Errorf("values of --sched-mode: %q", got)
	}
	c := parseHelp(getoptHelp)
	if len(c.known) != 5 || !c.known["-s"].value || c.known["-f"].value || c.known["-d"] == nil {
		t.Errorf("%v", c.known)
	}
}

func TestArgumentsAreCheckedAgainstTheHelp(t *testing.T) {
	o := parseHelp(clapHelp)
	for args, want := range map[string]string{
		"":                               "",
		"-s 700 -k":                      "",
		"-s700 -kv":                      "",
		"--slice-us=700 --performance":   "",
		"--slice-us -1":                  "",
		"-t --performance":               "",
		"-t=true":                        "",
		"--topology=false":               "",
		"-p gaming --sched-mode=default": "",
		"--profile battery":              `takes no "battery" for --profile, only esports, gaming`,
		"-p=battery":                     `takes no "battery" for -p`,
		"--sched-mode fast":              `takes no "fast"`,
		"--topology=maybe":               `takes no "maybe"`,
		"--powersave":                    "does not know --powersave",
		"-q":                             "does not know -q",
		"-kq":                            "does not know -q",
		"--nothing":                      "does not know --nothing",
		"--slice":                        "does not know --slice",
		"-s":                             "takes a value for -s",
		"--performance=1":                "takes no value for --performance",
		"-k all":                         `takes no argument "all"`,
		"-- x":                           `takes no argument "--"`,
	} {
		got := o.refuse(strings.Fields(args))
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
	with := parseHelp("Arguments:\n  [SPECS]...\n          Layers\nOptions:\n  -e, --example <FILE>\n")
	for args, ok := range map[string]bool{"f:layers.json": true, "-e x y": true, "-- -z": true, "-z": false} {
		if got := with.refuse(strings.Fields(args)); (got == "") != ok {
			t.Errorf("%q: %q", args, got)
		}
	}
}

func TestAModeThatTheBinaryDoesNotTakeIsRefusedAndTheSchedulerIsNot(t *testing.T) {
	dir := trustedDir(t)
	install(t, dir, "scx_lavd", `case $1 in --version) echo scx_lavd 1.1.4;; --help) echo asked >> `+dir+`/asked; echo "      --performance"; echo "      --pinned-slice-us <US>"; exit 255;; *) exit 2;; esac`)
	c := catalogue(t, CatalogueOptions{Dirs: []string{dir}})
	for range 2 {
		e, err := c.Lookup(t.Context(), "lavd")
		if err != nil || !e.Usable || e.HelpNote != "" || len(e.Modes) != 5 {
			t.Fatalf("%+v, %v", e, err)
		}
		if m, err := e.Mode("gaming"); err != nil || !slices.Equal(m.Args, []string{"--performance", "--pinned-slice-us", "500"}) {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := e.Mode("powersave"); !errors.Is(err, ErrBadMode) || !strings.Contains(err.Error(), "this version does not know --powersave") {
			t.Errorf("%v", err)
		}
		if _, err := e.Mode("fast"); !errors.Is(err, ErrBadMode) || !strings.Contains(err.Error(), "auto, gaming, lowlatency, powersave, server") {
			t.Errorf("%v", err)
		}
	}
	if b, _ := os.ReadFile(dir + "/asked"); string(b) != "asked\n" {
		t.Errorf("asked %d times", strings.Count(string(b), "asked"))
	}
	install(t, dir, "scx_rusty", "echo ran >> "+dir+"/rusty; echo scx_rusty 1.0.0")
	e, _ := c.Lookup(t.Context(), "rusty")
	if _, err := e.Mode("gaming"); !errors.Is(err, ErrBadMode) || !strings.Contains(err.Error(), "has no mode gaming, only auto") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(dir + "/rusty"); string(b) != "ran\n" {
		t.Errorf("one without arguments was asked for its options: %q", b)
	}
	if e, _ = c.Lookup(t.Context(), "bpfland"); e.Installed || len(e.Modes) != 5 {
		t.Errorf("of one that is not installed: %+v", e)
	}
	e, _ = c.Lookup(t.Context(), "layered")
	if _, err := e.Mode("auto"); !errors.Is(err, ErrBadMode) || !strings.Contains(err.Error(), "has no modes") {
		t.Errorf("%v", err)
	}
}

func TestWhatDoesNotAnswerForItsOptionsIsNotChecked(t *testing.T) {
	dir := trustedDir(t)
	for body, want := range map[string]string{
		"[ $1 = --version ] && echo 1.0.0 && exit 0; exit 3": "did not answer --help: exit status 3",
		"echo 1.0.0": "its answer to --help names no options",
	} {
		install(t, dir, "scx_cosmos", body)
		e, err := catalogue(t, CatalogueOptions{Dirs: []string{dir}}).Lookup(t.Context(), "cosmos")
		if err != nil || !e.Usable || e.HelpNote != want {
			t.Errorf("%+v, %v", e, err)
		}
		if _, err := e.Mode("gaming"); err != nil {
			t.Error(err)
		}
	}
}

func FuzzHelp(f *testing.F) {
	for _, seed := range []string{clapHelp, getoptHelp, "", "  -", "  --=<", "\t-x\n", "  -a, b, -c <X>  [possible values: ", "  -x  Possible values:\n- "} {
		f.Add(seed, "-x --y=1 -- z")
	}
	f.Fuzz(func(t *testing.T, text, line string) {
		o := parseHelp(text)
		for name, opt := range o.known {
			if !isOption(name) || opt == nil || !strings.Contains(text, name) {
				t.Fatalf("option %q from %q", name, text)
			}
			if !opt.value && o.refuse([]string{name}) != "" {
				t.Fatalf("%q is refused: %s", name, o.refuse([]string{name}))
			}
		}
		args := strings.Fields(line)
		if why := o.refuse(args); why == "" && len(o.known) == 0 && !o.operands && len(args) > 0 {
			t.Fatalf("%q is taken without any option", line)
		}
	})
}
