// SPDX-License-Identifier: Apache-2.0

//go:build vmmatrix

package vmtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
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
//	AUTOSA_VM_TIMEOUT   how long the tests of a package may take, e.g. 2h
func TestMatrix(t *testing.T) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-20*time.Second))
		defer cancel()
	}
	cache, stage := openStage(t)
	suite, err := NewSuite(ctx, stage, "..", words("AUTOSA_VM_PACKAGES", "./..."))
	if err != nil {
		t.Fatal(err)
	}
	suite.RealTime = os.Getenv("AUTOSA_VM_REALTIME") != ""
	suite.Run, suite.Short = os.Getenv("AUTOSA_VM_RUN"), os.Getenv("AUTOSA_VM_SHORT") != ""
	if v := os.Getenv("AUTOSA_VM_TIMEOUT"); v != "" {
		if suite.Timeout, err = time.ParseDuration(v); err != nil {
			t.Fatalf("AUTOSA_VM_TIMEOUT: %v", err)
		}
	}
	if suite.Programs, err = stage.BuildPrograms(ctx, ".."); err != nil {
		t.Fatal(err)
	}
	all := words("AUTOSA_VM_SERIES", DefaultSeries...)
	done := executeAll(ctx, suite, cache, all, func(line string) { t.Log(line) })
	for _, series := range all {
		t.Run(series, func(t *testing.T) {
			r := <-done[series]
			if r.noBoot != nil {
				t.Run("boot", func(t *testing.T) { fmt.Fprintf(t.Output(), "%s%v\n", Unsteady, r.noBoot) })
			}
			if r.err != nil {
				t.Fatal(r.err)
			}
			if r.againErr != nil {
				t.Error(r.againErr)
			}
			t.Logf("%s: %d packages in %.0f s", r.release, len(r.report.Packages), r.took.Seconds())
			ran := 0
			for _, p := range r.report.Packages {
				ran += len(p.Tests)
				if len(p.Tests) > 0 || p.Failed {
					t.Run(p.Path, func(t *testing.T) { replayPackage(t, p) })
				}
			}
			if r.report.Guest != nil {
				t.Error(r.report.Guest)
			}
			if ran == 0 {
				t.Error("no test was run")
			}
		})
	}
}

// executed is what came of a suite on one kernel.
type executed struct {
	release  string
	report   Report
	took     time.Duration
	noBoot   error // of the first attempt to boot it
	err      error // there is no report
	againErr error // what failed could not be run again
}

// heavy are the kernels on which the short form does most: they begin first.
var heavy = []string{"7.2", "6.18"}

// executeAll runs the suite on every kernel, one at a time, or in virtual time, where a guest takes one processor of this machine and others do not
// show in it, on as many at once as there are processors. Each result comes through its kernel's channel. progress must be safe for concurrent use.
func executeAll(ctx context.Context, suite *Suite, cache Cache, all []string, progress func(string)) map[string]<-chan executed {
	order := slices.SortedStableFunc(slices.Values(all), func(a, b string) int {
		return cmp.Compare(rank(a), rank(b))
	})
	turn := make(chan string, len(order))
	done := map[string]<-chan executed{}
	send := map[string]chan executed{}
	for _, series := range order {
		turn <- series
		send[series] = make(chan executed, 1)
		done[series] = send[series]
	}
	close(turn)
	for range suite.atOnce(ctx, cache, order[0]) {
		go func() {
			for series := range turn {
				s := *suite // what a run keeps in it is its own
				send[series] <- s.executeOn(ctx, cache, series, func(line string) { progress(series + " " + line) })
			}
		}()
	}
	return done
}

// atOnce is how many guests may run at once. What keeps it from finding out shows when the kernel is booted.
func (s *Suite) atOnce(ctx context.Context, cache Cache, series string) int {
	kernel, err := cache.Kernel(series)
	if err != nil || s.RealTime {
		return 1
	}
	if icount, err := cache.clock(ctx, kernel, s.Stage.Dir); err != nil || icount == "" {
		return 1
	}
	return runtime.NumCPU()
}

func rank(series string) int {
	if i := slices.Index(heavy, series); i >= 0 {
		return i
	}
	return len(heavy)
}

func (s *Suite) executeOn(ctx context.Context, cache Cache, series string, progress func(string)) (r executed) {
	began := time.Now()
	defer func() { r.took = time.Since(began) }()
	var kernel Kernel
	if kernel, r.err = cache.Kernel(series); r.err != nil {
		return r
	}
	r.release = kernel.Release
	r.report, r.err = s.Execute(ctx, cache, kernel, progress)
	if errors.Is(r.err, ErrNoBoot) && ctx.Err() == nil { // of its tests, nothing has been seen
		r.noBoot = r.err
		progress("did not come up and is booted again, once")
		r.report, r.err = s.Execute(ctx, cache, kernel, progress)
	}
	if r.err == nil {
		r.report, r.againErr = s.Again(ctx, cache, kernel, r.report, progress)
	}
	return r
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
