// SPDX-License-Identifier: Apache-2.0

//go:build vmmatrix

package vmtest

import (
	"fmt"
	"testing"
)

// replayPackage turns the results of a package's guest tests into subtests of t.
func replayPackage(t *testing.T, p Package) {
	for _, r := range p.Tests {
		replay(t, r)
	}
	if p.Output != "" && p.Failed {
		fmt.Fprint(t.Output(), p.Output)
	}
	if p.Failed {
		t.Fail()
	}
}

func replay(t *testing.T, r *Result) {
	t.Run(r.Name, func(t *testing.T) {
		if r.Elapsed > 0 {
			t.Logf("%.2f s in the guest", r.Elapsed.Seconds())
		}
		fmt.Fprint(t.Output(), r.Output)
		for _, sub := range r.Sub {
			replay(t, sub)
		}
		switch r.Outcome {
		case Passed:
		case Failed:
			t.Fail()
		case Skipped:
			t.SkipNow()
		case Unfinished:
			t.Error("it did not end: its test binary or its machine died")
		default:
			t.Errorf("unknown outcome %q", r.Outcome)
		}
	})
}
