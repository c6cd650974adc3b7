// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package exits

import (
	"syscall"
	"testing"
)

func TestVMPasses(*testing.T) {}

func TestVMIsKilled(t *testing.T) {
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {}
}
