// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
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
	if err := iterate(t.objs.Prime, nil); err != nil {
		return fmt.Errorf("take the tasks' baselines: %w", err)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: t.objs.OnSwitch})
	if err != nil {
		return fmt.Errorf("attach the tracer to sched_switch: %w", explainPermission(err))
	}
	t.link = l
	return nil
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
	outer := &ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner}
	maps, err := ebpf.NewMap(outer)
	if err != nil {
		return err
	}
	value, err := ebpf.NewMap(inner)
	if err != nil {
		return errors.Join(err, maps.Close())
	}
	return errors.Join(maps.Put(uint32(0), value), value.Close(), maps.Close())
}
