// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// kernelTypes is a kernel's type information, as far as the tracer looks.
type kernelTypes struct {
	task, info, cssSet, storageMap []string
	// switchArgs is the number of arguments of sched_switch.
	switchArgs int
	funcs      []string
}

// newKernel is a kernel of today.
func newKernel() kernelTypes {
	return kernelTypes{
		task: []string{"pid", "sched_info", "in_iowait", "cgroups"}, info: []string{"run_delay"}, cssSet: []string{"dfl_cgrp"},
		storageMap: []string{"buckets"}, switchArgs: 4, funcs: []string{"kfree_nolock"},
	}
}

func (k kernelTypes) spec(t *testing.T) *btf.Spec {
	t.Helper()
	u32 := &btf.Int{Name: "u32", Size: 4}
	structure := func(name string, fields []string) *btf.Struct {
		s := &btf.Struct{Name: name, Size: uint32(4 * len(fields))}
		for i, f := range fields {
			s.Members = append(s.Members, btf.Member{Name: f, Type: u32, Offset: btf.Bits(32 * i)})
		}
		return s
	}
	proto := &btf.FuncProto{Return: u32, Params: []btf.FuncParam{{Name: "__data", Type: u32}}}
	for range k.switchArgs {
		proto.Params = append(proto.Params, btf.FuncParam{Name: "arg", Type: u32})
	}
	// Kernels keep some fields in unnamed structures, for layout randomization.
	task := structure("task_struct", k.task[:1])
	task.Members = append(task.Members, btf.Member{Type: structure("", k.task[1:]), Offset: 32})
	task.Size += uint32(4 * len(k.task[1:]))
	types := []btf.Type{
		task, structure("sched_info", k.info), structure("css_set", k.cssSet), structure("bpf_local_storage_map", k.storageMap),
		&btf.Typedef{Name: "btf_trace_sched_switch", Type: &btf.Pointer{Target: proto}},
	}
	for _, name := range k.funcs {
		types = append(types, &btf.Func{Name: name, Type: proto, Linkage: btf.GlobalFunc})
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestProbeNamesWhatTheKernelLacks(t *testing.T) {
	without := func(fields []string, field string) []string {
		return slices.DeleteFunc(fields, func(f string) bool { return f == field })
	}
	for name, c := range map[string]struct {
		change func(*kernelTypes)
		needs  string // "" when it can trace
	}{
		"today's":                   {func(*kernelTypes) {}, ""},
		"6.4 to 6.17":               {func(k *kernelTypes) { k.funcs, k.storageMap = nil, []string{"storage_ma"} }, ""},
		"6.1":                       {func(k *kernelTypes) { k.funcs = nil }, "Linux 6.4"},
		"before 5.18":               {func(k *kernelTypes) { k.switchArgs = 3 }, "Linux 5.18"},
		"without sched_info":        {func(k *kernelTypes) { k.task = without(k.task, "sched_info") }, "CONFIG_SCHED_INFO"},
		"with an empty sched_info":  {func(k *kernelTypes) { k.info = nil }, "CONFIG_SCHED_INFO"},
		"without cgroups":           {func(k *kernelTypes) { k.task = without(k.task, "cgroups") }, "CONFIG_CGROUPS"},
		"without the I/O wait flag": {func(k *kernelTypes) { k.task = without(k.task, "in_iowait") }, "in_iowait"},
	} {
		k := newKernel()
		c.change(&k)
		err := probeTypes(k.spec(t))
		if c.needs == "" {
			if err != nil {
				t.Errorf("kernel %s: %v", name, err)
			}
			continue
		}
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || !errors.Is(err, ErrNotSupported) || !strings.Contains(unsupported.Needs, c.needs) {
			t.Errorf("kernel %s: %v, want that it needs %s", name, err, c.needs)
		}
	}
}

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	bit := func(caps ...int) (set uint64) {
		for _, c := range caps {
			set |= 1 << c
		}
		return set
	}
	for _, c := range []struct {
		set  uint64
		want []string
	}{
		{0, []string{"CAP_BPF", "CAP_PERFMON"}},
		{bit(unix.CAP_BPF), []string{"CAP_PERFMON"}},
		{bit(unix.CAP_PERFMON), []string{"CAP_BPF"}},
		{bit(unix.CAP_BPF, unix.CAP_PERFMON), nil},
		{bit(unix.CAP_SYS_ADMIN), nil},
	} {
		if got := missingIn(c.set); !slices.Equal(got, c.want) {
			t.Errorf("of %x: %v, want %v", c.set, got, c.want)
		}
	}
	err := error(&PermissionError{Missing: []string{"CAP_BPF"}})
	if !errors.Is(err, os.ErrPermission) || errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "CAP_BPF") {
		t.Errorf("error %v", err)
	}
}

func TestOptionsFitTheMachine(t *testing.T) {
	for _, c := range []struct{ cpus, slots, events int }{{1, 255, 500}, {2, 255, 500}, {64, 77, 31}, {512, 16, 10}} {
		o := Options{}.withDefaults(c.cpus)
		if o.Slots != c.slots || o.WaitEvents != c.events || o.CycleEvents != c.events {
			t.Errorf("%d CPUs: %d slots, %d and %d events", c.cpus, o.Slots, o.WaitEvents, o.CycleEvents)
		}
	}
	if o := (Options{RingBytes: 5000}).withDefaults(1); o.RingBytes != 8192 && os.Getpagesize() == 4096 {
		t.Errorf("ring of %d bytes", o.RingBytes)
	}
}
