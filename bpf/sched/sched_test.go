// SPDX-License-Identifier: Apache-2.0

package sched

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCachesAreNumberedByTheirFirstCPU(t *testing.T) {
	for _, c := range []struct {
		name string
		// by CPU, the levels and who shares them; nil: it is offline
		cpus []map[int]string
		want []int
	}{
		{"one for all", []map[int]string{{1: "0", 2: "0", 3: "0-1"}, {1: "1", 2: "1", 3: "0-1"}}, []int{0, 0}},
		{"one each, the highest level counts", []map[int]string{{3: "0,2", 1: "0"}, {3: "1,3", 1: "1"}, {3: "0,2", 1: "2"}, {3: "1,3", 1: "3"}},
			[]int{0, 1, 0, 1}},
		{"offline ones count to the first", []map[int]string{{2: "0"}, nil, {2: "2"}, nil}, []int{0, 0, 1, 0}},
		{"nothing is told", []map[int]string{nil, nil}, []int{0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := t.TempDir()
			for cpu, levels := range c.cpus {
				index := 0
				for level, shared := range levels {
					dir := filepath.Join(sys, "devices/system/cpu", fmt.Sprintf("cpu%d/cache/index%d", cpu, index))
					if err := os.MkdirAll(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					for name, text := range map[string]string{"level": fmt.Sprintln(level), "shared_cpu_list": shared + "\n"} {
						if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					index++
				}
			}
			got, err := cachesOf(sys, len(c.cpus))
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestManyCachesShareQueues(t *testing.T) {
	sys := t.TempDir()
	const cpus = maxCaches + 2
	for cpu := range cpus {
		dir := filepath.Join(sys, "devices/system/cpu", fmt.Sprintf("cpu%d/cache/index0", cpu))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"level": "3\n", "shared_cpu_list": fmt.Sprintln(cpu)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	caches, err := cachesOf(sys, cpus)
	if err != nil {
		t.Fatal(err)
	}
	n := countCaches(caches)
	if len(n) != maxCaches || n[0] != 2 || n[2] != 1 || caches[maxCaches+1] != 1 {
		t.Errorf("%d caches, of %v CPUs", len(n), n)
	}
}

func TestACacheLevelThatIsNoNumberIsAnError(t *testing.T) {
	sys := t.TempDir()
	dir := filepath.Join(sys, "devices/system/cpu/cpu0/cache/index0")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "level"), []byte("high\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := cachesOf(sys, 1); err == nil || !strings.Contains(err.Error(), "CPU 0") {
		t.Errorf("%v, want an error that names the CPU", err)
	}
}

func TestPoliciesAreKnownByName(t *testing.T) {
	for i, p := range []Policy{Latency, Balanced, Throughput} {
		if got, err := p.index(); got != i || err != nil {
			t.Errorf("%s: %d, %v", p, got, err)
		}
	}
	if _, err := Policy("fast").index(); err == nil || !strings.Contains(err.Error(), "latency, balanced, throughput") {
		t.Errorf("unknown policy: %v", err)
	}
	if _, err := Load(Options{Policy: "fast"}); err == nil || !strings.Contains(err.Error(), `"fast"`) {
		t.Errorf("load with an unknown policy: %v", err)
	}
}

// What is promised of the policies holds between their figures.
func TestPoliciesDifferAsTheySay(t *testing.T) {
	l, b, th := policies[0].figures, policies[1].figures, policies[2].figures
	if !(l.Slice < b.Slice && b.Slice < th.Slice) || !(l.MinSlice < b.MinSlice && b.MinSlice < th.MinSlice) {
		t.Error("turns are not longer from latency to throughput")
	}
	if l.BurstPercent <= b.BurstPercent || th.BurstPercent != 0 || l.Preempt == 0 || th.Preempt != 0 || l.PreemptAfter >= b.PreemptAfter {
		t.Error("brief tasks are not preferred in the order of the policies")
	}
	for _, p := range policies {
		if p.figures.MinSlice > p.figures.Slice || p.figures.MinSlice == 0 {
			t.Errorf("%s: turns of %d to %d ns", p.name, p.figures.MinSlice, p.figures.Slice)
		}
		// The program's MAX_BURST and MAX_LAG: else weights are not honoured.
		if got := 20 * time.Millisecond * time.Duration(p.figures.BurstPercent) / 100; got >= 100*time.Millisecond {
			t.Errorf("%s: a burst counts for %v", p.name, got)
		}
	}
}

func TestExitRecordIsReadWhole(t *testing.T) {
	r := schedExitRecord{Kind: uint64(ExitErrorStall), Code: -22}
	for i, text := range map[*int8]string{
		&r.Reason[0]: "runnable task stall", &r.Message[0]: "sh[42] failed to run for 10.016s", &r.Dump[0]: "CPU states",
	} {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(i)), len(text)), text)
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	e, ok := decodeExit(b)
	want := Exit{Kind: ExitErrorStall, Code: -22, Reason: "runnable task stall", Message: "sh[42] failed to run for 10.016s", Dump: "CPU states"}
	if !ok || e != want || !e.Failed() || e.String() != "runnable task stall (sh[42] failed to run for 10.016s)" {
		t.Errorf("%+v, %t", e, ok)
	}
	if _, ok := decodeExit(b[:len(b)-1]); ok {
		t.Error("a record that was cut off is one")
	}
	if (Exit{Kind: ExitSysRq}).Failed() {
		t.Error("SysRq-S is a failure")
	}
}

func TestProbeSaysWhatIsMissing(t *testing.T) {
	if got := missingIn(0); !slices.Equal(got, []string{"CAP_BPF", "CAP_PERFMON"}) {
		t.Errorf("without capabilities: %v", got)
	}
	if got := missingIn(1 << unix.CAP_SYS_ADMIN); got != nil {
		t.Errorf("as administrator: %v", got)
	}
	_, noState := os.Stat("/sys/kernel/sched_ext/state")
	switch err := Probe(); {
	case errors.Is(err, os.ErrPermission):
	case noState != nil:
		var u *UnsupportedError
		if !errors.Is(err, ErrNotSupported) || !errors.As(err, &u) || u.Feature == "" || u.Needs == "" {
			t.Errorf("on a kernel without sched_ext: %v", err)
		}
		if _, loaded := Load(Options{}); !errors.Is(loaded, ErrNotSupported) {
			t.Errorf("load on a kernel without sched_ext: %v", loaded)
		}
	case err != nil:
		t.Errorf("on a kernel with sched_ext: %v", err)
	}
}

// What user space says of the program is what the program asks the kernel for.
func TestTheWatchdogIsThePrograms(t *testing.T) {
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){"first form": loadSched, "second form": loadSchedv2} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		m := spec.Maps[schedMapAutosa]
		ops, ok := btf.UnderlyingType(m.Value).(*btf.Struct)
		if !ok {
			t.Fatalf("%s: the scheduler is a %v", name, m.Value)
		}
		value, ok := m.Contents[0].Value.([]byte)
		if !ok {
			t.Fatalf("%s: its content is a %T", name, m.Contents[0].Value)
		}
		for _, f := range ops.Members {
			if f.Name == "timeout_ms" {
				ms := binary.NativeEndian.Uint32(value[f.Offset.Bytes():])
				if got := time.Duration(ms) * time.Millisecond; got != Watchdog {
					t.Errorf("%s: it asks for %v, want %v", name, got, Watchdog)
				}
			}
			if f.Name == "name" {
				if got, _, _ := bytes.Cut(value[f.Offset.Bytes():], []byte{0}); string(got) != Ops {
					t.Errorf("%s: its name is %q, want %q", name, got, Ops)
				}
			}
		}
	}
	if v := Version(); len(v) != 8 || v != Version() {
		t.Errorf("version %q", v)
	}
}
