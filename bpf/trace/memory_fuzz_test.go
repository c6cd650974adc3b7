// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"strings"
	"testing"
)

// FuzzTasksIn gives any text as /proc/loadavg.
func FuzzTasksIn(f *testing.F) {
	for _, seed := range []string{
		"0.52 0.58 0.59 2/517 30411\n", "", "0 0 0 /", "0 0 0 1/-1", "0 0 0 1/18446744073709551616 1", "0 0 0 1/2/3",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := tasksIn(text)
		if err == nil && !strings.Contains(text, "/") || err != nil && n != 0 {
			t.Fatalf("%d tasks, %v, from %q", n, err, text)
		}
		if n, err := tasksIn(fmt.Sprintf("0.52 0.58 0.59 2/%d 30411\n", len(text))); err != nil || n != uint64(len(text)) {
			t.Fatalf("%d tasks, %v, want %d", n, err, len(text))
		}
	})
}
