// SPDX-License-Identifier: Apache-2.0

package tracetest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runLoad is the load's process. It does not return.
func runLoad(load string) {
	name, arg, _ := strings.Cut(load, " ")
	var err error
	switch name {
	case "pingpong":
		err = pingPong()
	case "sleep":
		err = sleep(arg)
	case "read":
		err = read(arg)
	case "crowd":
		err = crowd(arg)
	case "mix":
		err = mix(arg)
	default:
		err = fmt.Errorf("no load %q", name)
	}
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}

// pingPong hands a byte between two threads, by system calls that the runtime
// does not see: it would wake threads of its own.
func pingPong() error {
	var there, back [2]int
	if err := unix.Pipe(there[:]); err != nil {
		return err
	}
	if err := unix.Pipe(back[:]); err != nil {
		return err
	}
	// Two threads that never go through the scheduler need a P each.
	runtime.GOMAXPROCS(2)
	failed := make(chan error)
	go func() { failed <- relay(there[0], back[1]) }()
	go func() {
		if _, err := unix.Write(there[1], []byte{0}); err != nil {
			failed <- err
			return
		}
		failed <- relay(back[0], there[1])
	}()
	return <-failed
}

func relay(from, to int) error {
	runtime.LockOSThread()
	var b [1]byte
	p := uintptr(unsafe.Pointer(&b))
	for {
		if _, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(from), p, 1); errno != 0 && errno != unix.EINTR {
			return errno
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(to), p, 1); errno != 0 {
			return errno
		}
	}
}

// SleeperComm is the name of the thread that sleeps in the load of [Sleep].
const SleeperComm = "sleeper"

func sleep(arg string) error {
	period, err := time.ParseDuration(arg)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := os.WriteFile(fmt.Sprintf("/proc/self/task/%d/comm", unix.Gettid()), []byte(SleeperComm), 0); err != nil {
		return err
	}
	var next unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &next); err != nil {
		return err
	}
	for {
		next = unix.NsecToTimespec(next.Nano() + int64(period))
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &next, nil)
		if err != nil && err != unix.EINTR {
			return err
		}
	}
}

const blockBytes = 4096

func read(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// A mapping is aligned as direct reads want it.
	buf, err := unix.Mmap(-1, 0, blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	for offset := int64(0); ; offset += blockBytes {
		began := time.Now()
		n, err := unix.Pread(fd, buf, offset)
		if err != nil {
			return err
		}
		if n < blockBytes {
			offset = -blockBytes
			continue
		}
		fmt.Println(time.Since(began).Nanoseconds())
	}
}
