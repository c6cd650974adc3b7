// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Known is what [scheduler.NAME] says of a scheduler: beside what autosa knows of
// it, or in place of that. What is nil was not said.
type Known struct {
	Description, Ops, VersionFlag, HelpFlag, MinKernel *string
	// Classes are the workload classes that it suits, Needs what it needs of the
	// kernel.
	Classes, Needs, LeavesBehind, Notes []string
	Watchdog                            *time.Duration
	CPUWeight, CPUMax                   *bool
	// Modes are its arguments by mode.
	Modes map[string][]string
}

// Limits on what a file may say of a scheduler.
const (
	maxText     = 512
	maxTexts    = 32
	maxWatchdog = 30 * time.Second // the kernel's
)

// knownKeys are those of [scheduler.NAME].
var knownKeys = map[string]func(l *loader, k *Known, v value) error{
	"description": func(_ *loader, k *Known, v value) error { return text(&k.Description, v) },
	"ops": func(_ *loader, k *Known, v value) error {
		return word(&k.Ops, v, "a name as root/ops has it before the version", opsName)
	},
	"version_flag": func(_ *loader, k *Known, v value) error { return word(&k.VersionFlag, v, "an option", optionName) },
	"help_flag":    func(_ *loader, k *Known, v value) error { return word(&k.HelpFlag, v, "an option", optionName) },
	"min_kernel": func(_ *loader, k *Known, v value) error {
		return word(&k.MinKernel, v, `a series such as "6.14"`, isSeries)
	},
	"classes": func(l *loader, k *Known, v value) error {
		return words(&k.Classes, v, "workload class", l.classes)
	},
	"needs":         func(l *loader, k *Known, v value) error { return words(&k.Needs, v, "need", l.words.Needs) },
	"leaves_behind": func(_ *loader, k *Known, v value) error { return texts(&k.LeavesBehind, v) },
	"notes":         func(_ *loader, k *Known, v value) error { return texts(&k.Notes, v) },
	"watchdog_secs": func(_ *loader, k *Known, v value) error {
		d, err := v.duration()
		if err != nil {
			return err
		}
		if d < 0 || d > maxWatchdog {
			return fmt.Errorf("must be from 0 to %s seconds, not %s", seconds(maxWatchdog), v)
		}
		k.Watchdog = &d
		return nil
	},
	"honours_cpu_weight": func(_ *loader, k *Known, v value) error { return truth(&k.CPUWeight, v) },
	"honours_cpu_max":    func(_ *loader, k *Known, v value) error { return truth(&k.CPUMax, v) },
}

// known applies one [scheduler.NAME].
func (l *loader) known(path, name string, e *entry) {
	scheduler, err := schedulerName(e.key)
	if err == nil && scheduler == EEVDF {
		err = fmt.Errorf("%s is the kernel's own, there is nothing to say of it", EEVDF)
	}
	if err != nil {
		l.problem(path, e.line, name, "%v", err)
		return
	}
	t, ok := e.node.value.(*table)
	if !ok {
		l.problem(path, e.line, name, "want a table, got %s", e.node.describe())
		return
	}
	if _, twice := l.cfg.Schedulers.Known[scheduler]; twice {
		l.problem(path, e.line, name, "%s has a table already, under its other name", scheduler)
		return
	}
	var k Known
	for _, item := range t.entries {
		key := join(name, item.key)
		if item.key == "modes" {
			l.modes(path, key, item, &k)
			continue
		}
		set := knownKeys[item.key]
		if set == nil {
			l.problem(path, item.line, key, "unknown key%s", didYouMean(item.key, append(slices.Sorted(maps.Keys(knownKeys)), "modes")))
			continue
		}
		if item.node.value == (malformed{}) {
			continue
		}
		if err := set(l, &k, value{node: item.node}); err != nil {
			l.report(Error{Source: path, Line: item.line, Key: key}, err)
		} else if item.key == "ops" {
			l.opsOf(path, key, item.line, scheduler, *k.Ops)
		}
	}
	if l.cfg.Schedulers.Known == nil {
		l.cfg.Schedulers.Known = make(map[string]Known)
	}
	l.cfg.Schedulers.Known[scheduler] = k
}

