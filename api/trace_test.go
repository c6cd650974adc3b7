// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestATraceRequestSurvivesItsQuery(t *testing.T) {
	for _, want := range []TraceRequest{
		{},
		{PIDs: []int{1, 4711}, Comm: "a b&c*", Cgroups: []string{"/x y", "nginx.service"}, MinWait: 1500 * time.Microsecond, Duration: time.Minute},
		{Switches: true, All: true},
		{Comm: "x", Switches: true},
		{Wakeups: true, Every: 2 * time.Second, Duration: 150 * time.Millisecond},
		{Block: true},
	} {
		q, err := url.ParseQuery(want.Query().Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseTraceRequest(q)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	for _, want := range []RecordRequest{{}, {Events: true}, {Events: true, MinWait: time.Millisecond, Cgroups: []string{"/x y", "a&b"}}} {
		got, err := ParseRecordRequest(want.Query())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	for _, want := range []TasksRequest{{}, {Count: 3, Rhythm: true, Interval: time.Second}} {
		got, err := ParseTasksRequest(want.Query())
		if err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}

func TestBadTraceQueriesAreNamed(t *testing.T) {
	for raw, says := range map[string]string{
		"pid=x":                                 `pid: "x" is no number`,
		"pid=0":                                 "pid: 0 is no process id",
		"pid=1,-2":                              "-2 is no process id",
		"pid=4194305":                           "4194305 is no process id",
		"pid=" + strings.Repeat("1,", 64) + "1": "65 processes, 64",
		"comm=0123456789abcdef":                 "16 bytes",
		"comm=a%00b":                            "NUL",
		"comm=a&comm=b":                         "comm: given 2 times",
		"cgroup=":                               "no name of a cgroup",
		"cgroup=" + strings.Repeat("a&cgroup=", 17) + "a": "18 groups, 16",
		"min_wait=soon":                  "min_wait",
		"min_wait=-1s":                   "min-wait: must be from 0",
		"duration=25h":                   "duration",
		"switches=1":                     "flood",
		"switches=1&comm=*":              "flood",
		"switches=yes&comm=a":            "switches: is 0 or 1",
		"switches=1&comm=a&min_wait=1ms": "exclude each other",
		"all=1":                          "switches only",
		"wakeups=1&block=1":              "one at a time",
		"wakeups=1&pid=1":                "no filters",
		"block=1&duration=11s":           "at most 10 s",
		"block=1&every=1ms":              "every",
		"every=2s":                       "only samples",
		"colour=red":                     "colour",
	} {
		q, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseTraceRequest(q); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: %v, want an error that says %q", raw, err, says)
		}
	}
	for raw, says := range map[string]string{
		"events=yes": "events: is 0 or 1", "min_wait=1ms": "go with events", "cgroup=a": "go with events", "events=1&min_wait=-1s": "min-wait: must be from 0",
		"events=1&cgroup=": "no name of a cgroup", "events=1&pid=1": "pid", "events=1&events=1": "events: given 2 times",
	} {
		q, _ := url.ParseQuery(raw)
		if _, err := ParseRecordRequest(q); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that says %q", raw, err, says)
		}
	}
	for _, raw := range []string{"count=x", "count=-1", "count=1001", "interval=6s", "rhythm=2", "colour=red"} {
		q, _ := url.ParseQuery(raw)
		if r, err := ParseTasksRequest(q); err == nil {
			t.Errorf("%s is taken as %+v", raw, r)
		}
	}
}

// What is taken has to come out of its own query the same, within all bounds.
func FuzzTraceQuery(f *testing.F) {
	for _, seed := range []string{
		"", "pid=1,2&comm=a*&cgroup=/x&min_wait=4ms", "switches=1&all=1", "wakeups=1&every=1s", "block=1&duration=200ms",
		"pid=,", "comm=%00", "min_wait=9999999h", "pid=4194305", "cgroup=%2e%2e&switches=0", "a=b;c", "events=1&min_wait=1ms&cgroup=x", "count=3&rhythm=1&interval=1ms",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if r, err := ParseTraceRequest(q); err == nil {
			if err := r.Validate(); err != nil {
				t.Errorf("%q is taken and not valid: %v", raw, err)
			}
			again, err := ParseTraceRequest(r.Query())
			if err != nil || !slices.Equal(again.PIDs, r.PIDs) || again.Comm != r.Comm || !slices.Equal(again.Cgroups, r.Cgroups) ||
				again.MinWait != r.MinWait || again.Duration != r.Duration || again.Every != r.Every ||
				again.Switches != r.Switches || again.All != r.All || again.Wakeups != r.Wakeups || again.Block != r.Block {
				t.Errorf("%q: %+v became %+v, %v", raw, r, again, err)
			}
			if len(r.PIDs) > MaxTracePIDs || len(r.Cgroups) > MaxTraceCgroups || len(r.Comm) > MaxCommBytes+1 {
				t.Errorf("%q: out of bounds: %+v", raw, r)
			}
		}
		if r, err := ParseRecordRequest(q); err == nil {
			if again, err := ParseRecordRequest(r.Query()); err != nil || again.Events != r.Events || again.MinWait != r.MinWait || !slices.Equal(again.Cgroups, r.Cgroups) {
				t.Errorf("%q: %+v became %+v, %v", raw, r, again, err)
			}
		}
		if r, err := ParseTasksRequest(q); err == nil {
			if again, err := ParseTasksRequest(r.Query()); err != nil || again != r {
				t.Errorf("%q: %+v became %+v, %v", raw, r, again, err)
			}
		}
	})
}

