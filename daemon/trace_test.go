// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/bpf/trace"
)

// tree is a hierarchy of plain directories.
func tree(t *testing.T, names ...string) *cgroupTree {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &cgroupTree{root: root, names: make(map[uint64]string)}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestCgroupsAreFoundByPathOrByTheLastPartOfOne(t *testing.T) {
	c := tree(t, "system.slice/nginx.service/worker", "system.slice/a.service", "user.slice/a.service", "x")
	for name, want := range map[string]string{
		"/":                           "/",
		"/system.slice":               "/system.slice",
		"system.slice/nginx.service":  "/system.slice/nginx.service",
		"nginx.service":               "/system.slice/nginx.service",
		"worker":                      "/system.slice/nginx.service/worker",
		"/x/":                         "/x",
		"/user.slice/a.service":       "/user.slice/a.service",
		c.root + "/system.slice":      "/system.slice",
		"/system.slice/../x":          "/x",
		"/../../../../../../../../x/": "/x", // never above the root
	} {
		ids, err := c.find([]string{name})
		if err != nil || len(ids) != 1 || ids[0] != inode(t, c.root+want) {
			t.Errorf("%s: %v, %v; want that of %s", name, ids, err, want)
			continue
		}
		if got := c.name(ids[0]); got != want {
			t.Errorf("%s is named %s, want %s", name, got, want)
		}
	}
	for name, says := range map[string]string{
		"a.service":         "several cgroups: /system.slice/a.service, /user.slice/a.service",
		"b.service":         "no cgroup b.service",
		"/x/y":              "no cgroup /x/y",
		"../../etc":         "no cgroup /etc",
		"nginx.service/no/": "no cgroup /nginx.service/no",
	} {
		_, err := c.find([]string{"x", name})
		var refusal *api.Error
		if !errors.As(err, &refusal) || refusal.Code != api.CodeBadRequest || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a bad request that says %q", name, err, says)
		}
	}
	if got := c.name(1); got != removedGroup {
		t.Errorf("an id that is none is named %s", got)
	}
	none := &cgroupTree{names: make(map[uint64]string)}
	if _, err := none.find([]string{"x"}); err == nil || none.name(3) != removedGroup {
		t.Errorf("without a hierarchy: %v", err)
	}
}

// discard takes lines and counts them.
type discard struct {
	lines []api.TraceEvent
	began chan struct{} // closed at the first flush
}

func newDiscard() *discard { return &discard{began: make(chan struct{})} }

func (d *discard) Event(e *api.TraceEvent) error {
	d.lines = append(d.lines, *e)
	return nil
}

func (d *discard) Flush() error {
	select {
	case <-d.began:
	default:
		close(d.began)
	}
	return nil
}

func TestALineSaysWhatTheStreamSaw(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	comm := func(s string) (c trace.Comm) {
		copy(c[:], s)
		return c
	}
	groups := &cgroupTree{names: map[uint64]string{4: "/w", 5: "/h"}}
	e := trace.StreamEvent{
		Time: at, Wait: 2 * time.Millisecond, Run: 3 * time.Millisecond, Blocked: 5 * time.Millisecond, Arrivals: 7, LostBefore: 11,
		PID: 13, TGID: 12, CPU: 3, Comm: comm("w"), Cgroup: 4, Left: trace.LeftIOWait,
		HolderPID: 1, HolderComm: comm("h"), HolderCgroup: 5, NextPID: 2, NextComm: comm("n"),
	}
	want := api.Slice{
		TraceTask: api.TraceTask{PID: 13, Comm: "w", Group: "/w"}, TGID: 12, CPU: 3, WaitSeconds: 0.002, RunSeconds: 0.003, BlockedSeconds: 0.005,
		Before: "preempted", Left: "io_wait", Arrivals: 7, LostBefore: 11,
		Holder: &api.TraceTask{PID: 1, Comm: "h", Group: "/h"}, Next: &api.TraceTask{PID: 2, Comm: "n"},
	}
	if diff := cmp.Diff(api.TraceEvent{Time: at, Slice: &want}, apiSlice(&e, groups)); diff != "" {
		t.Error(diff)
	}
	e.HolderPID, e.NextPID = 0, 0
	if s := apiSlice(&e, groups).Slice; s.Holder != nil || s.Next != nil {
		t.Errorf("idle before is %+v, and after %+v", s.Holder, s.Next)
	}
	for before, is := range map[string]trace.StreamEvent{
		"new": {New: true}, "io_wait": {Woken: true, WokenIO: true}, "sleep": {Woken: true}, "preempted": {}, "": {Partial: true, Woken: true},
	} {
		if s := apiSlice(&is, groups).Slice; s.Before != before || s.Partial != is.Partial {
			t.Errorf("%+v was %q before, partial %t; want %q", is, s.Before, s.Partial, before)
		}
	}
}

func TestAWaitOfExactlyTheThresholdCounts(t *testing.T) {
	for wait, want := range map[time.Duration]api.TraceKind{
		time.Millisecond - 1: api.TraceIO, time.Millisecond: api.TraceWait, time.Millisecond + 1: api.TraceWait,
	} {
		if got := waitKind(&trace.StreamEvent{Wait: wait, Blocked: time.Second, WokenIO: true}, time.Millisecond); got != want {
			t.Errorf("%v on the run queue is a line of kind %s, want %s", wait, got, want)
		}
	}
}

