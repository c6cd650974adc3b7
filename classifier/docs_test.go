// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"autosa/workload"
)

const (
	rulesBegin = "<!-- rules: begin -->\n"
	rulesEnd   = "<!-- rules: end -->\n"
)

// rulesTable is the rules as docs/CLASSIFIER.md has them.
func rulesTable() string {
	var b strings.Builder
	b.WriteString("| class | figure | typical range | soft | for | against |\n|---|---|---|---|---|---|\n")
	for c, rs := range rules {
		for _, r := range rs {
			soft := fmt.Sprintf("%g", r.soft)
			if figureInfo[r.of].ratio {
				soft += " oct"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %g | %g |\n", workload.Class(c), figureInfo[r.of].name, rangeText(&r), soft, r.yes, r.no)
		}
	}
	return b.String()
}

func rangeText(r *rule) string {
	show := func(v float64) string {
		if figureInfo[r.of].unit == "s" {
			return time.Duration(math.Round(v * 1e9)).String()
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	switch {
	case r.lo == 0:
		return "up to " + show(r.hi)
	case r.hi == inf:
		return "from " + show(r.lo)
	}
	return show(r.lo) + " to " + show(r.hi)
}

// On a difference it prints what the document should say.
func TestTheDocumentHasTheRulesAsTheyAre(t *testing.T) {
	b, err := os.ReadFile("../docs/CLASSIFIER.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), rulesBegin)
	got, _, ok2 := strings.Cut(rest, rulesEnd)
	if !ok || !ok2 {
		t.Fatalf("docs/CLASSIFIER.md has no table between %q and %q", rulesBegin, rulesEnd)
	}
	if want := rulesTable(); got != want {
		t.Errorf("docs/CLASSIFIER.md has other rules; it should have:\n%s", want)
	}
	for _, f := range figureInfo {
		if !strings.Contains(string(b), "| `"+f.name+"` | "+f.unit+" | "+f.meaning+" |") {
			t.Errorf("docs/CLASSIFIER.md should have: | `%s` | %s | %s |", f.name, f.unit, f.meaning)
		}
	}
}
