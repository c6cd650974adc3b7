// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = "../packaging/config.toml"

func TestTheExampleShowsEveryDefault(t *testing.T) {
	c, err := Load(Sources{Flags: parseFlags(t, "-c", example), Classes: classes})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.File, want.Schedulers.Dirs = example, []string{}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("the example differs from the defaults: %s", diff)
	}
	b, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys() {
		last := k[strings.LastIndex(k, ".")+1:]
		if !regexp.MustCompile(`(?m)^#?(\[+(schedulers\.)?)?` + last + `\b`).Match(b) {
			t.Errorf("the example does not show %s", k)
		}
	}
}

func TestWhatTheExampleHasCommentedOutIsValid(t *testing.T) {
	b, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	// "#key = …" and "#[table]" are settings, "# word" is prose.
	active := regexp.MustCompile(`(?m)^#([\[a-z])`).ReplaceAllString(string(b), "$1")
	c, err := load(t, active, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Arms["compute"]) != 2 || len(c.Schedulers.Paths) != 1 || len(c.Schedulers.Known["scx_lavd"].Modes["gaming"]) != 3 {
		t.Errorf("%+v", c)
	}
}
