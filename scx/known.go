// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Known is what the catalogue knows of a scheduler before it looks at the
// machine: an entry of catalogue.toml, or of the configuration.
type Known struct {
	Name        string `toml:"name"`
	Description string `toml:"description"`
	// Ops is the scheduler's own name within root/ops, see [opsBase]; empty where
	// it is not known: any is believed then.
	Ops string `toml:"ops"`
	// Classes are the kinds of work that it suits, as package workload names them.
	// They inform; what is chosen for a class is policy's table.
	Classes []string `toml:"classes"`
	// VersionFlag makes the binary print its version and exit; empty if it has none.
	VersionFlag string `toml:"version_flag"`
	// HelpFlag makes it print its options and exit; empty: --help.
	HelpFlag string `toml:"help_flag"`
	// WatchdogSeconds is after how long without a turn the kernel ejects it, as
	// the scheduler asks for it; 0 if not known (the kernel allows 30 s at most).
	WatchdogSeconds float64 `toml:"watchdog_secs"`
	// CPUWeight and CPUMax are true when it honours cgroup cpu.weight and cpu.max
	// without being told to.
	CPUWeight bool `toml:"honours_cpu_weight"`
	CPUMax    bool `toml:"honours_cpu_max"`
	// Needs names what the kernel must have, see [Needs].
	Needs []string `toml:"needs"`
	// MinKernel is the oldest kernel series that it runs on, as in "6.14"; empty:
	// any that has sched_ext.
	MinKernel string `toml:"min_kernel"`
	// LeavesBehind are settings that stay when it is killed.
	LeavesBehind []string `toml:"leaves_behind"`
	Notes        []string `toml:"notes"`
	// Modes are its arguments by mode, see [Modes].
	Modes map[string][]string `toml:"modes"`
}

// Override adds to what the catalogue knows of a scheduler, or makes a new entry.
// What is nil stays as it is; of Modes, each that is named is replaced.
type Override struct {
	Description, Ops, VersionFlag, HelpFlag, MinKernel *string
	Classes, Needs, LeavesBehind, Notes                []string
	Watchdog                                           *time.Duration
	CPUWeight, CPUMax                                  *bool
	Modes                                              map[string][]string
}

//go:embed catalogue.toml
var catalogueData []byte

// known is the shipped data, in the order of `autosa list`. It must not be changed.
var known = sync.OnceValue(func() []Known {
	list, err := parseKnown(catalogueData)
	if err != nil {
		panic("catalogue.toml: " + err.Error()) // a test reads it
	}
	return list
})

// parseKnown reads a file of [[scheduler]] tables and checks it whole.
func parseKnown(data []byte) ([]Known, error) {
	var file struct {
		Schedulers []Known `toml:"scheduler"`
	}
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return nil, errors.New(strict.String())
		}
		return nil, err
	}
	var errs []error
	seen := map[string]bool{}
	for _, k := range file.Schedulers {
		errs = append(errs, k.check())
		if seen[k.Name] {
			errs = append(errs, fmt.Errorf("%s is there twice", k.Name))
		}
		seen[k.Name] = true
	}
	return file.Schedulers, errors.Join(append(errs, distinct(file.Schedulers))...)
}

// maxWatchdog is the longest that the kernel allows (SCX_WATCHDOG_MAX_TIMEOUT).
const maxWatchdog = 30 * time.Second

// check names everything that is wrong with an entry.
func (k *Known) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", k.Name, fmt.Sprintf(format, args...)))
	}
	if k.Name == EEVDF || !isSchedulerName(k.Name) || companions[k.Name] {
		bad("is not a scheduler's name")
	}
	if k.Description == "" {
		bad("has no description")
	}
	if strings.ContainsAny(k.Ops, " \t\n") || k.Ops != "" && opsBase(k.Ops) != k.Ops {
		bad("%q is not a name within root/ops: it stands before the version", k.Ops)
	}
	if d := k.watchdog(); d < 0 || d > maxWatchdog {
		bad("a watchdog of %v: the kernel allows up to %v", d, maxWatchdog)
	}
	for _, f := range []string{k.VersionFlag, k.HelpFlag} {
		if f != "" && !isOption(f) {
			bad("%q is not an option", f)
		}
	}
	for _, need := range k.Needs {
		if _, ok := needs[need]; !ok {
			bad("needs %q, which is none of %s", need, strings.Join(Needs(), ", "))
		}
	}
	if _, ok := parseSeries(k.MinKernel); k.MinKernel != "" && !ok {
		bad("min_kernel %q is not a series as in 6.14", k.MinKernel)
	}
	for mode, args := range k.Modes {
		if !slices.Contains(Modes(), mode) {
			bad("mode %q is none of %s", mode, strings.Join(Modes(), ", "))
		}
		if err := checkArgs(args); err != nil {
			bad("mode %s: %v", mode, err)
		}
	}
	return errors.Join(errs...)
}

