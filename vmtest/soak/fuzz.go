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

// job fuzzes a target for so long, after its seeds.
func (t target) job(length time.Duration) job {
	_, short, _ := strings.Cut(t.pkg, "/")
	return job{
		name: short + "/" + t.name, what: "fuzzed for " + length.String(), kernel: thisKernel(), limit: length + 5*time.Minute,
		args: []string{"test", "-run", "^" + t.name + "$", "-fuzz", "^" + t.name + "$", "-fuzztime", length.String(), t.pkg},
		pass: "\nPASS\n",
	}
}
