// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"
)

// ExitKind is why a scheduler is not in charge any more: the kernel's enum
// scx_exit_kind. Kinds from ExitError on, also those not named here, are errors.
type ExitKind uint64

// Kinds of exits.
const (
	ExitUnregistered ExitKind = 64 // from user space: Close, or the end of the process
	ExitByBPF        ExitKind = 65
	ExitByKernel     ExitKind = 66 // CPU hotplug, for one
	ExitSysRq        ExitKind = 67 // SysRq-S: the operator wants the kernel's own
	ExitError        ExitKind = 1024
	ExitErrorBPF     ExitKind = 1025
	ExitErrorStall   ExitKind = 1026 // the watchdog found a task that was not run
)

// Exit is the kernel's account of a scheduler's end.
type Exit struct {
	Kind ExitKind
	// Code is the kernel's or, for ExitByBPF, the program's.
	Code int64
	// Reason is the kernel's text of Kind.
	Reason string
	// Message says more, and Dump what tasks and CPUs were at when it was an error.
	// Either may be empty.
	Message, Dump string
}

// Failed reports whether it was an error.
func (e Exit) Failed() bool { return e.Kind >= ExitError }

func (e Exit) String() string {
	if e.Message == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s (%s)", e.Reason, e.Message)
}

// Done is closed when the scheduler is not in charge any more, or is closed
// without ever having been.
func (s *Scheduler) Done() <-chan struct{} { return s.done }

// Exit is the kernel's account of the end. ok is false while it is in charge and
// if it never was.
func (s *Scheduler) Exit() (e Exit, ok bool) {
	select {
	case <-s.done:
		return s.exit, s.out
	default:
		return Exit{}, false
	}
}

// awaitExit waits for the one record that the program writes at its end, or for
// Close.
func (s *Scheduler) awaitExit() {
	defer close(s.done)
	r, err := s.ring.Read()
	if err != nil {
		return // closed
	}
	s.exit, s.out = decodeExit(r.RawSample)
}

// decodeExit reads a struct exit_record.
func decodeExit(b []byte) (Exit, bool) {
	var r schedExitRecord
	if len(b) < int(unsafe.Sizeof(r)) {
		return Exit{}, false
	}
	text := func(offset, size uintptr) string {
		s, _, _ := bytes.Cut(b[offset:offset+size], []byte{0})
		return string(s)
	}
	return Exit{
		Kind:    ExitKind(binary.NativeEndian.Uint64(b[unsafe.Offsetof(r.Kind):])),
		Code:    int64(binary.NativeEndian.Uint64(b[unsafe.Offsetof(r.Code):])),
		Reason:  text(unsafe.Offsetof(r.Reason), unsafe.Sizeof(r.Reason)),
		Message: text(unsafe.Offsetof(r.Message), unsafe.Sizeof(r.Message)),
		Dump:    text(unsafe.Offsetof(r.Dump), unsafe.Sizeof(r.Dump)),
	}, true
}
