// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// gate holds a scheduler's loader, unmodified, at the system call that registers
// it: loading and verifying takes seconds, registering milliseconds. It belongs
// to the supervisor's locked thread, whose children inherit it:
//
//   - A seccomp filter answers bpf(BPF_LINK_CREATE) with a notification
//     (seccomp_unotify(2)). The call is held when it makes a struct_ops link, and
//     allowed at once otherwise: some loaders attach tracing programs too.
//   - In a mount namespace of its own the kernel's state file reads "disabled":
//     loaders look at it right before they register, and give up where another
//     scheduler is in charge. The file is put right as soon as the call is held.
//
// It fails closed: once the supervisor is gone, a held call returns ENOSYS.
type gate struct {
	state    string // the kernel's state file
	listener int
	calls    chan call
}

// call is a loader's attempt to make a link. err says why it could not be
// looked at.
type call struct {
	id        uint64
	registers bool
	err       error
}

// seccompNotif and seccompNotifResp are struct seccomp_notif and struct
// seccomp_notif_resp of linux/seccomp.h.
type seccompNotif struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type seccompNotifResp struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// auditArch are the values of seccomp_data.arch, by GOARCH.
var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// newGate makes one around what the calling thread will start; the thread must be
// locked and never unlocked. It needs CAP_SYS_ADMIN. Whatever was begun when it
// fails ends with the thread.
func newGate(state string) (*gate, error) {
	if err := hideState(state); err != nil {
		return nil, fmt.Errorf("hide %s: %w", state, err)
	}
	g := &gate{state: state, calls: make(chan call)}
	var err error
	if g.listener, err = filterLinks(); err != nil {
		return nil, fmt.Errorf("filter system calls: %w", err)
	}
	go g.listen()
	return g, nil
}

// hideState has the calling thread, and what it will start, read "disabled" from
// a file of sysfs: a bind mount from a tmpfs that only covers the directory while
// it is made.
func hideState(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	// What is mounted elsewhere later still appears; nothing of this does there.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts slaves: %w", err)
	}
	below, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(below)
	dir := filepath.Dir(path)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	err = os.WriteFile(path, []byte(StateDisabled+"\n"), 0o444)
	if err == nil {
		err = unix.Mount(path, fmt.Sprintf("/proc/self/fd/%d", below), "", unix.MS_BIND, "")
	}
	if e := unix.Unmount(dir, unix.MNT_DETACH); e != nil {
		err = errors.Join(err, fmt.Errorf("unmount tmpfs: %w", e))
	}
	return err
}

// show undoes hideState. It is called on the gate's thread.
func (g *gate) show() error { return unix.Unmount(g.state, unix.MNT_DETACH) }

// filterLinks installs the filter on the calling thread and returns its
// listener.
func filterLinks() (int, error) {
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return -1, fmt.Errorf("not known for %s", runtime.GOARCH)
	}
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
		// Offsets in struct seccomp_data; of the argument the lower half.
		atNr, atArch, atArg0 = 0, 4, 16
	)
	prog := []unix.SockFilter{
		{Code: load, K: atArch},
		{Code: equal, K: arch, Jf: 5},
		{Code: load, K: atNr},
		{Code: equal, K: unix.SYS_BPF, Jf: 3},
		{Code: load, K: atArg0},
		{Code: equal, K: unix.BPF_LINK_CREATE, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return -1, errno
	}
	unix.CloseOnExec(int(fd))
	return int(fd), nil
}

// listen delivers the calls, for the life of the process.
func (g *gate) listen() {
	for {
		// Receiving cannot be interrupted, and blocks when the caller is gone already.
		fds := []unix.PollFd{{Fd: int32(g.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			g.calls <- call{err: fmt.Errorf("wait for system calls: %w", err)}
			return
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n seccompNotif
		switch err := g.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR):
			continue // its caller was interrupted or killed
		case err != nil:
			g.calls <- call{err: fmt.Errorf("receive a system call: %w", err)}
			return
		}
		c := call{id: n.id}
		c.registers, c.err = registers(&n)
		if c.err != nil && !g.stands(n.id) {
			continue
		}
		g.calls <- c
	}
}

// registers tells whether a bpf(BPF_LINK_CREATE) makes a struct_ops link: the
// third word of union bpf_attr's link_create is its attach type.
func registers(n *seccompNotif) (bool, error) {
	var attr [3]uint32
	if n.args[2] < uint64(unsafe.Sizeof(attr)) {
		return false, nil // the kernel will refuse it
	}
	local := []unix.Iovec{{Base: (*byte)(unsafe.Pointer(&attr)), Len: uint64(unsafe.Sizeof(attr))}}
	remote := []unix.RemoteIovec{{Base: uintptr(n.args[1]), Len: int(unsafe.Sizeof(attr))}}
	got, err := unix.ProcessVMReadv(int(n.pid), local, remote, 0)
	if err == nil && got != int(unsafe.Sizeof(attr)) {
		err = fmt.Errorf("%d bytes of %d", got, unsafe.Sizeof(attr))
	}
	if err != nil {
		return false, fmt.Errorf("read the arguments of process %d: %w", n.pid, err)
	}
	return attr[2] == unix.BPF_STRUCT_OPS, nil
}

// stands tells whether the call still waits for its answer.
func (g *gate) stands(id uint64) bool {
	return g.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
}

// allow lets a call go on. A caller that is gone does not mind.
func (g *gate) allow(id uint64) {
	r := seccompNotifResp{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	_ = g.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// deny has a call return an error.
func (g *gate) deny(id uint64) {
	r := seccompNotifResp{id: id, errno: -int32(unix.ECANCELED)}
	_ = g.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

func (g *gate) ioctl(request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(g.listener), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
