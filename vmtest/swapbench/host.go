// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"autosa/vmtest"
	"autosa/vmtest/measure"
)

// bench measures on each series in turn and reports them together. A broken promise on one does not keep the next from being
// measured.
func bench(ctx context.Context, s settings) error {
	where, err := measure.Circumstances(strings.Join(os.Args, " "))
	if err != nil {
		return err
	}
	var report strings.Builder
	report.WriteString(where)
	var errs []error
	for _, series := range s.series {
		f, err := boot(ctx, s, series)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", series, err))
			continue
		}
		text, err := s.table(series, f)
		report.WriteString("\n" + text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", series, err))
		}
	}
	fmt.Println(report.String())
	if s.document != "" && report.Len() > len(where) && ctx.Err() == nil {
		errs = append(errs, measure.Replace(s.document, "bench-swap", report.String()))
	}
	return errors.Join(errs...)
}

// boot runs the measurement in a machine of its own.
func boot(ctx context.Context, s settings, series string) (_ figures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("not done within %v", s.timeout))
	defer cancel()
	cache, err := vmtest.OpenCache()
	if err != nil {
		return figures{}, err
	}
	stage, err := cache.NewStage()
	if err != nil {
		return figures{}, err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	bin, err := stage.Mkdir("files", "swapbench")
	if err != nil {
		return figures{}, err
	}
	if slices.Contains(s.ways, byLoader) {
		if err := copyLoader(bin); err != nil {
			return figures{}, err
		}
	}
	self := filepath.Join(bin, "swapbench")
	src, err := os.Getwd()
	if err != nil {
		return figures{}, err
	}
	if err := vmtest.Build(ctx, src, self, "autosa/vmtest/swapbench"); err != nil {
		return figures{}, err
	}
	fmt.Fprintf(os.Stderr, "swapbench: booting kernel %s\n", series)
	var out collector
	code, err := cache.RunJob(ctx, stage, src, vmtest.Job{
		Series: series, Icount: s.icount, Output: &out,
		Args: []string{self, "-guest", bin, "-rounds", fmt.Sprint(s.rounds), "-ways", strings.Join(s.ways, ","), "-load", s.load, "-other", s.other},
	})
	if err != nil {
		return figures{}, err
	}
	if code != 0 {
		return figures{}, fmt.Errorf("the measurement ended with exit code %d", code)
	}
	return parse(out.text.Bytes())
}

// copyLoader puts what prepare.sh has built of scx_loader into dir, which the guest reads with a cache.
func copyLoader(dir string) error {
	base, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	for _, name := range []string{"scx_loader", "scxctl"} {
		b, err := os.ReadFile(filepath.Join(base, "autosa", "loader", "bin", name))
		if err != nil {
			return fmt.Errorf("scx_loader is not prepared: run `vmtest/prepare.sh --only loader`: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// collector keeps what a guest prints and shows all of it but the figures' line.
type collector struct {
	text    bytes.Buffer
	partial []byte
}

func (c *collector) Write(p []byte) (int, error) {
	c.text.Write(p)
	c.partial = append(c.partial, p...)
	for {
		line, rest, ok := bytes.Cut(c.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		if !bytes.HasPrefix(line, []byte(mark)) {
			fmt.Fprintf(os.Stderr, "  %s\n", line)
		}
		c.partial = rest
	}
}

// parse finds the figures in what a guest has printed.
func parse(text []byte) (figures, error) {
	var f figures
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(mark)); ok {
			if err := json.Unmarshal(rest, &f); err != nil {
				return f, fmt.Errorf("the guest's figures: %w", err)
			}
			return f, nil
		}
	}
	return f, errors.New("the guest has printed no figures")
}
