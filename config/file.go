// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxFileBytes bounds a configuration file.
const maxFileBytes = 64 << 10

// file applies the file at path. named is what named it, a flag or a variable;
// empty for the default file, which may be missing.
func (l *loader) file(path, named string) {
	data, err := l.read(path)
	switch {
	case named == "" && errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		source := path
		if named != "" {
			source = named
		}
		l.errs = append(l.errs, &Error{Source: source, Problem: err.Error()})
		return
	}
	l.cfg.File = path
	root, errs := parse(path, data)
	l.errs = append(l.errs, errs...)
	l.table(path, root, "")
	// In the order of the file, whoever found the mistake.
	slices.SortStableFunc(l.errs, func(a, b *Error) int { return a.Line - b.Line })
}

func (l *loader) read(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("names no file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		l.warn("configuration file " + path + " can be written by anyone")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d KiB", path, maxFileBytes>>10)
	}
	return data, nil
}

// join appends a key to a dotted prefix, quoted where TOML would have to.
func join(prefix, key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		key = strconv.Quote(key)
	}
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// sections are the tables whose keys are names that the operator chooses.
var sections = map[string]func(l *loader, path, name string, e *entry){
	"schedulers.paths": (*loader).schedulerPath,
	"scheduler":        (*loader).known,
	"arms":             (*loader).arms,
}

// table applies the entries of a table whose dotted name is prefix, "" for the
// root.
func (l *loader) table(path string, t *table, prefix string) {
	for _, e := range t.entries {
		name := join(prefix, e.key)
		if s := settingByKey(name); s != nil {
			l.apply(s, value{node: e.node}, Error{Source: path, Line: e.line, Key: name})
			continue
		}
		each, section := sections[name]
		if !section && !isTable(name) {
			l.problem(path, e.line, name, "unknown key%s", suggestKey(prefix, e.key))
			continue
		}
		sub, ok := e.node.value.(*table)
		switch {
		case !ok:
			l.problem(path, e.line, name, "want a table, got %s", e.node.describe())
		case section:
			for _, item := range sub.entries {
				each(l, path, join(name, item.key), item)
			}
		default:
			l.table(path, sub, name)
		}
	}
}

