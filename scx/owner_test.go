// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const structOps = "pos:\t0\nflags:\t02000002\nlink_type:\tstruct_ops\nlink_id:\t5\nmap_id:\t9\n"

// putProcess makes a process in a /proc of a test's own. A file of fdinfo is as
// its content says; those of a BPF link are such descriptors.
func putProcess(t *testing.T, proc string, pid, ppid int, comm, cmdline, cgroup string, fdinfo ...string) {
	t.Helper()
	dir := filepath.Join(proc, fmt.Sprint(pid))
	write(t, dir+"/stat", fmt.Sprintf("%d (%s) S %d %d 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 %d 0 0", pid, comm, ppid, pid, 1000+pid))
	write(t, dir+"/cmdline", cmdline)
	write(t, dir+"/cgroup", cgroup)
	if err := os.MkdirAll(dir+"/fd", 0o755); err != nil {
		t.Fatal(err)
	}
	for i, text := range append([]string{"pos:\t0\n"}, fdinfo...) {
		to := "/dev/null"
		if strings.Contains(text, "link_type") {
			to = "anon_inode:bpf_link"
		}
		write(t, fmt.Sprintf("%s/fdinfo/%d", dir, i), text)
		if err := os.Symlink(to, fmt.Sprintf("%s/fd/%d", dir, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoRunsAScheduler(t *testing.T) {
	proc := t.TempDir()
	putProcess(t, proc, 10, 1, "bash", "bash\x00", "0::/\n")
	putProcess(t, proc, 11, 10, "scx_rusty", "/usr/bin/scx_rusty\x00-k\x00--slice-us\x00\x00", "0::/user.slice/user-0.slice/session-3.scope\n", structOps)
	if err := os.Symlink("/usr/bin/scx_rusty", proc+"/11/exe"); err != nil {
		t.Fatal(err)
	}
	p, ok := holderOf(proc, "scx_rusty", "rusty_1.1.4_x")
	if !ok || p.PID != 11 || p.Comm != "scx_rusty" || p.Exe != "/usr/bin/scx_rusty" || !slices.Equal(p.Args, []string{"-k", "--slice-us", ""}) ||
		p.Unit != "session-3.scope" || p.Manager != "" || p.started != 1011 || !p.still(proc) {
		t.Errorf("%+v, %v", p, ok)
	}
	// Another one holds a link too: the name tells, and without one nobody can.
	putProcess(t, proc, 12, 1, "tcp", "tcp\x00", "0::/\n", "link_type:\ttracing\n", structOps)
	if p, ok := holderOf(proc, "scx_rusty", "rusty_1.1.4_x"); !ok || p.PID != 11 {
		t.Errorf("of two: %+v, %v", p, ok)
	}
	if p, ok := holderOf(proc, "what", "what"); ok {
		t.Errorf("of two, none of that name: %+v", p)
	}
	if p, ok := holderOf(proc, "tcp", "tcp"); !ok || p.PID != 12 {
		t.Errorf("by its command: %+v, %v", p, ok)
	}
	if p, ok := holderOf(t.TempDir(), "scx_rusty", "rusty"); ok {
		t.Errorf("nowhere: %+v", p)
	}
	// A later process of the same number, and one that let go of its link.
	write(t, proc+"/11/stat", "11 (scx_rusty) S 10 11 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9 0 0")
	p.PID = 11
	if p.still(proc) {
		t.Error("a later process passed for it")
	}
	gone := Process{PID: 12, started: 1012}
	write(t, proc+"/12/fdinfo/2", "pos:\t0\n")
	if gone.still(proc) {
		t.Error("one without a link passed")
	}
}

func TestALongNameIsCutInItsCommand(t *testing.T) {
	proc := t.TempDir()
	for pid, comm := range map[int]string{20: "scx_pandemonium", 21: "x"} {
		putProcess(t, proc, pid, 1, comm, comm+"\x00", "", structOps)
	}
	if p, ok := holderOf(proc, "scx_pandemonium_long", "p"); !ok || p.PID != 20 {
		t.Errorf("%+v, %v", p, ok)
	}
}

func TestWhoKeepsASchedulerRunning(t *testing.T) {
	for cgroup, want := range map[string]struct{ unit, manager string }{
		"0::/\n":                                {"", ""},
		"":                                      {"", ""},
		"0::/system.slice/scx.service\n":        {"scx.service", "systemd unit scx.service"},
		"0::/system.slice/scx_loader.service\n": {"scx_loader.service", "systemd unit scx_loader.service"},
		"0::/system.slice/scx.service/child\n":  {"scx.service", "systemd unit scx.service"},
		"0::/user.slice/user-1000.slice/session-2.scope\n":                 {"session-2.scope", ""},
		"0::/user.slice/user-1.slice/user@1.service/app.slice/foo.scope\n": {"foo.scope", ""},
		"0::/user.slice/user-1.slice/user@1.service/app.slice/a.service\n": {"a.service", "systemd unit a.service"},
		"0::/init.scope\n":                     {"init.scope", ""},
		"0::/system.slice/docker-0123.scope\n": {"docker-0123.scope", "unit docker-0123.scope"},
		"0::/docker/0123\n":                    {"", "cgroup /docker/0123"},
		"0::/7\n":                              {"", ""},
		"12:cpu:/a\n1:name=systemd:/system.slice/scx.service\n0::/\n": {"scx.service", "systemd unit scx.service"},
		"1:name=systemd:/\n0::/system.slice/x.service\nnonsense\n":    {"x.service", "systemd unit x.service"},
	} {
		path := parseCgroup(cgroup)
		unit := unitOf(path)
		if got := keeper(path, unit); unit != want.unit || got != want.manager {
			t.Errorf("%q: unit %q, manager %q", cgroup, unit, got)
		}
	}
	proc := t.TempDir()
	for pid, comm := range map[int]string{2: "bash", 3: "scx_loader", 4: "sh"} {
		putProcess(t, proc, pid, map[int]int{2: 1, 3: 2, 4: 3}[pid], comm, comm+"\x00", "")
	}
	putProcess(t, proc, 5, 4, "scx_lavd", "scx_lavd\x00", "", structOps)
	putProcess(t, proc, 6, 2, "scx_lavd", "scx_lavd\x00", "")
	putProcess(t, proc, 7, 99, "scx_lavd", "scx_lavd\x00", "")
	for pid, want := range map[int]string{5: "scx_loader", 6: "", 7: ""} {
		if p, ok := describe(proc, pid); !ok || p.Manager != want {
			t.Errorf("%d: %+v, %v", pid, p, ok)
		}
	}
}

func TestCommandLinesThatCannotBeHandedOverAreCut(t *testing.T) {
	for text, want := range map[string]bool{
		"a\x00b\x00": false, "a\x00": false, "a": true, "": true, "scx_rusty: renamed": true,
		"a\x00" + strings.Repeat("x", maxArgBytes) + "\x00": true, "a\x00" + strings.Repeat("x\x00", maxArgs+1): true,
	} {
		if args, cut := parseCmdline([]byte(text)); cut != want || cut && args != nil {
			t.Errorf("%.20q: %d arguments, %v", text, len(args), cut)
		}
	}
}

func FuzzProcess(f *testing.F) {
	f.Add("a\x00-x\x00", "0::/system.slice/scx.service\n", "11 (x) S 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 10")
	f.Add("", "::\n0::\n1:name=systemd:\n", "")
	f.Add("a", "0::/a.scope/b", "1 (() S -1 99999999999999999999")
	f.Fuzz(func(t *testing.T, cmdline, cgroup, stat string) {
		if args, cut := parseCmdline([]byte(cmdline)); cut && args != nil || !cut && checkArgs(args) != nil {
			t.Fatalf("%q from %q", args, cmdline)
		}
		path := parseCgroup(cgroup)
		unit := unitOf(path)
		if !strings.Contains(cgroup, path) || !strings.Contains(path, unit) || strings.Contains(path, "\n") {
			t.Fatalf("path %q, unit %q from %q", path, unit, cgroup)
		}
		if unit != "" && strings.HasSuffix(unit, ".service") && keeper(path, unit) == "" {
			t.Fatalf("nobody keeps %q", path)
		}
		if s, ok := parseStat(stat); ok && !strings.Contains(stat, "("+s.comm+")") {
			t.Fatalf("%+v from %q", s, stat)
		}
	})
}
