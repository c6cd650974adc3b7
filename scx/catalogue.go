// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"autosa/bpf/sched"
)

// searchPath is where schedulers are looked for after the configured
// directories. It is fixed: a daemon that runs as root does not take its
// caller's PATH for it.
var searchPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// CatalogueOptions say where to look. The zero value is useful.
type CatalogueOptions struct {
	// Dirs are searched first, in order. They must be absolute.
	Dirs []string
	// Paths names binaries of single schedulers, by the scheduler's name with or
	// without "scx_"; they outrank every directory. They must be absolute.
	Paths map[string]string
	// Known adds to what is known of schedulers, or overrides it, by the scheduler's
	// name with or without "scx_".
	Known map[string]Override
}

// Catalogue knows the schedulers and finds the installed ones. Every call looks
// at the file system anew, versions are remembered per file. It is safe for
// concurrent use.
type Catalogue struct {
	dirs  []string
	paths map[string]string
	known []Known
	// root is true when files must be trustworthy to root, see [checkExecutable].
	root bool
	// host and release are what the kernel's part is asked of.
	host    Host
	release string

	mu       sync.Mutex
	versions map[fileID]version // guarded by mu
	helps    map[fileID]help    // guarded by mu
	built    map[string]string  // guarded by mu; needs that the kernel's build decides, by name: why not

	probe func() error // whether the built-in one can run here
}

// Entry is one scheduler as found on this machine.
type Entry struct {
	Name        string
	Description string
	// Path is the file that would be executed, symbolic links resolved; where the
	// file is refused, the path at which it was found.
	Path string
	// Version is what the binary says of itself; empty where it does not say.
	Version   string
	Installed bool
	Usable    bool
	// WhyNot says why it is not usable, Remedy what would change that.
	WhyNot string
	Remedy string
	// Note is worth saying of a usable one.
	Note string
	// Known is false for a binary named like a scheduler that the catalogue has no
	// data about: to be chosen by hand only.
	Known bool
	// Watchdog is its stall timeout where known.
	Watchdog time.Duration
	// CPUWeight and CPUMax are true when it honours cgroup cpu.weight and cpu.max
	// without being told to.
	CPUWeight, CPUMax bool
	// Suits are the classes of work that it is said to suit.
	Suits []string
	// Needs are what it needs of the kernel, Lacks the one that is not there: it is
	// not usable then.
	Needs []string
	Lacks string
	// LeavesBehind are settings that stay when it is killed.
	LeavesBehind []string
	Notes        []string
	// Modes are its modes, as the binary at hand takes them. HelpNote is why it
	// could not be asked; its modes are then, as those of one that is not installed
	// are, what the catalogue has.
	Modes    []Mode
	HelpNote string
	// Ops is its own name within the kernel's root/ops; empty when unknown.
	Ops string

	file fileID // of a usable one
}

// NewCatalogue makes a catalogue. Its error names every relative path, and
// everything that does not hold in what is known.
func NewCatalogue(o CatalogueOptions) (*Catalogue, error) {
	c := &Catalogue{
		root:     os.Geteuid() == 0,
		release:  Release(),
		paths:    make(map[string]string, len(o.Paths)),
		versions: make(map[fileID]version),
		helps:    make(map[fileID]help),
		built:    make(map[string]string),
		probe:    sync.OnceValue(probeOwn),
	}
	var errs []error
	var err error
	if c.known, err = merge(known(), o.Known); err != nil {
		errs = append(errs, err)
	}
	for _, dir := range o.Dirs {
		if !filepath.IsAbs(dir) {
			errs = append(errs, fmt.Errorf("scheduler directory %q is not absolute", dir))
		}
	}
	for name, path := range o.Paths {
		if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("path %q of scheduler %s is not absolute", path, name))
		}
		c.paths[canonicalName(name)] = filepath.Clean(path)
	}
	c.dirs = append(slices.Clone(o.Dirs), searchPath...)
	return c, errors.Join(errs...)
}

// SchedulerName is [SchedulerName] with the configuration's entries.
func (c *Catalogue) SchedulerName(ops string) string {
	if ops == "" {
		return EEVDF
	}
	return schedulerName(c.known, ops)
}

// canonicalName is the catalogue's form of a scheduler's name: with "scx_".
func canonicalName(name string) string {
	if name == EEVDF || IsBuiltin(name) || strings.HasPrefix(name, "scx_") {
		return name
	}
	return "scx_" + name
}

// List returns EEVDF, every known scheduler, the built-in one under each of its
// policies, and every other scx_* binary found,
// in a stable order. Versions not seen before are asked of the binaries, each
// bounded in time; ctx bounds the whole.
func (c *Catalogue) List(ctx context.Context) []Entry {
	names := make([]string, 0, len(c.known)+4)
	names = append(names, EEVDF)
	for i := range c.known {
		names = append(names, c.known[i].Name)
	}
	for _, p := range sched.Policies() {
		names = append(names, builtinPrefix+string(p))
	}
	var extra []string
	for name := range c.paths {
		extra = append(extra, name)
	}
	for _, dir := range c.dirs {
		// A directory that is missing or closed to us has nothing to offer.
		files, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "scx_*"))
		for _, f := range files {
			if base := filepath.Base(f); !companions[base] && isSchedulerName(base) {
				extra = append(extra, base)
			}
		}
	}
	slices.Sort(extra)
	for _, name := range slices.Compact(extra) {
		if findKnown(c.known, name) == nil {
			names = append(names, name)
		}
	}

	entries := make([]Entry, len(names))
	var g errgroup.Group
	g.SetLimit(2)
	for i, name := range names {
		g.Go(func() error {
			entries[i] = c.find(ctx, name)
			return nil
		})
	}
	_ = g.Wait() // find reports within the entry
	return slices.DeleteFunc(entries, func(e Entry) bool { return !e.Known && !e.Installed && c.paths[e.Name] == "" })
}

