// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ungatedVersion = 1
	// maxUngated bounds the file: the binaries of a machine are a few dozen.
	maxUngated      = 128
	maxUngatedBytes = 256 << 10
	// ungatedFor is how long it counts that a binary could not be held: the gate may
	// have learnt to hold it since.
	ungatedFor = 30 * 24 * time.Hour
)

// ungated remembers which binaries were seen not to load behind a gate, by version
// of their file, so that a swap does not try it again each time. What this machine
// refuses (filters, mounts) is remembered until the process ends; what a binary
// does, in a file. Safe for concurrent use.
type ungated struct {
	log  *slog.Logger
	path string // empty: nothing is kept

	mu   sync.Mutex
	seen map[fileID]sightingUngated // guarded by mu
}

// sightingUngated is why one could not be held. keep is true where the reason is
// the binary's own.
type sightingUngated struct {
	why  string
	at   time.Time
	keep bool
}

// ungatedFile is what the file holds.
type ungatedFile struct {
	Version int            `json:"version"`
	Entries []ungatedEntry `json:"entries"`
}

type ungatedEntry struct {
	Path   string    `json:"path"`
	Device uint64    `json:"device"`
	Inode  uint64    `json:"inode"`
	Size   int64     `json:"size"`
	Sec    int64     `json:"mtime_seconds"`
	Nsec   int64     `json:"mtime_nanoseconds"`
	Why    string    `json:"why"`
	At     time.Time `json:"at"`
}

func newUngated(path string, log *slog.Logger) *ungated {
	return &ungated{log: log, path: path, seen: make(map[fileID]sightingUngated)}
}

// why is the reason why that version of a file cannot be held; empty if none is
// known.
func (u *ungated) why(file fileID) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen[file].why
}

// note remembers a reason. binary is true where it is the file's own.
func (u *ungated) note(file fileID, why string, binary bool, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for other := range u.seen { // an older version of it
		if other.path == file.path {
			delete(u.seen, other)
		}
	}
	u.seen[file] = sightingUngated{why: why, at: now, keep: binary}
	if u.path == "" || !binary {
		return
	}
	if err := writeWhole(u.path, u.file()); err != nil {
		u.log.Warn("that the scheduler cannot be loaded beside another one will be forgotten with this process", "err", err)
	}
}

// file is what is kept, newest first. The caller holds mu.
func (u *ungated) file() ungatedFile {
	f := ungatedFile{Version: ungatedVersion, Entries: []ungatedEntry{}}
	for id, s := range u.seen {
		if s.keep {
			f.Entries = append(f.Entries, ungatedEntry{
				Path: id.path, Device: id.dev, Inode: id.ino, Size: id.size, Sec: id.mtime.Sec, Nsec: id.mtime.Nsec, Why: s.why, At: s.at.UTC(),
			})
		}
	}
	slices.SortFunc(f.Entries, func(a, b ungatedEntry) int { return b.At.Compare(a.At) })
	f.Entries = f.Entries[:min(len(f.Entries), maxUngated)]
	return f
}

// load takes up what an earlier process has kept. A file that is not there is
// empty; one that cannot be understood is put aside, and the error says where.
func (u *ungated) load(now time.Time) error {
	if u.path == "" {
		return nil
	}
	const what = "read which schedulers cannot be loaded behind a gate"
	if _, err := os.Stat(u.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	b, err := readBounded(u.path, maxUngatedBytes)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	seen, err := decodeUngated(b, now)
	if err != nil {
		aside := u.path + ".damaged"
		if e := os.Rename(u.path, aside); e != nil {
			return fmt.Errorf("%s: %s: %w (and it could not be kept aside: %w)", what, u.path, err, e)
		}
		return fmt.Errorf("%s: %s: %w; it was kept as %s", what, u.path, err, aside)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, s := range seen {
		u.seen[id] = s
	}
	return nil
}

// decodeUngated reads the file's content, without what has aged.
func decodeUngated(b []byte, now time.Time) (map[fileID]sightingUngated, error) {
	if len(b) > maxUngatedBytes {
		return nil, fmt.Errorf("longer than %d bytes", maxUngatedBytes)
	}
	var f ungatedFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if f.Version != ungatedVersion {
		return nil, fmt.Errorf("format version %d, this autosa writes %d", f.Version, ungatedVersion)
	}
	if len(f.Entries) > maxUngated {
		return nil, fmt.Errorf("%d entries, at most %d are kept", len(f.Entries), maxUngated)
	}
	seen := make(map[fileID]sightingUngated, len(f.Entries))
	for _, e := range f.Entries {
		if e.Path == "" || e.Why == "" {
			return nil, errors.New("an entry without a path or a reason")
		}
		if age := now.Sub(e.At); age > ungatedFor {
			continue
		}
		if e.At.After(now) { // the clock was set back meanwhile
			e.At = now
		}
		id := fileID{path: e.Path, dev: e.Device, ino: e.Inode, size: e.Size, mtime: unix.Timespec{Sec: e.Sec, Nsec: e.Nsec}}
		seen[id] = sightingUngated{why: oneLine(e.Why), at: e.At, keep: true}
	}
	return seen, nil
}
