// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"autosa/api"
	"autosa/workload"
)

// observing is a daemon that has just begun on a kernel without sched_ext.
func observing() api.Status {
	return api.Status{
		Version: "0.1.0", PID: 4711, Mode: api.ModeObserve, ModeReason: "this kernel has no sched_ext",
		Since: noon.Add(-3 * time.Second), Time: noon,
		Kernel:    api.Kernel{Release: "6.6.1"},
		Scheduler: api.InCharge{Name: api.EEVDF, Owner: api.OwnerKernel, Since: noon.Add(-3 * time.Second)},
		Tracer:    api.Tracer{Source: workload.SourceProcfs, Reason: "missing CAP_BPF and CAP_PERFMON"},
	}
}

// deciding is a daemon in full swing.
func deciding() api.Status {
	var p workload.Probabilities
	p[workload.Interactive], p[workload.Server], p[workload.Mixed], p[workload.Batch] = 0.86, 0.08, 0.06, 0
	return api.Status{
		Version: "0.1.0", PID: 4711, Mode: api.ModeAuto, Since: noon.Add(-2*time.Hour - 14*time.Minute), Time: noon,
		Kernel: api.Kernel{Release: "6.18.5-amd64", SchedExt: true, State: "enabled", EnableSeq: 3},
		Scheduler: api.InCharge{
			Name: "scx_lavd", Ops: "lavd_1.1.4_x86_64", Args: []string{"--performance"}, PID: 99, Since: noon.Add(-12 * time.Minute), Owner: api.OwnerAutosa,
		},
		Swap: &api.SwapProgress{To: "scx_rusty", Phase: "verifying", Since: noon.Add(-2 * time.Second)},
		Workload: api.Workload{
			Class: workload.Interactive, Confidence: 0.86, Probabilities: p, Since: noon.Add(-13 * time.Minute),
			Reasons: []workload.Reason{
				{Feature: "wake_rate", Text: "412 wakeups per second of run time", Weight: 2.1},
				{Feature: "burst", Text: "bursts of 310 µs", Weight: 1.4},
				{Feature: "util", Text: "78 % of the CPUs busy", Weight: -0.7},
				{Feature: "more", Text: "a fourth that is not shown", Weight: 0.1},
			},
		},
		Groups: []api.Group{
			{Name: "/user.slice/user-1000.slice/session-2.scope", Class: workload.Interactive, Confidence: 0.91, CPUShare: 0.31, SwitchesPerSecond: 18211.4,
				WaitP50Seconds: 12e-6, WaitP99Seconds: 0.0014, IOShare: 0.012},
			{Name: "/system.slice/backup.service", Class: workload.IO, Confidence: 0.77, CPUShare: 0.042, SwitchesPerSecond: 940,
				WaitP50Seconds: 3.1e-6, WaitP99Seconds: 210e-6, IOShare: 0.93, ThrottledShare: 0.2, Label: "backup.service"},
			{Name: workload.OtherName, Label: workload.OtherName, CPUShare: 0.01, SwitchesPerSecond: 77},
		},
		Waits: api.Waits{RunQueueP50Seconds: 12.3e-6, RunQueueP99Seconds: 0.00142, IOP50Seconds: 88e-6, IOP99Seconds: 0.0123, WaitPerRun: 0.31, Distributions: true},
		PSI:   api.PSI{Available: true, CPUSome: 0.121, IOSome: 0.003},
		Events: api.Events{Received: 9, Worst: []api.WaitEvent{
			{PID: 812, Comm: "pipewire", CPU: 3, WaitSeconds: 0.0231, HolderPID: 900, HolderComm: "cc1plus"},
			{PID: 77, Comm: "rsync", WaitSeconds: 0.4, IO: true},
		}, WaitedFor: []api.Edge{
			{Waiter: "/user.slice/user-1000.slice/session-2.scope", Holder: "/system.slice/backup.service", Count: 12, TotalSeconds: 0.34},
		}},
		Tracer: api.Tracer{
			Source: workload.SourceBPF, Switches: 12345678, Losses: map[string]uint64{"switch_first_slice": 412, "event_cycle_rate": 7560, "event_ring_full": 0},
			Cost:        api.Cost{NanosPerSwitch: 85.4, BPFCPURatio: 0.0012, DaemonCPURatio: 0.0021, ResidentBytes: 31 << 20, AgeSeconds: 41},
			BudgetRatio: 0.005, StepName: "all", CoveredRatio: 1,
		},
		LastDecision: &api.Decision{
			Time: noon.Add(-2 * time.Second), Arm: "scx_rusty", Args: []string{"-u", "20000"}, Action: "swap",
			Reasons: []string{"the host is batch (confidence 0.81)", "scx_rusty is the choice for batch"},
		},
		LastSwap: &api.Swap{
			Time: noon.Add(-12 * time.Minute), From: api.EEVDF, To: "scx_lavd", Args: []string{"--performance"}, Cause: "auto", OK: true, TotalSeconds: 2.3,
		},
		Swaps: 2, Samples: 8041, Warnings: []string{"cpu.max is set in /a, and most schedulers ignore it", "the log of decisions cannot be written"},
	}
}

