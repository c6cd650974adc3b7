// SPDX-License-Identifier: Apache-2.0

// Package vmtest boots real kernels with virtme-ng and runs the program and its tests in them. Machines are prepared by
// prepare.sh, which fills the cache that this package reads; package guest is what tests inside a machine use.
package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DefaultSeries are the kernel series of the test matrix, oldest first. prepare.sh prepares the same ones.
var DefaultSeries = []string{"6.1", "6.12", "6.16", "6.18", "7.2", "7.3"}

// ErrNotPrepared is in the chain of errors that `make prepare` makes go away.
var ErrNotPrepared = errors.New("not prepared: run `make prepare`")

// Cache is what prepare.sh has prepared.
type Cache struct {
	dir string
}

// Kernel is a prepared kernel. Its modules are in /lib/modules/Release, its configuration is /boot/config-Release.
type Kernel struct {
	Series  string // as in "6.18"
	Release string // as uname -r says in the guest
	Image   string // path of the bootable image
}

// OpenCache finds the cache where prepare.sh puts it: below XDG_CACHE_HOME, else below ~/.cache.
func OpenCache() (Cache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("find the cache: %w", err)
	}
	c := Cache{dir: filepath.Join(base, "autosa")}
	if _, err := os.Stat(c.vng()); err != nil {
		return Cache{}, fmt.Errorf("%w: %w", ErrNotPrepared, err)
	}
	return c, nil
}

// Kernel returns the prepared kernel of a series.
func (c Cache) Kernel(series string) (Kernel, error) {
	dir := filepath.Join(c.dir, "kernels", series)
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: %w: %w", series, ErrNotPrepared, err)
	}
	k := Kernel{Series: series, Release: string(bytes.TrimSpace(release)), Image: filepath.Join(dir, "vmlinuz")}
	for _, path := range []string{k.Image, "/lib/modules/" + k.Release + "/modules.dep", "/boot/config-" + k.Release} {
		if _, err := os.Stat(path); err != nil {
			return Kernel{}, fmt.Errorf("kernel %s: %w: %w", series, ErrNotPrepared, err)
		}
	}
	return k, nil
}

// Schedulers is the directory with the real sched_ext schedulers.
func (c Cache) Schedulers() string { return filepath.Join(c.dir, "scx", "bin") }

func (c Cache) vng() string { return filepath.Join(c.dir, "virtme", "bin", "vng") }

// environ is the environment for vng, which finds its parts in PATH and keeps its temporary files in dir.
func (c Cache) environ(dir string) []string {
	env := []string{"PATH=" + filepath.Dir(c.vng()) + string(filepath.ListSeparator) + os.Getenv("PATH"), "TMPDIR=" + dir}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PATH=") && !strings.HasPrefix(e, "TMPDIR=") {
			env = append(env, e)
		}
	}
	return env
}
