// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// GuestTag is the build tag of files with tests for a guest. Their names begin with TestVM.
const GuestTag = "vmguest"

// binary is a compiled test binary in a stage.
type binary struct {
	pkg string // path of the package relative to the module
	dir string // where it runs, with the package's testdata
}

const binaryName = "package.test"

// Programs are the program under test and what guests run beside it.
type Programs struct {
	Autosa, Load string
}

// BuildPrograms compiles the program and the load generator into the stage. src is a directory in the module.
func (s *Stage) BuildPrograms(ctx context.Context, src string) (Programs, error) {
	dir, err := s.Mkdir("files", "bin")
	if err != nil {
		return Programs{}, err
	}
	p := Programs{Autosa: filepath.Join(dir, "autosa"), Load: filepath.Join(dir, "load")}
	return p, errors.Join(Build(ctx, src, p.Autosa, "autosa/cmd/autosa"), Build(ctx, src, p.Load, "autosa/vmtest/load"))
}

// Build compiles a command of the module to a static binary.
func Build(ctx context.Context, src, out, pkg string) error {
	_, err := golang(ctx, src, "build", "-o", out, pkg)
	return err
}

// buildTests compiles the packages among patterns that have tests for guests.
func (s *Stage) buildTests(ctx context.Context, src string, patterns []string) ([]binary, error) {
	pkgs, err := guestPackages(ctx, src, patterns)
	if err != nil {
		return nil, err
	}
	var bins []binary
	for _, p := range pkgs {
		dir, err := s.Mkdir("files", "test", p.rel())
		if err != nil {
			return nil, err
		}
		if _, err := golang(ctx, src, "test", "-c", "-tags", GuestTag, "-o", filepath.Join(dir, binaryName), p.ImportPath); err != nil {
			return nil, err
		}
		data := filepath.Join(p.Dir, "testdata")
		if _, err := os.Stat(data); err == nil {
			if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(data)); err != nil {
				return nil, fmt.Errorf("stage testdata of %s: %w", p.ImportPath, err)
			}
		}
		bins = append(bins, binary{pkg: p.rel(), dir: dir})
	}
	return bins, nil
}

// listed is a package as `go list -json` shows it.
type listed struct {
	Dir, ImportPath           string
	Module                    struct{ Path string }
	TestGoFiles, XTestGoFiles []string
}

func (l listed) rel() string {
	if l.ImportPath == l.Module.Path {
		return "."
	}
	return strings.TrimPrefix(l.ImportPath, l.Module.Path+"/")
}

// guestPackages finds the packages with guest tests: with the guest tag, one of their test files has a TestVM function.
func guestPackages(ctx context.Context, src string, patterns []string) ([]listed, error) {
	with, err := list(ctx, src, append([]string{"-tags", GuestTag}, patterns...))
	if err != nil {
		return nil, err
	}
	var found []listed
	for _, p := range with {
		tagged, err := hasGuestTests(p)
		if err != nil {
			return nil, err
		}
		if tagged {
			found = append(found, p)
		}
	}
	return found, nil
}

func hasGuestTests(p listed) (bool, error) {
	for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
		text, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return false, fmt.Errorf("look for guest tests: %w", err)
		}
		if bytes.Contains(text, []byte("\nfunc TestVM")) {
			return true, nil
		}
	}
	return false, nil
}

func list(ctx context.Context, src string, args []string) ([]listed, error) {
	out, err := golang(ctx, src, append([]string{"list", "-json=Dir,ImportPath,Module,TestGoFiles,XTestGoFiles"}, args...)...)
	if err != nil {
		return nil, err
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the output of go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// golang runs the go command without cgo in a directory and returns what it prints.
func golang(ctx context.Context, dir string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}
