// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"autosa/scx"
	"autosa/vmtest/broken"
)

// Words that make the test binary another program.
const (
	// brokenWord: a scheduler that goes wrong in the way named after it.
	brokenWord = "test-broken"
	// killedWord: a switcher that swaps from one scheduler to another and kills itself with SIGKILL at the beginning of a phase:
	// PHASE FROM TO, and after them NAME=PATH of schedulers that are elsewhere.
	killedWord = "test-killed"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case scx.SuperviseWord:
			syscall.Exit(scx.SuperviseMain(os.Args[2:]))
		case brokenWord:
			syscall.Exit(broken.Main(os.Args[2], os.Stderr))
		case killedWord:
			fmt.Println(killAt(scx.Phase(os.Args[2]), os.Args[3], os.Args[4], os.Args[5:]))
			syscall.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// killAt returns only if it lives.
func killAt(phase scx.Phase, from, to string, paths []string) error {
	o := scx.CatalogueOptions{Dirs: []string{os.Getenv("AUTOSA_SCX_DIR")}, Paths: map[string]string{}}
	for _, p := range paths {
		o.Paths[filepath.Base(p)] = p
	}
	cat, err := scx.NewCatalogue(o)
	if err != nil {
		return err
	}
	armed := false
	s, err := scx.NewSwitcher(scx.Options{
		Catalogue: cat, ReadyTimeout: startTimeout, StopTimeout: time.Minute,
		Progress: func(p scx.Progress) {
			if armed && p.Phase == phase {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		},
	})
	if err != nil {
		return err
	}
	if _, err := s.Switch(context.Background(), scx.Target{Name: from}); err != nil {
		return fmt.Errorf("to %s: %w", from, err)
	}
	armed = true
	res, err := s.Switch(context.Background(), scx.Target{Name: to})
	return fmt.Errorf("the swap did not come to the phase %s: %+v, %w", phase, res, err)
}
