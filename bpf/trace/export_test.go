// SPDX-License-Identifier: Apache-2.0

package trace

import "github.com/cilium/ebpf"

// Program is the program at sched_switch.
func (t *Tracer) Program() *ebpf.Program { return t.objs.OnSwitch }
