// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// uevent is a kernel object's event that concerns sched_ext.
type uevent struct {
	// action is "add" when a scheduler has been enabled, "remove" when it is gone.
	action string
	// ops is the scheduler's, as root/ops has it; empty where the event does not say.
	ops string
}

// maxUevent is the most that the kernel sends at once (UEVENT_BUFFER_SIZE), and
// the header before it.
const maxUevent = 4 << 10

// parseUevent reads "ACTION@DEVPATH", then "KEY=VALUE", each ended by NUL. ok is
// false for an event of anything but sched_ext's.
func parseUevent(msg []byte) (e uevent, ok bool) {
	head, rest, _ := strings.Cut(string(msg), "\x00")
	if !strings.Contains(head, "@") {
		return uevent{}, false // udev's own format, and anything else
	}
	for field := range strings.SplitSeq(rest, "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "ACTION":
			e.action = value
		case "SUBSYSTEM":
			ok = value == "sched_ext"
		case "SCXOPS":
			e.ops = value
		}
	}
	return e, ok && e.action != ""
}

// uevents is a socket on which the kernel tells of its objects. sysfs has no
// notification for sched_ext's state; the kernel sends an event when a scheduler
// has been enabled and one when it is gone (kernel/sched/ext.c), in every network
// namespace of the initial user namespace, to anyone who listens.
type uevents struct{ file *os.File }

// listenUevents opens the socket.
func listenUevents() (*uevents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen to the kernel's object events: %w", err)
	}
	const kernelGroup = 1 // 2 is udev's
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen to the kernel's object events: %w", err)
	}
	return &uevents{os.NewFile(uintptr(fd), "uevents")}, nil
}

// each calls heard for each event of sched_ext, and with an empty one where the
// socket ran over and events are missing, until ctx ends. It closes the socket.
func (u *uevents) each(ctx context.Context, heard func(uevent)) error {
	defer context.AfterFunc(ctx, func() { u.file.Close() })()
	defer u.file.Close()
	raw, err := u.file.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, maxUevent)
	for {
		var n int
		var from unix.Sockaddr
		var recvErr error
		err := raw.Read(func(fd uintptr) bool {
			n, from, recvErr = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(recvErr, unix.EAGAIN)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("wait for the kernel's object events: %w", err)
		case errors.Is(recvErr, unix.EINTR):
			continue
		case errors.Is(recvErr, unix.ENOBUFS):
			heard(uevent{})
			continue
		case recvErr != nil:
			return fmt.Errorf("receive the kernel's object events: %w", recvErr)
		}
		// Whoever may send here besides the kernel (0) is not to be believed.
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
			continue
		}
		if e, ok := parseUevent(buf[:n]); ok {
			heard(e)
		}
	}
}
