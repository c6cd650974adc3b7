// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"autosa/vmtest"
)

// item is a test with a long form: with AUTOSA_SOAK=1 in its environment it does more of what it does in every run of the
// tests. What it prints after "counted: " goes into the table of results.
type item struct {
	name string
	what string // what it shows, for the table
	pkg  string
	run  string // pattern as for go test -run
	// guest: it runs in a guest of every kernel series that is prepared, or of those named in series; else on this machine.
	guest  bool
	series []string
	env    []string
	limit  time.Duration // 0: 15 minutes
}

// Series on which autosa traces, and those of them with sched_ext.
var (
	tracing  = []string{"6.12", "6.16", "6.18", "7.2", "7.3"}
	schedExt = tracing[1:]
)

// items is the list of long tests. To add one, add a line.
var items = []item{
	{name: "fork-storm", what: "100,000 short tasks", pkg: "./bpf/trace", run: "TestForkStormIsCountedToTheLastTaskAndLeavesNoStorage"},
	{name: "ring-full", what: "a ring buffer kept full for a minute", pkg: "./bpf/trace",
		run: "TestRingBufferKeptFullLosesEventsOneByOneAndNothingElse"},
	{name: "attach-detach", what: "1,000 times attached and detached", pkg: "./bpf/trace",
		run: "TestAttachingAndDetachingLeavesNothingInTheKernelOrTheHeap", limit: 30 * time.Minute},
	{name: "snapshots", what: "a minute of readers beside everything that changes", pkg: "./bpf/trace",
		run: "TestSnapshotsWhileEverythingChangesOnlyGrow"},
	{name: "cgroups", what: "10,000 cgroups made and removed", pkg: "./collector",
		run: "TestCgroupsThatComeAndGoAreNamedRightAndCountedOnce"},
	{name: "culprit", what: "noisy neighbours, in every role", pkg: "./collector", run: "TestCulpritIsNamedAndBystandersAreNot", limit: 30 * time.Minute},
	{name: "tick", what: "what a tick takes with up to 10,000 cgroups", pkg: "./collector", run: "TestATickIsCheapWithManyCgroups", limit: 30 * time.Minute},
	{name: "accuracy", what: "waits beside those of wakeup and switch time stamps: EEVDF, scx_rusty, scx_bpfland, one shared queue", pkg: "./bpf/trace",
		guest: true, series: tracing, run: "TestVMWaitsAreThoseOfTheReference.*", limit: 30 * time.Minute},
	{name: "known-guest", what: "known loads and more cgroups than slots", pkg: "./bpf/trace", guest: true, series: tracing, env: []string{"AUTOSA_SOAK="},
		run: "TestVM(PingPong|Spinners|MoreCgroups|Throttled|DirectRead).*", limit: 30 * time.Minute},
	{name: "more-guest", what: "new and existing tasks, pauses, slots, who waited for whom, streams and the optional probes", pkg: "./bpf/trace", guest: true,
		series: tracing, env: []string{"AUTOSA_SOAK="}, limit: 30 * time.Minute,
		run: "TestVM(NewTasks|Promotion|WaitEvents|Existing|Pause|CountsAre|Stream|Tasks|Wakeups|Block).*"},
	{name: "culprit-guest", what: "noisy neighbours and a throttled group, in every role", pkg: "./collector", guest: true, series: tracing,
		run: "TestVMCulpritIsNamedAndAThrottledGroupBlamesNobody", limit: 30 * time.Minute},
	{name: "hotplug", what: "a CPU off and on line 200 times beside the tracer", pkg: "./bpf/trace", guest: true, series: tracing,
		run: "TestVMCPUsGoingOfflineAndOnlineLoseNothing", limit: 30 * time.Minute},
	{name: "hotplug-daemon", what: "a CPU off and on line 60 times beside the daemon", pkg: "./vmtest/e2e", guest: true, series: schedExt,
		run: "TestVMCPUsGoingOfflineAndOnlineChangeNoClass", limit: 30 * time.Minute},
	{name: "faults", what: "every row of the table of faults, and the daemon's own", pkg: "./vmtest/e2e", guest: true, series: []string{"6.18", "7.2"},
		run: "TestVM(FaultsLeave|KilledInEveryPhase|DaemonKilledInASwap|FullDisk|DamagedState|SecondDaemon|NoRoomForAProcess).*", limit: 2 * time.Hour},
	{name: "swaps", what: "500 swaps in a row among four real schedulers and EEVDF, beside a load", pkg: "./scx", guest: true, series: []string{"6.18", "7.2"},
		run: "TestVMSwapsInARowLeaveNothingBehind", limit: 6 * time.Hour},
	{name: "storms-guest", what: "the storms of this list in their short forms", pkg: "./bpf/trace", guest: true, series: tracing, env: []string{"AUTOSA_SOAK="},
		run: "TestVMStormsAndFullBuffersLoseNothing"},
}

const defaultLimit = 15 * time.Minute

// jobs are an item's runs: one a kernel.
func (it item) jobs(prepared []string) []job {
	limit := it.limit
	if limit == 0 {
		limit = defaultLimit
	}
	j := job{name: it.name, what: it.what, limit: limit, env: append([]string{"AUTOSA_SOAK=1"}, it.env...)}
	args := func(run, pkg string) []string {
		return []string{"test", "-count=1", "-v", "-timeout", limit.String(), "-run", "^(" + run + ")$", pkg}
	}
	if !it.guest {
		j.kernel, j.args, j.pass = thisKernel(), args(it.run, it.pkg), "--- PASS: "
		return []job{j}
	}
	var all []job
	for _, s := range prepared {
		if len(it.series) > 0 && !slices.Contains(it.series, s) {
			continue
		}
		g := j
		g.kernel, g.args = s, slices.Insert(args("TestMatrix", "./vmtest"), 1, "-tags", "vmmatrix")
		g.env = append(slices.Clone(j.env), "AUTOSA_VM_SERIES="+s, "AUTOSA_VM_PACKAGES="+it.pkg, "AUTOSA_VM_RUN=^("+it.run+")$",
			"AUTOSA_VM_TIMEOUT="+(limit-limit/10).String())
		g.pass = "--- PASS: TestMatrix/" + s + "/" + strings.TrimPrefix(it.pkg, "./") + "/"
		all = append(all, g)
	}
	return all
}

func thisKernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// prepared lists the kernel series that are ready to boot.
func prepared() ([]string, error) {
	cache, err := vmtest.OpenCache()
	if errors.Is(err, vmtest.ErrNotPrepared) {
		return nil, fmt.Errorf("the guests' part: %w", err)
	}
	if err != nil {
		return nil, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(base, "autosa", "kernels", "*"))
	if err != nil {
		return nil, err
	}
	var series []string
	for _, d := range dirs {
		if _, err := cache.Kernel(filepath.Base(d)); err == nil {
			series = append(series, filepath.Base(d))
		}
	}
	if len(series) == 0 {
		return nil, fmt.Errorf("no kernel: %w", vmtest.ErrNotPrepared)
	}
	return series, nil
}
