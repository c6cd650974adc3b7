// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Level is how a check came out.
type Level string

// Levels.
const (
	LevelOK   Level = "ok"
	LevelWarn Level = "warn" // works, but something is worth knowing
	LevelFail Level = "fail" // no scheduler can be put in charge
)

// Check is one thing looked at, for people to read.
type Check struct {
	Name   string
	Level  Level
	Detail string
	// Remedy is what would change it; empty where nothing needs to change.
	Remedy string
}

func (h Host) checkSchedExt() Check {
	c := Check{Level: LevelOK}
	ks, err := Kernel{Root: h.Sys}.Read()
	switch {
	case err != nil:
		c.Level, c.Detail = LevelFail, err.Error()
	case !ks.Supported:
		c.Level = LevelFail
		c.Detail = fmt.Sprintf("kernel %s has no sched_ext", Release())
		if on, known, path := h.configHas("CONFIG_SCHED_CLASS_EXT=y"); known && !on {
			c.Detail = fmt.Sprintf("kernel %s was built without sched_ext (%s)", Release(), path)
		}
		c.Remedy = "boot a kernel of 6.12 or newer built with CONFIG_SCHED_CLASS_EXT=y; autosa observes meanwhile"
	default:
		c.Detail = fmt.Sprintf("kernel %s; %s, %d enables since boot", Release(), ks.State, ks.EnableSeq)
	}
	return c
}

func (h Host) checkBTF() Check {
	path := filepath.Join(h.sys(), "kernel/btf/vmlinux")
	f, err := os.Open(path)
	if err != nil {
		return Check{
			Level: LevelFail, Detail: fmt.Sprintf("the kernel's type information cannot be read: %v", err),
			Remedy: "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
		}
	}
	f.Close()
	return Check{Level: LevelOK, Detail: path}
}

func (h Host) checkConfig() Check {
	path, err := h.kernelConfig()
	if path != "" {
		return Check{Level: LevelOK, Detail: path}
	}
	detail := "neither /boot/config-" + Release() + " nor /proc/config.gz is there; scx_lavd and others cannot load without it"
	if err != nil {
		detail = fmt.Sprintf("cannot be read, and scx_lavd and others cannot load without it: %v", err)
	}
	return Check{
		Level: LevelWarn, Detail: detail,
		Remedy: "install the kernel's configuration under /boot, or load the module configs",
	}
}

func (h Host) checkCaps() Check {
	c := Check{Level: LevelOK, Detail: "may load BPF schedulers"}
	if err := h.checkPermission(); err != nil {
		c.Level, c.Detail, c.Remedy = LevelFail, err.Error(), "run as root, outside a user namespace"
	}
	return c
}

func (h Host) checkIsolated() Check {
	cpus := h.isolated()
	if cpus == "" {
		return Check{Level: LevelOK, Detail: "none"}
	}
	detail := fmt.Sprintf("CPUs %s are isolated, and the kernel refuses every sched_ext scheduler then", cpus)
	remedy := "dissolve the isolated cpuset partitions"
	if b, err := os.ReadFile(filepath.Join(h.proc(), "cmdline")); err == nil {
		if word := isolcpusDomain(string(b)); word != "" {
			detail += fmt.Sprintf(" (%s on the kernel command line)", word)
			remedy = "remove it from the kernel command line and boot again"
		}
	}
	return Check{Level: LevelFail, Detail: detail, Remedy: remedy}
}

// isolcpusDomain returns the isolcpus= word of a kernel command line that
// isolates CPUs from the scheduling domains: one that names that flag or none.
func isolcpusDomain(cmdline string) string {
	for _, word := range strings.Fields(cmdline) {
		list, ok := strings.CutPrefix(word, "isolcpus=")
		if !ok || list == "" {
			continue
		}
		flagged := false
		for f := range strings.SplitSeq(list, ",") {
			if f == "domain" {
				return word
			}
			flagged = flagged || f == "nohz" || f == "managed_irq"
		}
		if !flagged {
			return word
		}
	}
	return ""
}

func (h Host) checkInCharge(in *InCharge) Check {
	c := Check{Level: LevelOK}
	if in == nil {
		ks, err := Kernel{Root: h.Sys}.Read()
		if err != nil {
			c.Level, c.Detail = LevelWarn, err.Error()
			return c
		}
		in = &InCharge{Name: ks.Scheduler(), Ops: ks.Ops, Owner: OwnerForeign, Kernel: ks}
		if in.Name == EEVDF {
			in.Owner = OwnerKernel
		}
	}
	c.Detail = in.Name
	switch in.Owner {
	case OwnerForeign:
		c.Level = LevelWarn
		c.Detail = in.Ops + " is in charge, and no running autosa started it: it is left alone"
		if in.HandsOff != "" {
			c.Detail = fmt.Sprintf("%s is in charge, started by somebody else, and left alone: %s", in.Ops, in.HandsOff)
		}
		c.Remedy = "stop it where it was started (scx.service, scx_loader, a shell) to let autosa decide"
		p := in.Process
		if p == nil {
			if found, ok := holderOf(h.proc(), in.Name, in.Ops); ok {
				p = &found
			}
		}
		if p != nil {
			c.Detail += fmt.Sprintf("; process %d (%s)", p.PID, p.Comm)
			if p.Manager != "" {
				c.Detail += " of " + p.Manager
			}
			if p.Manager != "" && p.Unit != "" {
				c.Remedy = "systemctl stop " + p.Unit + ", to let autosa decide"
			}
		}
	case OwnerAdopted:
		c.Detail += ", started by somebody else and adopted"
	case OwnerAutosa:
		c.Detail += ", started by autosa"
	}
	return c
}

