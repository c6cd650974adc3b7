// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"go.uber.org/goleak"

	"autosa/api"
	"autosa/workload"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

// start is when the daemon of the tests began.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// status is the nth status of a busy daemon: n groups, most busy first.
func status(tick, groups int) api.Status {
	now := start.Add(time.Duration(tick) * time.Second)
	st := api.Status{
		Version: "0.2.0", PID: 4711, Mode: api.ModeAuto, Since: start, Time: now, Samples: uint64(tick),
		Kernel:    api.Kernel{Release: "6.18.5-amd64", SchedExt: true, State: "enabled", EnableSeq: 3},
		Scheduler: api.InCharge{Name: "scx_lavd", Ops: "lavd_1.1.4", Args: []string{"--performance"}, Since: start, Owner: api.OwnerAutosa},
		Workload: api.Workload{
			Class: workload.Interactive, Confidence: 0.86, Since: start,
			Probabilities: workload.Probabilities{workload.Interactive: 0.86, workload.Server: 0.08, workload.Mixed: 0.06},
		},
		Waits: api.Waits{
			RunQueueP50Seconds: 12.3e-6, RunQueueP99Seconds: 0.00142, IOP50Seconds: 88e-6, IOP99Seconds: 0.0123, WaitPerRun: 0.31, Distributions: true,
		},
		PSI: api.PSI{Available: true, CPUSome: 0.121, IOSome: 0.003, IOFull: 0.001},
		Events: api.Events{
			Received:  9,
			WaitedFor: []api.Edge{{Waiter: group(1), Holder: group(0), Count: 412, TotalSeconds: 1.234}, {Waiter: group(2), Holder: group(1), Count: 1, TotalSeconds: 0.0021}},
			Worst: []api.WaitEvent{
				{PID: 812, Comm: "pipewire", Group: group(1), CPU: 3, WaitSeconds: 0.0231, HolderPID: 900, HolderComm: "cc1plus"},
				{PID: 77, Comm: "rsync", Group: group(1), WaitSeconds: 0.4, IO: true},
			},
			Periods: []api.Period{{PID: 812, Comm: "pipewire", Group: group(1), MeanSeconds: 0.0213, CV: 0.03}},
		},
		Tracer: api.Tracer{
			Source: workload.SourceBPF, Switches: uint64(tick) * 18_211, Losses: map[string]uint64{"switch_first_slice": 7, "event_cycle_rate": 7560},
			Cost: api.Cost{NanosPerSwitch: 85.4, BPFCPURatio: 0.0012, DaemonCPURatio: 0.0021, ResidentBytes: 31 << 20},
		},
		LastDecision: &api.Decision{
			Time: now, Arm: "scx_lavd", Args: []string{"--performance"}, Action: "keep",
			Reasons:      []string{fmt.Sprintf("the host is interactive (confidence 0.%02d)", tick%100), "scx_lavd --performance is in charge already"},
			Alternatives: []api.Alternative{{Arm: "scx_rusty", WhyNot: "for batch"}},
			WouldChange:  []string{"another kind of work, for 10s with confidence 0.60"},
		},
		LastSwap: &api.Swap{
			Time: start.Add(time.Second), From: api.EEVDF, To: "scx_lavd", Args: []string{"--performance"}, Cause: "auto", OK: true, TotalSeconds: 2.3,
			InCharge: "scx_lavd", Reasons: []string{"the host is interactive (confidence 0.85)"},
		},
		Swaps: 1, Warnings: []string{"cpu.max is set in /a, and most schedulers ignore it", "the log of decisions cannot be written"},
	}
	for i := range groups {
		st.Groups = append(st.Groups, api.Group{
			Name: group(i), Class: workload.Class(i % workload.NumClasses), Confidence: 0.5 + float64(i%50)/100,
			CPUShare: 0.9 / float64(i+1), SwitchesPerSecond: float64(17 * (groups - i)), WaitP50Seconds: 1e-6 * float64(i+1), WaitP99Seconds: 1e-4 * float64(i%7+1),
			IOShare: 0.01 * float64(i%90), ThrottledShare: map[bool]float64{true: 0.2}[i == 3],
		})
	}
	return st
}

// group is the name of the ith group.
func group(i int) string {
	kinds := []string{"/system.slice/build-%d.service", "/user.slice/user-1000.slice/session-%d.scope", "/docker/%d-container-with-a-name-that-is-long"}
	return fmt.Sprintf(kinds[i%len(kinds)], i)
}

// hostile is a status whose every text was chosen to harm a terminal.
func hostile() api.Status {
	bad := "\x1b]0;owned\a\x1b[2J\n\u202e\u009b31m\xffé\u0301\u0301漢🇩🇪"
	st := status(9, 4)
	st.Version, st.ModeReason, st.Kernel.Release, st.Kernel.State = bad, bad, bad, bad
	st.Scheduler.Name, st.Scheduler.Args, st.Scheduler.Ops = bad, []string{bad}, bad
	st.Swap = &api.SwapProgress{To: bad, Args: []string{bad}, Phase: bad, Since: start}
	st.Groups[0].Name = bad
	st.Events.WaitedFor = []api.Edge{{Waiter: bad, Holder: bad, Count: 3}}
	st.Events.Worst = []api.WaitEvent{{Group: bad, Comm: bad, HolderComm: bad, HolderPID: 1}}
	st.Events.Periods = []api.Period{{Group: bad, Comm: bad}}
	st.Tracer.Source, st.Tracer.Reason = workload.Source(bad), bad
	st.LastDecision.Arm, st.LastDecision.Action, st.LastDecision.Args = bad, bad, []string{bad}
	st.LastDecision.Reasons, st.LastDecision.WouldChange = []string{bad}, []string{bad}
	st.LastDecision.Alternatives = []api.Alternative{{Arm: bad, WhyNot: bad}}
	st.LastSwap = &api.Swap{Time: start.Add(3 * time.Second), From: bad, To: bad, Args: []string{bad}, Cause: bad, Error: bad, InCharge: bad, Reasons: []string{bad}}
	st.Warnings = []string{bad}
	return st
}

// shows is a model of a size that has seen statuses.
func shows(width, height int, statuses ...api.Status) *model {
	m := newModel(Options{Sort: "cpu"})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for _, st := range statuses {
		m.Update(statusMsg{st})
	}
	return m
}

// press types keys as tea names them.
func press(m *model, keys ...string) tea.Cmd {
	var cmd tea.Cmd
	for _, k := range keys {
		_, cmd = m.Update(key(k))
	}
	return cmd
}

// key is the message of a key.
func key(name string) tea.KeyPressMsg {
	special := map[string]tea.Key{
		"esc": {Code: tea.KeyEscape}, "enter": {Code: tea.KeyEnter}, "backspace": {Code: tea.KeyBackspace}, "space": {Code: tea.KeySpace, Text: " "},
		"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown},
		"home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
	}
	if k, ok := special[name]; ok {
		return tea.KeyPressMsg(k)
	}
	if letter, ok := strings.CutPrefix(name, "ctrl+"); ok {
		return tea.KeyPressMsg{Code: rune(letter[0]), Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
}
