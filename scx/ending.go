// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Ending says why a scheduler ended, or why it never came to be in charge. See
// [Evidence.Ending] for what decides.
type Ending string

// Endings. Those from EndingStopped to EndingReattached are nobody's failure.
const (
	// EndingStopped: autosa stopped it, or gave the swap up because it was told to.
	EndingStopped Ending = "stopped"
	// EndingByUser: somebody else asked it to end, and it did in good order.
	EndingByUser Ending = "stopped by somebody else"
	// EndingSysRq: taken out by SysRq-S, the operator's veto.
	EndingSysRq Ending = "sysrq"
	// EndingHotplug: it ended because CPUs came or went, to be started anew.
	EndingHotplug Ending = "hotplug"
	// EndingReattached: it registered itself anew in the same process. No end at
	// all; of an [EventReattached] only.
	EndingReattached Ending = "reattached"
	// EndingForeign: another manager's scheduler was in the way.
	EndingForeign Ending = "foreign scheduler"

	// EndingStall: the kernel's watchdog found tasks that it did not run.
	EndingStall Ending = "stall"
	// EndingBPFError: it gave itself up (scx_bpf_error), or did what the kernel
	// does not allow (runtime error).
	EndingBPFError Ending = "bpf error"
	// EndingLockup: a CPU was stuck, and the kernel blamed the scheduler in charge.
	EndingLockup Ending = "lockup"
	// EndingVerifier: the kernel's verifier rejected its programs.
	EndingVerifier Ending = "verifier"
	// EndingLoad: its programs could not be loaded or registered otherwise.
	EndingLoad Ending = "load failure"
	// EndingKernelConfig: it needs the kernel's configuration, which is not there to read.
	EndingKernelConfig Ending = "no kernel config"
	// EndingUsage: it does not understand its arguments.
	EndingUsage Ending = "usage"
	// EndingMemory: it was killed for want of memory, or got none.
	EndingMemory Ending = "out of memory"
	// EndingKilled: somebody else killed it with SIGKILL.
	EndingKilled Ending = "killed"
	// EndingCrashed: it panicked or died of another signal.
	EndingCrashed Ending = "crashed"
	// EndingExited: it ended by itself, for reasons of its own.
	EndingExited Ending = "exited"
	// EndingTimeout: it did not come up in time, or did not go.
	EndingTimeout Ending = "timeout"
	// EndingUnusable: it was refused before it was started: not installed, not
	// trusted, not permitted, or not on this machine.
	EndingUnusable Ending = "unusable"
	// EndingUnknown: nothing of the above is shown. What was said is in the reason.
	EndingUnknown Ending = "unknown"
)

// Failed reports whether the ending speaks against the scheduler: whether to try
// it again at once would be a mistake.
func (e Ending) Failed() bool {
	switch e {
	case EndingStopped, EndingSysRq, EndingHotplug, EndingReattached, EndingForeign:
		return false
	}
	return true
}

// Evidence is what is known of an end.
type Evidence struct {
	// Err is why the swap failed; nil for a scheduler that was in charge.
	Err error
	// Exit is how its process ended; nil if it was never started.
	Exit *Exit
	// CameUp is true when the kernel had confirmed it.
	CameUp bool
	// Ops is its own name within root/ops, or the whole of that; empty where not known.
	Ops string
	// Kernel are sched_ext's lines of the kernel's log since it was started,
	// without their prefix. Those about other schedulers are passed over.
	Kernel []string
	// Output is what it printed.
	Output string
	// OOMKilled is true when the kernel's log, or the cgroup's count, says that it
	// was killed for want of memory.
	OOMKilled bool
	// NoKernelConfig is true when the kernel's configuration is not there to read.
	NoKernelConfig bool
}

// Ending decides by the strongest evidence there is, in this order:
//
//  1. What the swap met before anything was started: another manager's
//     scheduler, a refusal.
//  2. The kernel's word: the reason in its log, else that in the scheduler's
//     account of the kernel's exit information ("EXIT: …"). All but "unregistered
//     from user space", which any death of the process leads to.
//  3. What autosa did itself, or met itself with the built-in scheduler.
//  4. The wait status: signals, then the exit status of a panic, and of a usage
//     error before it came up.
//  5. What it printed: a rejection by the verifier, a missing kernel
//     configuration, another failure to load.
//  6. That it left in good order, that it took too long, that it ended.
//
// A reason of the kernel's that is not known here is [EndingUnknown]: no guess is
// made. It is a pure function.
func (e Evidence) Ending() Ending {
	var unusable *UnusableError
	switch {
	case errors.Is(e.Err, ErrForeign):
		return EndingForeign
	case errors.As(e.Err, &unusable) && unusable.kernelConfig:
		return EndingKernelConfig
	case unusable != nil, errors.Is(e.Err, ErrNotPermitted), errors.Is(e.Err, ErrNotSupported):
		return EndingUnusable
	}
	if end, said := e.kernel(); said {
		return end
	}
	var own *builtinError
	exit := Exit{}
	if e.Exit != nil {
		exit = *e.Exit
	}
	switch {
	case errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, ErrClosed):
		return EndingStopped
	case errors.As(e.Err, &own):
		return own.ending()
	case errors.Is(e.Err, ErrTimeout):
		return EndingTimeout // its end was autosa's doing, and is no evidence
	case exit.Requested && e.Err == nil:
		return EndingStopped
	case e.Exit == nil:
		return e.printed()
	case exit.Requested:
		return e.printed()
	}
	switch exit.Signal {
	case 0:
	case unix.SIGKILL:
		if e.OOMKilled {
			return EndingMemory
		}
		return EndingKilled
	case unix.SIGTERM, unix.SIGINT, unix.SIGHUP:
		return EndingByUser
	default:
		if noMemory.MatchString(e.Output) {
			return EndingMemory
		}
		return EndingCrashed
	}
	const usage, panicked = 2, 101 // clap's, and Rust's
	switch {
	case exit.Code < 0:
		// It is killed when its supervisor dies, which does so of SIGKILL only.
		if e.OOMKilled {
			return EndingMemory
		}
		return EndingKilled
	case exit.Code == panicked:
		return EndingCrashed
	case exit.Code == usage && !e.CameUp:
		return EndingUsage
	}
	if end := e.printed(); end != EndingUnknown {
		return end
	}
	if exit.Code == 0 && (isCleanEnd(exit.Reason) || isCleanEnd(e.kernelReason())) {
		return EndingByUser
	}
	return EndingExited
}

