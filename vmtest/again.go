// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"fmt"
	"strings"
)

// Unsteady begins the line of a test's output that says that it failed at first and passed when its package was run once more.
const Unsteady = "unsteady: "

// MaxAgain is how many packages may fail and be tried again, here or in a guest. Where more of them fail, it is not the
// noise of a machine that others use too.
const MaxAgain = 2

// Again runs the packages whose tests have failed once more, in a guest of their own, where nothing ran before them, and
// puts what they came to into the report; tests keep the output of their first run as well. It leaves the report as it is when
// nothing has failed, or more than noise explains: more than two packages, a guest that died or whose kernel complained, a
// test that panicked or did not end.
func (s *Suite) Again(ctx context.Context, c Cache, k Kernel, first Report, progress func(string)) (Report, error) {
	second := *s
	second.binaries, second.round = nil, "-again"
	var at []int
	for i, p := range first.Packages {
		if !p.Failed {
			continue
		}
		if !measuredWrong(p.Tests) {
			return first, nil
		}
		at = append(at, i)
		second.binaries = append(second.binaries, s.binaries[i])
	}
	if len(at) == 0 || len(at) > MaxAgain || first.Guest != nil {
		return first, nil
	}
	for _, i := range at {
		progress(fmt.Sprintf("%s has failed and is run again, once", first.Packages[i].Path))
	}
	report, err := second.Execute(ctx, c, k, progress)
	if err != nil {
		return first, fmt.Errorf("run again what has failed: %w", err)
	}
	for j, i := range at {
		inherit(report.Packages[j].Tests, first.Packages[i].Tests)
		first.Packages[i] = report.Packages[j]
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
			r.Output = fmt.Sprintf("%sit failed at first:\n%sand then, in a guest of its package alone:\n%s", Unsteady, b.Output, r.Output)
		}
	}
}
