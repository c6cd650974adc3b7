// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Unsteady begins the line of a test's output that says that it failed at first and passed when it was run once more.
const Unsteady = "unsteady: "

// MaxAgain is how many packages may fail and be tried again, here or in a guest. Where more of them fail, it is not the
// noise of a machine that others use too.
const MaxAgain = 2

// Again runs the tests that have failed once more, in a guest of their own, where nothing ran before them, and
// puts what they came to into the report; they keep the output of their first run as well. It leaves the report as it is when
// nothing has failed, or more than noise explains: more than two packages, a guest that died or whose kernel complained, a
// test that panicked or did not end.
func (s *Suite) Again(ctx context.Context, c Cache, k Kernel, first Report, progress func(string)) (Report, error) {
	second := *s
	second.binaries, second.round = nil, "-again"
	var at []int
	var again []string
	for i, p := range first.Packages {
		if !p.Failed {
			continue
		}
		if !measuredWrong(p.Tests) {
			return first, nil
		}
		at = append(at, i)
		second.binaries = append(second.binaries, s.binaries[i])
		for _, t := range p.Tests {
			if t.Outcome == Failed {
				again = append(again, regexp.QuoteMeta(t.Name))
				progress(fmt.Sprintf("%s: %s has failed and is run again, once", p.Path, t.Name))
			}
		}
	}
	if len(at) == 0 || len(at) > MaxAgain || first.Guest != nil {
		return first, nil
	}
	second.Run = "^(" + strings.Join(again, "|") + ")$"
	report, err := second.Execute(ctx, c, k, progress)
	if err != nil {
		return first, fmt.Errorf("run again what has failed: %w", err)
	}
	for j, i := range at {
		p := report.Packages[j]
		inherit(p.Tests, first.Packages[i].Tests)
		p.Tests = replaced(first.Packages[i].Tests, p.Tests)
		p.Failed = p.Failed || anyFailed(p.Tests)
		first.Packages[i] = p
	}
	first.Guest = report.Guest
	return first, nil
}

// measuredWrong tells whether some of the tests have failed, and none in a way that a second try must not excuse.
func measuredWrong(tests []*Result) bool {
	failed := false
	for _, t := range tests {
		if t.Outcome == Unfinished || strings.Contains(t.Output, "panic: ") || strings.Contains(t.Output, "DATA RACE") {
			return false
		}
		failed = failed || t.Outcome == Failed
		if len(t.Sub) > 0 && anyFailed(t.Sub) && !measuredWrong(t.Sub) {
			return false
		}
	}
	return failed
}

// replaced puts the tests of the second run in the place of those of the first with the same name. What the second run says
// nothing about stays what it was.
func replaced(first, second []*Result) []*Result {
	all := slices.Clone(first)
	for _, r := range second {
		if i := slices.IndexFunc(all, func(f *Result) bool { return f.Name == r.Name }); i >= 0 {
			all[i] = r
		} else {
			all = append(all, r)
		}
	}
	return all
}

// inherit puts the output of tests that failed at first before that of their second run.
func inherit(second, first []*Result) {
	before := map[string]*Result{}
	for _, r := range first {
		before[r.Name] = r
	}
	for _, r := range second {
		b := before[r.Name]
		if b == nil || b.Outcome != Failed {
			continue
		}
		inherit(r.Sub, b.Sub)
		if !anyFailed(b.Sub) {
			r.Output = fmt.Sprintf("%sit failed at first:\n%sand then, in a guest of its own:\n%s", Unsteady, b.Output, r.Output)
		}
	}
}
