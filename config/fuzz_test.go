// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzLoad holds the loader to its word: whatever the file says, there is
// either a valid configuration or an error that names the place, never a panic.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "collection_interval_secs = 1\n[tracer]\ngroups = 5", "[[arms.compute]]\nscheduler = \"lavd\"\nargs = [\"-x\"]",
		"arms.io = [{scheduler='builtin:latency'}, {scheduler='scx_rusty', args=[]}, {scheduler = \"eevdf\"}]", "a.b.c = {d = [1, [2, 3.5e7]]}", "[a]\n[a.b]\n[[a.c]]\n[a]",
		"x = 1979-05-27T07:32:00Z", "socket = \"\"\"\na\"\"\"", "\"\" = 1", "schedulers = {dirs = [\"/x\"], paths = {lavd = '/y'}}", "# x\r\n\tlog_level='info'",
		"tracer.wait_threshold = \"1ms\"\ntracer.groups = 0x10", "[arms]\nidle = {}", "a = nan", "\xef\xbb\xbfsocket = '/x'", "[[a]]\n[[a]]\n[a.b]\nc=[]",
		"[scheduler.a]\nops = \"a\"\nneeds = [\"group-sched\"]\n[scheduler.a.modes]\nauto = [\"-x\"]", "foreign = 'adopt'\nscheduler = {b = {watchdog_secs = 1e9}}",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "fuzz.toml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Sources{Flags: &Flags{file: &path}, Classes: classes, Words: testWords})
		if err != nil {
			var mistakes Errors
			if !errors.As(err, &mistakes) {
				t.Fatalf("an error of another type: %v", err)
			}
			for _, e := range mistakes {
				if e.Problem == "" || (e.Line == 0 && len(data) <= maxFileBytes) {
					t.Fatalf("an error without a place: %v", e)
				}
				if e.Line > 1+strings.Count(string(data), "\n") {
					t.Fatalf("line %d is beyond the file: %v", e.Line, e)
				}
				if strings.ContainsAny(e.Error(), "\n\x00") {
					t.Fatalf("an error of several lines: %q", e.Error())
				}
			}
			return
		}
		if c.CollectionInterval < 100*time.Millisecond || c.AggregationWindow < c.CollectionInterval ||
			math.IsNaN(c.MinConfidence) || c.MinConfidence < 0 || c.MinConfidence > 1 || c.MinSwitchInterval < 0 ||
			c.StartTimeout < time.Second || c.StopTimeout <= 0 || c.Tracer.Groups < 1 || c.Tracer.WaitThreshold <= 0 ||
			!filepath.IsAbs(c.Socket) || !filepath.IsAbs(c.StateDir) {
			t.Fatalf("an invalid configuration was accepted: %+v", c)
		}
		for name, k := range c.Schedulers.Known {
			if !strings.HasPrefix(name, "scx_") || k.Watchdog != nil && (*k.Watchdog < 0 || *k.Watchdog > maxWatchdog) {
				t.Fatalf("scheduler %q: %+v", name, k)
			}
			for mode := range k.Modes {
				if !slices.Contains(testWords.Modes, mode) {
					t.Fatalf("mode %q of %s", mode, name)
				}
			}
		}
		for class, arms := range c.Arms {
			for _, a := range arms {
				if a.Scheduler != EEVDF && !strings.HasPrefix(a.Scheduler, "scx_") && !slices.Contains(builtinPolicies, strings.TrimPrefix(a.Scheduler, builtinPrefix)) {
					t.Fatalf("arm %q of %s", a.Scheduler, class)
				}
			}
		}
	})
}
