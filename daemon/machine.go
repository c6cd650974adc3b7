// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"autosa/recording"
	"autosa/scx"
)

// describeMachine says what machine this is, as far as the file system at root
// does: it is there for people who read a recording, and nothing depends on it.
func describeMachine(root string, k scx.Kernel) recording.Machine {
	m := recording.Machine{
		Kernel: scx.Release(), Arch: runtime.GOARCH, SchedExt: k.Supported(), Features: recording.List[string]{},
		Clock: word(root, "sys/devices/system/clocksource/clocksource0/current_clocksource"),
	}
	m.Host, _ = os.Hostname()
	m.CPUModel = valueOf(root, "proc/cpuinfo", "model name")
	kib, _, _ := strings.Cut(valueOf(root, "proc/meminfo", "MemTotal"), " ")
	if n, err := strconv.ParseUint(kib, 10, 64); err == nil {
		m.MemoryBytes = n << 10
	}
	for _, cpu := range parseCPUList(word(root, "sys/devices/system/cpu/online")) {
		m.Topology = append(m.Topology, describeCPU(root, cpu))
	}
	m.CPUs = len(m.Topology)
	// The entries of this directory differ by kernel version.
	entries, _ := os.ReadDir(filepath.Join(root, "sys/kernel/sched_ext"))
	for _, e := range entries {
		m.Features = append(m.Features, e.Name())
	}
	return m
}

// describeCPU says where a logical CPU is; see
// Documentation/ABI/stable/sysfs-devices-system-cpu of the kernel.
func describeCPU(root string, cpu int) recording.CPU {
	dir := filepath.Join("sys/devices/system/cpu", "cpu"+strconv.Itoa(cpu))
	c := recording.CPU{
		CPU: cpu, Package: number(root, dir, "topology/physical_package_id"), Core: number(root, dir, "topology/core_id"), LLC: -1, Node: -1,
	}
	level := 0
	caches, _ := filepath.Glob(filepath.Join(root, dir, "cache/index*"))
	for _, cache := range caches {
		n := number(cache, "level")
		shared := parseCPUList(word(cache, "shared_cpu_list"))
		if word(cache, "type") != "Instruction" && n > level && len(shared) > 0 {
			level, c.LLC = n, shared[0]
		}
	}
	nodes, _ := filepath.Glob(filepath.Join(root, dir, "node[0-9]*"))
	if len(nodes) > 0 {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(nodes[0]), "node")); err == nil {
			c.Node = n
		}
	}
	return c
}

// word is a file's content without the space around it, empty where it cannot
// be read.
func word(path ...string) string {
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number is a file's number, -1 where it has none.
func number(path ...string) int {
	n, err := strconv.Atoi(word(path...))
	if err != nil {
		return -1
	}
	return n
}

// valueOf is the first value of a key in a file of lines "key : value".
func valueOf(root, path, key string) string {
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return ""
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// maxCPU bounds the numbers of CPUs that are believed; the kernel's own limit on
// x86 is 8192.
const maxCPU = 8192

// parseCPUList reads "0-3,8": nil for what is none.
func parseCPUList(s string) []int {
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			return nil
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil {
				return nil
			}
		}
		if first < 0 || last < first || last >= maxCPU {
			return nil
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}
