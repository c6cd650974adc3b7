// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// State is /sys/kernel/sched_ext/state.
type State string

// States of the kernel's sched_ext, in the kernel's words.
const (
	StateDisabled  State = "disabled"
	StateEnabling  State = "enabling"
	StateEnabled   State = "enabled"
	StateDisabling State = "disabling"
)

// KernelState is one coherent reading of the kernel's sched_ext.
type KernelState struct {
	// Supported is false when the kernel has no sched_ext; all else is then zero.
	Supported bool
	State     State
	// Ops is root/ops, the name of the loaded scheduler; empty when disabled. It
	// may be empty in the transitional states.
	Ops string
	// EnableSeq counts successful enables since boot. The kernel raises it last,
	// after state has become enabled.
	EnableSeq uint64
	// HotplugSeq counts CPU hotplug events.
	HotplugSeq uint64
	// NrRejected counts tasks that the scheduler refused.
	NrRejected uint64
	// SwitchAll is false when only SCHED_EXT tasks are scheduled by it.
	SwitchAll bool
}

// Scheduler is the catalogue's name for the loaded scheduler, see
// [SchedulerName]; [EEVDF] when none is loaded.
func (s KernelState) Scheduler() string {
	if s.State == StateDisabled || !s.Supported {
		return EEVDF
	}
	return SchedulerName(s.Ops)
}

// Kernel reads /sys/kernel/sched_ext. The zero value reads the running kernel.
// It holds no state and is safe for concurrent use.
type Kernel struct {
	// Root stands for /sys; for tests.
	Root string
}

func (k Kernel) path(name string) string {
	root := k.Root
	if root == "" {
		root = "/sys"
	}
	return filepath.Join(root, "kernel/sched_ext", name)
}

// Supported reports whether the kernel has sched_ext (6.12, CONFIG_SCHED_CLASS_EXT).
func (k Kernel) Supported() bool {
	_, err := os.Stat(k.path("state"))
	return err == nil
}

// readTries bounds the attempts at a coherent reading. The kernel changes state
// in milliseconds and a reading takes microseconds: one retry is rare.
const readTries = 32

// Read returns a coherent state: state and enable_seq read the same before and
// after ops, and an enabled scheduler has a name. A kernel without sched_ext is
// no error. It costs half a dozen small file reads, cheap enough for every tick.
func (k Kernel) Read() (KernelState, error) {
	var last error
	for range readTries {
		s, ok, err := k.tryRead()
		if err == nil && ok {
			return s, nil
		}
		last = err
	}
	if last == nil {
		last = errors.New("it kept changing while it was read")
	}
	return KernelState{}, fmt.Errorf("read the sched_ext state: %w", last)
}

// tryRead makes one attempt; ok is false when the state changed meanwhile.
func (k Kernel) tryRead() (s KernelState, ok bool, err error) {
	s.State, err = k.State()
	if errors.Is(err, fs.ErrNotExist) {
		return KernelState{}, true, nil
	}
	if err != nil {
		return s, false, err
	}
	s.Supported = true
	if s.EnableSeq, err = k.number("enable_seq"); err != nil {
		return s, false, err
	}
	if s.Ops, err = k.ops(); err != nil {
		return s, false, err
	}
	// These three are told for information; an older kernel may lack one.
	for name, to := range map[string]*uint64{"hotplug_seq": &s.HotplugSeq, "nr_rejected": &s.NrRejected} {
		if *to, err = k.number(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, false, err
		}
	}
	all, err := k.number("switch_all")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, false, err
	}
	s.SwitchAll = all != 0

	after, err := k.State()
	if err != nil {
		return s, false, err
	}
	seq, err := k.number("enable_seq")
	if err != nil {
		return s, false, err
	}
	switch {
	case after != s.State || seq != s.EnableSeq:
		return s, false, nil
	case s.State == StateEnabled && s.Ops == "":
		return s, false, nil
	case s.State == StateDisabled:
		// The name may outlive the scheduler by a moment.
		s.Ops = ""
	}
	return s, true, nil
}

// State reads the state alone: one file, for tight polling.
func (k Kernel) State() (State, error) {
	b, err := os.ReadFile(k.path("state"))
	if err != nil {
		return "", err
	}
	s := State(strings.TrimSpace(string(b)))
	switch s {
	case StateDisabled, StateEnabling, StateEnabled, StateDisabling:
		return s, nil
	}
	return "", fmt.Errorf("%s: unknown state %q", k.path("state"), s)
}

// ops reads root/ops; a missing one is empty. ENODEV is what sysfs answers when
// the object goes while the file is open.
func (k Kernel) ops() (string, error) {
	b, err := os.ReadFile(k.path("root/ops"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

func (k Kernel) number(name string) (uint64, error) {
	b, err := os.ReadFile(k.path(name))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", k.path(name), err)
	}
	return n, nil
}

// Events reads the loaded scheduler's event counters (root/events, since 6.15).
// The map is nil when there are none to read.
func (k Kernel) Events() (map[string]uint64, error) {
	b, err := os.ReadFile(k.path("root/events"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the sched_ext events: %w", err)
	}
	return parseEvents(string(b)), nil
}

// parseEvents reads "NAME value" lines. Kernels add names: every line of that
// shape counts, whatever its name, and any other is passed over.
func parseEvents(text string) map[string]uint64 {
	events := make(map[string]uint64)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			events[f[0]] = n
		}
	}
	return events
}

// Release is the kernel's release, e.g. "6.18.5-amd64". It is for people to
// read: behaviour follows what the kernel offers, not its number.
func Release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
