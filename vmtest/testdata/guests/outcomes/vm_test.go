// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package outcomes

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestVMPasses(t *testing.T) {
	time.Sleep(20 * time.Millisecond)
	t.Log("a word")
	fmt.Fprintln(os.Stderr, "a line on stderr")
	fmt.Print("no newline")
}

func TestVMFails(t *testing.T) {
	t.Run("good", func(*testing.T) {})
	t.Run("bad/with slash", func(t *testing.T) { t.Error("the reason") })
}

func TestVMSkips(t *testing.T) { t.Skip("not here") }

func TestVMRunsInParallel(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Log("this is", name)
		})
	}
}

func TestOutsideOfGuests(t *testing.T) { t.Error("only TestVM… runs in a guest") }
