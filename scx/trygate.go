// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeWord behind [SuperviseWord] makes the executable a loader at its last step
// and nothing else, for [tryGate].
const probeWord = "probe"

// tryTimeout bounds the trial: two starts of this executable.
const tryTimeout = 30 * time.Second

// tryGate holds a process at the system call that would register a scheduler, as
// the gate holds real ones, and ends it there. Nothing is registered: the call
// names descriptors that are none. state is the kernel's state file. The error says
// what stands in the way.
func tryGate(ctx context.Context, state string) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	p, err := spawn(ctx, slog.New(slog.DiscardHandler), state, "/proc/self/exe", []string{SuperviseWord, probeWord}, time.Second)
	if err != nil {
		return err
	}
	defer func() {
		p.abandon()
		<-p.done
	}()
	if err := p.start(ctx); err != nil {
		return err
	}
	return p.park(ctx, tryTimeout)
}

// probe makes the call that a loader makes last. The supervisor denies it when it
// is told to end; a kernel that gets it after all finds no such descriptor.
func probe() int {
	signal.Ignore(unix.SIGTERM)
	attr := [4]uint32{math.MaxUint32, 0, unix.BPF_STRUCT_OPS, 0}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	fmt.Println("link:", errno)
	return 1
}

// checkGate tries the gate, where there is something to hold.
func (l *look) checkGate() Check {
	if !(Kernel{Root: l.Host.Sys}).Supported() {
		return Check{Level: LevelOK, Detail: "not tried: the kernel has no sched_ext"}
	}
	if l.Host.checkPermission() != nil {
		return Check{Level: LevelOK, Detail: "not tried: no scheduler may be loaded"}
	}
	try := l.Gate
	if try == nil {
		try = func(ctx context.Context) error { return tryGate(ctx, Kernel{Root: l.Host.Sys}.path("state")) }
	}
	if err := try(l.ctx); err != nil {
		return Check{
			Level:  LevelWarn,
			Detail: "schedulers cannot be loaded beside the one in charge, so tasks run on EEVDF for seconds at each swap: " + err.Error(),
			Remedy: "allow autosa mount namespaces, mounts and seccomp filters (RestrictNamespaces=, SystemCallFilter= of its unit; a container's profile)",
		}
	}
	return Check{Level: LevelOK, Detail: "a scheduler can be held, loaded, until the one before it is gone"}
}

// statsSocket is where the schedulers of the scx crates answer questions about
// themselves.
const statsSocket = "/var/run/scx/root/stats"

// checkStats looks at the place of the statistics socket. One that an earlier
// scheduler has left there does no harm: the next one removes it before it makes
// its own. What it cannot remove keeps it from starting.
func checkStats(path string) Check {
	if path == "" {
		path = statsSocket
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Check{Level: LevelOK, Detail: "none at " + path}
	case err != nil:
		return Check{Level: LevelOK, Detail: err.Error()}
	case info.IsDir():
		return Check{Level: LevelWarn, Detail: path + " is a directory, and most schedulers want to make a socket there", Remedy: "rmdir " + path}
	}
	return Check{Level: LevelOK, Detail: path + "; one that is left over is replaced by the next scheduler"}
}
