// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func inode(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestCgroupsAreNamedByWalkingWhereIDsCannotBeOpened(t *testing.T) {
	root := t.TempDir() // no cgroup file system: nothing to open by id
	if err := os.MkdirAll(filepath.Join(root, "a.slice/b.service"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := openCgroups("/proc", root)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for path, want := range map[string]string{"": "/", "a.slice": "/a.slice", "a.slice/b.service": "/a.slice/b.service"} {
		id := inode(t, filepath.Join(root, path))
		if got, ok := c.name(id); !ok || got != want {
			t.Errorf("cgroup %d is %q, want %q", id, got, want)
		}
	}
	// A cgroup made since the last walk is found by the next one.
	if err := os.Mkdir(filepath.Join(root, "late"), 0o755); err != nil {
		t.Fatal(err)
	}
	late := inode(t, filepath.Join(root, "late"))
	c.next = time.Time{}
	if got, ok := c.name(late); !ok || got != "/late" {
		t.Errorf("late cgroup is %q", got)
	}
	gone := inode(t, filepath.Join(root, "a.slice/b.service"))
	if err := os.Remove(filepath.Join(root, "a.slice/b.service")); err != nil {
		t.Fatal(err)
	}
	if c.alive(gone, "/a.slice/b.service") {
		t.Error("removed cgroup is alive")
	}
	if got, ok := c.name(gone); !ok || got != "/a.slice/b.service" {
		t.Errorf("removed cgroup is %q, want its name kept", got)
	}
	if got := c.nameOr(1 << 60); got != removedName {
		t.Errorf("unknown cgroup is %q", got)
	}
}

func TestHierarchyOfVersion2IsFoundAmongThoseOfVersion1(t *testing.T) {
	p := newProc(t)
	p.write("self/mountinfo", `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:3 - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/uni\040fied rw,relatime - cgroup2 cgroup2 rw
`)
	got, err := findCgroups(p.root)
	if err != nil || got != "/sys/fs/cgroup/uni fied" {
		t.Errorf("found %q (%v)", got, err)
	}
}

func TestNilCgroupsKnowNothing(t *testing.T) {
	var c *cgroups
	if _, ok := c.name(1); ok || c.alive(1, "/") || c.close() != nil {
		t.Error("a machine without cgroups has some")
	}
	if _, ok, err := c.throttled("/"); ok || err != nil {
		t.Error("a machine without cgroups has quotas")
	}
}

func TestThrottledTimeNeedsTheCPUController(t *testing.T) {
	for text, want := range map[string]struct {
		usec uint64
		ok   bool
	}{
		"usage_usec 5\nnr_throttled 2\nthrottled_usec 77\nnr_bursts 0\n": {77, true},
		"usage_usec 5\n":                        {0, false},
		"":                                      {0, false},
		"throttled_usec\n":                      {0, false},
		"throttled_usec -1\n":                   {0, false},
		"throttled_usec 77":                     {77, true},
		"xthrottled_usec 5\n":                   {0, false},
		"throttled_usec 99999999999999999999\n": {0, false},
	} {
		if got, ok := cpuStatField([]byte(text), "throttled_usec"); ok != want.ok || ok && got != want.usec {
			t.Errorf("%q: %d %t, want %d %t", text, got, ok, want.usec, want.ok)
		}
	}
}

func FuzzKernelText(f *testing.F) {
	for _, s := range []string{
		"usage_usec 5\nthrottled_usec 77\n", "1 2 3\n", "0::/a/b (deleted)\n1:cpu:/x\n", `/a\040b\`, `\777`,
		"Name:\tx\nvoluntary_ctxt_switches:\t4\nnonvoluntary_ctxt_switches:\t6\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := cpuStatField([]byte(s), "throttled_usec"); !ok && n != 0 {
			if _, err := parseSchedstat(s); err == nil {
				t.Error("is both a cpu.stat and a schedstat")
			}
		}
		if st, err := parseSchedstat(s); err != nil && st != (schedstat{}) {
			t.Errorf("%q: %+v and %v", s, st, err)
		}
		if sw, err := parseSwitches(s); err != nil && sw != (switches{}) {
			t.Errorf("%q: %+v and %v", s, sw, err)
		}
		if len(unescapeMount(s)) > len(s) {
			t.Errorf("%q grew when unescaped", s)
		}
		_ = unifiedPath(s)
	})
}