func (l *loader) problem(path string, line int, key, format string, args ...any) {
	l.errs = append(l.errs, &Error{Source: path, Line: line, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// keys returns the dotted names of all keys and sections.
func keys() []string {
	var all []string
	for _, s := range settings {
		if s.key != "" {
			all = append(all, s.key)
		}
	}
	for name := range sections {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func isTable(name string) bool {
	return slices.ContainsFunc(keys(), func(k string) bool { return strings.HasPrefix(k, name+".") })
}

// suggestKey looks for what an unknown key of a table may have meant: first
// among the table's own keys, then the same word elsewhere.
func suggestKey(prefix, key string) string {
	var near []string
	for _, k := range keys() {
		if prefix != "" {
			var ok bool
			if k, ok = strings.CutPrefix(k, prefix+"."); !ok {
				continue
			}
		}
		first, _, _ := strings.Cut(k, ".")
		near = append(near, first)
	}
	if hint := didYouMean(key, near); hint != "" {
		return hint
	}
	for _, k := range keys() {
		if k == key || strings.HasSuffix(k, "."+key) {
			return fmt.Sprintf(" (did you mean %q?)", k)
		}
	}
	return ""
}

// schedulerPath applies one entry of [schedulers.paths].
func (l *loader) schedulerPath(path, name string, e *entry) {
	scheduler, err := schedulerName(e.key)
	switch {
	case err != nil:
	case scheduler == EEVDF:
		err = fmt.Errorf("%s is in the kernel, it has no path", EEVDF)
	case strings.HasPrefix(scheduler, builtinPrefix):
		err = fmt.Errorf("%s is within autosa, it has no path", scheduler)
	}
	if err != nil {
		l.problem(path, e.line, name, "%v", err)
		return
	}
	binary, err := value{node: e.node}.absolute()
	if err != nil {
		l.problem(path, e.line, name, "%v", err)
		return
	}
	if l.cfg.Schedulers.Paths == nil {
		l.cfg.Schedulers.Paths = make(map[string]string)
	}
	if have, ok := l.cfg.Schedulers.Paths[scheduler]; ok && have != binary {
		l.problem(path, e.line, name, "%s has a path already: %s", scheduler, have)
		return
	}
	l.cfg.Schedulers.Paths[scheduler] = binary
}

// arms applies the arms of one class: a table or an array of tables.
func (l *loader) arms(path, name string, e *entry) {
	if !slices.Contains(l.classes, e.key) {
		hint := didYouMean(e.key, l.classes)
		if hint == "" {
			hint = " (classes: " + strings.Join(l.classes, ", ") + ")"
		}
		l.problem(path, e.line, name, "unknown workload class%s", hint)
		return
	}
	items, many := e.node.value.([]*node)
	if !many {
		items = []*node{e.node}
	}
	if len(items) == 0 {
		l.problem(path, e.line, name, "names no scheduler")
		return
	}
	list := make([]Arm, 0, len(items))
	for i, n := range items {
		at := name
		if many {
			at = fmt.Sprintf("%s[%d]", name, i)
		}
		t, ok := n.value.(*table)
		if !ok {
			l.problem(path, n.line, at, "want a table with scheduler and args, got %s", n.describe())
			continue
		}
		arm := l.arm(path, at, n.line, t)
		for j, have := range list {
			if have.Scheduler == arm.Scheduler && slices.Equal(have.Args, arm.Args) && arm.Scheduler != "" {
				l.problem(path, n.line, at, "is the same as %s[%d]", name, j)
			}
		}
		list = append(list, arm)
	}
	if l.cfg.Arms == nil {
		l.cfg.Arms = make(map[string][]Arm)
	}
	l.cfg.Arms[e.key] = list
}

// maxArgs bounds a scheduler's argument list.
const maxArgs = 64

func (l *loader) arm(path, name string, line int, t *table) Arm {
	var arm Arm
	for _, e := range t.entries {
		key := join(name, e.key)
		var err error
		switch e.key {
		case "scheduler":
			var s string
			if s, err = (value{node: e.node}).str(); err == nil {
				arm.Scheduler, err = schedulerName(s)
			}
		case "args":
			arm.Args, err = value{node: e.node}.strings()
			if len(arm.Args) > maxArgs {
				err = fmt.Errorf("has %d arguments, %d are allowed", len(arm.Args), maxArgs)
			}
		default:
			err = errors.New("unknown key" + didYouMean(e.key, []string{"scheduler", "args"}))
		}
		if err != nil {
			l.report(Error{Source: path, Line: e.line, Key: key}, err)
		}
	}
	switch {
	case t.find("scheduler") == nil:
		l.problem(path, line, name, "names no scheduler")
	case (arm.Scheduler == EEVDF || strings.HasPrefix(arm.Scheduler, builtinPrefix)) && len(arm.Args) > 0:
		l.problem(path, line, name, "%s takes no arguments", arm.Scheduler)
	}
	return arm
}

// schedulerName returns the full name of a scheduler given with or without
// "scx_".
func schedulerName(s string) (string, error) {
	if s == EEVDF {
		return s, nil
	}
	if policy, ok := strings.CutPrefix(s, builtinPrefix); ok {
		if !slices.Contains(builtinPolicies, policy) {
			return "", fmt.Errorf("the built-in scheduler has no policy %q%s: it has %s", policy, didYouMean(policy, builtinPolicies), strings.Join(builtinPolicies, ", "))
		}
		return s, nil
	}
	short := strings.TrimPrefix(s, "scx_")
	if !validName(short, "_") || short != strings.ToLower(short) || filepath.Base(short) != short {
		return "", fmt.Errorf("%q is not a scheduler's name", s)
	}
	return "scx_" + short, nil
}
