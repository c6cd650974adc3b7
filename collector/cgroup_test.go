// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/bpf/trace/tracetest"
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
	got, err := CgroupRoot(p.root)
	if err != nil || got != "/sys/fs/cgroup/uni fied" {
		t.Errorf("found %q (%v)", got, err)
	}
}

func TestNilCgroupsKnowNothing(t *testing.T) {
	var c *cgroups
	if _, ok := c.name(1); ok || c.alive(1, "/") || c.close() != nil {
		t.Error("a machine without cgroups has some")
	}
	if newQuotas(c).held("/a") || newQuotas(c).since("/a") != 0 {
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
		_ = parsePressure([]byte(s))
		_ = parseIOStat([]byte(s))
	})
}

func TestNamesAreBoundedAndTheUsedOnesAreKept(t *testing.T) {
	var c nameCache
	c.put(1, "/used")
	for id := uint64(2); id < 10*maxNames; id++ {
		c.put(id, "/x")
		if id%1000 == 0 {
			if n, ok := c.get(1); !ok || n != "/used" {
				t.Fatalf("a name in use is forgotten after %d others", id)
			}
		}
	}
	if n := len(c.young) + len(c.old); n > maxNames {
		t.Errorf("%d names kept", n)
	}
	if _, ok := c.get(2); ok {
		t.Error("an unused name is kept for good")
	}
}

// A walk takes its time where there are many cgroups.
func TestWalkGoesOnWhereItStopped(t *testing.T) {
	root := t.TempDir()
	for i := range walkStep + 10 {
		if err := os.Mkdir(filepath.Join(root, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c, err := openCgroups("/proc", root)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.name(1 << 60)
	if n := len(c.names.young); n > walkStep {
		t.Errorf("%d cgroups looked at in one go", n)
	}
	c.name(1 << 60)
	if n := len(c.names.young); n != walkStep+11 {
		t.Errorf("%d cgroups named after the second part, want all %d", n, walkStep+11)
	}
}

// What names rest upon: a cgroup cannot be renamed, and one made anew at the same
// path is another one.
func TestACgroupKeepsItsNameAndItsIDForItself(t *testing.T) {
	tracetest.RequireTracer(t)
	cg := tracetest.NewCgroup(t)
	c, err := openCgroups("/proc", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := os.Rename(cg.Path, cg.Path+"-renamed"); !errors.Is(err, unix.EPERM) {
		t.Errorf("renaming a cgroup: %v, want %v", err, unix.EPERM)
	}
	if got, ok := c.name(cg.ID); !ok || got != cg.Name || c.walk {
		t.Errorf("cgroup %d is %q by asking the kernel (walking: %t), want %q", cg.ID, got, c.walk, cg.Name)
	}
	for range 100 {
		if err := os.Remove(cg.Path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(cg.Path, 0o755); err != nil {
			t.Fatal(err)
		}
		if id := inode(t, cg.Path); id == cg.ID {
			t.Fatalf("a new cgroup has the id %d of the one before it", id)
		}
	}
	if got, _ := c.name(cg.ID); got != cg.Name || c.alive(cg.ID, got) {
		t.Errorf("the removed cgroup is %q, alive %t", got, c.alive(cg.ID, got))
	}
	if got, ok := c.name(inode(t, cg.Path)); !ok || got != cg.Name {
		t.Errorf("the new cgroup is %q", got)
	}
}
