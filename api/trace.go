// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Endpoints of trace mode, for operators: they show single tasks.
const (
	PathTrace = "/v1/trace" // GET, query TraceRequest → NDJSON of TraceEvent
	PathTasks = "/v1/tasks" // GET, query TasksRequest → TaskList
)

// Bounds of a TraceRequest and a TasksRequest.
const (
	MaxTracePIDs    = 64
	MaxTraceCgroups = 16
	MaxCommBytes    = 15 // of a task's name, the kernel's limit
	MaxPID          = 1 << 22
	MaxTraceTime    = 24 * time.Hour
	MaxTasks        = 1000

	maxCgroupBytes = 4096
)

// TraceRequest says what to trace. Filters of different kinds must all match,
// of several values of one kind any.
type TraceRequest struct {
	// PIDs are thread or process ids; a process stands for its threads.
	PIDs []int
	// Comm is a task's name; one that ends with * is a prefix.
	Comm string
	// Cgroups are paths below the root of the v2 hierarchy, or the last element of
	// one, such as a unit's name; each stands for what is below it too.
	Cgroups []string
	// MinWait is the shortest run-queue or I/O wait reported; 0 means 4 ms.
	MinWait time.Duration
	// Switches reports every context switch instead. It takes a filter, or All.
	Switches, All bool
	// Wakeups and Block sample who wakes whom and the block devices' latency
	// instead, once or every Every.
	Wakeups, Block bool
	Every          time.Duration
	// Duration ends the trace, or is for how long a sample is taken; 0 means until
	// the client goes, and 200 ms.
	Duration time.Duration
}

// DefaultSample is for how long a sample of Wakeups or Block is taken.
const DefaultSample = 200 * time.Millisecond

// Validate says what is wrong with a request, all of it.
func (r *TraceRequest) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(r.PIDs) > MaxTracePIDs {
		add("pid: %d processes, %d can be traced at a time", len(r.PIDs), MaxTracePIDs)
	}
	for _, pid := range r.PIDs {
		if pid < 1 || pid > MaxPID {
			add("pid: %d is no process id", pid)
		}
	}
	if name := strings.TrimSuffix(r.Comm, "*"); len(name) > MaxCommBytes {
		add("comm: %q has %d bytes, and the kernel keeps %d of a task's name: give these, or a prefix followed by *", name, len(name), MaxCommBytes)
	}
	if strings.IndexByte(r.Comm, 0) >= 0 {
		add("comm: %q has a NUL byte", r.Comm)
	}
	if len(r.Cgroups) > MaxTraceCgroups {
		add("cgroup: %d groups, %d can be traced at a time", len(r.Cgroups), MaxTraceCgroups)
	}
	for _, c := range r.Cgroups {
		if c == "" || len(c) > maxCgroupBytes || strings.IndexByte(c, 0) >= 0 {
			add("cgroup: %.80q is no name of a cgroup", c)
		}
	}
	if r.MinWait < 0 || r.MinWait > MaxTraceTime {
		add("min-wait: must be from 0 to %v, not %v", MaxTraceTime, r.MinWait)
	}
	if r.Duration < 0 || r.Duration > MaxTraceTime {
		add("duration: must be from 0 to %v, not %v", MaxTraceTime, r.Duration)
	}
	filtered := len(r.PIDs) > 0 || strings.TrimSuffix(r.Comm, "*") != "" || len(r.Cgroups) > 0
	sampled := r.Wakeups || r.Block
	switch {
	case r.Wakeups && r.Block:
		add("wakeups and block: one at a time")
	case sampled && (filtered || r.Comm != "" || r.Switches || r.All || r.MinWait > 0):
		add("wakeups and block are samples of the whole machine: they take no filters")
	case sampled && r.Duration > 10*time.Second:
		add("duration: a sample takes at most 10 s, not %v; repeat it with every", r.Duration)
	case r.Every != 0 && !sampled:
		add("every: only samples (wakeups, block) are repeated")
	case r.Every != 0 && (r.Every < time.Second || r.Every > MaxTraceTime):
		add("every: must be from 1s to %v, not %v", MaxTraceTime, r.Every)
	case r.Switches && r.MinWait > 0:
		add("switches and min-wait exclude each other: every switch is reported, however short the wait")
	case r.Switches && !filtered && !r.All:
		add("switches of every task on the machine are a flood, a great part of which would be lost: choose tasks by pid, comm or cgroup, or insist with all")
	case r.All && !r.Switches:
		add("all: goes with switches only")
	}
	return errors.Join(errs...)
}

