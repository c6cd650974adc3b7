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
