// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"slices"
	"time"
)

// Target names a scheduler and its arguments.
type Target struct {
	// Name is a catalogue name with or without "scx_", or [EEVDF].
	Name string
	// Args are handed over as they are, never through a shell.
	Args []string
}

// Equal reports whether both are the same scheduler with the same arguments.
func (t Target) Equal(o Target) bool {
	return canonicalName(t.Name) == canonicalName(o.Name) && slices.Equal(t.Args, o.Args)
}

// Phase is a step of a swap.
type Phase string

// Phases, in order. A swap that fails after PhaseStopping goes through
// PhaseReturning if there was a scheduler before.
const (
	PhasePreflight Phase = "preflight" // nothing is touched yet
	PhaseLoading   Phase = "loading"   // the new one loads behind the gate, the old one is in charge
	PhaseStopping  Phase = "stopping"  // the old one ends, the kernel's state becomes disabled
	PhaseOpening   Phase = "opening"   // the new one registers; behind a gate no phase but this follows
	PhaseStarting  Phase = "starting"  // the new one's program is executed
	PhaseVerifying Phase = "verifying" // it loads; the kernel has not confirmed it yet
	PhaseReturning Phase = "returning" // the new one failed, the old one is started again
	PhaseEnabled   Phase = "enabled"   // the kernel confirmed the target
)

// Progress is a step of the swap under way.
type Progress struct {
	Target Target
	Phase  Phase
	// State is the kernel's at that moment.
	State State
	// Since is when the swap began.
	Since time.Time
	Time  time.Time
}

// Result is a finished swap.
type Result struct {
	From Target
	To   Target
	// Unchanged is true when the target was in charge already; nothing was done.
	Unchanged bool
	// InPlace is true when only the policy of the built-in scheduler was changed:
	// nothing was unregistered, and the kernel counts no enable.
	InPlace bool
	// InCharge is what the kernel said afterwards.
	InCharge InCharge
	// Gap is how long no scheduler was loaded between the old and the new one, as
	// seen from user space: from the first reading of state as disabled to the
	// first as enabled, a few milliseconds exact. It is 0 where one of the two is
	// EEVDF and where the new one did not come up.
	Gap time.Duration
	// Ungated is why the new one was not loaded before the old one was stopped;
	// empty where it was, and where there was no old one.
	Ungated string
	// Total is from the order to the confirmation.
	Total time.Duration
}

// Owner says whose the scheduler in charge is.
type Owner string

// Owners.
const (
	OwnerKernel  Owner = "kernel"  // EEVDF
	OwnerAutosa  Owner = "autosa"  // started by this Switcher
	OwnerForeign Owner = "foreign" // started by somebody else, and left alone
	OwnerAdopted Owner = "adopted" // started by somebody else, and may be replaced
)

// InCharge is the scheduler that the kernel says is in charge, and whose it is.
type InCharge struct {
	// Name is the catalogue's name, the kernel's own where the catalogue has none,
	// or [EEVDF].
	Name string
	// Ops is root/ops; empty for EEVDF.
	Ops string
	// Args and PID are known of autosa's own, and of others once it has been found
	// out who runs them.
	Args  []string
	PID   int
	Owner Owner
	// Process is who runs a scheduler that somebody else started; nil where that is
	// not known, and for autosa's own.
	Process *Process
	// HandsOff is why a scheduler that somebody else started is left alone.
	HandsOff string
	// Since is when the kernel confirmed it, for one of autosa's own; for others
	// when the Switcher first saw it.
	Since  time.Time
	Kernel KernelState
	// Unsettled is true when autosa's scheduler is out of charge without an order
	// and the [Event] that says what became of it is still to come: it may
	// register itself anew. Events of what is settled are in the channel already.
	Unsettled bool
}

// EventKind says what happened to a scheduler of autosa's that nobody ordered.
type EventKind string

// Kinds of events.
const (
	// EventDied: its process ended by a signal or of its own accord. The kernel
	// has gone back to EEVDF.
	EventDied EventKind = "died"
	// EventEjected: the kernel took it out, and its process ended.
	EventEjected EventKind = "ejected"
	// EventReattached: it registered itself anew in the same process, as some do
	// after CPU hotplug. It is in charge; no crash.
	EventReattached EventKind = "reattached"
)

// Event is something that happened to the scheduler in charge outside a swap.
type Event struct {
	Time   time.Time
	Kind   EventKind
	Target Target
	Ops    string
	PID    int
	// Version and Path are the scheduler's.
	Version, Path string
	// Ending is why.
	Ending Ending
	// Exit is how its process ended; nil for EventReattached.
	Exit *Exit
	// Reason is the kernel's, or else the scheduler's, account of it in one line.
	Reason string
	// Output is the end of what it printed, colours removed.
	Output string
	// Kernel are sched_ext's lines of the kernel's log about it.
	Kernel []string
	// Counters are the kernel's event counters for it when they were last read,
	// some seconds before at most; nil where there are none.
	Counters map[string]uint64
	// InCharge is what the kernel said right after.
	InCharge InCharge
}