// opsOf takes note of how a scheduler registers: two of one name could not be told
// apart.
func (l *loader) opsOf(path, key string, line int, scheduler, ops string) {
	if l.ops == nil {
		l.ops = maps.Clone(l.words.Ops)
		if l.ops == nil {
			l.ops = make(map[string]string)
		}
	}
	if other := l.ops[ops]; other != "" && other != scheduler {
		l.problem(path, line, key, "%s registers as %q already", other, ops)
		return
	}
	l.ops[ops] = scheduler
}

// modes applies [scheduler.NAME.modes].
func (l *loader) modes(path, name string, e *entry, k *Known) {
	t, ok := e.node.value.(*table)
	if !ok {
		l.problem(path, e.line, name, "want a table, got %s", e.node.describe())
		return
	}
	k.Modes = make(map[string][]string)
	for _, item := range t.entries {
		key := join(name, item.key)
		if !slices.Contains(l.words.Modes, item.key) {
			l.problem(path, item.line, key, "is not one of the modes %s%s", strings.Join(l.words.Modes, ", "), didYouMean(item.key, l.words.Modes))
			continue
		}
		args, err := value{node: item.node}.strings()
		if len(args) > maxArgs {
			err = fmt.Errorf("has %d arguments, %d are allowed", len(args), maxArgs)
		}
		if err != nil {
			l.report(Error{Source: path, Line: item.line, Key: key}, err)
			continue
		}
		k.Modes[item.key] = args
	}
}

func text(to **string, v value) error {
	s, err := v.str()
	if err != nil {
		return err
	}
	if err := oneLine(s); err != nil {
		return err
	}
	*to = &s
	return nil
}

// oneLine holds what is shown to people to a line that is neither empty nor long.
func oneLine(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return errors.New("is empty")
	case strings.ContainsAny(s, "\n\r"):
		return errors.New("has several lines")
	case len(s) > maxText:
		return fmt.Errorf("is %d bytes long, %d are allowed", len(s), maxText)
	}
	return nil
}

func texts(to *[]string, v value) error {
	list, err := v.strings()
	if err != nil {
		return err
	}
	if len(list) > maxTexts {
		return fmt.Errorf("has %d items, %d are allowed", len(list), maxTexts)
	}
	if err := v.each(list, oneLine); err != nil {
		return err
	}
	*to = list
	return nil
}

// words reads a list of words that are each one of some.
func words(to *[]string, v value, what string, allowed []string) error {
	list, err := v.strings()
	if err != nil {
		return err
	}
	err = v.each(list, func(s string) error {
		if slices.Contains(allowed, s) {
			return nil
		}
		hint := didYouMean(s, allowed)
		if hint == "" {
			hint = " (there is " + strings.Join(allowed, ", ") + ")"
		}
		return fmt.Errorf("unknown %s %q%s", what, s, hint)
	})
	if err == nil {
		*to = list
	}
	return err
}

func word(to **string, v value, want string, valid func(string) bool) error {
	s, err := v.str()
	if err != nil {
		return err
	}
	if !valid(s) {
		return fmt.Errorf("%s is not %s", strconv.Quote(s), want)
	}
	*to = &s
	return nil
}

func truth(to **bool, v value) error {
	b, err := v.boolean()
	if err == nil {
		*to = &b
	}
	return err
}

// opsName holds the name to what stands before the version in root/ops: a version
// has dots, and changes.
func opsName(s string) bool { return validName(s, "_") }

func optionName(s string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "-")
	return strings.HasPrefix(s, "-") && validName(name, "_-") && (strings.HasPrefix(s, "--") || len(name) == 1)
}

func isSeries(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	for _, n := range []string{major, minor} {
		if v, err := strconv.ParseUint(n, 10, 16); err != nil || strconv.FormatUint(v, 10) != n {
			return false
		}
	}
	return ok
}
