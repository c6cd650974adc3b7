// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"autosa/workload"
)

// Whatever the kernel writes: no panic, and no figure that no such text can mean.

// FuzzThreadText gives one text to everything that reads a thread's and a
// cgroup's small files.
func FuzzThreadText(f *testing.F) {
	for _, seed := range []string{
		"usage_usec 12\nuser_usec 4\nnr_throttled 3\nthrottled_usec 998877\n", "throttled_usec 18446744073709551616\n", "xthrottled_usec 5\nthrottled_usec 6",
		"1234 567 8\n", "1 2 3 4", "-1 2 3", "18446744073709551615 18446744073709551616 1",
		"Name:\tx\nvoluntary_ctxt_switches:\t15\nnonvoluntary_ctxt_switches:\t3\n", "Name:\tvoluntary_ctxt_switches: 7\nvoluntary_ctxt_switches:\n",
		"12:cpu:/a\n0::/user.slice/x.scope\n", "0::/gone (deleted)\n", "0::", `/a\040b`, `\04`, `\999`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const key = "throttled_usec"
		if n, ok := cpuStatField([]byte(text), key); ok && !hasNumber(text, key, n) {
			t.Fatalf("%s is %d in %q", key, n, text)
		}
		if got, err := parseSchedstat(text); err == nil {
			again, err := parseSchedstat(fmt.Sprintf("%d %d %d\n", got.run, got.wait, got.slices))
			if err != nil || again != got {
				t.Fatalf("%+v is read back as %+v, %v", got, again, err)
			}
		}
		if got, err := parseSwitches(text); err == nil {
			again, err := parseSwitches(fmt.Sprintf("voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t%d\n", got.voluntary, got.involuntary))
			if err != nil || again != got {
				t.Fatalf("%+v is read back as %+v, %v", got, again, err)
			}
		}
		if path := unifiedPath(text); strings.ContainsRune(path, '\n') || !strings.Contains("\n"+text, "\n0::"+path) && path != "" {
			t.Fatalf("path %q from %q", path, text)
		}
		if got := unescapeMount(text); len(got) > len(text) || !strings.ContainsRune(text, '\\') && got != text {
			t.Fatalf("%q becomes %q", text, got)
		}
	})
}

// hasNumber tells whether a line of a flat keyed file gives key this value.
func hasNumber(text, key string, n uint64) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if k, v, ok := strings.Cut(line, " "); ok && k == key {
			got, err := strconv.ParseUint(v, 10, 64)
			return err == nil && got == n
		}
	}
	return false
}

// FuzzMountinfo gives the search for the cgroup hierarchy any mountinfo.
func FuzzMountinfo(f *testing.F) {
	root := f.TempDir()
	for _, seed := range []string{
		"42 32 0:26 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw\n",
		`29 23 0:26 / /mnt/a\040b\134c rw - cgroup2 none rw` + "\n", "x\n", "1 2 3:4 / /p rw - \n", "1 2 3:4 / /p rw shared:1 master:2 - cgroup2\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		place(t, root, "self/mountinfo", text)
		path, err := CgroupRoot(root)
		if err == nil && !strings.Contains(string(text), "cgroup2") {
			t.Fatalf("a cgroup hierarchy at %q from %q", path, text)
		}
	})
}

// FuzzMachine gives a whole sample's machine part any /proc/stat, pressure and
// schedstat: shares stay shares.
func FuzzMachine(f *testing.F) {
	root := f.TempDir()
	const psi = "some avg10=1.00 avg60=0.50 avg300=0.10 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
	const stat = "cpu  10 0 20 300 5 0 1 0 0 0\ncpu0 10 0 20 300 5 0 1 0 0 0\nctxt 99\nbtime 1\nprocesses 3\n"
	f.Add([]byte(stat), []byte(stat), []byte(psi), []byte(psi))
	f.Add([]byte(stat), []byte("cpu  1\n"), []byte(psi), []byte("some\n"))
	f.Add([]byte("cpu  1 2 3\n"), []byte("cpu  18446744073709551615 x\n"), []byte(psi),
		[]byte("some avg10=nan avg60=inf avg300=-1 total=18446744073709551615\nfull avg10=0 avg60=0 avg300=0 total=0\n"))
	f.Add([]byte(""), []byte(stat), []byte(""), []byte(psi))
	f.Fuzz(func(t *testing.T, stat0, stat1, psi0, psi1 []byte) {
		say := func(stat, psi []byte) {
			place(t, root, "stat", stat)
			for _, resource := range []string{"cpu", "io", "memory"} {
				place(t, root, "pressure/"+resource, psi)
			}
		}
		say(stat0, psi0)
		p := &parts{log: slog.New(slog.DiscardHandler)}
		m, err := newMachine(root, p)
		if err != nil {
			return
		}
		say(stat1, psi1)
		s := workload.Sample{Interval: time.Second}
		m.collect(&s)
		for what, share := range map[string]float64{"cpu": s.PSI.CPUSome, "io": s.PSI.IOSome, "memory": s.PSI.MemoryFull} {
			if !(share >= 0 && share <= 1) {
				t.Fatalf("%s pressure is %v", what, share)
			}
		}
	})
}

// place writes a file of a fake procfs.
func place(t *testing.T, root, name string, text []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
