// SPDX-License-Identifier: Apache-2.0

// Package gap traces how long tasks run without the old sched_ext scheduler and without the new one while one gives way to
// the other: from the last task switch under the old one to the first under the new one.
package gap

//go:generate go tool -modfile=../../../go.tools.mod bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type span gap gap.bpf.c -- -std=gnu11 -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -nostdinc -I../../../bpf/include

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Span is one swap as the kernel went through it.
type Span struct {
	// Gap is from the last switch to a task of the old scheduler's before the kernel began to unregister it to the first switch
	// to a task of the new one's once the kernel had enabled that.
	Gap time.Duration
	// Unregister is the kernel's work to take the old one out, Register that to put the new one in: the durations of
	// scx_disable_workfn and bpf_scx_reg. What lies between them is not the kernel's.
	Unregister, Register time.Duration
	// Between counts the switches in the gap to tasks other than idle ones.
	Between uint64
}

// Kernel is the kernel's part of the gap.
func (s Span) Kernel() time.Duration { return s.Unregister + s.Register }

// ErrUnfinished says that the kernel has not come to the first switch under the new scheduler yet.
var ErrUnfinished = errors.New("the new scheduler has not run a task yet")

// Tracer is attached to the kernel. Its methods are for one goroutine. Close it.
type Tracer struct {
	objs  gapObjects
	links []link.Link
}

// Attach loads and attaches the programs. It needs root, sched_ext, and the kernel's symbols and type information.
func Attach() (_ *Tracer, err error) {
	t := &Tracer{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("trace the gap: %w", err), t.Close())
		}
	}()
	spec, err := loadGap()
	if err != nil {
		return t, err
	}
	if err := locate(spec); err != nil {
		return t, err
	}
	if err := spec.LoadAndAssign(&t.objs, nil); err != nil {
		return t, err
	}
	for _, p := range []*ebpf.Program{t.objs.AtSwitch, t.objs.UnregBegins, t.objs.UnregEnds, t.objs.RegBegins, t.objs.RegEnds} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return t, fmt.Errorf("attach %s: %w", p, err)
		}
		t.links = append(t.links, l)
	}
	return t, nil
}

// locate tells the programs where the kernel keeps what they look at.
func locate(spec *ebpf.CollectionSpec) error {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return err
	}
	defer f.Close()
	// scx_enable_state_var had another name before 6.16.
	at, err := symbols(f, "ext_sched_class", "idle_sched_class", "scx_enable_state_var")
	if err != nil {
		return err
	}
	enabled, err := enumValue("scx_enable_state", "SCX_ENABLED")
	if err != nil {
		return err
	}
	return errors.Join(spec.Variables["ext_class"].Set(at["ext_sched_class"]), spec.Variables["idle_class"].Set(at["idle_sched_class"]),
		spec.Variables["enable_state"].Set(at["scx_enable_state_var"]), spec.Variables["enabled"].Set(enabled))
}

// symbols finds addresses in the text of /proc/kallsyms. A missing one and a hidden one are errors.
func symbols(kallsyms io.Reader, names ...string) (map[string]uint64, error) {
	at := make(map[string]uint64, len(names))
	for _, n := range names {
		at[n] = 0
	}
	lines := bufio.NewScanner(kallsyms)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 3 {
			continue
		}
		if _, wanted := at[f[2]]; !wanted {
			continue
		}
		address, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil {
			return nil, fmt.Errorf("/proc/kallsyms: %s: %w", f[2], err)
		}
		at[f[2]] = address
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("/proc/kallsyms: %w", err)
	}
	for _, n := range names {
		if at[n] == 0 {
			return nil, fmt.Errorf("/proc/kallsyms shows no address for %s: this kernel has it under another name, or kernel.kptr_restrict hides it", n)
		}
	}
	return at, nil
}

func enumValue(enum, name string) (uint32, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, err
	}
	var e *btf.Enum
	if err := kernel.TypeByName(enum, &e); err != nil {
		return 0, fmt.Errorf("enum %s: %w", enum, err)
	}
	for _, v := range e.Values {
		if v.Name == name {
			return uint32(v.Value), nil
		}
	}
	return 0, fmt.Errorf("enum %s has no %s", enum, name)
}

// Begin forgets what was seen and waits for the next swap. A scheduler must be in charge and tasks of its running.
func (t *Tracer) Begin() error {
	if err := t.objs.Spans.Put(uint32(0), gapSpan{}); err != nil {
		return fmt.Errorf("begin a span: %w", err)
	}
	return nil
}

// End returns the swap that has gone by since Begin, or ErrUnfinished. More than one unregistering or registration, and one that
// the kernel refused, are errors: there is no one gap then.
func (t *Tracer) End() (Span, error) {
	var s gapSpan
	if err := t.objs.Spans.Lookup(uint32(0), &s); err != nil {
		return Span{}, fmt.Errorf("read the span: %w", err)
	}
	return span(s)
}

func span(s gapSpan) (Span, error) {
	switch {
	case s.Regs > 1 || s.Unregs > 1 || s.Refused > 0:
		return Span{}, fmt.Errorf("the kernel saw %d unregisterings and %d registrations, %d of them refused, want one of each", s.Unregs, s.Regs, s.Refused)
	case s.FirstNew == 0 || s.RegEnd == 0:
		return Span{}, ErrUnfinished
	case s.LastOld == 0:
		return Span{}, errors.New("no task was switched to under the old scheduler")
	case s.LastOld > s.FirstNew || s.UnregBegin == 0 || s.UnregEnd < s.UnregBegin || s.RegEnd < s.RegBegin:
		return Span{}, fmt.Errorf("times out of order: %+v", s)
	}
	return Span{
		Gap:        time.Duration(s.FirstNew - s.LastOld),
		Unregister: time.Duration(s.UnregEnd - s.UnregBegin),
		Register:   time.Duration(s.RegEnd - s.RegBegin),
		Between:    s.Between,
	}, nil
}

// Close detaches and unloads the programs.
func (t *Tracer) Close() error {
	var errs []error
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	t.links = nil
	return errors.Join(append(errs, t.objs.Close())...)
}
