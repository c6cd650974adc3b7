// SPDX-License-Identifier: Apache-2.0

package tracetest

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Below makes a cgroup below c. It ends with its test, before c.
func (c *Cgroup) Below(t testing.TB, name string) *Cgroup {
	t.Helper()
	b := &Cgroup{Path: filepath.Join(c.Path, name), Name: c.Name + "/" + name}
	if err := os.Mkdir(b.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(b.Path, &st); err != nil {
		t.Fatal(err)
	}
	b.ID = st.Ino
	t.Cleanup(func() { b.Remove(t) })
	return b
}

// SwitchesByThread are the context switches of its threads, as the kernel
// counts them.
func (l *Load) SwitchesByThread() map[int]uint64 {
	l.t.Helper()
	out := make(map[int]uint64)
	for _, tid := range l.threads() {
		v, i := l.switches(tid)
		out[tid] = v + i
	}
	return out
}

// Settle is Stop, and waits until the threads' last switches are counted too: a
// thread is shown as stopped a moment before it leaves its CPU.
func (l *Load) Settle() {
	l.t.Helper()
	l.Stop()
	for still, before := 0, l.SwitchesByThread(); still < 20; time.Sleep(2 * time.Millisecond) {
		now := l.SwitchesByThread()
		if still++; !maps.Equal(before, now) {
			still = 0
		}
		before = now
	}
}

// optional are the beginnings of the names of programs that are loaded only
// while somebody asks.
var optional = []string{"on_stream", "prime", "note_stream", "dump_task", "on_waking", "on_block", "enter_", "leave_"}

// Kernel counts what the kernel holds for those who trace on demand: their
// programs by name, and this process's descriptors.
func Kernel(t testing.TB) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for id := ebpf.ProgramID(0); ; {
		var err error
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := programName(id)
		for _, begin := range optional {
			if strings.HasPrefix(name, begin) {
				count[name]++
			}
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	count["descriptors"] = len(fds)
	return count
}

// programName is "" for a program that is gone.
func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// AwaitKernel waits until the kernel holds no more than it held before: it
// frees some things later.
func AwaitKernel(t testing.TB, before map[string]int) {
	t.Helper()
	var now map[string]int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		now = Kernel(t)
		more := false
		for name, n := range now {
			more = more || n > before[name]
		}
		if !more {
			return
		}
	}
	t.Errorf("the kernel holds %v, before it was %v", now, before)
}
