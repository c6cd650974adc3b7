// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"
)

const (
	// muchStolen is the share of the CPUs' time, given to other machines by the host, from which a measurement of this machine says
	// nothing of what was measured.
	muchStolen = 0.25
	// calm is the share below which a test is run again, after a wait of calmWait at most.
	calm     = 0.10
	calmWait = time.Minute
	calmLook = 5 * time.Second
)

// cpuTime is the time of all CPUs since boot, in seconds: what the host gave to other machines, as /proc/stat's "steal" has it, and the sum
// of all kinds.
type cpuTime struct{ stolen, all float64 }

// readCPUTime reads /proc/stat.
func readCPUTime() (cpuTime, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return cpuTime{}, fmt.Errorf("read the CPUs' time: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return cpuTime{}, fmt.Errorf("read the CPUs' time: %w", err)
	}
	c := stat.CPUTotal // guest time is part of user and nice
	return cpuTime{c.Steal, c.User + c.Nice + c.System + c.Idle + c.Iowait + c.IRQ + c.SoftIRQ + c.Steal}, nil
}

// since is the stolen share of the time that has passed since before, 0 to 1; 0 when none has.
func (c cpuTime) since(before cpuTime) float64 {
	if c.all <= before.all {
		return 0
	}
	return (c.stolen - before.stolen) / (c.all - before.all)
}

// awaitCalm returns when little of the CPUs' time is given to others, or after limit.
func awaitCalm(read func() (cpuTime, error), look, limit time.Duration) error {
	before, err := read()
	if err != nil {
		return err
	}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		time.Sleep(look)
		now, err := read()
		if err != nil || now.since(before) < calm {
			return err
		}
		before = now
	}
	return nil
}
