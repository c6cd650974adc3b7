// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"time"
)

// child is a scheduler that a Switcher runs: a supervised [process], or the
// [builtin] one, which has none. All methods are safe for concurrent use.
type child interface {
	// start executes the program, or loads it. Called once.
	start(ctx context.Context) error
	// park waits, after start, until it is held before its registration.
	park(ctx context.Context, limit time.Duration) error
	// open lets one that is held register.
	open()

	// terminate asks it to end, kill and destroy see to it; abandon ends one that
	// was not started.
	terminate()
	kill()
	destroy()
	abandon()

	// begun reports whether it was started, alive whether anything of it is left;
	// over is closed when nothing is.
	begun() bool
	alive() bool
	over() <-chan struct{}
	// ending is how it ended, and refusal why it could not be loaded or registered
	// as far as that is known without its words, nil else; valid after over.
	ending() Exit
	refusal() error

	// PID is its process; 0 before it was started, and of one that has none.
	PID() int
	// pids are all of its processes that are known.
	pids() []int
	// holdsLink reports whether it holds its struct_ops link; known is false where
	// that cannot be told. proc stands for /proc.
	holdsLink(proc string) (holds, known bool)
	// prints is what it printed.
	prints() *output
}

func (p *process) begun() bool           { return p.PID() != 0 }
func (p *process) over() <-chan struct{} { return p.done }
func (p *process) refusal() error        { return nil }
func (p *process) pids() []int           { return []int{p.PID(), p.group} }
func (p *process) prints() *output       { return p.out }

func (p *process) holdsLink(proc string) (holds, known bool) {
	return holdsLink(proc, p.PID(), p.group)
}