// kernel is what the kernel's own word comes to; said is false when there is
// none, or it says only that user space let go.
func (e Evidence) kernel() (end Ending, said bool) {
	reason := cmp.Or(e.kernelReason(), e.loaderReason())
	if reason == "" || isCleanEnd(reason) {
		return EndingUnknown, false
	}
	return exitKind(reason, strings.Join(e.Kernel, "\n")+"\n"+e.loaderReason()), true
}

// disabled is how the kernel's log names a scheduler and why it went.
var disabled = regexp.MustCompile(`^BPF scheduler "([^"]*)" disabled \((.*)\)$`)

// kernelReason is the last reason in the kernel's log for this scheduler.
func (e Evidence) kernelReason() string {
	for _, line := range slices.Backward(e.Kernel) {
		m := disabled.FindStringSubmatch(line)
		if m != nil && (e.Ops == "" || opsBase(m[1]) == opsBase(e.Ops)) {
			return m[2]
		}
	}
	return ""
}

func (e Evidence) loaderReason() string {
	if e.Exit != nil && e.Exit.Reason != "" {
		return e.Exit.Reason
	}
	return exitReason(e.Output)
}

// exitKind reads one of the kernel's exit reasons; details is all that was said
// with it. The words are those of scx_exit_reason() in kernel/sched/ext.c.
func exitKind(reason, details string) Ending {
	is := func(kind string) bool { return strings.HasPrefix(reason, kind) }
	switch {
	case is("disabled by sysrq-S"):
		return EndingSysRq
	case is("unregistered from BPF"):
		return EndingExited
	case is("unregistered from the main kernel"):
		// The kernel does so for hotplug, and says which CPU.
		if hotplug.MatchString(details) {
			return EndingHotplug
		}
	case is("runnable task stall"):
		return EndingStall
	case is("scx_bpf_error"):
		return EndingBPFError
	case is("runtime error"):
		switch {
		case lockup.MatchString(details):
			return EndingLockup
		case strings.Contains(details, "watchdog failed to check in"):
			return EndingStall
		}
		return EndingBPFError
	}
	return EndingUnknown
}

var (
	hotplug = regexp.MustCompile(`cpu \d+ going (online|offline)|hotplug seq`)
	lockup  = regexp.MustCompile(`(?i)\b(soft|hard) ?lockup\b|RCU CPU stall`)
	// noMemory are Rust's words as its allocator aborts.
	noMemory = regexp.MustCompile(`memory allocation of \d+ bytes failed`)
	// rejected is how libbpf frames the verifier's log, and the log's last line.
	rejected   = regexp.MustCompile(`-- BEGIN PROG LOAD LOG --|(?m)processed \d+ insns \(limit`)
	noConfig   = regexp.MustCompile(`(?i)failed to open system Kconfig`)
	notLoaded  = regexp.MustCompile(`(?i)failed to (load|attach|open|register|init)`)
	outOfSpace = regexp.MustCompile(`os error 12\b|Cannot allocate memory`)
)

// printed is what the scheduler's own words come to.
func (e Evidence) printed() Ending {
	switch {
	case noMemory.MatchString(e.Output), outOfSpace.MatchString(e.Output):
		return EndingMemory
	case e.CameUp:
		return EndingUnknown // it had loaded
	case noConfig.MatchString(e.Output), e.NoKernelConfig && notLoaded.MatchString(e.Output):
		return EndingKernelConfig
	case rejected.MatchString(e.Output):
		return EndingVerifier
	case notLoaded.MatchString(e.Output):
		return EndingLoad
	}
	return EndingUnknown
}

// Reason is why it ended in one line of the words that were said: the scheduler's
// account of the kernel's exit information, the kernel's log, the failure's own
// or how the process ended, whichever comes first.
func (e Evidence) Reason() string {
	if r := e.loaderReason(); r != "" && !isCleanEnd(r) {
		return oneLine(r)
	}
	if said := kernelReason(e.Kernel); said != "" {
		return said
	}
	if e.Err != nil {
		return oneLine(e.Err.Error())
	}
	if e.Exit != nil {
		return e.Exit.String()
	}
	return "nothing was said"
}
