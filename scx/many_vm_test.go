// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package scx

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/prometheus/procfs"

	"autosa/vmtest/guest"
)

// inventory is what swaps could leave behind, in this process and in the machine.
type inventory struct {
	Processes, Descriptors, Goroutines, Mounts, Programs, Maps, Links int
}

// takeInventory counts.
func takeInventory(t *testing.T) (n inventory) {
	t.Helper()
	n.Goroutines = runtime.NumGoroutine()
	n.Processes = len(processes("/proc", func(p procStat) bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid)) // kernel threads have none
		return err == nil && exe != ""
	}))
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n.Descriptors = len(fds)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	n.Mounts = strings.Count(string(mounts), "\n")
	for id := ebpf.ProgramID(0); ; n.Programs++ {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for id := ebpf.MapID(0); ; n.Maps++ {
		if id, err = ebpf.MapGetNextID(id); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var links link.Iterator
	defer links.Close()
	for links.Next() {
		n.Links++
	}
	if err := links.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// memory is what is held: of this process's heap, its resident part, and of the kernel's unreclaimable slabs and per-CPU memory, bytes.
type memory struct{ Heap, Resident, Slab, PerCPU int64 }

func takeMemory(t *testing.T) (m memory) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.Heap = int64(s.HeapAlloc)
	p, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	st, err := p.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m.Resident = int64(st.ResidentMemory())
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	mi, err := fs.Meminfo()
	if err != nil || mi.SUnreclaimBytes == nil || mi.PercpuBytes == nil {
		t.Fatalf("/proc/meminfo: %v", err)
	}
	m.Slab, m.PerCPU = int64(*mi.SUnreclaimBytes), int64(*mi.PercpuBytes)
	return m
}

func (m memory) less(o memory) memory {
	return memory{m.Heap - o.Heap, m.Resident - o.Resident, m.Slab - o.Slab, m.PerCPU - o.PerCPU}
}

func (m memory) String() string {
	kib := func(b int64) int64 { return int64(math.Round(float64(b) / 1024)) }
	return fmt.Sprintf("heap %+d KiB, resident %+d KiB, kernel slabs %+d KiB, per CPU %+d KiB", kib(m.Heap), kib(m.Resident), kib(m.Slab), kib(m.PerCPU))
}

// Swap after swap among the real schedulers and EEVDF, beside a load: each is confirmed by the kernel, and at the end nothing is left
// of them, neither in this process nor in the machine. In its long form it is 500 swaps; scx_lavd, which takes ten times as long to load here
// as the others, is every 25th.
func TestVMSwapsInARowLeaveNothingBehind(t *testing.T) {
	guest.SchedExt(t)
	guest.Long(t)
	count := 8
	if v := os.Getenv("AUTOSA_SOAK"); v != "" {
		count = 500
		if n, err := strconv.Atoi(v); err == nil && n > 1 { // another number, to look quickly
			count = n
		}
	}
	s := vmSwitcher(t, Options{}, nil)
	guest.Load(t, "server", "-n", "2", "-think", "20ms")
	guest.Load(t, "spin", "-n", "1")
	turn := []string{"scx_rusty", "scx_bpfland", "scx_flash", EEVDF, "scx_bpfland", "scx_rusty", EEVDF, "scx_flash", "scx_rusty", "scx_flash", "scx_bpfland", EEVDF}
	// What stays after the first time, caches of this process and of the kernel's, is no leak.
	for _, name := range []string{"scx_rusty", "scx_bpfland", "scx_flash", "scx_rusty", EEVDF} {
		to(t, s, name)
	}
	time.Sleep(2 * time.Second)
	before, held := takeInventory(t), takeMemory(t)
	sums := map[string]int{}
	var gaps []time.Duration
	var last string
	for i := range count {
		name := turn[i%len(turn)]
		switch {
		case i%25 == 24 && count >= 25:
			name = "scx_lavd"
		case name == last:
			name = "scx_rusty"
		}
		if i == count-1 {
			name = EEVDF
		}
		if name == last {
			continue
		}
		res := to(t, s, name)
		if res.Ungated != "" {
			t.Errorf("swap %d to %s was not through the gate: %s", i, name, res.Ungated)
		}
		if res.Gap > 0 {
			gaps = append(gaps, res.Gap)
		}
		last = name
		sums[name]++
		select {
		case e := <-s.Events():
			t.Fatalf("after %d swaps: %+v", i+1, e)
		default:
		}
	}
	var after inventory
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) { // the kernel frees BPF objects in its own time
		if after = takeInventory(t); after == before || time.Now().After(end) {
			break
		}
	}
	grown := takeMemory(t).less(held)
	if after != before {
		t.Errorf("after %d swaps there are %+v, before %+v", count, after, before)
	}
	// 500 swaps that each kept one page would show.
	if grown.Heap > 1<<20 || grown.Resident > 16<<20 || grown.Slab > 16<<20 || grown.PerCPU > 1<<20 {
		t.Errorf("memory grew over %d swaps: %v", count, grown)
	}
	if left, err := filepath.Glob("/tmp/autosa*"); err != nil || len(left) > 0 {
		t.Errorf("files left: %v %v", left, err)
	}
	total := 0
	for _, n := range sums {
		total += n
	}
	t.Logf("counted: %d swaps, %v, all confirmed; %d gaps between two schedulers; before and after %+v; %v", total, sums, len(gaps), after, grown)
}
