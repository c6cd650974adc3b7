// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package empty

import (
	"os"
	"testing"
)

func TestMain(*testing.M) { os.Exit(0) }

func TestVMIsNeverRun(*testing.T) {}
