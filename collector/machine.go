// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"autosa/workload"
)

// machine reads what belongs to the machine as a whole: CPU accounting,
// pressure, and what this process itself took.
type machine struct {
	fs    procfs.FS
	parts *parts

	stat   procfs.CPUStat
	ctxt   uint64
	irqs   uint64
	cpuErr error // of the last reading of stat
	cpus   int
	psi    [3]psiTotals
	psiOK  bool
	own    time.Duration
}

// psiTotals are stall times since boot in µs.
type psiTotals struct{ some, full uint64 }

var psiResources = [3]string{"cpu", "io", "memory"}

func newMachine(procRoot string, p *parts) (*machine, error) {
	fs, err := procfs.NewFS(procRoot)
	if err != nil {
		return nil, fmt.Errorf("open procfs: %w", err)
	}
	m := &machine{fs: fs, parts: p}
	m.collect(&workload.Sample{Interval: time.Second})
	m.ownShare(&workload.Sample{Interval: time.Second, CPUs: 1})
	return m, nil
}

// collect sets CPUs, CPU and PSI of a sample.
func (m *machine) collect(s *workload.Sample) {
	stat, err := m.fs.Stat()
	m.cpuErr = err
	if m.parts.report("CPU accounting", err) {
		s.CPU = cpuDelta(&stat.CPUTotal, &m.stat)
		s.CPU.ContextSwitches = grown(stat.ContextSwitches, m.ctxt)
		s.CPU.Interrupts = grown(stat.IRQTotal, m.irqs)
		m.stat, m.ctxt, m.irqs = stat.CPUTotal, stat.ContextSwitches, stat.IRQTotal
		// /proc/stat lists the CPUs that are on line.
		m.cpus = len(stat.CPU)
	}
	if m.cpus == 0 {
		m.cpus = runtime.NumCPU()
	}
	s.CPUs = m.cpus
	s.PSI = m.pressure(s.Interval)
}

// cpuDelta subtracts CPU times. Some of them may go back a little in the
// kernel, which is no time at all.
func cpuDelta(now, before *procfs.CPUStat) workload.CPUTime {
	d := func(a, b float64) float64 { return max(a-b, 0) }
	return workload.CPUTime{
		User:    d(now.User+now.Nice, before.User+before.Nice),
		System:  d(now.System, before.System),
		Idle:    d(now.Idle, before.Idle),
		IOWait:  d(now.Iowait, before.Iowait),
		IRQ:     d(now.IRQ, before.IRQ),
		SoftIRQ: d(now.SoftIRQ, before.SoftIRQ),
		Steal:   d(now.Steal, before.Steal),
	}
}

// grown is the growth of a counter; none where it went back.
func grown(now, before uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}

func (m *machine) pressure(interval time.Duration) workload.PSI {
	var now [3]psiTotals
	for i, resource := range psiResources {
		stats, err := m.fs.PSIStatsForResource(resource)
		if err != nil {
			// Not built in, or built in and switched off: no failure.
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) {
				err = nil
			}
			m.parts.report("pressure stall information", err)
			m.psiOK = false
			return workload.PSI{}
		}
		if stats.Some != nil {
			now[i].some = stats.Some.Total
		}
		if stats.Full != nil {
			now[i].full = stats.Full.Total
		}
	}
	m.parts.report("pressure stall information", nil)
	before, known := m.psi, m.psiOK
	m.psi, m.psiOK = now, true
	if !known {
		return workload.PSI{}
	}
	return psiShares(&now, &before, interval)
}

// psiShares are the shares of the interval between two readings.
func psiShares(now, before *[3]psiTotals, interval time.Duration) workload.PSI {
	share := func(now, before uint64) float64 {
		return min(float64(grown(now, before))/float64(max(interval.Microseconds(), 1)), 1)
	}
	return workload.PSI{
		Available:  true,
		CPUSome:    share(now[0].some, before[0].some),
		CPUFull:    share(now[0].full, before[0].full),
		IOSome:     share(now[1].some, before[1].some),
		IOFull:     share(now[1].full, before[1].full),
		MemorySome: share(now[2].some, before[2].some),
		MemoryFull: share(now[2].full, before[2].full),
	}
}

// ownShare is the share of the machine that this process took, all threads.
func (m *machine) ownShare(s *workload.Sample) float64 {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	if !m.parts.report("own CPU time", err) {
		return 0
	}
	own := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	took := own - m.own
	m.own = own
	return max(float64(took), 0) / machineNanos(s)
}
