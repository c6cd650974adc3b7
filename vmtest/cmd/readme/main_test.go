// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestExtractTakesTheCommandsOfItsSectionOnly(t *testing.T) {
	text := strings.ReplaceAll(`# autosa
'''sh
not this
'''
## First steps
Some words, and '''sh''' in a line.
'''sh
make run    # see it work
# a comment
'''
'''text
## Not a heading
not output
'''
### Then
'''sh
make test \
  SERIES=6.18

true
'''
## Next
'''sh
not that
'''
`, "'''", "```")
	want := []string{"make run    # see it work", "make test \\\n  SERIES=6.18", "true"}
	if got := extract(text); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

func TestReadmeWithoutCommandsFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(path, []byte("# First steps\nNone.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if commands, err := readCommands(path); err == nil {
		t.Errorf("commands %q", commands)
	}
}

func TestCommandThatFailsOrHangsIsAnError(t *testing.T) {
	for command, want := range map[string]string{
		"true":            "",
		"exit 3":          "exit status 3",
		"false | true":    "exit status 1",
		"sleep 600; true": "not done within 500ms",
	} {
		err := execute(context.Background(), t.TempDir(), command, 500*time.Millisecond)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: error %v, want %q", command, err, want)
		}
	}
}
