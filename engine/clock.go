// SPDX-License-Identifier: Apache-2.0

package engine

import "time"

// maxDrift is how far the wall clock may move away before it counts as set.
// Slewing by NTP must not make times that are shown tremble.
const maxDrift = 100 * time.Millisecond

// Clock turns times of the wall clock into times of a steady one: it began with
// the wall clock's and goes on with the monotonic clock, so that a wall clock
// that is set moves nothing. It is not safe for concurrent use.
type Clock struct {
	base   time.Time // with its monotonic reading
	start  time.Time // base without it
	offset time.Duration
}

// NewClock begins with now, which has to come from time.Now.
func NewClock(now time.Time) *Clock { return &Clock{base: now, start: now.Round(0).UTC()} }

// Steady is t on the steady clock, without a monotonic reading. A time that has
// none itself, of another process, is taken by the wall clock. The zero time
// stays zero.
func (c *Clock) Steady(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return c.start.Add(t.Sub(c.base))
}

// Tick looks at whether the wall clock was set since the last call.
func (c *Clock) Tick(now time.Time) {
	offset := now.Round(0).Sub(c.Steady(now))
	if d := offset - c.offset; d > maxDrift || d < -maxDrift {
		c.offset = offset
	}
}

// Offset is what is to be added to the steady clock to have the wall clock, up
// to a tenth of a second.
func (c *Clock) Offset() time.Duration { return c.offset }

// Wall is the wall clock's time at t of the steady clock, as far as it is known
// now. The zero time stays zero.
func (c *Clock) Wall(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(c.offset).Local()
}
