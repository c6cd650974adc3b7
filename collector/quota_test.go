// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// quotaFiles is a hierarchy of files: /a with a quota, /a/b and /free without.
func quotaFiles(t *testing.T) (q *quotas, throttled func(path string, usec int)) {
	t.Helper()
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	throttled = func(path string, usec int) {
		write(path+"/cpu.stat", fmt.Sprintf("usage_usec 1\nthrottled_usec %d\n", usec))
	}
	write("a/cpu.max", "20000 100000\n")
	for _, path := range []string{"a/b", "free"} {
		write(path+"/cpu.max", "max 100000\n")
		throttled(path, 5)
	}
	throttled("a", 0)
	cg, err := openCgroups("/proc", root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cg.close() })
	return newQuotas(cg), throttled
}

func TestAQuotaHoldsBackWhatLiesBelowItAndNobodyElse(t *testing.T) {
	q, throttled := quotaFiles(t)
	for _, name := range []string{"/a", "/a/b", "/free"} {
		if q.held(name) || q.since(name) != 0 {
			t.Errorf("%s is held back before its quota was used up", name)
		}
	}
	q.tick++
	throttled("a", 70)
	throttled("free", 900) // of a quota that it had before
	if got := q.since("/a"); got != 70*time.Microsecond {
		t.Errorf("held back for %v, want 70µs", got)
	}
	if got := q.since("/a/b"); got != 0 {
		t.Errorf("held back for %v by its own quota, which it has not", got)
	}
	if !q.held("/a") || !q.held("/a/b") || q.held("/free") {
		t.Errorf("held back: /a %t, /a/b %t, /free %t", q.held("/a"), q.held("/a/b"), q.held("/free"))
	}
	for range heldTicks {
		if !q.held("/a/b") {
			t.Error("the waits that show later are not excused")
		}
		q.tick++
		q.since("/a")
	}
	if q.held("/a/b") || q.since("/a") != 0 {
		t.Error("held back for good")
	}
}

func TestAQuotaMetForTheFirstTimeBlamesNobody(t *testing.T) {
	q, throttled := quotaFiles(t)
	throttled("a", 12345)
	if !q.held("/a/b") {
		t.Error("blames others for what a quota may have done")
	}
	if got := q.since("/a"); got != 0 {
		t.Errorf("held back for %v in this tick, which nobody can know", got)
	}
}
