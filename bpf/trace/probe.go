// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// ErrNotSupported is matched by every [*UnsupportedError].
var ErrNotSupported = errors.New("not supported by this kernel")

// UnsupportedError names what the running kernel lacks.
type UnsupportedError struct {
	// Feature is what is missing, as a noun: "kernel type information (BTF)".
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
	// refused all the same: lockdown, seccomp or a security module.
	Missing []string
	// Err is the kernel's answer, nil when it was not asked.
	Err error
}

func (e *PermissionError) Error() string {
	if len(e.Missing) == 0 {
		return "the kernel refuses BPF to this process although it has CAP_BPF and CAP_PERFMON " +
			"(kernel lockdown, seccomp or a security module): " + e.Err.Error()
	}
	return fmt.Sprintf("missing %s: run as root, or grant it (AmbientCapabilities= in the systemd unit)",
		strings.Join(e.Missing, " and "))
}

// Is matches [os.ErrPermission].
func (e *PermissionError) Is(target error) bool { return target == os.ErrPermission }

func (e *PermissionError) Unwrap() error { return e.Err }

// Probe says whether the tracer can run here: nil, an [*UnsupportedError] or a
// [*PermissionError]. It asks the kernel's type information and the kernel
// itself, never its version.
func Probe() error {
	_, err := probe()
	return err
}

// probe is [Probe], and returns the kernel's type information for those who load
// a program next: decoding it is most of the work of that. Nobody keeps it, it
// is some megabytes.
func probe() (*btf.Cache, error) {
	if missing := missingCapabilities(); len(missing) > 0 {
		return nil, &PermissionError{Missing: missing}
	}
	types := btf.NewCache()
	kernel, err := types.Kernel()
	if err != nil {
		return nil, &UnsupportedError{Feature: "type information (BTF)", Needs: "CONFIG_DEBUG_INFO_BTF", Err: err}
	}
	if err := probeTypes(kernel); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		typ   ebpf.MapType
		needs string
	}{
		{ebpf.TaskStorage, "Linux 5.11"},
		{ebpf.RingBuf, "Linux 5.8"},
	} {
		switch err := features.HaveMapType(m.typ); {
		case errors.Is(err, ebpf.ErrNotSupported):
			return nil, &UnsupportedError{Feature: "BPF map of type " + m.typ.String(), Needs: m.needs, Err: err}
		case err != nil:
			return nil, fmt.Errorf("probe BPF map of type %v: %w", m.typ, explainPermission(err))
		}
	}
	return types, nil
}

// probeTypes looks for the kernel structures that the program reads.
func probeTypes(kernel *btf.Spec) error {
	for _, f := range []struct{ typ, field, feature, needs string }{
		{"task_struct", "sched_info", "scheduler accounting (sched_info)", "CONFIG_SCHED_INFO"},
		{"sched_info", "run_delay", "scheduler accounting (sched_info)", "CONFIG_SCHED_INFO"},
		{"task_struct", "cgroups", "control groups", "CONFIG_CGROUPS"},
		{"css_set", "dfl_cgrp", "control groups", "CONFIG_CGROUPS"},
		{"task_struct", "in_iowait", "I/O wait flag of tasks", "task_struct.in_iowait"},
	} {
		if !hasMember(kernel, f.typ, f.field) {
			return &UnsupportedError{Feature: f.feature, Needs: f.needs}
		}
	}
	// prev_state became an argument of sched_switch in 5.18. The prototype has
	// the tracepoint's private data in front.
	var sw *btf.Typedef
	if err := kernel.TypeByName("btf_trace_sched_switch", &sw); err != nil {
		return &UnsupportedError{Feature: "tracepoint sched_switch in its type information", Needs: "CONFIG_TRACEPOINTS", Err: err}
	}
	if p, ok := sw.Type.(*btf.Pointer); ok {
		if fn, ok := p.Target.(*btf.FuncProto); ok && len(fn.Params) < 5 {
			return &UnsupportedError{Feature: "prev_state argument of sched_switch", Needs: "Linux 5.18"}
		}
	}
	// Creating task storage under the run queue's lock could deadlock until
	// 6.4 gave it an allocator of its own. From 7.0 on it has the allocator that
	// takes no locks instead, of which kfree_nolock is a part.
	var fn *btf.Func
	if !hasMember(kernel, "bpf_local_storage_map", "storage_ma") &&
		kernel.TypeByName("kfree_nolock", &fn) != nil {
		return &UnsupportedError{Feature: "task storage that can be created while scheduling", Needs: "Linux 6.4"}
	}
	return nil
}

func hasMember(kernel *btf.Spec, typ, field string) bool {
	var s *btf.Struct
	if err := kernel.TypeByName(typ, &s); err != nil {
		return false
	}
	return memberOf(s.Members, field)
}

// memberOf looks into unnamed structures too.
func memberOf(members []btf.Member, field string) bool {
	for _, m := range members {
		if m.Name == field {
			return true
		}
		if m.Name != "" {
			continue
		}
		switch t := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			if memberOf(t.Members, field) {
				return true
			}
		case *btf.Union:
			if memberOf(t.Members, field) {
				return true
			}
		}
	}
	return false
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
	if effective&(1<<unix.CAP_BPF) == 0 {
		missing = append(missing, "CAP_BPF")
	}
	if effective&(1<<unix.CAP_PERFMON) == 0 {
		missing = append(missing, "CAP_PERFMON")
	}
	return missing
}
