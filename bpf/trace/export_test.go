// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"time"

	"github.com/cilium/ebpf"
)

// Program is the program at sched_switch.
func (t *Tracer) Program() *ebpf.Program { return t.objs.OnSwitch }

// DecodeStream decodes an event of the stream whose fields are all different:
// the figures from 1 on, in the order of the C struct, and names a, b and c.
func DecodeStream(at time.Time, flags uint32) StreamEvent {
	r := streamStreamEvent{
		TimeNs: 1, ArrivalNs: 2, WaitNs: 3, RunNs: 4, BlockedNs: 5, Arrivals: 6, Lost: 7, Cgroup: 8, HolderCgroup: 9,
		Pid: 10, Tgid: 11, Cpu: 12, Flags: flags, HolderPid: 14, NextPid: 15,
	}
	r.Comm[0], r.HolderComm[0], r.NextComm[0] = 'a', 'b', 'c'
	return r.decode(at)
}

// Lose makes the kernel's counts of every CPU these.
func (s *Stream) Lose(ringFull, noStorage uint64) error {
	for cpu := range s.cpus {
		if err := s.objs.StreamCpus.Put(uint32(cpu), streamStreamCpu{RingFull: ringFull, NoStorage: noStorage}); err != nil {
			return err
		}
	}
	return nil
}