// Query encodes a request; ParseTraceRequest is its inverse.
func (r *TraceRequest) Query() url.Values {
	q := url.Values{}
	for _, pid := range r.PIDs {
		q.Add("pid", strconv.Itoa(pid))
	}
	if r.Comm != "" {
		q.Set("comm", r.Comm)
	}
	for _, c := range r.Cgroups {
		q.Add("cgroup", c)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"min_wait", r.MinWait}, {"duration", r.Duration}, {"every", r.Every}} {
		if d.value != 0 {
			q.Set(d.key, d.value.String())
		}
	}
	for _, b := range r.flags() {
		if *b.value {
			q.Set(b.key, "1")
		}
	}
	return q
}

type traceFlag struct {
	key   string
	value *bool
}

func (r *TraceRequest) flags() []traceFlag {
	return []traceFlag{{"switches", &r.Switches}, {"all", &r.All}, {"wakeups", &r.Wakeups}, {"block", &r.Block}}
}

// ParseTraceRequest decodes and validates a request. Unknown keys are errors.
func ParseTraceRequest(q url.Values) (TraceRequest, error) {
	var r TraceRequest
	p := query{values: q}
	for _, v := range p.list("pid") {
		for s := range strings.SplitSeq(v, ",") {
			r.PIDs = append(r.PIDs, p.number("pid", s))
		}
	}
	r.Comm = p.one("comm")
	r.Cgroups = p.list("cgroup")
	r.MinWait, r.Duration, r.Every = p.duration("min_wait"), p.duration("duration"), p.duration("every")
	for _, b := range r.flags() {
		*b.value = p.flag(b.key)
	}
	if err := p.end(); err != nil {
		return TraceRequest{}, err
	}
	if err := r.Validate(); err != nil {
		return TraceRequest{}, err
	}
	return r, nil
}

// TasksRequest asks for the busiest tasks over a short time.
type TasksRequest struct {
	// Count is how many, at most; 0 means 20.
	Count int
	// Rhythm follows them for another such time and tells how regularly they wake.
	Rhythm bool
	// Interval is the time between the two looks at them; 0 means 500 ms.
	Interval time.Duration
}

// Defaults of a TasksRequest.
const (
	DefaultTasks        = 20
	DefaultTaskInterval = 500 * time.Millisecond
	maxTaskInterval     = 5 * time.Second
)

// Validate says what is wrong with a request.
func (r *TasksRequest) Validate() error {
	switch {
	case r.Count < 0 || r.Count > MaxTasks:
		return fmt.Errorf("count: must be from 1 to %d, not %d", MaxTasks, r.Count)
	case r.Interval < 0 || r.Interval > maxTaskInterval:
		return fmt.Errorf("interval: must be at most %v, not %v", maxTaskInterval, r.Interval)
	}
	return nil
}

// Query encodes a request; ParseTasksRequest is its inverse.
func (r *TasksRequest) Query() url.Values {
	q := url.Values{}
	if r.Count != 0 {
		q.Set("count", strconv.Itoa(r.Count))
	}
	if r.Rhythm {
		q.Set("rhythm", "1")
	}
	if r.Interval != 0 {
		q.Set("interval", r.Interval.String())
	}
	return q
}

// ParseTasksRequest decodes and validates a request. Unknown keys are errors.
func ParseTasksRequest(q url.Values) (TasksRequest, error) {
	var r TasksRequest
	p := query{values: q}
	if s := p.one("count"); s != "" {
		r.Count = p.number("count", s)
	}
	r.Rhythm = p.flag("rhythm")
	r.Interval = p.duration("interval")
	if err := p.end(); err != nil {
		return TasksRequest{}, err
	}
	if err := r.Validate(); err != nil {
		return TasksRequest{}, err
	}
	return r, nil
}

// query reads values and keeps what is wrong with them.
type query struct {
	values url.Values
	known  []string
	errs   []error
}

func (p *query) list(key string) []string {
	p.known = append(p.known, key)
	return p.values[key]
}

func (p *query) one(key string) string {
	v := p.list(key)
	if len(v) > 1 {
		p.errs = append(p.errs, fmt.Errorf("%s: given %d times", key, len(v)))
	}
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

func (p *query) number(key, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s: %.40q is no number", key, s))
	}
	return n
}

func (p *query) duration(key string) time.Duration {
	s := p.one(key)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s: %.40q is no duration such as 4ms", key, s))
	}
	return d
}

func (p *query) flag(key string) bool {
	switch s := p.one(key); s {
	case "", "0":
		return false
	case "1":
		return true
	default:
		p.errs = append(p.errs, fmt.Errorf("%s: is 0 or 1, not %.40q", key, s))
		return false
	}
}

func (p *query) end() error {
	for key := range p.values {
		if !slices.Contains(p.known, key) {
			p.errs = append(p.errs, fmt.Errorf("unknown query parameter %.40q", key))
		}
	}
	return errors.Join(p.errs...)
}
