// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Stage is a directory in the cache that holds what one run gives to its guests and gets back from them. Guests see
// neither this machine's temporary directory nor, if it lies there, the checkout.
type Stage struct {
	Dir string

	lock, use *os.File
}

// NewStage makes a stage, after removing those whose runs have ended without doing so. While a stage is open,
// `prepare.sh --undo` refuses to work. The caller closes it.
func (c Cache) NewStage() (_ *Stage, err error) {
	s := &Stage{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("stage a run: %w", err), s.Close())
		}
	}()
	if s.use, err = lock(filepath.Join(c.dir, "use.lock"), unix.LOCK_SH); err != nil {
		return nil, err
	}
	runs := filepath.Join(c.dir, "run")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, err
	}
	// Between the making of a stage and its locking nobody may take it for an abandoned one.
	gate, err := lock(filepath.Join(c.dir, "run.lock"), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	if err := removeAbandoned(runs); err != nil {
		return nil, err
	}
	if s.Dir, err = os.MkdirTemp(runs, ""); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return nil, err
	}
	if s.lock, err = lock(filepath.Join(s.Dir, "lock"), unix.LOCK_EX); err != nil {
		return nil, err
	}
	return s, nil
}

// files is the part of the stage that guests read, apart from what they write, since each is a mount in the guest.
func (s *Stage) files() string { return filepath.Join(s.Dir, "files") }

// Mkdir makes a directory in the stage and returns its path.
func (s *Stage) Mkdir(elem ...string) (string, error) {
	dir := filepath.Join(append([]string{s.Dir}, elem...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("stage a run: %w", err)
	}
	return dir, nil
}

// Close removes the stage.
func (s *Stage) Close() error {
	var errs []error
	if s.Dir != "" {
		errs = append(errs, os.RemoveAll(s.Dir))
	}
	for _, f := range []*os.File{s.lock, s.use} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// removeAbandoned removes the stages that nobody holds the lock of.
func removeAbandoned(runs string) error {
	stages, err := os.ReadDir(runs)
	if err != nil {
		return err
	}
	for _, d := range stages {
		dir := filepath.Join(runs, d.Name())
		f, err := lock(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(dir), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
	}
}
