// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"autosa/api"
	"autosa/bpf/trace"
	"autosa/workload"
)

// maxTraces bounds the traces and looks at tasks at one time: each has programs
// at work in the kernel.
const maxTraces = 4

// traces are those under way.
type traces struct {
	mu      sync.Mutex
	n       int           // guarded by mu
	ending  chan struct{} // closed by close; guarded by mu
	closed  bool          // guarded by mu
	running sync.WaitGroup
}

// begin counts one more, whose context ends with the daemon too. done must be
// called at its end.
func (t *traces) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, apiError(api.CodeUnavailable, "the daemon is stopping")
	}
	if t.n >= maxTraces {
		return nil, nil, apiError(api.CodeConflict, "%d traces are under way, and that is all there may be at a time: end one of them", t.n)
	}
	if t.ending == nil {
		t.ending = make(chan struct{})
	}
	t.n++
	t.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	ending := t.ending
	go func() {
		defer t.running.Done()
		select {
		case <-ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.n--
	}, nil
}

// close ends all of them, and those to come.
func (t *traces) close() {
	t.mu.Lock()
	if !t.closed && t.ending != nil {
		close(t.ending)
	}
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
}

// Trace hands what req asks for to sink, see [Trace]. A few traces may be under
// way at a time, further ones are a conflict.
func (d *Daemon) Trace(ctx context.Context, req api.TraceRequest, sink api.TraceSink) error {
	ctx, done, err := d.traces.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	return Trace(ctx, req, sink)
}

// Tasks lists the busiest tasks, see [Tasks]. It counts as a trace.
func (d *Daemon) Tasks(ctx context.Context, req api.TasksRequest) (api.TaskList, error) {
	ctx, done, err := d.traces.begin(ctx)
	if err != nil {
		return api.TaskList{}, err
	}
	defer done()
	return Tasks(ctx, req)
}

// Trace is trace mode; it needs no daemon. It hands what req asks for to sink
// until the duration is over or ctx ends, then what is left and the totals. It
// keeps nothing: while sink does not take events, the stream loses and counts
// them. Its errors are [*api.Error], or the sink's.
func Trace(ctx context.Context, req api.TraceRequest, sink api.TraceSink) error {
	if err := req.Validate(); err != nil {
		return apiError(api.CodeBadRequest, "%v", err)
	}
	tree, err := openCgroupTree()
	if err != nil {
		return err
	}
	if req.Wakeups || req.Block {
		return sampleAgain(ctx, req, tree, sink)
	}
	groups, err := tree.find(req.Cgroups)
	if err != nil {
		return err
	}
	s, err := trace.OpenStream(trace.StreamOptions{
		PIDs: req.PIDs, Comm: req.Comm, Cgroups: groups, Switches: req.Switches, MinWait: req.MinWait,
	})
	if err != nil {
		return traceError(err)
	}
	return errors.Join(follow(ctx, req, s, tree, sink), s.Close())
}

// follow hands on a stream.
func follow(ctx context.Context, req api.TraceRequest, s *trace.Stream, tree *cgroupTree, sink api.TraceSink) error {
	if req.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, req.Duration)
		defer cancel()
	}
	defer context.AfterFunc(ctx, func() { _ = s.Stop() })()
	if err := sink.Flush(); err != nil { // says that the trace has begun
		return err
	}
	minWait := req.MinWait
	if minWait == 0 {
		minWait = defaultMinWait
	}
	var events uint64
	for {
		e, err := s.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		events++
		line := apiSlice(&e, tree)
		if line.Kind = api.TraceSwitch; !req.Switches {
			line.Kind = waitKind(&e, minWait)
		}
		if err := sink.Event(&line); err != nil {
			return err
		}
		if s.Idle() {
			if err := sink.Flush(); err != nil {
				return err
			}
		}
	}
	lost, err := s.Lost()
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return end(sink, apiTotal(events, lost))
}

// waitKind says for which of its waits a slice is reported.
func waitKind(e *trace.StreamEvent, minWait time.Duration) api.TraceKind {
	if e.Wait < minWait {
		return api.TraceIO
	}
	return api.TraceWait
}