func TestTheTotalHasEveryWayToLose(t *testing.T) {
	want := api.TraceTotal{Events: 1, Lost: 2, Unremembered: 3, Missed: 4}
	if got := apiTotal(1, trace.StreamLoss{RingFull: 2, NoStorage: 3, Missed: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// follower takes lines and says when some were handed on.
type follower struct {
	kept   []api.TraceEvent
	handed chan []api.TraceEvent
}

func (f *follower) Event(e *api.TraceEvent) error {
	f.kept = append(f.kept, *e)
	return nil
}

func (f *follower) Flush() error {
	if len(f.kept) > 0 {
		f.handed <- f.kept
		f.kept = nil
	}
	return nil
}

// What there is is handed on while the trace goes on, not at its end only.
func TestLinesAreHandedOnAsTheyCome(t *testing.T) {
	needTracer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sink, ended := &follower{handed: make(chan []api.TraceEvent, 1<<16)}, make(chan error, 1)
	go func() {
		ended <- Trace(ctx, api.TraceRequest{Switches: true, PIDs: []int{os.Getpid()}}, sink)
	}()
	select {
	case lines := <-sink.handed:
		if e := lines[0]; e.Kind != api.TraceSwitch || e.Slice == nil || e.Slice.TGID != os.Getpid() {
			t.Errorf("%+v %+v", e, e.Slice)
		}
	case <-time.After(2 * time.Minute):
		t.Error("nothing was handed on within two minutes")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func needTracer(t *testing.T) {
	t.Helper()
	if err := trace.Probe(); err != nil {
		t.Skip(err)
	}
}

func TestTracesAreBoundedAndEndWithTheDaemon(t *testing.T) {
	needTracer(t)
	d := &Daemon{}
	ended := make(chan error, maxTraces)
	sinks := make([]*discard, maxTraces)
	for i := range sinks {
		sinks[i] = newDiscard()
		go func() { ended <- d.Trace(context.Background(), api.TraceRequest{Comm: "no-such-task"}, sinks[i]) }()
	}
	for _, s := range sinks {
		<-s.began
	}
	var refusal *api.Error
	if err := d.Trace(t.Context(), api.TraceRequest{}, newDiscard()); !errors.As(err, &refusal) || refusal.Code != api.CodeConflict {
		t.Errorf("a trace too many: %v, want a conflict", err)
	}
	if _, err := d.Tasks(t.Context(), api.TasksRequest{}); !errors.As(err, &refusal) || refusal.Code != api.CodeConflict {
		t.Errorf("a look at tasks too many: %v, want a conflict", err)
	}
	d.traces.close()
	for range sinks {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for _, s := range sinks {
		if len(s.lines) != 1 || s.lines[0].Kind != api.TraceEnd {
			t.Errorf("%+v, want the totals alone", s.lines)
		}
	}
	if err := d.Trace(t.Context(), api.TraceRequest{}, newDiscard()); !errors.As(err, &refusal) || refusal.Code != api.CodeUnavailable {
		t.Errorf("a trace of a daemon that has ended: %v, want unavailable", err)
	}
}

func TestAPlaceIsFreeAgainWhenATraceHasEnded(t *testing.T) {
	needTracer(t)
	d := &Daemon{}
	defer d.traces.close()
	for range maxTraces + 1 {
		if err := d.Trace(t.Context(), api.TraceRequest{Comm: "no-such-task", Duration: time.Millisecond}, newDiscard()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATraceWhoseSinkFailsEnds(t *testing.T) {
	needTracer(t)
	full := errors.New("full")
	err := Trace(t.Context(), api.TraceRequest{Switches: true, All: true}, failing{full})
	if !errors.Is(err, full) {
		t.Errorf("%v, want the sink's error", err)
	}
}

type failing struct{ err error }

func (f failing) Event(*api.TraceEvent) error { return f.err }
func (f failing) Flush() error                { return nil }

func TestTracerErrorsHaveTheirPlaceOnTheWire(t *testing.T) {
	for code, err := range map[api.Code]error{
		api.CodeUnsupported: &trace.UnsupportedError{Feature: "BTF", Needs: "x"},
		api.CodeForbidden:   &trace.PermissionError{Missing: []string{"CAP_BPF"}},
		api.CodeBadRequest:  &trace.FilterError{Text: "x"},
		api.CodeFailed:      errors.New("x"),
	} {
		var e *api.Error
		if !errors.As(traceError(err), &e) || e.Code != code {
			t.Errorf("%v is %v, want %s", err, e, code)
		}
	}
}

func TestTheBusiestTasksHaveNamesAndRhythms(t *testing.T) {
	needTracer(t)
	list, err := Tasks(t.Context(), api.TasksRequest{Count: 5, Interval: 200 * time.Millisecond, Rhythm: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Top) != 5 || list.Tasks < 5 || list.IntervalSeconds < 0.2 {
		t.Errorf("%+v", list)
	}
	for _, task := range list.Top {
		if task.PID == 0 || task.Comm == "" || task.Group == "" || task.State == "" {
			t.Errorf("%+v", task)
		}
	}
}
