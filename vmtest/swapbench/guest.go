// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"autosa/scx"
	"autosa/vmtest/measure"
	"autosa/vmtest/swapbench/gap"
)

// rusty and lavd are what is swapped, unless another one is named for scx_lavd to look quickly.
const (
	rusty = "scx_rusty"
	lavd  = "scx_lavd"
)

// sample is one swap as measured.
type sample struct {
	Way   string
	Round int
	To    string
	Span  gap.Span
	// Total is from the order to the first task under the new scheduler, as seen from user space.
	Total time.Duration
}

// figures is what a guest sends back, as one line of JSON after the mark.
type figures struct {
	Machine string
	Samples []sample
}

const mark = "swapbench-figures "

// settle is how long a scheduler is left alone before it is swapped: tasks of its own have run then.
const settle = time.Second

// measureHere runs in the guest, prints every swap as it comes, and the figures at the end.
func measureHere(ctx context.Context, s settings, dir string) (err error) {
	machine, err := measure.Machine()
	if err != nil {
		return err
	}
	f := figures{Machine: machine}
	t, err := gap.Attach()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for load := range strings.SplitSeq(s.load, ",") {
		argv := strings.Fields(load)
		if len(argv) == 0 {
			continue
		}
		cmd := exec.Command(os.Getenv("AUTOSA_LOAD"), argv...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start the load %s: %w", load, err)
		}
		defer func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}()
	}
	open := make(map[string]way)
	defer func() {
		for _, w := range open {
			err = errors.Join(err, w.close())
		}
	}()
	for _, name := range s.ways {
		if open[name], err = ways[name](dir); err != nil {
			delete(open, name)
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Println("attached and ready")
	for round := 1; round <= s.rounds; round++ {
		for _, name := range s.ways {
			err := swapThereAndBack(ctx, t, open[name], s.other, func(sm sample) {
				sm.Way, sm.Round = name, round
				f.Samples = append(f.Samples, sm)
				fmt.Printf("%-6s round %2d → %-9s gap %9.3f ms, the kernel's part %8.3f ms (%.3f + %.3f), %d switches, %v in all\n", sm.Way, sm.Round, sm.To,
					milli(sm.Span.Gap), milli(sm.Span.Kernel()), milli(sm.Span.Unregister), milli(sm.Span.Register), sm.Span.Between, sm.Total.Round(time.Millisecond))
			})
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", name, round, err)
			}
		}
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	fmt.Printf("%s%s\n", mark, b)
	return nil
}

func milli(d time.Duration) float64 { return d.Seconds() * 1e3 }

// swapThereAndBack begins and ends on EEVDF.
func swapThereAndBack(ctx context.Context, t *gap.Tracer, w way, other string, took func(sample)) error {
	var k scx.Kernel
	is := func(name string) bool {
		ks, err := k.Read()
		return err == nil && ks.State == scx.StateEnabled && scx.SchedulerName(ks.Ops) == name
	}
	if err := w.first(ctx, rusty); err != nil {
		return err
	}
	if err := await(slow, rusty+" in charge", func() bool { return is(rusty) }); err != nil {
		return err
	}
	fmt.Println(rusty, "is in charge")
	for _, to := range []string{other, rusty} {
		if err := measure.Sleep(ctx, settle); err != nil {
			return err
		}
		if err := t.Begin(); err != nil {
			return err
		}
		began := time.Now()
		if err := w.swap(ctx, to); err != nil {
			return err
		}
		sm := sample{To: to}
		var err error
		if e := await(slow, "a task under "+to, func() bool {
			sm.Span, err = t.End()
			return !errors.Is(err, gap.ErrUnfinished) && (err != nil || is(to))
		}); e != nil || err != nil {
			return fmt.Errorf("swap to %s: %w", to, errors.Join(e, err))
		}
		sm.Total = time.Since(began)
		took(sm)
	}
	if err := w.last(ctx); err != nil {
		return err
	}
	return await(slow, "EEVDF in charge", func() bool {
		state, err := k.State()
		return err == nil && state == scx.StateDisabled
	})
}