func apiTotal(events uint64, lost trace.StreamLoss) api.TraceTotal {
	return api.TraceTotal{Events: events, Lost: lost.RingFull, Unremembered: lost.NoStorage, Missed: lost.Missed}
}

// defaultMinWait is what the stream takes for no MinWait.
const defaultMinWait = 4 * time.Millisecond

func end(sink api.TraceSink, total api.TraceTotal) error {
	if err := sink.Event(&api.TraceEvent{Kind: api.TraceEnd, Time: time.Now(), End: &total}); err != nil {
		return err
	}
	return sink.Flush()
}

func apiSlice(e *trace.StreamEvent, tree *cgroupTree) api.TraceEvent {
	s := &api.Slice{
		TraceTask: api.TraceTask{PID: e.PID, Comm: e.Comm.String(), Group: tree.name(e.Cgroup)},
		TGID:      e.TGID, CPU: e.CPU,
		WaitSeconds: e.Wait.Seconds(), RunSeconds: e.Run.Seconds(), BlockedSeconds: e.Blocked.Seconds(),
		Left: e.Left.String(), Partial: e.Partial, Arrivals: e.Arrivals, LostBefore: e.LostBefore,
	}
	switch {
	case e.Partial:
	case e.New:
		s.Before = "new"
	case e.WokenIO:
		s.Before = trace.LeftIOWait.String()
	case e.Woken:
		s.Before = trace.LeftSleep.String()
	default:
		s.Before = trace.LeftPreempted.String()
	}
	if e.HolderPID != 0 {
		s.Holder = &api.TraceTask{PID: e.HolderPID, Comm: e.HolderComm.String(), Group: tree.name(e.HolderCgroup)}
	}
	if e.NextPID != 0 {
		s.Next = &api.TraceTask{PID: e.NextPID, Comm: e.NextComm.String()}
	}
	return api.TraceEvent{Time: e.Time, Slice: s}
}

// sampleAgain takes samples, once or every so often until ctx ends.
func sampleAgain(ctx context.Context, req api.TraceRequest, tree *cgroupTree, sink api.TraceSink) error {
	d := req.Duration
	if d == 0 {
		d = api.DefaultSample
	}
	var total api.TraceTotal
	for {
		line, err := sample(ctx, req, d, tree)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return traceError(err)
		}
		total.Events++
		if err := errors.Join(sink.Event(&line), sink.Flush()); err != nil {
			return err
		}
		if req.Every == 0 {
			break
		}
		select {
		case <-time.After(max(req.Every-d, 0)):
		case <-ctx.Done():
		}
	}
	return end(sink, total)
}

func sample(ctx context.Context, req api.TraceRequest, d time.Duration, tree *cgroupTree) (api.TraceEvent, error) {
	if req.Block {
		got, err := trace.SampleBlock(ctx, d)
		return api.TraceEvent{Kind: api.TraceBlock, Time: time.Now(), Block: apiBlock(&got)}, err
	}
	got, err := trace.SampleWakeups(ctx, d)
	out := &api.WakeSample{
		DurationSeconds: got.Duration.Seconds(), Wakeups: got.Wakeups, Unnamed: got.Unnamed,
		Edges: make([]api.WakeEdge, 0, len(got.Edges)),
	}
	for _, e := range got.Edges {
		edge := api.WakeEdge{Interrupt: e.Interrupt, Wakee: e.Wakee.String(), WakeeGroup: tree.name(e.WakeeCgroup), Count: e.Count}
		if !e.Interrupt {
			edge.Waker, edge.WakerGroup = e.Waker.String(), tree.name(e.WakerCgroup)
		}
		out.Edges = append(out.Edges, edge)
	}
	return api.TraceEvent{Kind: api.TraceWakeups, Time: time.Now(), Wakeups: out}, err
}

