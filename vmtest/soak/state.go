// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"autosa/vmtest/measure"
)

// state is what became of the jobs on one revision. It lives in a directory of that revision, beside the logs.
type state struct {
	path string
	Done map[string]outcome // by job.id
}

func (s *state) dir() string { return filepath.Dir(s.path) }

// openState reads the state of the revision that is checked out.
func openState(ctx context.Context, again bool) (*state, error) {
	key, err := revision(ctx)
	if err != nil {
		return nil, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(base, "autosa", "soak", key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return readState(filepath.Join(dir, "state.json"), again)
}

// readState reads a state file. One that is missing, damaged or to be forgotten is an empty state: at worst, what has passed runs again.
func readState(path string, again bool) (*state, error) {
	s := &state{path: path, Done: make(map[string]outcome)}
	if again {
		return s, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, s); err != nil || s.Done == nil {
		fmt.Fprintf(os.Stderr, "soak: %s is damaged and starts afresh: %v\n", path, err)
		s.Done = make(map[string]outcome)
	}
	return s, nil
}

func (s *state) save() error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	return measure.WriteFile(s.path, append(b, '\n'))
}

// revision names the tree as it is: the commit, and what differs from it outside the documents, to which results are written.
func revision(ctx context.Context) (string, error) {
	git := func(args ...string) ([]byte, error) {
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		if err != nil {
			return nil, fmt.Errorf("git %s: %w", args[0], err)
		}
		return bytes.TrimSpace(out), nil
	}
	commit, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	code := []string{"--", ".", ":!docs"}
	changed, err := git(append([]string{"diff", "HEAD"}, code...)...)
	if err != nil {
		return "", err
	}
	fresh, err := git(append([]string{"ls-files", "-z", "--others", "--exclude-standard"}, code...)...)
	if err != nil {
		return "", err
	}
	if len(changed)+len(fresh) == 0 {
		return string(commit), nil
	}
	h := sha256.New()
	h.Write(changed)
	for name := range bytes.SplitSeq(fresh, []byte{0}) {
		h.Write(name)
		b, err := os.ReadFile(string(name))
		if err == nil {
			h.Write(b)
		}
	}
	return fmt.Sprintf("%s-%x", commit, h.Sum(nil)[:6]), nil
}
