// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors that callers branch on. They are wrapped; test with [errors.Is].
var (
	// ErrNotSupported: the running kernel has no sched_ext.
	ErrNotSupported = errors.New("the kernel has no sched_ext")
	// ErrBusy: a swap is under way. One swap runs at a time.
	ErrBusy = errors.New("another swap is under way")
	// ErrClosed: the Switcher was closed.
	ErrClosed = errors.New("the switcher is closed")
	// ErrForeign: a scheduler that autosa did not start is in charge. It is never
	// touched. The error found by [errors.As] is a [*ForeignError].
	ErrForeign = errors.New("another manager's scheduler is in charge")
	// ErrUnknown: the catalogue knows no scheduler of that name and none is
	// installed. The error found by [errors.As] is an [*UnknownError].
	ErrUnknown = errors.New("unknown scheduler")
	// ErrUnusable: the scheduler cannot be started here; the text says why.
	ErrUnusable = errors.New("scheduler cannot be used")
	// ErrBadArgs: the arguments are out of bounds. What a scheduler itself makes
	// of its arguments is not checked here.
	ErrBadArgs = errors.New("bad scheduler arguments")
	// ErrBadMode: the scheduler has no such mode, or the binary at hand does not take
	// its arguments.
	ErrBadMode = errors.New("mode cannot be used")
	// ErrTimeout: the kernel did not confirm within the time allowed.
	ErrTimeout = errors.New("the kernel did not confirm it in time")
	// ErrExited: the scheduler ended before it was in charge.
	ErrExited = errors.New("the scheduler ended")
	// ErrNotInCharge: only what is in charge can be adjusted.
	ErrNotInCharge = errors.New("the built-in scheduler is not in charge")
	// ErrNotPermitted: autosa lacks a capability that it takes.
	ErrNotPermitted = errors.New("not permitted")
)

// ForeignError names the scheduler that somebody else put in charge. It is an
// [ErrForeign].
type ForeignError struct {
	Ops   string
	State State
	// HandsOff is why it is not replaced where such schedulers may be; empty where
	// they may not.
	HandsOff string
}

func (e *ForeignError) Error() string {
	if e.Ops == "" {
		return fmt.Sprintf("another manager's scheduler is %s", e.State)
	}
	s := fmt.Sprintf("another manager's scheduler is in charge: %s", e.Ops)
	if e.HandsOff != "" {
		s += "; it is left alone: " + e.HandsOff
	}
	return s
}

// Is reports whether target is [ErrForeign].
func (e *ForeignError) Is(target error) bool { return target == ErrForeign }

// UnknownError is an [ErrUnknown] with the names that come close.
type UnknownError struct {
	Name  string
	Close []string
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("unknown scheduler %q", e.Name)
	if len(e.Close) > 0 {
		s += "; did you mean " + strings.Join(e.Close, " or ") + "?"
	}
	return s
}

// Is reports whether target is [ErrUnknown].
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// UnusableError is an [ErrUnusable]: why a scheduler cannot be started, and what
// would change that.
type UnusableError struct {
	Scheduler string
	Why       string
	Remedy    string

	kernelConfig bool // for want of the kernel's configuration
}

func (e *UnusableError) Error() string {
	s := e.Scheduler + " cannot be used: " + e.Why
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

// Is reports whether target is [ErrUnusable].
func (e *UnusableError) Is(target error) bool { return target == ErrUnusable }

// SwitchError is a swap that did not come about. It unwraps to the cause, which
// matches the package's sentinels.
type SwitchError struct {
	// Target is what should have been in charge.
	Target Target
	// Phase is where the swap failed.
	Phase Phase
	// Err is the cause.
	Err error
	// Ending is what the cause comes to.
	Ending Ending
	// Version and Path are the new scheduler's; empty where it was not found.
	Version, Path string
	// Exit is how the new scheduler's process ended; nil if it never started.
	Exit *Exit
	// Output is the end of what the new scheduler printed, colours removed.
	Output string
	// KernelReason is what the kernel said: its log lines during the swap, or the
	// scheduler's own account of the kernel's exit information. Empty if it said
	// nothing, or if the log may not be read.
	KernelReason string
	// Kernel are sched_ext's lines of the kernel's log during the swap.
	Kernel []string
	// InCharge is what the kernel said was in charge after all was done.
	InCharge InCharge
	// Gap is how long no scheduler was loaded before the previous one was back; 0
	// where it was not out of charge, or did not come back.
	Gap time.Duration
	// Returned is true when the scheduler that was in charge before is so again
	// (or still).
	Returned bool
	// ReturnErr is why the return to the previous scheduler failed; nil when it
	// succeeded or there was none to return to.
	ReturnErr error
}

func (e *SwitchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "switch to %s: %s: %v", e.Target.Name, e.Phase, e.Err)
	if e.KernelReason != "" && !strings.Contains(b.String(), e.KernelReason) {
		fmt.Fprintf(&b, "; the kernel says: %s", oneLine(e.KernelReason))
	}
	if e.ReturnErr != nil {
		fmt.Fprintf(&b, "; and the return failed: %v", e.ReturnErr)
	}
	if e.InCharge.Name != "" {
		fmt.Fprintf(&b, "; in charge: %s", e.InCharge.Name)
	}
	return b.String()
}

func (e *SwitchError) Unwrap() error { return e.Err }