func (k *Known) watchdog() time.Duration {
	return time.Duration(k.WatchdogSeconds * float64(time.Second))
}

// apply returns k with what o has.
func (k Known) apply(o Override) Known {
	for _, s := range []struct{ to, from *string }{
		{&k.Description, o.Description}, {&k.Ops, o.Ops}, {&k.VersionFlag, o.VersionFlag}, {&k.HelpFlag, o.HelpFlag}, {&k.MinKernel, o.MinKernel},
	} {
		if s.from != nil {
			*s.to = *s.from
		}
	}
	for _, l := range []struct {
		to   *[]string
		from []string
	}{{&k.Classes, o.Classes}, {&k.Needs, o.Needs}, {&k.LeavesBehind, o.LeavesBehind}, {&k.Notes, o.Notes}} {
		if l.from != nil {
			*l.to = l.from
		}
	}
	if o.Watchdog != nil {
		k.WatchdogSeconds = o.Watchdog.Seconds()
	}
	if o.CPUWeight != nil {
		k.CPUWeight = *o.CPUWeight
	}
	if o.CPUMax != nil {
		k.CPUMax = *o.CPUMax
	}
	modes := make(map[string][]string, len(k.Modes)+len(o.Modes))
	for _, from := range []map[string][]string{k.Modes, o.Modes} {
		for mode, args := range from {
			modes[mode] = args
		}
	}
	k.Modes = modes
	return k
}

// merge is the shipped data with the overrides, by name with or without "scx_";
// new entries follow the shipped ones. The error names everything that does not
// hold.
func merge(shipped []Known, overrides map[string]Override) ([]Known, error) {
	list := slices.Clone(shipped)
	var names []string
	byName := map[string]Override{}
	var errs []error
	for name, o := range overrides {
		canonical := canonicalName(name)
		if _, twice := byName[canonical]; twice {
			errs = append(errs, fmt.Errorf("%s: is there twice", canonical))
		}
		byName[canonical] = o
		names = append(names, canonical)
	}
	slices.Sort(names)
	for _, name := range names {
		i := slices.IndexFunc(list, func(k Known) bool { return k.Name == name })
		if i < 0 {
			list = append(list, Known{Name: name, Description: "named in the configuration"})
			i = len(list) - 1
		}
		list[i] = list[i].apply(byName[name])
		errs = append(errs, list[i].check())
	}
	return list, errors.Join(append(errs, distinct(list))...)
}

// distinct names the entries that register under another one's name: what is in
// charge could not be told then.
func distinct(list []Known) error {
	var errs []error
	for i := range list {
		if other := schedulerName(list[:i], list[i].Ops); list[i].Ops != "" && other != list[i].Ops {
			errs = append(errs, fmt.Errorf("%s: %s has the ops %q already", list[i].Name, other, list[i].Ops))
		}
	}
	return errors.Join(errs...)
}

// companions are programs named like schedulers that are none.
var companions = map[string]bool{
	"scx_loader": true,
	"scx_stats":  true,
}

// findKnown returns the entry of that name; nil if there is none.
func findKnown(list []Known, name string) *Known {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// schedulerName is the name of the entry that registers as ops, which is not
// empty; ops itself if there is none.
func schedulerName(list []Known, ops string) string {
	base := opsBase(ops)
	for i := range list {
		if list[i].Ops != "" && list[i].Ops == base {
			return list[i].Name
		}
	}
	return ops
}

// KnownOps has, for the schedulers that autosa knows, which registers under each
// name.
func KnownOps() map[string]string {
	ops := make(map[string]string)
	for _, k := range known() {
		ops[k.Ops] = k.Name
	}
	return ops
}
