// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package crash

import (
	"os"
	"testing"
)

func TestVMPasses(*testing.T) {}

// A magic key makes the kernel crash.
func TestVMCrashesTheKernel(t *testing.T) {
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
	select {}
}
