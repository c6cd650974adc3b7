// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"autosa/bpf/trace"
	"autosa/bpf/trace/tracetest/reference"
	"autosa/vmtest/measure"
)

// contender is something that traces the scheduler, or the empty program that shows what being called costs.
type contender struct {
	name string
	// start attaches its programs. They are those that process pid has open from then until stop.
	start func(ctx context.Context) (pid int, stop func() error, err error)
}

// The order is that of the tables; the first is the floor.
var contenders = []contender{
	{"empty program", startEmpty},
	{"autosa", startAutosa},
	{"reference", startReference},
	{"runqlat", startRunqlat},
}

func startEmpty(context.Context) (int, func() error, error) {
	e, err := reference.LoadEmpty()
	if err != nil {
		return 0, nil, err
	}
	return os.Getpid(), e.Close, nil
}

func startReference(context.Context) (int, func() error, error) {
	r, err := reference.Load()
	if err != nil {
		return 0, nil, err
	}
	return os.Getpid(), r.Close, nil
}

// startAutosa attaches the tracer as the daemon has it in a steady state: the cgroups have slots, and somebody reads the
// events. Nothing is there that could make it do less under load.
func startAutosa(context.Context) (int, func() error, error) {
	t, err := trace.Load(trace.Options{})
	if err != nil {
		return 0, nil, err
	}
	if err := assignAll(t); err != nil {
		return 0, nil, errors.Join(err, t.Close())
	}
	read := make(chan error, 1)
	go func() {
		var rec trace.Record
		var e trace.Event
		for {
			if err := t.ReadEvent(&rec, &e); err != nil {
				if errors.Is(err, os.ErrClosed) {
					err = nil
				}
				read <- err
				return
			}
		}
	}()
	return os.Getpid(), func() error { return errors.Join(t.Close(), <-read) }, nil
}

// assignAll gives the machine's cgroups slots, as far as they go.
func assignAll(t *trace.Tracer) error {
	root, err := measure.CgroupRoot()
	if err != nil {
		return err
	}
	next := 1
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || !d.IsDir() || unix.Stat(path, &st) != nil {
			return nil //nolint:nilerr // one that was removed meanwhile
		}
		if next > t.Slots() {
			return fs.SkipAll
		}
		next++
		return t.Assign(st.Ino, next-1)
	})
	return errors.Join(err, t.Publish())
}

func startRunqlat(ctx context.Context) (int, func() error, error) {
	bin, err := exec.LookPath("runqlat")
	if err != nil {
		return 0, nil, fmt.Errorf("%w: install the package libbpf-tools (vmtest/prepare.sh does)", err)
	}
	p, err := launch(bin, "86400", "1") // one interval that does not end
	if err != nil {
		return 0, nil, err
	}
	pid, stop := p.cmd.Process.Pid, func() error { return p.end(syscall.SIGINT) }
	for range 600 {
		if err := errors.Join(p.early(), measure.Sleep(ctx, 100*time.Millisecond)); err != nil {
			return 0, nil, errors.Join(err, stop())
		}
		// Its hooks are links, opened one by one after the programs: a wakeup, a new task's wakeup and a switch.
		if links, err := fdinfo(pid, "link_id"); err == nil && len(links) >= 3 {
			return pid, stop, nil
		}
	}
	return 0, nil, errors.Join(errors.New("runqlat has not attached its programs within a minute"), stop())
}

// programsOf are the BPF programs that a process has open, by themselves or through links, as its descriptors say: what
// else is loaded on the machine is not among them.
func programsOf(pid int) (programs []*ebpf.Program, err error) {
	ids, err := fdinfo(pid, "prog_id")
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open program %d of process %d: %w", id, pid, err), closeAll(programs))
		}
		programs = append(programs, p)
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("process %d has no BPF program open", pid)
	}
	return programs, nil
}

func closeAll(programs []*ebpf.Program) error {
	var errs []error
	for _, p := range programs {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// fdinfo returns the different values of a key in /proc/PID/fdinfo.
func fdinfo(pid int, key string) (ids []uint64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	seen := make(map[uint64]bool)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(line, ":")
			if k != key {
				continue
			}
			id, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}
