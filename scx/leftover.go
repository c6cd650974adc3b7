// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// settings are the files below /sys in which schedulers leave something behind when they are killed: scx_bpfland and
// scx_flash a CPU's latency for coming out of idle, scx_p2dq the energy preference and the turbo.
var settings = []string{
	"devices/system/cpu/cpu[0-9]*/power/pm_qos_resume_latency_us",
	"devices/system/cpu/cpu[0-9]*/cpufreq/energy_performance_preference",
	"devices/system/cpu/cpufreq/boost",
	"devices/system/cpu/intel_pstate/no_turbo",
}

// leftovers remembers what those files held before the first of autosa's schedulers was started, and what each has made of them, and puts the
// first back when the last of them is gone. A value that somebody else has set meanwhile stays. Safe for concurrent use.
type leftovers struct {
	host Host
	log  *slog.Logger
	file string // keeps what is to be put back, for after a death of this process; empty: nothing does

	mu      sync.Mutex
	running map[*running]bool // guarded by mu, as what follows
	before  map[string]string // by path below /sys
	set     map[string]string
}

// remembered is the file's content.
type remembered struct {
	Boot   string            `json:"boot_id"` // of the kernel: another boot has forgotten all of it
	Before map[string]string `json:"before"`
	Set    map[string]string `json:"set"`
}

// read returns what the files hold. One that cannot be read is left out: then nothing can be put back there either.
func (l *leftovers) read() map[string]string {
	now := map[string]string{}
	for _, pattern := range settings {
		paths, _ := filepath.Glob(filepath.Join(l.host.sys(), pattern)) // the patterns are well-formed
		for _, p := range paths {
			if b, err := os.ReadFile(p); err == nil {
				rel, _ := filepath.Rel(l.host.sys(), p)
				now[rel] = strings.TrimSpace(string(b))
			}
		}
	}
	return now
}

// starting is called before a scheduler is started, behind a gate too: some change these files before they register.
func (l *leftovers) starting(r *running) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.read()
	for path, value := range now {
		if set, ok := l.set[path]; ok && set == value {
			now[path] = l.before[path] // the one in charge made it so
		}
	}
	if l.running == nil {
		l.running = map[*running]bool{}
	}
	l.before, l.running[r] = now, true
}

// inCharge is called when a scheduler has come up: what is otherwise now is its doing.
func (l *leftovers) inCharge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = map[string]string{}
	for path, value := range l.read() {
		if before, ok := l.before[path]; ok && before != value {
			l.set[path] = value
		}
	}
	l.keep()
}

// ended is called when a scheduler's process is gone, once or more often.
func (l *leftovers) ended(r *running) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.running[r] {
		return
	}
	if delete(l.running, r); len(l.running) > 0 {
		return
	}
	l.putBack()
}

// putBack undoes what is still as a scheduler has set it.
func (l *leftovers) putBack() {
	now := l.read()
	for _, path := range slices.Sorted(maps.Keys(l.set)) {
		was, known := l.before[path]
		if value, ok := now[path]; !known || !ok || value != l.set[path] {
			continue // it put it back itself, somebody else changed it, or the CPU is gone
		}
		err := os.WriteFile(filepath.Join(l.host.sys(), path), []byte(was), 0)
		l.log.Info("put back what a scheduler had left behind", "file", path, "from", l.set[path], "to", was, "err", err)
	}
	l.set = nil
	l.keep()
}

// keep writes down what is to be put back, should this process die.
func (l *leftovers) keep() {
	if l.file == "" {
		return
	}
	var err error
	if len(l.set) == 0 {
		if err = os.Remove(l.file); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		r := remembered{Boot: l.host.bootID(), Before: map[string]string{}, Set: l.set}
		for path := range l.set {
			r.Before[path] = l.before[path]
		}
		err = writeWhole(l.file, r)
	}
	if err != nil {
		l.log.Warn("what the scheduler has changed will not be put back, should autosa be killed", "err", err)
	}
}

// recover puts back what a scheduler of an earlier process has left behind, of which that process wrote down.
func (l *leftovers) recover() error {
	if l.file == "" {
		return nil
	}
	b, err := os.ReadFile(l.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("put back what a scheduler left behind: %w", err)
	}
	var r remembered
	if err := json.Unmarshal(b, &r); err != nil {
		return errors.Join(fmt.Errorf("put back what a scheduler left behind: %s: %w", l.file, err), os.Rename(l.file, l.file+".damaged"))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Boot == l.host.bootID() {
		l.before, l.set = r.Before, r.Set
		for path := range l.set {
			if !isSetting(path) {
				delete(l.set, path)
			}
		}
	}
	l.putBack()
	return nil
}

// isSetting tells whether a path below /sys is one of those that are put back: the file that names it may be anybody's work.
func isSetting(path string) bool {
	return slices.ContainsFunc(settings, func(pattern string) bool {
		ok, err := filepath.Match(pattern, path)
		return ok && err == nil
	})
}

// bootID tells this boot of the kernel from others.
func (h Host) bootID() string {
	b, err := os.ReadFile(filepath.Join(h.proc(), "sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// writeWhole replaces a file by a value as JSON, in one step.
func writeWhole(path string, value any) error {
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".leftovers-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails, as it should, once renamed
	_, err = tmp.Write(append(bytes.TrimSpace(b), '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
