// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplaceChangesItsOwnPartOnly(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	text := "# Head\n\n<!-- a -->\n\nold\n\n<!-- /a -->\n\nmiddle\n\n<!-- b -->\n\nkept\n\n<!-- /b -->\nend\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := Replace(page, "a", "\nnew\nlines\n"); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Replace(text, "old", "new\nlines", 1); string(got) != want {
			t.Errorf("page is\n%s\nwant\n%s", got, want)
		}
	}
	if err := Replace(page, "c", "x"); err == nil || !strings.Contains(err.Error(), "<!-- c -->") {
		t.Errorf("a part that is not there: %v", err)
	}
}

func TestEveryTableHasItsPlaceInTheDocuments(t *testing.T) {
	for page, names := range map[string][]string{
		"BENCHMARKS.md": {"bench-trace", "bench-hackbench", "bench-daemon", "bench-swap"}, "SOAK.md": {"soak"},
	} {
		b, err := os.ReadFile(filepath.Join("../../docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if text := string(b); strings.Count(text, "<!-- "+n+" -->\n") != 1 || strings.Count(text, "<!-- /"+n+" -->") != 1 {
				t.Errorf("docs/%s has no place for %s", page, n)
			}
		}
	}
}

func TestFiguresOfThisProcessAreRead(t *testing.T) {
	cpu, err := CPUTime(os.Getpid())
	if err != nil || cpu <= 0 {
		t.Errorf("CPU time %v, %v", cpu, err)
	}
	m, err := MemoryOf(os.Getpid())
	if err != nil || m.Resident < 1<<20 || m.Proportional == 0 || m.Proportional > m.Resident {
		t.Errorf("memory %+v, %v", m, err)
	}
	a, err := Switches()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Switches(); err != nil || b < a || a == 0 {
		t.Errorf("%d switches, then %d, %v", a, b, err)
	}
	if _, err := CPUTime(1 << 30); err == nil {
		t.Error("CPU time of a process that does not exist")
	}
}
