// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package hang

import (
	"syscall"
	"testing"
)

func TestVMPasses(*testing.T) {}

// A stopped process does not even notice that its time is over.
func TestVMStopsItself(t *testing.T) {
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {}
}
