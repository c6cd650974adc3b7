// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"strings"
	"testing"
)

func TestEverySettingIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		row := ""
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "| `"+s.target()+"` ") {
				row = line
			}
		}
		if row == "" {
			t.Errorf("%s has no row", s.target())
			continue
		}
		if s.flag != "" && (!strings.Contains(row, "`--"+s.flag+"`") || !strings.Contains(row, "`"+envOf(s.flag)+"`")) {
			t.Errorf("the row of %s lacks --%s or %s", s.target(), s.flag, envOf(s.flag))
		}
		if s.show != "" && !strings.Contains(row, "| "+s.show+" |") {
			t.Errorf("the row of %s lacks the default %s", s.target(), s.show)
		}
	}
	for name := range sections {
		if !strings.Contains(string(b), "| `"+name+"` ") {
			t.Errorf("%s has no row", name)
		}
	}
}
