// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package unsteady

import (
	"os"
	"strings"
	"testing"
)

func TestVMPasses(*testing.T) {}

func TestVMFailsOnce(t *testing.T) {
	if !strings.HasSuffix(os.Getenv("AUTOSA_RESULTS"), "-again") {
		t.Error("one run is not enough")
	}
}
