// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"autosa/vmtest/measure"
)

// What is promised with limitGroups busy cgroups, at every rate.
const (
	limitGroups     = 1000
	maxTick         = 5 * time.Millisecond // of CPU time
	maxGridResident = 64 << 20
)

// grid measures the daemon with every number of busy cgroups at every rate of switches.
type grid struct {
	bin, ring     string
	length        time.Duration
	rates, groups []int
	document      string
}

// progressFile is what an interrupted run leaves: the cells that it has measured, of which program and with which window.
type progressFile struct {
	Program string
	Length  time.Duration
	Cells   map[string]figures
}

func (g grid) run(ctx context.Context, again bool) error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to make cgroups and load BPF programs: run it with sudo")
	}
	where, err := measure.Circumstances(strings.Join(os.Args, " "))
	if err != nil {
		return err
	}
	path, done, err := g.resume(again)
	if err != nil {
		return err
	}
	total, n := len(g.rates)*len(g.groups), 0
	for _, groups := range g.groups {
		for _, rate := range g.rates {
			n++
			name := cell(groups, rate)
			if _, ok := done.Cells[name]; ok {
				fmt.Fprintf(os.Stderr, "[%d/%d] %s: measured before\n", n, total, name)
				continue
			}
			fmt.Fprintf(os.Stderr, "[%d/%d] %s: %v …\n", n, total, name, g.length)
			f, err := g.measure(ctx, groups, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			done.Cells[name] = f
			if err := save(path, done); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "[%d/%d] %s: %.0f switches/s, %.3f %% of one CPU, %v a tick, %s MiB\n",
				n, total, name, f.Switches, 100*f.Share, f.Tick.Round(time.Microsecond), mib(f.Memory.Resident))
		}
	}
	report, broken := g.report(done)
	fmt.Printf("%s\n%s", where, report)
	if g.document != "" {
		if err := measure.Replace(g.document, "bench-daemon", where+"\n"+report); err != nil {
			return errors.Join(broken, err)
		}
	}
	return errors.Join(broken, os.Remove(path))
}

func cell(groups, rate int) string { return fmt.Sprintf("%d cgroups at %s", groups, rateName(rate)) }

func rateName(rate int) string {
	if rate == 0 {
		return "the machine's most"
	}
	return strconv.Itoa(rate) + "/s"
}

// resume reads what an earlier run of the same measurement has left.
func (g grid) resume(again bool) (path string, p progressFile, err error) {
	b, err := os.ReadFile(g.bin)
	if err != nil {
		return "", p, err
	}
	p = progressFile{Program: fmt.Sprintf("%x", sha256.Sum256(b)), Length: g.length, Cells: make(map[string]figures)}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", p, err
	}
	dir := filepath.Join(cache, "autosa")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", p, err
	}
	path = filepath.Join(dir, "bench-daemon.json")
	b, err = os.ReadFile(path)
	if again || errors.Is(err, fs.ErrNotExist) {
		return path, p, nil
	}
	if err != nil {
		return "", p, err
	}
	var before progressFile
	// Damaged, or of another program: nothing of it is of use.
	if json.Unmarshal(b, &before) == nil && before.Program == p.Program && before.Length == p.Length && before.Cells != nil {
		p = before
	}
	return path, p, nil
}

func save(path string, p progressFile) error {
	b, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return err
	}
	return measure.WriteFile(path, b)
}

// measure measures one cell. The load is there before the daemon: what it says of its own cost is of that load.
func (g grid) measure(ctx context.Context, groups, rate int) (f figures, err error) {
	tree, err := makeTree(ctx, groups)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, tree.remove()) }()
	stop, err := startRing(ctx, g.ring, tree.path, groups, rate)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	d, err := measure.StartDaemon(ctx, g.bin, 5)
	if err != nil {
		return f, err
	}
	f, err = window(ctx, d, g.length)
	return f, errors.Join(err, d.Stop())
}

// report lays the cells out and says which promises are broken.
func (g grid) report(done progressFile) (string, error) {
	rows := [][]string{{"busy cgroups, switches", "switches/s", "daemon, of one CPU", "a tick, CPU time", "resident MiB", "proportional MiB",
		"BPF ns a switch", "BPF of the machine"}}
	var errs []error
	for _, groups := range g.groups {
		for _, rate := range g.rates {
			name := cell(groups, rate)
			f := done.Cells[name]
			rows = append(rows, []string{name, fmt.Sprintf("%.0f", f.Switches), fmt.Sprintf("%.2f %%", 100*f.Share), f.Tick.Round(10 * time.Microsecond).String(),
				mib(f.Memory.Resident), mib(f.Memory.Proportional), fmt.Sprintf("%.0f", f.Tracer.Cost.NanosPerSwitch),
				fmt.Sprintf("%.2f %%", 100*f.Tracer.Cost.BPFCPURatio)})
			if groups != limitGroups {
				continue
			}
			if f.Tick >= maxTick {
				errs = append(errs, fmt.Errorf("%s: a tick takes %v of CPU time, promised is less than %v", name, f.Tick, maxTick))
			}
			if f.Memory.Resident >= maxGridResident {
				errs = append(errs, fmt.Errorf("%s: %s MiB are resident, promised are less than %d", name, mib(f.Memory.Resident), maxGridResident>>20))
			}
			if rate > 0 && f.Switches < 0.9*float64(rate) {
				errs = append(errs, fmt.Errorf("%s: the load reached %.0f switches a second only", name, f.Switches))
			}
		}
	}
	verdict := fmt.Sprintf("Verdict with %d cgroups: a tick takes less than %v of CPU time and less than %d MiB are resident.\n", limitGroups, maxTick, maxGridResident>>20)
	broken := errors.Join(errs...)
	if broken != nil {
		verdict = fmt.Sprintf("Verdict with %d cgroups: **broken**: %v.\n", limitGroups, strings.ReplaceAll(broken.Error(), "\n", "; "))
	}
	return fmt.Sprintf("`autosa start` beside a process in each cgroup that hands a token on, %v a cell. Switches are the machine's, the daemon's own "+
		"included; what BPF takes is measured by the daemon, with the kernel's statistics on for a second a minute.\n\n%s\n%s", g.length, measure.Table(rows), verdict), broken
}