// Lookup finds one scheduler by name, with or without "scx_". A name that is
// neither known nor installed is an [*UnknownError] with close matches. A known
// scheduler that is missing or refused is no error here: see [Entry.Usable].
func (c *Catalogue) Lookup(ctx context.Context, name string) (Entry, error) {
	canonical := canonicalName(name)
	if !isSchedulerName(canonical) || companions[canonical] {
		return Entry{}, &UnknownError{Name: name, Close: c.close(ctx, canonical)}
	}
	e := c.find(ctx, canonical)
	if !e.Known && !e.Installed && c.paths[canonical] == "" {
		return Entry{}, &UnknownError{Name: name, Close: c.close(ctx, canonical)}
	}
	return e, nil
}

// isSchedulerName reports whether name can be a scheduler's: nothing that names a
// path or would be taken for an option.
func isSchedulerName(name string) bool {
	if _, ok := builtinPolicy(name); ok || name == EEVDF {
		return true
	}
	rest, ok := strings.CutPrefix(name, "scx_")
	if !ok || rest == "" || len(name) > 128 {
		return false
	}
	return strings.Trim(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}

// find describes one scheduler as this machine has it.
func (c *Catalogue) find(ctx context.Context, name string) Entry {
	if name == EEVDF {
		return Entry{
			Name: EEVDF, Description: "the kernel's default scheduler", Version: Release(),
			Installed: true, Usable: true, Known: true, CPUWeight: true, CPUMax: true,
		}
	}
	if p, ok := builtinPolicy(name); ok {
		return c.builtinEntry(p)
	}
	e := Entry{Name: name, Description: "not in the catalogue; to be chosen by hand only"}
	k := findKnown(c.known, name)
	if k != nil {
		e.Known, e.Description, e.Ops, e.Suits = true, k.Description, k.Ops, slices.Clone(k.Classes)
		e.Watchdog, e.CPUWeight, e.CPUMax, e.Needs = k.watchdog(), k.CPUWeight, k.CPUMax, slices.Clone(k.Needs)
		e.LeavesBehind, e.Notes = slices.Clone(k.LeavesBehind), slices.Clone(k.Notes)
		e.Modes = k.modes()
	}
	path, ok := c.locate(name)
	if !ok {
		e.WhyNot = "not installed"
		e.Remedy = "install it, or name its path in the configuration"
		return e
	}
	e.Path = path
	file, refusal := checkExecutable(path, c.root)
	if refusal != nil {
		e.Installed = !refusal.missing
		e.WhyNot, e.Remedy = refusal.why, refusal.remedy
		return e
	}
	e.Path, e.Installed, e.Usable, e.file = file.path, true, true, file
	if k == nil {
		return e
	}
	if k.VersionFlag != "" {
		v := c.version(ctx, file, k.VersionFlag)
		e.Version, e.Note = v.text, v.note
		if v.broken != "" {
			e.Usable, e.WhyNot, e.Remedy = false, v.broken, "reinstall it"
			return e
		}
	}
	e.HelpNote = c.checkModes(ctx, file, k.HelpFlag, e.Modes)
	if l := c.lacks(k); l != nil {
		e.Usable, e.Lacks, e.WhyNot, e.Remedy = false, l.need, l.why, l.remedy
	}
	return e
}

// locate returns the first file of that name: the configured path even if
// nothing is there, else the first in the directories. A file that will be
// refused still hides later ones: whoever put it there should hear of it.
func (c *Catalogue) locate(name string) (string, bool) {
	if path := c.paths[name]; path != "" {
		return path, true
	}
	for _, dir := range c.dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) {
			return path, true
		}
	}
	return "", false
}

// close returns the names that come nearest to name, best first, at most three.
func (c *Catalogue) close(ctx context.Context, name string) []string {
	type match struct {
		name     string
		distance int
	}
	var matches []match
	for _, e := range c.List(ctx) {
		short := strings.TrimPrefix(e.Name, "scx_")
		asked := strings.TrimPrefix(name, "scx_")
		d := editDistance(strings.ToLower(asked), short)
		if d <= max(1, len(asked)/3) || len(asked) >= 3 && strings.HasPrefix(short, asked) {
			matches = append(matches, match{e.Name, d})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return cmp.Compare(a.distance, b.distance) })
	var names []string
	for _, m := range matches[:min(3, len(matches))] {
		names = append(names, m.name)
	}
	return names
}

// editDistance is the Levenshtein distance of two short ASCII names.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := diagonal
			if a[i-1] != b[j-1] {
				substitute++
			}
			diagonal = row[j]
			row[j] = min(substitute, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// escapeGlob quotes what filepath.Glob would take for a pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}
