// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/bits"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// speed is how many steps of the work loop this machine makes per nanosecond
// of CPU time.
type speed float64

// steps is the work that takes d of CPU time.
func (s speed) steps(d time.Duration) uint64 { return uint64(max(float64(d)*float64(s), 1)) }

// spin works for so many steps. It reads no clock and calls nothing. Each step
// needs the result of the one before.
//
//go:noinline
func spin(steps uint64) {
	x := steps | 1
	for range steps {
		x ^= x >> 12
		x *= 0x2545f4914f6cdd1d
	}
	runtime.KeepAlive(x)
}

// calibrate measures the speed against this thread's CPU time, so that other
// load on the machine does not count. Of several tries it takes the median.
func calibrate() speed {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	steps := uint64(1 << 16)
	for cpuTimeOf(steps) < int64(4*time.Millisecond) && steps < 1<<40 {
		steps *= 2
	}
	var tries [7]float64
	for i := range tries {
		tries[i] = float64(steps) / float64(max(cpuTimeOf(steps), 1))
	}
	slices.Sort(tries[:])
	return speed(tries[len(tries)/2])
}

func cpuTimeOf(steps uint64) int64 {
	var a, b unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &a)
	spin(steps)
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &b)
	return b.Nano() - a.Nano()
}

// histogram counts nanoseconds in eighths of octaves.
type histogram [64 * 8]uint64

func (h *histogram) observe(ns int64) {
	v := uint64(max(ns, 1))
	shift := bits.Len64(v) - 1
	// The three bits below the highest.
	h[shift*8+int(v<<(64-shift)>>61)]++
}

func (h *histogram) add(o *histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// quantile is in seconds: the upper bound of the bucket in which it lies.
func (h *histogram) quantile(q float64) float64 {
	var total, below uint64
	for _, n := range h {
		total += n
	}
	rank := uint64(math.Ceil(q * float64(total)))
	for i, n := range h {
		below += n
		if n > 0 && below >= rank {
			return math.Ldexp(1+float64(i%8+1)/8, i/8) / 1e9
		}
	}
	return 0
}
