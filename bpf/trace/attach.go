// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attach takes every task's baseline and attaches the program. The program is
// not attached and runs nowhere. The baselines come first: nothing else writes
// them then, and a task that switches before the program sees it is recognised
// by the number of its arrivals.
func (t *Tracer) attach() error {
	if _, err := t.objs.Begin.Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("tell the tracer its own process: %w", err)
	}
	if err := t.prime(); err != nil {
		return fmt.Errorf("take the tasks' baselines: %w", explainPermission(err))
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: t.objs.OnSwitch})
	if err != nil {
		return fmt.Errorf("attach the tracer to sched_switch: %w", explainPermission(err))
	}
	t.link = l
	return nil
}

// prime runs the iterator over all tasks once.
func (t *Tracer) prime() error {
	l, err := link.AttachIter(link.IterOptions{Program: t.objs.Prime})
	if err != nil {
		return err
	}
	tasks, err := l.Open()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	// It prints nothing: reading is what runs it.
	_, err = io.Copy(io.Discard, tasks)
	return errors.Join(err, tasks.Close(), l.Close())
}

// Pause detaches the program: the machine is as if the tracer were not there.
// Counters, events not yet read and settings stay as they are. Pausing again
// does nothing. After Close it returns [os.ErrClosed].
func (t *Tracer) Pause() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return os.ErrClosed
	}
	t.attached.Lock()
	defer t.attached.Unlock()
	if t.link == nil {
		return nil
	}
	if err := t.link.Close(); err != nil {
		return fmt.Errorf("detach the tracer from sched_switch: %w", err)
	}
	t.link = nil
	return nil
}

// Resume undoes Pause. Every task's baseline is taken anew, as by [Load]: what
// tasks did meanwhile is neither run nor wait nor sleep. Resuming a tracer that
// is not paused does nothing. After an error it is paused still. After Close it
// returns [os.ErrClosed].
func (t *Tracer) Resume() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return os.ErrClosed
	}
	t.attached.Lock()
	defer t.attached.Unlock()
	if t.link != nil {
		return nil
	}
	if err := awaitPrograms(); err != nil {
		return fmt.Errorf("wait until the detached tracer has ended: %w", err)
	}
	return t.attach()
}

// Paused tells whether the program is detached. A closed tracer is.
func (t *Tracer) Paused() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.attached.Lock()
	defer t.attached.Unlock()
	return t.link == nil
}

// awaitPrograms returns when every BPF program that was running has ended: a
// detached one may still be, on another CPU. The kernel promises that to whoever
// changes a map of maps (maybe_wait_bpf_programs in kernel/bpf/syscall.c).
func awaitPrograms() error {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "autosa_wait", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
		Contents: []ebpf.MapKV{},
	})
	if err != nil {
		return err
	}
	defer m.Close()
	value, err := ebpf.NewMap(inner)
	if err != nil {
		return err
	}
	defer value.Close()
	return m.Put(uint32(0), value)
}
