// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is who a connection belongs to, as the kernel noted it at connect(2).
type peer struct {
	pid      int
	uid, gid uint32
	groups   []uint32
}

type peerKey struct{}

func peerFrom(ctx context.Context) peer {
	p, ok := ctx.Value(peerKey{}).(peer)
	if !ok {
		return peer{uid: ^uint32(0), gid: ^uint32(0)}
	}
	return p
}

// peerOf asks the kernel for the credentials at a connection's other end.
func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	var p peer
	var inner error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner != nil {
			return
		}
		p.pid, p.uid, p.gid = int(cred.Pid), cred.Uid, cred.Gid
		p.groups, inner = peerGroups(fd)
	})
	if err = errors.Join(err, inner); err != nil {
		return peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	return p, nil
}

// peerGroups reads SO_PEERGROUPS (since Linux 4.13), the peer's supplementary
// groups. A process may be in 65536 of them.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno != unix.ERANGE || int(size/4) <= len(groups):
			return nil, fmt.Errorf("SO_PEERGROUPS: %w", errno)
		}
		groups = make([]uint32, size/4) // the kernel said how many there are
	}
}

// auth decides who may give orders and read what concerns single tasks.
type auth struct {
	uid      uint32 // the daemon's own
	group    uint32
	hasGroup bool
}

// privileged is true for root, the daemon's own user and the operator group.
func (a auth) privileged(p peer) bool {
	switch {
	case p.uid == 0 || p.uid == a.uid:
		return true
	case !a.hasGroup:
		return false
	}
	return p.gid == a.group || slices.Contains(p.groups, a.group)
}
