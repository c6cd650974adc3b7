// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"os"
	"time"
)

// settings is what can be set while the program runs.
type settings struct {
	wait, io time.Duration
	// waits and cycles say which events there are at all, on whether there are
	// any now.
	waits, cycles, on bool
	// mask and phase choose the tasks whose cycles are sampled.
	mask, phase uint32
	gaps        [2]uint64
	generation  uint32
}

const (
	never  = 1<<63 - 1
	noTask = 1 << 31 // no phase of a mask of process ids
)

// gap is the distance in ns of rate events a second.
func gap(rate int) uint64 { return uint64(time.Second) / uint64(max(rate, 1)) }

// knobs is how the program reads the settings.
func (s *settings) knobs() traceKnobs {
	k := traceKnobs{
		WaitThresholdNs: uint64(s.wait), IoThresholdNs: uint64(s.io), BurstNs: uint64(eventBurst),
		EventGapNs: s.gaps, Generation: s.generation, SampleMask: s.mask, SamplePhase: s.phase,
	}
	if !s.on || !s.waits {
		k.WaitThresholdNs, k.IoThresholdNs = never, never
	}
	if !s.on || !s.cycles {
		k.SamplePhase = noTask
	}
	return k
}

// set changes the settings that the running program reads.
func (t *Tracer) set(change func(*settings)) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return os.ErrClosed
	}
	t.knobs.Lock()
	defer t.knobs.Unlock()
	next := t.want
	change(&next)
	if err := t.objs.Knob.Set(next.knobs()); err != nil {
		return fmt.Errorf("change the tracer's settings: %w", err)
	}
	t.want = next
	return nil
}

// SetThresholds sets the shortest run-queue and I/O waits that become events,
// from now on. Both must be above 0. Without effect as long as there are no such
// events: after SetEvents(false), and for good with Options.WaitEvents below 0.
func (t *Tracer) SetThresholds(wait, io time.Duration) error {
	if wait <= 0 || io <= 0 {
		return fmt.Errorf("event thresholds of %v and %v, which must be above 0: %w", wait, io, os.ErrInvalid)
	}
	return t.set(func(s *settings) { s.wait, s.io = wait, io })
}

// SetEvents switches all events off, or on again as they were: with the
// thresholds and the sampling that were set last. The counters go on.
func (t *Tracer) SetEvents(on bool) error {
	return t.set(func(s *settings) { s.on = on })
}

// SampleTasks makes only tasks whose process id modulo 2^shift is phase yield
// cycles: one task in 2^shift. The whole cycles of these tasks are reported, as
// far as Options.CycleEvents allows.
func (t *Tracer) SampleTasks(shift, phase uint) error {
	mask := uint32(1)<<min(shift, 20) - 1
	return t.set(func(s *settings) { s.mask, s.phase = mask, uint32(phase)&mask })
}
