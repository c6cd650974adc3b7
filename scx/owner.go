// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Process is who runs a scheduler that autosa did not start.
type Process struct {
	PID  int
	Comm string
	// Exe is its program's file; empty where that may not be seen.
	Exe string
	// Args are its arguments without the program's name; nil with CutArgs, where
	// they are more than autosa would hand over.
	Args    []string
	CutArgs bool
	// Cgroup is its version 2 cgroup, else systemd's; Unit the innermost systemd
	// unit of it. Empty where there is none.
	Cgroup string
	Unit   string
	// Manager is who keeps it running and would start it again: a systemd service,
	// scx_loader, a container. Empty for one that was started by hand.
	Manager string

	started uint64 // in clock ticks since boot: tells it from a later one of its PID
}

// maxCmdline bounds what is read of a command line.
const maxCmdline = 128 << 10

// describe reads what /proc has of a process. ok is false when it is gone.
func describe(proc string, pid int) (p Process, ok bool) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	st, ok := readStat(proc, pid)
	if !ok {
		return p, false
	}
	p = Process{PID: pid, Comm: st.comm, started: st.started}
	p.Exe, _ = os.Readlink(filepath.Join(dir, "exe")) // not to be seen by everyone
	if b, err := readBounded(filepath.Join(dir, "cmdline"), maxCmdline); err == nil {
		p.Args, p.CutArgs = parseCmdline(b)
	}
	if b, err := readBounded(filepath.Join(dir, "cgroup"), maxCmdline); err == nil {
		p.Cgroup = parseCgroup(string(b))
		p.Unit = unitOf(p.Cgroup)
	}
	p.Manager = cmp.Or(keeper(p.Cgroup, p.Unit), ancestor(proc, st))
	return p, true
}

func readBounded(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// /proc's files have no size: read until one byte more than allowed is there.
	b := make([]byte, 0, 4096)
	for len(b) <= limit {
		b = slices.Grow(b, 4096)
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// parseCmdline splits /proc/PID/cmdline. cut is true when there is more than a
// scheduler would be handed, or nothing that could be told (a process may
// overwrite its own).
func parseCmdline(b []byte) (args []string, cut bool) {
	text, whole := strings.CutSuffix(string(b), "\x00")
	if !whole || len(b) > maxArgBytes {
		return nil, true
	}
	args = strings.Split(text, "\x00")[1:]
	if checkArgs(args) != nil {
		return nil, true
	}
	return args, false
}

// parseCgroup finds the path that says most in /proc/PID/cgroup: that of version
// 2, and where it is the root (hybrid mode has no processes there) systemd's.
func parseCgroup(text string) string {
	var unified, systemd string
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[0] == "0" && f[1] == "":
			unified = f[2]
		case f[1] == "name=systemd":
			systemd = f[2]
		}
	}
	if (unified == "" || unified == "/") && systemd != "" {
		return systemd
	}
	return unified
}

// unitOf is the innermost systemd service or scope of a cgroup's path.
func unitOf(cgroup string) string {
	parts := strings.Split(cgroup, "/")
	for _, part := range slices.Backward(parts) {
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
			return part
		}
	}
	return ""
}

// keeper is who starts what runs in a cgroup, as far as its name says: nobody for
// the root and for what belongs to somebody's session.
func keeper(cgroup, unit string) string {
	switch {
	case strings.HasSuffix(unit, ".service"):
		return "systemd unit " + unit
	case unit == "" && (cgroup == "" || cgroup == "/" || elogind.MatchString(cgroup)):
		return ""
	case unit == "":
		return "cgroup " + cgroup
	case strings.HasPrefix(unit, "session-"), unit == "init.scope", strings.HasPrefix(cgroup, "/user.slice/"):
		return ""
	}
	return "unit " + unit // a container's scope, or a machine's
}

// elogind is how a session's cgroup is called without systemd.
var elogind = regexp.MustCompile(`^/[0-9]+$`)

// supervisors are programs that start again what they have started.
var supervisors = map[string]string{
	"scx_loader": "scx_loader", "autosa": "another autosa",
	"runsv": "runit", "s6-supervise": "s6", "supervise-daemo": "supervise-daemon", "supervisord": "supervisord",
}

// ancestor is the supervisor among a process's ancestors; empty if none is.
func ancestor(proc string, st procStat) string {
	for range 32 { // deeper than any real one
		if st.ppid <= 1 {
			return ""
		}
		parent, ok := readStat(proc, st.ppid)
		if !ok {
			return ""
		}
		if s := supervisors[parent.comm]; s != "" {
			return s
		}
		st = parent
	}
	return ""
}

// linkHolders lists the processes that hold a struct_ops link, lowest first.
// Descriptors that are no BPF link are not looked into: some kinds are costly.
func linkHolders(proc string) []int {
	var pids []int
	for _, pid := range processes(proc, func(procStat) bool { return true }) {
		dir := filepath.Join(proc, strconv.Itoa(pid), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // not ours to see, or gone
		}
		if !slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
			to, err := os.Readlink(filepath.Join(dir, fd.Name()))
			return err == nil && strings.HasPrefix(to, "anon_inode:bpf")
		}) {
			continue
		}
		if holds, _ := linkOf(proc, pid); holds {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// holderOf finds the process that runs the scheduler of that name and ops. A
// struct_ops link may be for other than sched_ext (TCP, HID): where several
// processes hold one, the one that is called so is meant, and where none is, nobody
// can tell.
func holderOf(proc, name, ops string) (Process, bool) {
	var found []Process
	for _, pid := range linkHolders(proc) {
		if p, ok := describe(proc, pid); ok {
			found = append(found, p)
		}
	}
	base := opsBase(ops)
	for _, p := range found {
		program := filepath.Base(strings.TrimSuffix(p.Exe, " (deleted)"))
		for _, called := range []string{program, p.Comm} {
			// comm has 15 bytes at most.
			if called == name || called == base || len(called) == 15 && strings.HasPrefix(name, called) {
				return p, true
			}
		}
	}
	if len(found) == 1 {
		return found[0], true
	}
	return Process{}, false
}

// still reports whether p is the same process as when it was described, and holds
// a link.
func (p *Process) still(proc string) bool {
	st, ok := readStat(proc, p.PID)
	if !ok || st.started != p.started {
		return false
	}
	holds, known := linkOf(proc, p.PID)
	return holds || !known
}
