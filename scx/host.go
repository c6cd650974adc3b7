// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is where this machine is looked at. The zero value is the running one;
// the roots are for tests.
type Host struct {
	Sys  string // stands for /sys
	Proc string // stands for /proc
	Boot string // stands for /boot
	Dev  string // stands for /dev
}

func orRoot(root, fallback string) string {
	if root == "" {
		return fallback
	}
	return root
}

func (h Host) sys() string  { return orRoot(h.Sys, "/sys") }
func (h Host) proc() string { return orRoot(h.Proc, "/proc") }
func (h Host) kmsg() string { return filepath.Join(orRoot(h.Dev, "/dev"), "kmsg") }

// CheckPermission reports whether this process may load schedulers: nil, or an
// error that is [ErrNotPermitted] and names the missing capabilities.
func CheckPermission() error { return Host{}.checkPermission() }

// capability is a Linux capability's number and name.
type capability struct {
	number int
	name   string
}

// missingCaps are the capabilities that loading a scheduler takes and this
// process lacks. CAP_SYS_ADMIN includes the two others. The kernel asks for
// CAP_BPF to load any program, and for CAP_PERFMON for the struct_ops type.
func (h Host) missingCaps() ([]string, error) {
	b, err := os.ReadFile(filepath.Join(h.proc(), "self/status"))
	if err != nil {
		return nil, err
	}
	var effective uint64
	found := false
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			if effective, err = strconv.ParseUint(strings.TrimSpace(v), 16, 64); err != nil {
				return nil, fmt.Errorf("CapEff: %w", err)
			}
			found = true
		}
	}
	if !found {
		return nil, fmt.Errorf("%s has no CapEff", filepath.Join(h.proc(), "self/status"))
	}
	if effective&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return nil, nil
	}
	var missing []string
	for _, c := range []capability{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if effective&(1<<c.number) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing, nil
}

// inUserNamespace reports whether this process lives in a user namespace of its
// own, where capabilities do not reach the kernel's schedulers.
func (h Host) inUserNamespace() bool {
	b, err := os.ReadFile(filepath.Join(h.proc(), "self/uid_map"))
	if err != nil {
		return false
	}
	f := strings.Fields(string(b))
	return len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295"
}

func (h Host) checkPermission() error {
	missing, err := h.missingCaps()
	switch {
	case err != nil:
		return fmt.Errorf("read this process's capabilities: %w", err)
	case len(missing) > 0:
		return fmt.Errorf("%w: loading a scheduler takes %s (or CAP_SYS_ADMIN), which this process lacks", ErrNotPermitted, strings.Join(missing, " and "))
	case h.inUserNamespace():
		return fmt.Errorf("%w: in a user namespace, capabilities do not allow loading a scheduler", ErrNotPermitted)
	}
	return nil
}

// isolated returns the CPUs that are isolated from load balancing, as a list like
// "1-3". sched_ext refuses to enable while there are any.
func (h Host) isolated() string {
	b, err := os.ReadFile(filepath.Join(h.sys(), "devices/system/cpu/isolated"))
	if err != nil {
		return ""
	}
	s := strings.TrimSpace(string(b))
	if s == "(null)" { // how an empty list was printed once
		return ""
	}
	return s
}

// oomKills is how many processes of this one's cgroup, and of those below it, the
// kernel has killed for want of memory; 0 where it does not count them.
func (h Host) oomKills() uint64 {
	root, err := h.Cgroup2()
	if err != nil {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(h.proc(), "self/cgroup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		events, err := os.ReadFile(filepath.Join(root, path, "memory.events"))
		if err != nil {
			return 0 // the root has none
		}
		return parseEvents(string(events))["oom_kill"]
	}
	return 0
}

// kernelConfig returns the path of the readable kernel configuration among those
// that libbpf tries; empty if there is none. An error says why one that exists
// cannot be read.
func (h Host) kernelConfig() (string, error) {
	var last error
	for _, path := range []string{
		filepath.Join(orRoot(h.Boot, "/boot"), "config-"+Release()),
		filepath.Join(h.proc(), "config.gz"),
	} {
		f, err := os.Open(path)
		if err != nil {
			if !os.IsNotExist(err) {
				last = err
			}
			continue
		}
		// A directory, or a file that hides it, does not count.
		n, err := f.Read(make([]byte, 1))
		f.Close()
		if n == 1 && err == nil {
			return path, nil
		}
		last = fmt.Errorf("%s is not a readable file with contents", path)
	}
	return "", last
}

// configHas reports whether the kernel's configuration, which path has, contains
// the line; known is false where it cannot be read.
func (h Host) configHas(line string) (has, known bool, path string) {
	path, err := h.kernelConfig()
	if path == "" || err != nil {
		return false, false, path
	}
	f, err := os.Open(path)
	if err != nil {
		return false, false, path
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return false, false, path
		}
	}
	const bound = 4 << 20 // real ones have a quarter of a megabyte
	b, err := io.ReadAll(io.LimitReader(r, bound))
	return strings.Contains("\n"+string(b)+"\n", "\n"+line+"\n"), err == nil, path
}

// refuseIsolated says that the kernel would refuse a scheduler because CPUs are
// isolated.
func (h Host) refuseIsolated(scheduler string) error {
	cpus := h.isolated()
	if cpus == "" {
		return nil
	}
	return &UnusableError{
		Scheduler: scheduler,
		Why:       fmt.Sprintf("CPUs %s are isolated, and the kernel refuses every sched_ext scheduler then", cpus),
		Remedy:    "boot without isolcpus=",
	}
}