func foreign() api.Status {
	st := deciding()
	st.Mode, st.ModeReason, st.Swap = api.ModeObserve, "rusty_1.1.4 was put in charge by somebody else", nil
	st.Scheduler = api.InCharge{Name: "scx_rusty", Ops: "rusty_1.1.4", Owner: api.OwnerForeign, Since: noon.Add(-50 * time.Hour),
		Process: &api.Process{PID: 812, Comm: "scx_rusty", Unit: "scx.service", Manager: "systemd unit scx.service"}, HandsOff: "it is run by systemd unit scx.service",
	}
	st.LastSwap = &api.Swap{
		Time: noon.Add(-time.Minute), From: "scx_lavd", To: "scx_flash", Cause: "manual", GapSeconds: 0.2, TotalSeconds: 8,
		Error: "scx_flash did not come up:\nError: EXIT: runnable task stall (kworker[12] failed to run for 5.0s)",
	}
	st.FailedSwaps = 1
	st.Events = api.Events{Withheld: true}
	st.Warnings = nil
	st.Tracer.Losses = map[string]uint64{"switch_no_storage": 500000}
	st.Tracer.Step, st.Tracer.StepName, st.Tracer.CoveredRatio = 3, "duty cycle", 0.25
	st.Tracer.StepReason = "observing took 1.2 % of the CPUs, the budget is 0.5 %"
	return st
}

// builtin is one under the built-in scheduler.
func builtin() api.Status {
	st := deciding()
	st.Swap, st.Warnings = nil, nil
	st.Scheduler = api.InCharge{Name: "builtin:latency", Ops: "autosa", Args: []string{}, Since: noon.Add(-12 * time.Minute), Owner: api.OwnerAutosa}
	st.Builtin = &api.Builtin{
		Policy: "latency", Generation: 3, CPUs: 8, ObeyingCPUs: 7, Adjustments: 2,
		Counts: api.BuiltinCounts{Direct: 123456, Enqueued: 2345, Stolen: 34, Preemptions: 567, Overdue: 1},
	}
	st.LastDecision.Action, st.LastDecision.Arm, st.LastDecision.Args = "adjust", "builtin:latency", []string{}
	st.LastSwap.To, st.LastSwap.Args = "builtin:throughput", []string{}
	return st
}

// hostile is one whose names were chosen to harm a terminal.
func hostile() api.Status {
	st := deciding()
	st.Builtin = &api.Builtin{Policy: "\x1b[2J"}
	bad := "\x1b]0;owned\a\x1b[2J\n\u202eevil\xff"
	st.Version, st.ModeReason, st.Kernel.Release, st.Kernel.State = bad, bad, bad, bad
	st.Scheduler.Name, st.Scheduler.Args, st.Scheduler.Mode, st.Scheduler.HandsOff = bad, []string{bad}, bad, bad
	st.Scheduler.Process = &api.Process{PID: 1, Comm: bad, Unit: bad, Manager: bad}
	st.Swap.To, st.Swap.Phase, st.Swap.Args = bad, bad, []string{bad}
	st.Workload.Reasons[0].Text = bad
	st.Groups[0].Name, st.Groups[1].Label = bad, bad
	st.Events.WaitedFor[0].Waiter, st.Events.WaitedFor[0].Holder = bad, bad
	st.Tracer.Step, st.Tracer.StepName, st.Tracer.StepReason = 1, bad, bad
	st.Events.Worst[0].Comm, st.Events.Worst[0].HolderComm = bad, bad
	st.Tracer.Source, st.Tracer.Reason = workload.Source(bad), bad
	st.Tracer.Losses = map[string]uint64{bad: 3, "event_" + bad: 4}
	st.LastDecision.Arm, st.LastDecision.Action, st.LastDecision.Reasons = bad, bad, []string{bad}
	st.LastSwap.From, st.LastSwap.To, st.LastSwap.Cause, st.LastSwap.Error = bad, bad, bad, bad
	st.Warnings = []string{bad}
	return st
}

func write(t *testing.T, p page, st api.Status) string {
	t.Helper()
	var b bytes.Buffer
	p.now = noon
	if err := p.write(&b, st); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestStatusGolden(t *testing.T) {
	for name, st := range map[string]api.Status{
		"status-observing": observing(), "status-deciding": deciding(), "status-foreign": foreign(), "status-builtin": builtin(), "status-hostile": hostile(),
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, write(t, page{styles: stylesFor(io.Discard)}, st)) })
	}
}

func TestNamesFromElsewhereCannotControlTheTerminal(t *testing.T) {
	got := write(t, page{styles: stylesFor(io.Discard)}, hostile())
	if strings.ContainsAny(got, "\x1b\a\u202e") || !utf8.ValidString(got) {
		t.Errorf("control characters came through: %q", got)
	}
}

func TestColoursChangeNothingButColours(t *testing.T) {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.ANSI)
	coloured := page{styles: styles{
		title: r.NewStyle().Bold(true), good: r.NewStyle().Foreground(lipgloss.Color("2")), bad: r.NewStyle().Foreground(lipgloss.Color("1")),
		warn: r.NewStyle().Foreground(lipgloss.Color("3")), faint: r.NewStyle().Faint(true),
	}}
	got := write(t, coloured, foreign())
	if !strings.Contains(got, "\x1b[") {
		t.Error("no colours at all")
	}
	if plain := write(t, page{styles: stylesFor(io.Discard)}, foreign()); ansi.Strip(got) != plain {
		t.Errorf("with colours:\n%s\nwithout:\n%s", ansi.Strip(got), plain)
	}
}

func TestLongGroupNamesGiveWayToTheTerminal(t *testing.T) {
	got := write(t, page{styles: stylesFor(io.Discard), width: 88}, deciding())
	table := got[strings.Index(got, "GROUP"):]
	table = table[:strings.Index(table, "\n\n")]
	for line := range strings.Lines(table) {
		if n := ansi.StringWidth(strings.TrimRight(line, "\n")); n > 88 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(table, "…") || !strings.Contains(table, "…ssion-2.scope ") && !strings.Contains(table, "session-2.scope ") {
		t.Errorf("the end of the name is what counts:\n%s", table)
	}
}
