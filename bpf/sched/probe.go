// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ErrNotSupported is matched by every [*UnsupportedError].
var ErrNotSupported = errors.New("not supported by this kernel")

// UnsupportedError names what the running kernel lacks.
type UnsupportedError struct {
	// Feature is what is missing, as a noun: "sched_ext".
	Feature string
	// Needs says where it comes from: a kernel option, a version.
	Needs string
	// Err is what was seen, nil when it was looked up and not found.
	Err error
}

func (e *UnsupportedError) Error() string {
	s := fmt.Sprintf("the kernel has no %s (needs %s)", e.Feature, e.Needs)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is matches [ErrNotSupported].
func (e *UnsupportedError) Is(target error) bool { return target == ErrNotSupported }

func (e *UnsupportedError) Unwrap() error { return e.Err }

// PermissionError names the capabilities that the process lacks.
type PermissionError struct {
	// Missing are capability names. Empty when all are there and the kernel
	// refused all the same.
	Missing []string
	// Err is the kernel's answer, nil when it was not asked.
	Err error
}

func (e *PermissionError) Error() string {
	if len(e.Missing) == 0 {
		return "the kernel refuses a scheduler to this process although it has CAP_BPF and CAP_PERFMON " +
			"(kernel lockdown, seccomp or a security module): " + e.Err.Error()
	}
	return fmt.Sprintf("missing %s: run as root, or grant it (AmbientCapabilities= in the systemd unit)",
		strings.Join(e.Missing, " and "))
}

// Is matches [os.ErrPermission].
func (e *PermissionError) Is(target error) bool { return target == os.ErrPermission }

func (e *PermissionError) Unwrap() error { return e.Err }

// Probe says whether the scheduler can run here: nil, an [*UnsupportedError] or
// a [*PermissionError]. It asks the kernel's type information, never its version.
func Probe() error {
	_, _, err := probe()
	return err
}

// functions are those of the kernel that both forms of the program call and that
// came last, and where they came from.
var functions = []struct{ name, needs string }{
	{"scx_bpf_dsq_insert_vtime", "Linux 6.13"},
	{"scx_bpf_dsq_move", "Linux 6.13"},
	{"scx_bpf_now", "Linux 6.14"},
}

// probe is [Probe]. It returns the kernel's type information for those who load
// the program next, and whether they take the second form of it.
func probe() (types *btf.Cache, second bool, err error) {
	if missing := missingCapabilities(); len(missing) > 0 {
		return nil, false, &PermissionError{Missing: missing}
	}
	types = btf.NewCache()
	kernel, err := types.Kernel()
	if err != nil {
		return nil, false, &UnsupportedError{Feature: "type information (BTF)", Needs: "CONFIG_DEBUG_INFO_BTF", Err: err}
	}
	var ops *btf.Struct
	if err := kernel.TypeByName("sched_ext_ops", &ops); err != nil {
		return nil, false, &UnsupportedError{Feature: "sched_ext", Needs: "Linux 6.12 with CONFIG_SCHED_CLASS_EXT"}
	}
	for _, f := range functions {
		if !hasFunction(kernel, f.name) {
			return nil, false, &UnsupportedError{Feature: "function " + f.name, Needs: f.needs}
		}
	}
	groups := false
	for _, m := range ops.Members {
		groups = groups || m.Name == "cgroup_init"
	}
	if !groups {
		return nil, false, &UnsupportedError{Feature: "cgroups in sched_ext", Needs: "CONFIG_EXT_GROUP_SCHED"}
	}
	// All of what the second form calls anew; the last of them came with 7.1.
	second = hasFunction(kernel, "scx_bpf_dsq_insert___v2") && hasFunction(kernel, "scx_bpf_dsq_move_to_local___v2") &&
		hasFunction(kernel, "scx_bpf_task_set_slice")
	return types, second, nil
}

func hasFunction(kernel *btf.Spec, name string) bool {
	var f *btf.Func
	return kernel.TypeByName(name, &f) == nil
}

// explainPermission turns the kernel's refusal into a PermissionError. EACCES is
// the verifier's word on the program, not on the caller.
func explainPermission(err error) error {
	if errors.Is(err, unix.EPERM) {
		return &PermissionError{Missing: missingCapabilities(), Err: err}
	}
	return err
}

// missingCapabilities names those of CAP_BPF and CAP_PERFMON that are not
// effective. CAP_SYS_ADMIN stands for both.
func missingCapabilities() []string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil // the kernel will say
	}
	return missingIn(uint64(data[1].Effective)<<32 | uint64(data[0].Effective))
}

func missingIn(effective uint64) []string {
	if effective&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return nil
	}
	var missing []string
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing
}
