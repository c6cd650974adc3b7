// SPDX-License-Identifier: Apache-2.0

package scx

import "time"

// knownScheduler is what the catalogue knows of a scheduler before it looks at
// the machine.
type knownScheduler struct {
	name        string
	description string
	// ops is the scheduler's own name within root/ops, see [opsBase].
	ops string
	// versionFlag makes the binary print its version and exit; empty if it has none.
	versionFlag string
	// watchdog is after how long without a turn the kernel ejects it, as the
	// scheduler asks for it; 0 if not known (the kernel allows 30 s at most).
	watchdog time.Duration
	// cgroupWeight is true when it honours cpu.weight. None honours cpu.max
	// unless told to.
	cgroupWeight bool
	// kernelConfig is true when it cannot load without a readable kernel config.
	kernelConfig bool
	notes        []string
}

// known is the catalogue's data. Order is the order of `autosa list`.
var known = []knownScheduler{
	{
		name: "scx_lavd", ops: "lavd", versionFlag: "--version", watchdog: 30 * time.Second,
		description:  "ranks tasks by latency criticality; for games and desktops",
		kernelConfig: true,
		notes:        []string{"large programs: takes longer than the others to load", "cpu.max is honoured with --enable-cpu-bw"},
	},
	{
		name: "scx_rusty", ops: "rusty", versionFlag: "--version", watchdog: 10 * time.Second,
		description: "balances load between cache domains from user space; for servers with several of them",
	},
	{
		name: "scx_bpfland", ops: "bpfland", versionFlag: "--version", watchdog: 5 * time.Second,
		description: "favours interactive tasks beside CPU hogs",
		notes:       []string{"with -I it sets PM-QoS resume latencies, which stay when it is killed"},
	},
	{
		name: "scx_flash", ops: "flash", versionFlag: "--version", watchdog: 5 * time.Second,
		description:  "deadlines and fairness; for audio and predictable pace",
		cgroupWeight: true,
		notes:        []string{"sets PM-QoS resume latencies, which stay when it is killed"},
	},
	{
		name: "scx_cosmos", ops: "cosmos", versionFlag: "--version", watchdog: 5 * time.Second,
		description: "keeps tasks on their CPU while it is not saturated; general use and servers",
	},
	{
		name: "scx_p2dq", ops: "p2dq", versionFlag: "--version",
		description: "several queues per cache domain, pick-two balancing",
		notes:       []string{"sets energy preference and turbo, which stay when it is killed"},
	},
	{
		name: "scx_beerland", ops: "beerland", versionFlag: "--version",
		description: "locality first, deadlines under saturation; for large machines",
	},
	{
		name: "scx_tickless", ops: "tickless", versionFlag: "--version",
		description: "a few CPUs schedule for all others, with few ticks; for virtual machines and HPC",
	},
	{
		name: "scx_layered", ops: "layered", versionFlag: "--version",
		description: "sorts tasks into configured layers with their own policy",
		notes:       []string{"needs a layer specification in its arguments"},
	},
	{
		name: "scx_rustland", ops: "rustland", versionFlag: "--version",
		description: "decides in user space; for interactive tasks and experiments",
	},
	{
		name: "scx_cake", ops: "cake", versionFlag: "--version",
		description: "tiers tasks by how long they run; for games",
	},
	{
		name: "scx_flow", ops: "flow", versionFlag: "--version",
		description: "budgets that refill while a task sleeps; general use",
	},
	{
		name: "scx_mitosis", ops: "mitosis", versionFlag: "--version",
		description: "assigns CPUs to cgroups in cells",
	},
	{
		name: "scx_simple", ops: "simple",
		description: "the kernel's example: one global queue",
	},
	{
		name: "scx_central", ops: "central",
		description: "the kernel's example: one CPU decides for all",
	},
	{
		name: "scx_flatcg", ops: "flatcg", cgroupWeight: true,
		description: "the kernel's example: flattened cgroup weights",
	},
	{
		name: "scx_qmap", ops: "qmap",
		description: "the kernel's example: five weighted queues",
	},
}

// companions are programs named like schedulers that are none.
var companions = map[string]bool{
	"scx_loader": true,
	"scx_stats":  true,
}

func knownByName(name string) *knownScheduler {
	for i := range known {
		if known[i].name == name {
			return &known[i]
		}
	}
	return nil
}