// The names are what others read: docs/API.md has them.
func TestALineOfATraceHasItsDocumentedNames(t *testing.T) {
	b, err := json.Marshal(TraceEvent{Kind: TraceWait, Slice: &Slice{
		TraceTask: TraceTask{PID: 1, Comm: "c", Group: "/g"}, TGID: 2, CPU: 3, WaitSeconds: 4, RunSeconds: 5, BlockedSeconds: 6,
		Before: "new", Left: "sleep", Partial: true, Arrivals: 7, LostBefore: 8, Holder: &TraceTask{PID: 9}, Next: &TraceTask{PID: 10},
	}, End: &TraceTotal{Events: 1, Lost: 2, LeftOut: 3, Unremembered: 4, Missed: 5}})
	const want = `{"kind":"wait","time":"0001-01-01T00:00:00Z","slice":{"pid":1,"comm":"c","group":"/g","tgid":2,"cpu":3,` +
		`"wait_seconds":4,"run_seconds":5,"blocked_seconds":6,"before":"new","left":"sleep","partial":true,"arrivals":7,"lost_before":8,` +
		`"holder":{"pid":9,"comm":""},"next":{"pid":10,"comm":""}},"end":{"events":1,"lost":2,"left_out":3,"unremembered":4,"missed":5}}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v; want\n%s", b, err, want)
	}
}

func TestTheLinesOfATraceSurviveJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	for _, want := range []TraceEvent{
		{Kind: TraceWait, Time: at, Slice: &Slice{
			TraceTask: TraceTask{PID: 5, Comm: "a<b", Group: "/g"}, TGID: 4, CPU: 0, WaitSeconds: 0.004, RunSeconds: 1e-6, BlockedSeconds: 3,
			Before: "sleep", Left: "preempted", Arrivals: 9, LostBefore: 2, Holder: &TraceTask{PID: 1, Comm: "h", Group: "/h"}, Next: &TraceTask{PID: 2, Comm: "n"},
		}},
		{Kind: TraceWakeups, Time: at, Wakeups: &WakeSample{Wakeups: 3, Edges: []WakeEdge{{Interrupt: true, Wakee: "w", WakeeGroup: "/", Count: 3}}}},
		{Kind: TraceBlock, Time: at, Block: &BlockSample{Ops: []BlockWait{{Op: "read", Requests: 1, Buckets: []BlockBucket{{0.1, 1}}}}}},
		{Kind: TraceEnd, Time: at, End: &TraceTotal{Events: 1, Lost: 2, Unremembered: 3, Missed: 4}},
	} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got TraceEvent
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v", b, got, err)
		}
		// The parts of a task stand beside those of its slice.
		if want.Slice != nil && !strings.Contains(string(b), `"slice":{"pid":5,"comm":"a`) {
			t.Error(string(b))
		}
	}
}
