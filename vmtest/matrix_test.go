// SPDX-License-Identifier: Apache-2.0

//go:build vmmatrix

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMatrix boots every kernel series and runs the guest tests of all packages in it. A guest test's result becomes
// that of the subtest TestMatrix/SERIES/PACKAGE/TEST. What to run can be narrowed with the environment:
//
//	AUTOSA_VM_SERIES    kernel series, separated by spaces or commas
//	AUTOSA_VM_PACKAGES  package patterns of this module, as for go test
//	AUTOSA_VM_RUN       a pattern as for go test -run
//	AUTOSA_VM_REALTIME  set, emulated guests follow this machine's clock, see VirtualTime
func TestMatrix(t *testing.T) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	t.Cleanup(stop) // not deferred: the kernels' tests run in parallel, after this function
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-20*time.Second))
		t.Cleanup(cancel)
	}
	cache, stage := openStage(t)
	suite, err := NewSuite(ctx, stage, "..", words("AUTOSA_VM_PACKAGES", "./..."))
	if err != nil {
		t.Fatal(err)
	}
	suite.RealTime = os.Getenv("AUTOSA_VM_REALTIME") != ""
	suite.Run, suite.Short = os.Getenv("AUTOSA_VM_RUN"), os.Getenv("AUTOSA_VM_SHORT") != ""
	if suite.Programs, err = stage.BuildPrograms(ctx, ".."); err != nil {
		t.Fatal(err)
	}
	for _, series := range words("AUTOSA_VM_SERIES", DefaultSeries...) {
		t.Run(series, func(t *testing.T) {
			// In virtual time a guest takes one processor of this machine, and other guests do not show in it.
			t.Parallel()
			kernel, err := cache.Kernel(series)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			progress := func(line string) { t.Logf("%s %s", series, line) }
			report, err := suite.Execute(ctx, cache, kernel, progress)
			if errors.Is(err, ErrNoBoot) && ctx.Err() == nil { // of its tests, nothing has been seen
				t.Run("boot", func(t *testing.T) { fmt.Fprintf(t.Output(), "%s%v\n", Unsteady, err) })
				report, err = suite.Execute(ctx, cache, kernel, progress)
			}
			if err != nil {
				t.Fatal(err)
			}
			if report, err = suite.Again(ctx, cache, kernel, report, progress); err != nil {
				t.Error(err)
			}
			t.Logf("%s: %d packages in %.0f s", kernel.Release, len(report.Packages), time.Since(began).Seconds())
			ran := 0
			for _, p := range report.Packages {
				ran += len(p.Tests)
				if len(p.Tests) > 0 || p.Failed {
					t.Run(p.Path, func(t *testing.T) { replayPackage(t, p) })
				}
			}
			if report.Guest != nil {
				t.Error(report.Guest)
			}
			if ran == 0 {
				t.Error("no test was run")
			}
		})
	}
}

// words splits an environment variable, or returns the default when it is empty.
func words(key string, otherwise ...string) []string {
	if w := strings.FieldsFunc(os.Getenv(key), func(r rune) bool { return r == ' ' || r == ',' }); len(w) > 0 {
		return w
	}
	return otherwise
}

// openStage opens the cache and a stage in it that is closed with the test.
func openStage(t *testing.T) (Cache, *Stage) {
	t.Helper()
	cache, err := OpenCache()
	if err != nil {
		t.Fatal(err)
	}
	stage, err := cache.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	})
	return cache, stage
}