func checkSchedulers(entries []Entry) Check {
	var usable, refused []string
	builtIn := "none" // why the built-in one cannot be used; empty where it can
	for _, e := range entries {
		switch {
		case e.Name == EEVDF || !e.Known || e.Lacks != "":
		case IsBuiltin(e.Name):
			if builtIn = e.WhyNot; e.Usable {
				builtIn = ""
			}
		case e.Usable:
			name := e.Name
			if e.Version != "" {
				name += " " + e.Version
			}
			if e.Note != "" {
				name += " (" + e.Note + ")"
			}
			usable = append(usable, name)
		case e.Installed:
			refused = append(refused, e.Name+": "+e.WhyNot)
		}
	}
	c := Check{Level: LevelOK, Detail: strings.Join(usable, ", ")}
	switch {
	case builtIn == "":
		usable = append(usable, "the built-in one")
		c.Detail = strings.Join(usable, ", ")
	case builtIn != "none":
		refused = append(refused, "the built-in one: "+builtIn)
	}
	if len(usable) == 0 {
		c.Level, c.Detail = LevelFail, "no scheduler is installed that could be used"
		c.Remedy = "install the scx schedulers of your distribution, or name their directory in the configuration"
	} else if len(refused) > 0 {
		c.Level, c.Remedy = LevelWarn, "see autosa list"
	}
	if len(refused) > 0 {
		c.Detail += "; refused: " + strings.Join(refused, "; ")
	}
	return c
}

// checkNeeds names the installed schedulers for which this kernel lacks something.
func checkNeeds(entries []Entry) Check {
	var lacking, met []string
	c := Check{Level: LevelOK}
	for _, e := range entries {
		switch {
		case e.Lacks != "":
			lacking = append(lacking, e.Name+": "+e.WhyNot)
			c.Level, c.Remedy = LevelWarn, e.Remedy
		case e.Usable && len(e.Needs) > 0:
			met = append(met, fmt.Sprintf("%s for %s", strings.Join(e.Needs, " and "), e.Name))
		}
	}
	switch {
	case len(lacking) > 0:
		c.Detail = strings.Join(lacking, "; ")
	case len(met) > 0:
		c.Detail = "there is " + strings.Join(met, ", ")
	default:
		c.Detail = "no installed scheduler needs more than sched_ext"
	}
	return c
}

// cgroupLimit bounds the walk over cgroups.
const cgroupLimit = 4000

// checkCgroups warns of CPU limits and weights that most schedulers ignore.
func (h Host) checkCgroups(ctx context.Context) Check {
	c := Check{Level: LevelOK, Detail: "no CPU weights or limits are set"}
	root, err := h.Cgroup2()
	if err != nil {
		c.Level, c.Detail = LevelWarn, fmt.Sprintf("cgroup CPU limits cannot be looked at: %v", err)
		return c
	}
	var limited, weighted []string
	seen := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return nil //nolint:nilerr // a cgroup that went away meanwhile
		case !d.IsDir():
			return nil
		}
		if seen++; seen > cgroupLimit {
			return fs.SkipAll
		}
		name := strings.TrimPrefix(path, root)
		if v := firstWord(filepath.Join(path, "cpu.max")); v != "" && v != "max" {
			limited = append(limited, name)
		}
		if v := firstWord(filepath.Join(path, "cpu.weight")); v != "" && v != "100" {
			weighted = append(weighted, name)
		}
		return nil
	})
	if err != nil {
		c.Level, c.Detail = LevelWarn, fmt.Sprintf("cgroup CPU limits cannot be looked at: %v", err)
		return c
	}
	if len(limited)+len(weighted) == 0 {
		return c
	}
	c.Level = LevelWarn
	c.Detail = fmt.Sprintf("cpu.max is set in %s, cpu.weight in %s; most sched_ext schedulers ignore both while they are in charge",
		some(limited), some(weighted))
	c.Remedy = "where they matter, keep to eevdf or a scheduler that honours them (scx_flash honours cpu.weight)"
	return c
}

// some names the first of a list and counts the rest.
func some(names []string) string {
	switch len(names) {
	case 0:
		return "none"
	case 1:
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}

func firstWord(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return word
}

// Cgroup2 returns where the version 2 hierarchy is mounted, which in hybrid mode is not at the top.
func (h Host) Cgroup2() (string, error) {
	b, err := os.ReadFile(filepath.Join(h.proc(), "self/mountinfo"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if ok && len(f) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return unescapeMount(f[4]), nil
		}
	}
	return "", errors.New("no cgroup version 2 hierarchy is mounted")
}

// unescapeMount undoes mountinfo's octal escapes, see proc_pid_mountinfo(5).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
