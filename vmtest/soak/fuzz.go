// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// target is a fuzz test.
type target struct {
	pkg  string // import path
	name string
}

// fuzzTargets finds every fuzz test of the module that dir is in.
func fuzzTargets(ctx context.Context, dir string) ([]target, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []target
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir, ImportPath           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		for _, file := range append(p.TestGoFiles, p.XTestGoFiles...) {
			names, err := functions(filepath.Join(p.Dir, file), "Fuzz")
			if err != nil {
				return nil, err
			}
			for _, n := range names {
				all = append(all, target{p.ImportPath, n})
			}
		}
	}
}

// functions lists the functions of a file whose names begin with prefix.
func functions(path, prefix string) (names []string, err error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, prefix) {
			names = append(names, fn.Name.Name)
		}
	}
	return names, nil
}

// fuzzing is how much a target is fuzzed after its seeds: for so long, or, where that is not 0, with so many inputs. Inputs
// are counted by two workers that begin with the seeds alone, so that it is much the same on every run.
type fuzzing struct {
	length time.Duration
	inputs int
}

// job fuzzes a target.
func (t target) job(f fuzzing) job {
	_, short, _ := strings.Cut(t.pkg, "/")
	j := job{
		name: short + "/" + t.name, what: "fuzzed for " + f.length.String(), kernel: thisKernel(), limit: f.length + 5*time.Minute,
		args: []string{"test", "-run", "^" + t.name + "$", "-fuzz", "^" + t.name + "$"},
		pass: "\nPASS\n",
	}
	if f.inputs == 0 {
		j.args = append(j.args, "-fuzztime", f.length.String(), t.pkg)
		return j
	}
	j.what, j.limit = fmt.Sprintf("fuzzed with %d inputs", f.inputs), 5*time.Minute
	// Go's cache would hand on what earlier runs found worth keeping, and grow.
	j.scratch = "-test.fuzzcachedir="
	j.args = append(j.args, "-fuzztime", fmt.Sprintf("%dx", f.inputs), "-fuzzminimizetime", "20x", "-parallel", "2", t.pkg, "-args")
	return j
}
