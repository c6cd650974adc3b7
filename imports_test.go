// SPDX-License-Identifier: Apache-2.0

package autosa_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module       = "autosa"
	architecture = "docs/ARCHITECTURE.md"
)

// pkg is a package as `go list -json` shows it.
type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// TestImports holds the table in docs/ARCHITECTURE.md true: a package imports, of this module, only what its row allows. A package
// below a row's belongs to that row unless it has its own, and may import the other packages of its row. Test files
// are free.
func TestImports(t *testing.T) {
	rules := readRules(t)
	seen := map[string]bool{}
	for _, p := range listPackages(t, "./...") {
		name := local(p.ImportPath)
		row, ok := rowOf(rules, name)
		if !ok {
			t.Errorf("package %s has no row in %s", name, architecture)
			continue
		}
		seen[row] = true
		for _, imported := range p.Imports {
			if !ours(imported) {
				continue
			}
			if to := local(imported); !rules[row].allows(rules, row, to) {
				t.Errorf("package %s imports %s, which its row in %s does not allow: %s", name, to, architecture, rules[row].text)
			}
		}
	}
	for row := range rules {
		if !seen[row] {
			t.Errorf("%s has a row for %s, and there is no such package", architecture, row)
		}
	}
}

// TestWorkloadImportsTheStandardLibraryOnly keeps the leaf types usable by anything.
func TestWorkloadImportsTheStandardLibraryOnly(t *testing.T) {
	standard := map[string]bool{}
	for _, p := range listPackages(t, "-deps", "./workload/...") {
		standard[p.ImportPath] = p.Standard
	}
	for path, std := range standard {
		if !std && path != module+"/workload" {
			t.Errorf("workload depends on %s", path)
		}
	}
}

// rule is the third column of a row.
type rule struct {
	text   string
	all    bool     // every package, but those in list
	listed []string // the packages allowed, or excepted from all
}

func (r rule) allows(rules map[string]rule, row, imported string) bool {
	to, ok := rowOf(rules, imported)
	if !ok {
		return false
	}
	if to == row {
		return true
	}
	named := slices.ContainsFunc(r.listed, func(l string) bool { return imported == l || strings.HasPrefix(imported, l+"/") })
	return named != r.all
}

// rowOf finds the row of a package: its own or that of the nearest directory above it.
func rowOf(rules map[string]rule, name string) (string, bool) {
	for {
		if _, ok := rules[name]; ok {
			return name, true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return "", false
		}
		name = name[:i]
	}
}

var tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*\\|([^|]*)\\|$")

// readRules reads the table: `package` | what it is | what it may import.
func readRules(t *testing.T) map[string]rule {
	t.Helper()
	text, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]rule{}
	for _, m := range tableRow.FindAllStringSubmatch(string(text), -1) {
		rules[m[1]] = parseRule(t, m[1], strings.TrimSpace(m[2]))
	}
	if len(rules) < 5 {
		t.Fatalf("%s: found %d rows of the table of packages", architecture, len(rules))
	}
	return rules
}

// parseRule understands "–", "all", "all but A, B" and "A, B".
func parseRule(t *testing.T, row, text string) rule {
	t.Helper()
	r := rule{text: text}
	list := text
	if rest, ok := strings.CutPrefix(text, "all"); ok {
		r.all = true
		list = strings.TrimPrefix(strings.TrimSpace(rest), "but ")
	}
	if list == "" || list == "–" {
		return r
	}
	for _, name := range strings.Split(list, ",") {
		name = strings.Trim(strings.TrimSpace(name), "`")
		if !regexp.MustCompile(`^[a-z]+(/[a-z]+)*$`).MatchString(name) {
			t.Fatalf("%s: the row of %s may import %q, which is no list of packages", architecture, row, text)
		}
		r.listed = append(r.listed, name)
	}
	return r
}

// TestImportRulesAreReadAsTheyAreMeant keeps TestImports from passing because it reads the table wrongly.
func TestImportRulesAreReadAsTheyAreMeant(t *testing.T) {
	rules := map[string]rule{"leaf": parseRule(t, "leaf", "–")}
	for row, text := range map[string]string{"top": "all", "cmd/x": "all", "most": "all but cmd/x, api/server", "some": "leaf, api", "api": "leaf"} {
		rules[row] = parseRule(t, row, text)
	}
	for _, c := range []struct {
		row, imported string
		want          bool
	}{
		{"leaf", "leaf/sub", true},
		{"leaf", "api", false},
		{"some", "leaf", true},
		{"some", "api/client", true},
		{"some", "most", false},
		{"most", "leaf", true},
		{"most", "api/client", true},
		{"most", "api/server", false},
		{"most", "cmd/x", false},
		{"top", "cmd/x", true},
		{"top", "nowhere", false},
	} {
		if got := rules[c.row].allows(rules, c.row, c.imported); got != c.want {
			t.Errorf("%s imports %s: allowed %t, want %t", c.row, c.imported, got, c.want)
		}
	}
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

func local(path string) string { return strings.TrimPrefix(path, module+"/") }

func listPackages(t *testing.T, args ...string) []pkg {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath != module { // this package, which holds this test and nothing else
			pkgs = append(pkgs, p)
		}
	}
}
