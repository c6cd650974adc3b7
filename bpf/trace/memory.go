// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// taskBytes is what the kernel's allocator hands out for the storage of a task:
// its bpf_local_storage (192) and the element with the baseline (128), as on
// 6.18. The first may be shared with other tracers.
const taskBytes = 192 + 128

// MemoryBytes is the kernel memory of the tracer's maps: what the kernel says of
// each (memlock in its descriptor's fdinfo), and, computed because that leaves
// it out, the storage of as many tasks as the machine has now. After Close it
// returns [os.ErrClosed].
func (t *Tracer) MemoryBytes() (uint64, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return 0, os.ErrClosed
	}
	var sum uint64
	for _, m := range []*ebpf.Map{t.objs.Stats, t.objs.Cpus, t.objs.Tasks, t.objs.Slots, t.objs.Unknown, t.objs.Events} {
		info, err := m.Info()
		if err != nil {
			return 0, fmt.Errorf("read the size of %v: %w", m, err)
		}
		memlock, ok := info.Memlock()
		if !ok {
			return 0, fmt.Errorf("read the size of %v: no memlock in its fdinfo", m)
		}
		sum += memlock
	}
	n, err := machineTasks()
	if err != nil {
		return 0, err
	}
	return sum + n*taskBytes, nil
}

// machineTasks counts the machine's tasks: the second number of the fourth field
// of /proc/loadavg, as in "2/517".
func machineTasks() (uint64, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, fmt.Errorf("count tasks: %w", err)
	}
	return tasksIn(string(b))
}

func tasksIn(loadavg string) (uint64, error) {
	if f := strings.Fields(loadavg); len(f) > 3 {
		if _, all, ok := strings.Cut(f[3], "/"); ok {
			if n, err := strconv.ParseUint(all, 10, 64); err == nil {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("count tasks: no number of them in /proc/loadavg: %q", loadavg)
}
