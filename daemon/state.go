// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// stateVersion is the format of the state file; others are not read.
const stateVersion = 1

// maxStateBytes bounds what is read of a state file that may be damaged.
const maxStateBytes = 1 << 20

// persisted is what outlives the daemon.
type persisted struct {
	Version int `json:"version"`
	// Manual is the operator's choice, nil when autosa decides.
	Manual *persistedArm `json:"manual,omitempty"`
	// Holds are those in force that have an end of their own.
	Holds []persistedHold `json:"holds,omitempty"`
}

type persistedArm struct {
	Scheduler string    `json:"scheduler"`
	Args      []string  `json:"args"`
	Since     time.Time `json:"since"`
	// Mode is the name under which the arguments were chosen; empty where they were
	// given themselves.
	Mode string `json:"mode,omitempty"`
}

// store keeps the state file. It is used by the daemon's loop alone.
type store struct{ path string }

func newStore(dir string) *store { return &store{path: filepath.Join(dir, "state.json")} }

// load reads the state. A file that is not there is an empty state. A file that
// cannot be understood is kept aside under another name, and an empty state is
// returned with an error that says where it went.
func (s *store) load(now time.Time) (persisted, error) {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return persisted{Version: stateVersion}, nil
	}
	if err != nil {
		return persisted{Version: stateVersion}, fmt.Errorf("read state: %w", err)
	}
	defer f.Close()
	p, err := decodeState(f)
	if err == nil {
		return p, nil
	}
	return persisted{Version: stateVersion}, keepAside("state", s.path, now, err)
}

// keepAside renames a file that cannot be understood, and says so.
func keepAside(what, path string, now time.Time, err error) error {
	aside := fmt.Sprintf("%s.damaged-%s", path, now.UTC().Format("20060102T150405Z"))
	if renameErr := os.Rename(path, aside); renameErr != nil {
		return fmt.Errorf("read %s %s: %w (and it could not be kept aside: %w)", what, path, err, renameErr)
	}
	return fmt.Errorf("read %s %s: %w; it was kept as %s and a new one is begun", what, path, err, aside)
}

// decodeBounded reads the one JSON value, of known fields, that a file is.
func decodeBounded(r io.Reader, into any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxStateBytes+1))
	if err != nil {
		return err
	}
	if len(b) > maxStateBytes {
		return fmt.Errorf("longer than %d bytes", maxStateBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after its end")
	}
	return nil
}

func decodeState(r io.Reader) (persisted, error) {
	var p persisted
	if err := decodeBounded(r, &p); err != nil {
		return persisted{}, err
	}
	if p.Version != stateVersion {
		return persisted{}, fmt.Errorf("format version %d, this autosa writes %d", p.Version, stateVersion)
	}
	if p.Manual != nil && p.Manual.Scheduler == "" {
		return persisted{}, errors.New("manual choice without a scheduler")
	}
	return p, nil
}

// save replaces the state file in one step: after a crash either the old or the
// new content is there, never half of one.
func (s *store) save(p persisted) error {
	p.Version = stateVersion
	return replaceFile("state", s.path, 0o644, p)
}

// replaceFile writes v as JSON in one step.
func replaceFile(what, path string, mode fs.FileMode, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", what, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create %s directory: %w", what, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".state-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	defer os.Remove(tmp.Name()) // fails, as it should, once renamed
	_, err = tmp.Write(append(b, '\n'))
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}
