// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// need is something that the kernel may lack and a scheduler cannot do without.
type need struct {
	// lacks says why this machine has not got it; empty when it has, or when that
	// cannot be told: the scheduler itself will say then.
	lacks  func(h Host) string
	remedy string
}

// needs are those that an entry of the catalogue can name.
var needs = map[string]need{
	// libbpf reads it for CONFIG_ variables (extern … __kconfig) and refuses the
	// program where it cannot.
	needKernelConfig: {
		lacks: func(h Host) string {
			path, err := h.kernelConfig()
			switch {
			case path != "":
				return ""
			case err != nil:
				return "the kernel's configuration is not there to read, and it cannot load without it: " + err.Error()
			}
			return "the kernel's configuration is not there to read, and it cannot load without it"
		},
		remedy: "provide /boot/config-" + Release() + " or load the module configs for /proc/config.gz",
	},
	// The cgroup callbacks of struct sched_ext_ops are there with
	// CONFIG_EXT_GROUP_SCHED only (kernel/sched/ext.c), and libbpf refuses one that
	// the kernel has no place for. The configuration is read first: to decode the
	// type information takes tens of milliseconds.
	needGroupSched: {
		lacks: func(h Host) string {
			has, known, _ := h.configHas("CONFIG_EXT_GROUP_SCHED=y")
			if !known {
				has, known = h.opsMember("cgroup_init")
			}
			if known && !has {
				return "this kernel's sched_ext was built without cgroup support (CONFIG_EXT_GROUP_SCHED)"
			}
			return ""
		},
		remedy: "boot a kernel built with CONFIG_EXT_GROUP_SCHED=y",
	},
}

// Names of needs.
const (
	needKernelConfig = "kernel-config"
	needGroupSched   = "group-sched"
)

// Needs returns what an entry of the catalogue can name as needed.
func Needs() []string { return slices.Sorted(maps.Keys(needs)) }

// opsMember reports whether the kernel's struct sched_ext_ops has a member of that
// name; known is false where its type information cannot be read.
func (h Host) opsMember(name string) (has, known bool) {
	f, err := os.Open(filepath.Join(h.sys(), "kernel/btf/vmlinux"))
	if err != nil {
		return false, false
	}
	defer f.Close()
	spec, err := btf.LoadSpecFromReader(f)
	if err != nil {
		return false, false
	}
	var ops *btf.Struct
	if err := spec.TypeByName("sched_ext_ops", &ops); err != nil {
		return false, false
	}
	return slices.ContainsFunc(ops.Members, func(m btf.Member) bool { return m.Name == name }), true
}

// lacking is a need that this machine does not meet.
type lacking struct{ need, why, remedy string }

// lacks says what the kernel lacks for an entry; nil when nothing.
func (c *Catalogue) lacks(k *Known) *lacking {
	if series, ok := parseSeries(k.MinKernel); ok {
		if have, ok := parseSeries(c.release); ok && have.before(series) {
			return &lacking{"min_kernel", fmt.Sprintf("it takes Linux %s, and this is %s", k.MinKernel, c.release), "boot a newer kernel"}
		}
	}
	for _, name := range k.Needs {
		if why := c.host.lacks(name, c); why != "" {
			return &lacking{name, why, needs[name].remedy}
		}
	}
	return nil
}

// lacks asks for one need. What is of the kernel's build is asked once for each
// catalogue: decoding type information takes tens of milliseconds.
func (h Host) lacks(name string, c *Catalogue) string {
	if name != needGroupSched {
		return needs[name].lacks(h)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	why, ok := c.built[name]
	if !ok {
		why = needs[name].lacks(h)
		c.built[name] = why
	}
	return why
}

// series is a kernel's, as 6.14.
type series struct{ major, minor int }

func (s series) before(o series) bool {
	return s.major < o.major || s.major == o.major && s.minor < o.minor
}

// parseSeries reads the beginning of a release, as in "6.14" or
// "6.14.3-amd64".
func parseSeries(s string) (series, bool) {
	digits := func(s string) (int, string, bool) {
		rest := strings.TrimLeft(s, "0123456789")
		n, err := strconv.Atoi(s[:len(s)-len(rest)])
		return n, rest, err == nil
	}
	major, rest, ok := digits(s)
	if !ok || !strings.HasPrefix(rest, ".") {
		return series{}, false
	}
	minor, _, ok := digits(rest[1:])
	return series{major, minor}, ok
}
