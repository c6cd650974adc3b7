// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pingpong passes a byte to and fro between two threads on one CPU, so that
// each pass is a context switch, rate times a second: in bursts of a
// millisecond's worth. The returned function ends it.
func pingpong(rate int) (func() error, error) {
	var there, back [2]int
	if err := errors.Join(unix.Pipe2(there[:], unix.O_CLOEXEC), unix.Pipe2(back[:], unix.O_CLOEXEC)); err != nil {
		return nil, err
	}
	cpu := runtime.NumCPU() - 1
	ended := make(chan error, 2)
	stop := make(chan struct{})
	go func() { // answers until the other side closes
		ended <- onCPU(cpu, func() error {
			defer unix.Close(back[1])
			b := make([]byte, 1)
			for {
				if n, err := unix.Read(there[0], b); err != nil || n == 0 {
					return err
				}
				if _, err := unix.Write(back[1], b); err != nil {
					return err
				}
			}
		})
	}()
	go func() {
		ended <- onCPU(cpu, func() error {
			defer unix.Close(there[1])
			b := make([]byte, 1)
			trips := max(rate/2/1000, 1) // two switches a round trip, a burst a millisecond
			next := time.Now()
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				for range trips {
					if _, err := unix.Write(there[1], b); err != nil {
						return err
					}
					if _, err := unix.Read(back[0], b); err != nil {
						return err
					}
				}
				next = next.Add(time.Millisecond)
				if d := time.Until(next); d > 0 {
					ts := unix.NsecToTimespec(d.Nanoseconds())
					_ = unix.Nanosleep(&ts, nil)
				}
			}
		})
	}()
	return func() error {
		close(stop)
		err := errors.Join(<-ended, <-ended)
		return errors.Join(err, unix.Close(there[0]), unix.Close(back[0]))
	}, nil
}

// onCPU runs f on a thread of its own that stays on one CPU.
func onCPU(cpu int, f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("stay on CPU %d: %w", cpu, err)
	}
	return f()
}
