// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"autosa/workload"
)

const (
	// maxDetails is for how many groups of a sample a cgroup's own files are
	// read: each takes a system call or three.
	maxDetails = 16
	// missingTicks is for how many ticks a file that is not there is not tried
	// again: a controller may be switched on.
	missingTicks = 16
)

// details follows what cgroups' own files say: pressure, storage traffic, CPU
// time. A nil hierarchy has none.
type details struct {
	cg     *cgroups
	tick   int
	byName map[string]*detail
}

// detail is what was read of a cgroup last.
type detail struct {
	tick     int
	pressure [3]psiTotals
	hasPSI   bool
	disk     diskTotals
	hasDisk  bool
	usage    uint64 // µs
	hasUsage bool
	missing  int // tick until which nothing is tried
}

type diskTotals struct{ readBytes, writeBytes, reads, writes uint64 }

func newDetails(cg *cgroups) *details { return &details{cg: cg, byName: make(map[string]*detail)} }

// set sets Pressure and Disk of a sample's first groups. What a group did while
// it was not among these is not told: it begins anew.
func (d *details) set(s *workload.Sample) {
	if d.cg == nil {
		return
	}
	d.tick++
	for i := range s.Groups[:min(len(s.Groups), maxDetails)] {
		g := &s.Groups[i]
		at := d.byName[g.Name]
		if at == nil {
			at = &detail{}
			d.byName[g.Name] = at
		}
		fresh := at.tick != d.tick-1
		at.tick = d.tick
		if fresh {
			at.hasPSI, at.hasDisk, at.hasUsage = false, false, false
		}
		if d.tick < at.missing {
			continue
		}
		psi, disk := d.readPressure(at, g, s.Interval), d.readDisk(at, g)
		if !psi && !disk {
			at.missing = d.tick + missingTicks
		}
	}
	for name, at := range d.byName {
		if at.tick+missingTicks < d.tick {
			delete(d.byName, name)
		}
	}
}

// setRun sets Run of groups that have no groups below them, whose CPU time the
// kernel knows better than the threads that live: cpu.stat has those that ended,
// too.
func (d *details) setRun(s *workload.Sample) {
	if d.cg == nil {
		return
	}
	for i := range s.Groups[:min(len(s.Groups), maxDetails)] {
		g, at := &s.Groups[i], d.byName[s.Groups[i].Name]
		var st unix.Stat_t
		// kernfs counts a directory's subdirectories in its links.
		if at == nil || g.Name == "/" || unix.Stat(d.cg.path(g.Name), &st) != nil || st.Nlink > 2 {
			continue
		}
		b, err := d.cg.read(g.Name, "cpu.stat")
		if err != nil {
			continue
		}
		usage, ok := cpuStatField(b, "usage_usec")
		if ok && at.hasUsage && usage >= at.usage {
			g.Run = time.Duration(min(usage-at.usage, uint64(maxMicros))) * time.Microsecond
		}
		at.usage, at.hasUsage = usage, ok
	}
	slices.SortStableFunc(s.Groups, func(a, b workload.Group) int { return cmp.Compare(b.Run, a.Run) })
}

var pressureFiles = [3]string{"cpu.pressure", "io.pressure", "memory.pressure"}

// readPressure sets a group's pressure; false where there is none.
func (d *details) readPressure(at *detail, g *workload.Group, interval time.Duration) bool {
	var now [3]psiTotals
	for i, file := range pressureFiles {
		b, err := d.cg.read(g.Name, file)
		if err != nil {
			return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP)
		}
		now[i] = parsePressure(b)
	}
	if at.hasPSI {
		g.Pressure = psiShares(&now, &at.pressure, interval)
	}
	at.pressure, at.hasPSI = now, true
	return true
}

// parsePressure reads the totals of "some avg10=0.00 … total=77" and "full …".
func parsePressure(b []byte) (t psiTotals) {
	for line := range bytes.Lines(b) {
		_, total, ok := bytes.Cut(bytes.TrimSpace(line), []byte("total="))
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(string(total), 10, 64)
		switch {
		case err != nil:
		case bytes.HasPrefix(line, []byte("some ")):
			t.some = n
		case bytes.HasPrefix(line, []byte("full ")):
			t.full = n
		}
	}
	return t
}

// readDisk sets a group's storage traffic; false where the kernel keeps none.
func (d *details) readDisk(at *detail, g *workload.Group) bool {
	b, err := d.cg.read(g.Name, "io.stat")
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	now := parseIOStat(b)
	if at.hasDisk {
		g.Disk = workload.Disk{
			Available: true,
			ReadBytes: grown(now.readBytes, at.disk.readBytes), WriteBytes: grown(now.writeBytes, at.disk.writeBytes),
			Reads: grown(now.reads, at.disk.reads), Writes: grown(now.writes, at.disk.writes),
		}
	}
	at.disk, at.hasDisk = now, true
	return true
}

// parseIOStat adds up the devices of io.stat, a line each: "8:0 rbytes=1 …".
func parseIOStat(b []byte) (t diskTotals) {
	for line := range bytes.Lines(b) {
		for _, field := range bytes.Fields(line) {
			key, value, _ := bytes.Cut(field, []byte{'='})
			n, err := strconv.ParseUint(string(value), 10, 64)
			if err != nil {
				continue
			}
			switch string(key) {
			case "rbytes":
				t.readBytes += n
			case "wbytes":
				t.writeBytes += n
			case "rios":
				t.reads += n
			case "wios":
				t.writes += n
			}
		}
	}
	return t
}
