// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/api"
)

// neighbours are the lines of a trace: two waits for a noisy neighbour, with losses
// before the second one.
func neighbours() []api.TraceEvent {
	at := noon.Local()
	return []api.TraceEvent{
		{Kind: api.TraceWait, Time: at, Slice: &api.Slice{
			TraceTask: api.TraceTask{PID: 812, Comm: "pipewire", Group: "/user.slice"}, TGID: 812, CPU: 3, WaitSeconds: 0.0231, RunSeconds: 120e-6, BlockedSeconds: 0.021,
			Before: "sleep", Left: "sleep", Arrivals: 7, Holder: &api.TraceTask{PID: 900, Comm: "cc1plus", Group: "/build"}, Next: &api.TraceTask{PID: 901, Comm: "cc1plus"},
		}},
		{Kind: api.TraceWait, Time: at.Add(1500 * time.Microsecond), Slice: &api.Slice{
			TraceTask: api.TraceTask{PID: 813, Comm: "evil\x1b[31m", Group: "/user.slice"}, TGID: 812, CPU: 3, WaitSeconds: 0.0069, RunSeconds: 0.004,
			Before: "preempted", Left: "preempted", LostBefore: 12, Holder: &api.TraceTask{PID: 901, Comm: "cc1plus", Group: "/build"},
		}},
		{Kind: api.TraceSwitch, Time: at.Add(2 * time.Millisecond), Slice: &api.Slice{
			TraceTask: api.TraceTask{PID: 5, Comm: "late", Group: "/"}, CPU: 0, Partial: true, Left: "io_wait", LostBefore: 1,
		}},
		{Kind: api.TraceEnd, Time: at.Add(time.Second), End: &api.TraceTotal{Events: 3, Lost: 15, Missed: 1}},
	}
}

func TestTraceGolden(t *testing.T) {
	f := &fake{lines: neighbours()}
	out, errOut, code := autosa(t, nil, "trace", "--socket", serve(t, f), "--comm", "pipe*", "--pid", "1,2", "--cgroup", "a.service", "--min-wait", "2ms", "--duration", "5s")
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	// The page has the time of the machine's own zone.
	out = strings.ReplaceAll(out, noon.Local().Format("15:04:"), "12:00:")
	golden(t, "trace", out+"--\n"+errOut)
	want := []api.TraceRequest{{PIDs: []int{1, 2}, Comm: "pipe*", Cgroups: []string{"a.service"}, MinWait: 2 * time.Millisecond, Duration: 5 * time.Second}}
	if diff := cmp.Diff(want, f.traces); diff != "" {
		t.Error(diff)
	}
}

func TestTraceSamplesGolden(t *testing.T) {
	var edges []api.WakeEdge
	for i := range maxWakeEdges + 2 {
		edges = append(edges, api.WakeEdge{Waker: fmt.Sprint("w", i), WakerGroup: "/a", Wakee: "x", WakeeGroup: "/b", Count: uint64(9000 - i)})
	}
	edges[0] = api.WakeEdge{Interrupt: true, Wakee: "x", WakeeGroup: "/b", Count: 12345}
	f := &fake{lines: []api.TraceEvent{
		{Kind: api.TraceWakeups, Time: noon.Local(), Wakeups: &api.WakeSample{DurationSeconds: 0.2, Wakeups: 99999, Unnamed: 4, Edges: edges}},
		{Kind: api.TraceBlock, Time: noon.Local(), Block: &api.BlockSample{DurationSeconds: 0.2, Untimed: 1, Ops: []api.BlockWait{
			{Op: "read", Requests: 50, MeanSeconds: 1e-3, P50Seconds: 900e-6, P99Seconds: 2e-3, Buckets: []api.BlockBucket{{UpToSeconds: 1e-3, Count: 40}, {UpToSeconds: 2e-3, Count: 10}}},
		}}},
		{Kind: api.TraceBlock, Time: noon.Local(), Block: &api.BlockSample{DurationSeconds: 0.2}},
		{Kind: api.TraceEnd, End: &api.TraceTotal{Events: 3}},
	}}
	out, errOut, code := autosa(t, nil, "trace", "--wakeups", "--socket", serve(t, f))
	if code != 0 || errOut != "" {
		t.Errorf("exit %d: %s", code, errOut)
	}
	golden(t, "trace-samples", strings.ReplaceAll(out, noon.Local().Format("15:04:"), "12:00:"))
}