func apiBlock(got *trace.BlockSample) *api.BlockSample {
	out := &api.BlockSample{DurationSeconds: got.Duration.Seconds(), Untimed: got.Untimed, Ops: make([]api.BlockWait, 0, len(got.Ops))}
	for _, op := range got.Ops {
		h := workload.Histogram(op.Buckets)
		b := api.BlockWait{
			Op: op.Op.String(), Requests: op.Requests, MeanSeconds: op.Total.Seconds() / float64(op.Requests),
			P50Seconds: h.Quantile(0.5).Seconds(), P99Seconds: h.Quantile(0.99).Seconds(), Buckets: []api.BlockBucket{},
		}
		for i, n := range h {
			if n > 0 {
				b.Buckets = append(b.Buckets, api.BlockBucket{UpToSeconds: bucketBound(i), Count: n})
			}
		}
		out.Ops = append(out.Ops, b)
	}
	return out
}

// Tasks lists the busiest tasks over a short time; it needs no daemon. Its
// errors are [*api.Error].
func Tasks(ctx context.Context, req api.TasksRequest) (_ api.TaskList, err error) {
	if err := req.Validate(); err != nil {
		return api.TaskList{}, apiError(api.CodeBadRequest, "%v", err)
	}
	if req.Count == 0 {
		req.Count = api.DefaultTasks
	}
	if req.Interval == 0 {
		req.Interval = api.DefaultTaskInterval
	}
	tree, err := openCgroupTree()
	if err != nil {
		return api.TaskList{}, err
	}
	w, err := trace.NewTaskWatch()
	if err != nil {
		return api.TaskList{}, traceError(err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Pull(0); err != nil {
		return api.TaskList{}, traceError(err)
	}
	select {
	case <-time.After(req.Interval):
	case <-ctx.Done():
		return api.TaskList{}, apiError(api.CodeUnavailable, "look at tasks: %v", context.Cause(ctx))
	}
	rep, err := w.Pull(req.Count)
	if err != nil {
		return api.TaskList{}, traceError(err)
	}
	list := api.TaskList{Time: time.Now(), IntervalSeconds: rep.Interval.Seconds(), Tasks: rep.Tasks, Unwatched: rep.Unwatched, Top: make([]api.Task, 0, len(rep.Top))}
	for _, u := range rep.Top {
		list.Top = append(list.Top, api.Task{
			TraceTask: api.TraceTask{PID: u.PID, Comm: u.Comm.String(), Group: tree.name(u.Cgroup)},
			TGID:      u.TGID, State: string(u.State), CPU: u.CPU, Nice: u.Nice, Policy: u.Policy,
			RunShare: u.RunShare, WaitShare: u.WaitShare, SwitchesPerSecond: u.SwitchesPerSecond, WakeupsPerSecond: u.WakeupsPerSecond,
		})
	}
	if req.Rhythm && len(list.Top) > 0 {
		return list, addRhythms(ctx, list.Top, req.Interval)
	}
	return list, nil
}

// addRhythms follows tasks for a window.
func addRhythms(ctx context.Context, tasks []api.Task, window time.Duration) error {
	pids := make([]int, 0, len(tasks))
	at := make(map[int]int)
	for i, t := range tasks {
		pids = append(pids, t.PID)
		at[t.PID] = i
	}
	rhythms, err := trace.Rhythms(ctx, pids, window)
	if err != nil {
		return traceError(err)
	}
	for _, r := range rhythms {
		if i, ok := at[r.PID]; ok { // a main thread stands for its process
			tasks[i].Rhythm = &api.TaskRhythm{Wakeups: r.Wakeups, MeanSeconds: r.Mean.Seconds(), CV: r.CV}
		}
	}
	return nil
}

// traceError gives what the tracer says its place in the wire's errors.
func traceError(err error) error {
	var bad *trace.FilterError
	switch {
	case errors.As(err, &bad):
		return apiError(api.CodeBadRequest, "%v", err)
	case errors.Is(err, trace.ErrNotSupported):
		return apiError(api.CodeUnsupported, "tracing is not possible here: %v", err)
	case errors.Is(err, os.ErrPermission):
		return apiError(api.CodeForbidden, "tracing is not permitted: %v", err)
	}
	return apiError(api.CodeFailed, "%v", err)
}

// bucketBound is the upper bound of a histogram's bucket in seconds; what is
// longer than the last one is in that too.
func bucketBound(i int) float64 {
	return time.Duration(workload.BucketBound(i)).Seconds()
}
