// SPDX-License-Identifier: Apache-2.0

// Command soak runs the long forms of tests, one after the other, and the fuzz targets.
//
//	soak [-again] [-only PATTERN] [-series "6.12 6.18"] [-fuzz-seconds N] [-document PAGE]
//	soak -fuzz [-only PATTERN] [-fuzz-seconds N | -fuzz-inputs N]
//	soak -list
//
// What has passed is remembered in the cache directory for the revision that was tested, changes that are not committed
// included: a rerun after an interrupt or a failure goes on with the rest. The long forms are those of items.go, under
// AUTOSA_SOAK=1; fuzz targets are found in the packages. It runs at the top of the module, as root.
//
// Exit code 1 when something has failed, 2 for wrong usage, 130 when interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"autosa/vmtest/measure"
)

func main() {
	again := flag.Bool("again", false, "forget what has passed before")
	list := flag.Bool("list", false, "show what there is to run and what became of it")
	fuzzOnly := flag.Bool("fuzz", false, "run the fuzz targets only, and remember nothing")
	only := flag.String("only", "", "run what has a name that matches this `pattern`")
	series := flag.String("series", "", "kernel `series` for what runs in guests (default: every prepared one)")
	seconds := flag.Int("fuzz-seconds", 60, "`seconds` for each fuzz target")
	inputs := flag.Int("fuzz-inputs", 0, "with -fuzz: so many `inputs` for each fuzz target, instead of seconds")
	document := flag.String("document", "", "`page` to put the table of results into, e.g. docs/SOAK.md")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 || *seconds < 1 || *inputs < 0 || *inputs > 0 && !*fuzzOnly {
		fmt.Fprintln(os.Stderr, "soak: wrong usage:", errors.Join(err, fmt.Errorf("arguments %q", flag.Args())))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	jobs, err := plan(ctx, *fuzzOnly, fuzzing{time.Duration(*seconds) * time.Second, *inputs}, strings.Fields(*series))
	if err == nil {
		var some []job
		for _, j := range jobs {
			if pattern.MatchString(j.name) {
				some = append(some, j)
			}
		}
		err = work(ctx, some, *again || *fuzzOnly, *list, *document)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "soak: interrupted; run it again to go on from there")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// plan lists what there is to run.
func plan(ctx context.Context, fuzzOnly bool, fuzz fuzzing, series []string) ([]job, error) {
	targets, err := fuzzTargets(ctx, ".")
	if err != nil {
		return nil, err
	}
	var jobs []job
	if !fuzzOnly {
		if len(series) == 0 {
			if series, err = prepared(); err != nil {
				return nil, err
			}
		}
		for _, it := range items {
			jobs = append(jobs, it.jobs(series)...)
		}
	}
	for _, t := range targets {
		jobs = append(jobs, t.job(fuzz))
	}
	return jobs, nil
}

// work runs the jobs that have not passed yet.
func work(ctx context.Context, jobs []job, again, list bool, document string) error {
	if len(jobs) == 0 {
		return errors.New("nothing matches the pattern; see -list")
	}
	st, err := openState(ctx, again)
	if err != nil {
		return err
	}
	if list {
		for _, j := range jobs {
			fmt.Printf("%-8s %s\n", st.Done[j.id()].Result.orMissing(), j.id())
		}
		return nil
	}
	failed := 0
	for n, j := range jobs {
		if st.Done[j.id()].Result == passed || st.Done[j.id()].Result == skipped {
			fmt.Printf("[%d/%d] %s: %s before\n", n+1, len(jobs), j.id(), st.Done[j.id()].Result)
			continue
		}
		o, err := j.run(ctx, fmt.Sprintf("[%d/%d] %s", n+1, len(jobs), j.id()), st.dir())
		if err != nil {
			return err
		}
		if o.Result == fails {
			failed++
		}
		st.Done[j.id()] = o
		if err := st.save(); err != nil {
			return err
		}
	}
	if document != "" {
		where, err := measure.Circumstances(strings.Join(os.Args, " "))
		if err != nil {
			return err
		}
		if err := measure.Replace(document, "soak", where+"\n"+table(jobs, st)); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d failed; their logs are in %s", failed, len(jobs), st.dir())
	}
	fmt.Printf("soak: all %d passed or cannot run here\n", len(jobs))
	return nil
}

func table(jobs []job, st *state) string {
	rows := [][]string{{"what", "kernel", "counted", "result", "took", "date"}}
	for _, j := range jobs {
		o := st.Done[j.id()]
		counted := strings.Join(o.Counted, "; ")
		if o.Reason != "" {
			counted = o.Reason
		}
		rows = append(rows, []string{"`" + j.name + "`: " + j.what, o.Kernel, strings.ReplaceAll(counted, "|", "\\|"), string(o.Result.orMissing()),
			o.Took.Round(time.Second).String(), o.Date})
	}
	return measure.Table(rows)
}