func TestTasksGolden(t *testing.T) {
	f := &fake{tasks: api.TaskList{Tasks: 70000, Unwatched: 10, IntervalSeconds: 0.5, Top: []api.Task{
		{TraceTask: api.TraceTask{PID: 9, Comm: "cc1plus", Group: "/build"}, State: "R", CPU: 1, Nice: 5, RunShare: 0.93, WaitShare: 0.06, SwitchesPerSecond: 12.5},
		{TraceTask: api.TraceTask{PID: 8, Comm: "pipewire", Group: "/user.slice"}, State: "S", RunShare: 0.011, SwitchesPerSecond: 50, WakeupsPerSecond: 49,
			Rhythm: &api.TaskRhythm{Wakeups: 24, MeanSeconds: 0.0213, CV: 0.02}},
	}}}
	socket := serve(t, f)
	out, errOut, code := autosa(t, nil, "trace", "--tasks", "2", "--rhythm", "--socket", socket)
	if code != 0 || errOut != "10 of 70000 tasks were too many to look at\n" {
		t.Errorf("exit %d: %s", code, errOut)
	}
	golden(t, "trace-tasks", out)
	out, _, _ = autosa(t, nil, "trace", "--tasks", "2", "--json", "--socket", socket)
	var got api.TaskList
	if err := json.Unmarshal([]byte(out), &got); err != nil || cmp.Diff(f.tasks, got) != "" {
		t.Errorf("%v: %s", err, cmp.Diff(f.tasks, got))
	}
}

func TestTraceAsJSONHasEveryLine(t *testing.T) {
	f := &fake{lines: neighbours()}
	out, errOut, code := autosa(t, nil, "trace", "--json", "--no-summary", "--socket", serve(t, f))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || errOut != "" || len(lines) != len(f.lines) {
		t.Fatalf("exit %d, %d lines: %s", code, len(lines), errOut)
	}
	for i, line := range lines {
		var e api.TraceEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		// JSON keeps the instant, not the zone.
		if !e.Time.Equal(f.lines[i].Time) || cmp.Diff(f.lines[i].Slice, e.Slice) != "" || cmp.Diff(f.lines[i].End, e.End) != "" {
			t.Errorf("line %d: %s", i, line)
		}
	}
}

func TestTheSummaryOfManyPairsIsBoundedAndAddsUp(t *testing.T) {
	var s traceSummary
	for i := range maxTraceEdges + 100 {
		s.add(&api.TraceEvent{Slice: &api.Slice{
			TraceTask: api.TraceTask{Group: fmt.Sprint("/w", i)}, WaitSeconds: 1, Holder: &api.TraceTask{Group: "/h"},
		}})
	}
	if len(s.edges) != maxTraceEdges {
		t.Errorf("%d pairs are kept", len(s.edges))
	}
	var b strings.Builder
	s.write(&b, time.Second)
	if want := fmt.Sprintf("%s  others", grouped(maxTraceEdges+100-shownTraceEdges)); !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
	}
}

func TestASummaryLeavesOutWhatWasNoKnownWait(t *testing.T) {
	var s traceSummary
	for _, slice := range []api.Slice{{Partial: true, WaitSeconds: 1}, {WaitSeconds: 0}} {
		slice.Holder = &api.TraceTask{Group: "/h"}
		s.add(&api.TraceEvent{Slice: &slice})
	}
	if s.events != 2 || len(s.edges) != 0 {
		t.Errorf("%d events, %d pairs", s.events, len(s.edges))
	}
}

func TestBadTraceFlagsAreNamed(t *testing.T) {
	none := t.TempDir() + "/none.sock"
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"--switches"}, "choose tasks by pid, comm or cgroup, or insist with all"},
		{[]string{"--comm", "0123456789abcdef"}, "16 bytes"},
		{[]string{"--pid", "x"}, "invalid"},
		{[]string{"--pid", "-1"}, "-1 is no process id"},
		{[]string{"--min-wait", "0"}, "min-wait: must be positive"},
		{[]string{"--min-wait", "1ms", "--switches", "--pid", "1"}, "exclude each other"},
		{[]string{"--wakeups", "--block"}, "one at a time"},
		{[]string{"--rhythm"}, "--rhythm goes with --tasks"},
		{[]string{"--tasks", "0"}, "--tasks must be positive"},
		{[]string{"--tasks", "3", "--pid", "1"}, "takes no --pid"},
		{[]string{"--tasks", "100000"}, "count: must be"},
		{[]string{"--summary", "--no-summary"}, "summary"},
		{[]string{"--cgroup", ""}, "--cgroup is empty"},
		{[]string{"--comm", ""}, "--comm is empty"},
	} {
		args := append([]string{"trace", "--socket", none}, tt.args...)
		if !strings.Contains(strings.Join(tt.args, " "), "tasks") {
			args = append(args, "--duration", "1ms") // should it be taken after all
		}
		out, errOut, code := autosa(t, nil, args...)
		if code != api.ExitUsage || !strings.Contains(errOut, tt.says) || out != "" {
			t.Errorf("%v: exit %d, want %d and %q: %s%s", tt.args, code, api.ExitUsage, tt.says, out, errOut)
		}
	}
}

func TestEveryTraceFlagIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/TRACE.md")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{}
	cmd := a.traceCommand()
	for _, name := range []string{"pid", "comm", "cgroup", "min-wait", "switches", "all", "duration", "wakeups", "block", "every", "tasks", "rhythm", "no-summary", "json"} {
		if cmd.Flags().Lookup(name) == nil || !strings.Contains(string(b), "--"+name) {
			t.Errorf("--%s is not there or not documented", name)
		}
	}
}
