// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"autosa/api"
)

// tracePrinter prints the lines of a trace, and sums them. It is an
// [api.TraceSink].
type tracePrinter struct {
	out   *bufio.Writer
	enc   *json.Encoder // nil for text
	zone  *time.Location
	sum   traceSummary
	begun bool // something was traced, or could have been
	head  bool // the columns were named
}

func newTracePrinter(w io.Writer, asJSON bool) *tracePrinter {
	p := &tracePrinter{out: bufio.NewWriter(w), zone: time.Local}
	if asJSON {
		p.enc = json.NewEncoder(p.out)
		p.enc.SetEscapeHTML(false)
	}
	return p
}

func (p *tracePrinter) Event(e *api.TraceEvent) error {
	p.begun = true
	p.sum.add(e)
	if p.enc != nil {
		return p.enc.Encode(e)
	}
	switch {
	case e.Slice != nil:
		p.slice(e)
	case e.Wakeups != nil:
		p.wakeups(e)
	case e.Block != nil:
		p.block(e)
	}
	return nil
}

func (p *tracePrinter) Flush() error {
	p.begun = true
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("print trace: %w", err)
	}
	return nil
}

const sliceFormat = "%-15s  %3s  %-23s  %8s  %8s  %8s  %-9s  %-9s  %-23s  %-23s  %s\n"

const clockTime = "15:04:05.000000"

func (p *tracePrinter) slice(e *api.TraceEvent) {
	s := e.Slice
	if !p.head {
		p.head = true
		fmt.Fprintf(p.out, sliceFormat, "TIME", "CPU", "TASK", "WAIT", "RUN", "BLOCKED", "BEFORE", "LEFT", "CPU HELD BY", "NEXT", "GROUP")
	}
	if s.LostBefore > 0 {
		fmt.Fprintf(p.out, "%-15s  %3d  lost %s here on CPU %d\n", "", s.CPU, count64(s.LostBefore, "event"), s.CPU)
	}
	wait, run, blocked, before := span(s.WaitSeconds), span(s.RunSeconds), span(s.BlockedSeconds), s.Before
	if s.Partial {
		wait, run, blocked, before = "?", "?", "?", "?"
	}
	fmt.Fprintf(p.out, sliceFormat, e.Time.In(p.zone).Format(clockTime), strconv.Itoa(s.CPU), taskName(&s.TraceTask),
		wait, run, blocked, before, s.Left, taskName(s.Holder), taskName(s.Next), clean(s.Group))
}

// taskName names a task and its thread, nil for idle.
func taskName(t *api.TraceTask) string {
	if t == nil {
		return "idle"
	}
	return fmt.Sprintf("%s(%d)", clean(t.Comm), t.PID)
}

func count64(n uint64, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%s %ss", grouped(n), what)
}

// maxWakeEdges is how many edges of a sample are printed; --json has all.
const maxWakeEdges = 40

func (p *tracePrinter) wakeups(e *api.TraceEvent) {
	w := e.Wakeups
	fmt.Fprintf(p.out, "%s  %s in %s\n", e.Time.Local().Format(clockTime), count64(w.Wakeups, "wakeup"), span(w.DurationSeconds))
	rows := []row{{"COUNT", "WAKER", "WAKES", "WAKER'S GROUP", "GROUP"}}
	for _, edge := range w.Edges[:min(len(w.Edges), maxWakeEdges)] {
		waker := clean(edge.Waker)
		if edge.Interrupt {
			waker = "interrupt"
		}
		rows = append(rows, row{grouped(edge.Count), waker, clean(edge.Wakee), clean(edge.WakerGroup), clean(edge.WakeeGroup)})
	}
	writeTable(p.out, "  ", rows, 0)
	if n := len(w.Edges) - maxWakeEdges; n > 0 {
		fmt.Fprintf(p.out, "  and %d more; --json has them\n", n)
	}
	if w.Unnamed > 0 {
		fmt.Fprintf(p.out, "  %s by too many different ones to be told apart\n", count64(w.Unnamed, "wakeup"))
	}
}

func (p *tracePrinter) block(e *api.TraceEvent) {
	b := e.Block
	var n uint64
	for _, op := range b.Ops {
		n += op.Requests
	}
	fmt.Fprintf(p.out, "%s  %s in %s\n", e.Time.Local().Format(clockTime), count64(n, "block request"), span(b.DurationSeconds))
	if b.Untimed > 0 {
		fmt.Fprintf(p.out, "  %s without a start time\n", count64(b.Untimed, "request"))
	}
	if n == 0 {
		return
	}
	rows := []row{{"OPERATION", "REQUESTS", "MEAN", "P50", "P99"}}
	for _, op := range b.Ops {
		rows = append(rows, row{op.Op, grouped(op.Requests), span(op.MeanSeconds), span(op.P50Seconds), span(op.P99Seconds)})
	}
	writeTable(p.out, "  ", rows, 1, 2, 3, 4)
	for _, op := range b.Ops {
		var most uint64
		for _, bucket := range op.Buckets {
			most = max(most, bucket.Count)
		}
		rows := []row{{"up to", op.Op + "s"}}
		for _, bucket := range op.Buckets {
			bar := strings.Repeat("#", int(1+39*bucket.Count/most))
			rows = append(rows, row{span(bucket.UpToSeconds), grouped(bucket.Count), bar})
		}
		fmt.Fprintln(p.out)
		writeTable(p.out, "  ", rows, 0, 1)
	}
}

// writeTasks prints the busiest tasks.
func writeTasks(w io.Writer, list *api.TaskList) {
	fmt.Fprintf(w, "%s in %s, the busiest first; shares are of one CPU\n", count64(uint64(list.Tasks), "task"), span(list.IntervalSeconds))
	rows := []row{{"TASK", "RUN", "WAIT", "SWITCHES/S", "WAKEUPS/S", "STATE", "CPU", "NICE", "WAKES EVERY", "GROUP"}}
	for i := range list.Top {
		t := &list.Top[i]
		rhythm := ""
		if t.Rhythm != nil {
			rhythm = fmt.Sprintf("%s ± %s", span(t.Rhythm.MeanSeconds), percent(t.Rhythm.CV))
		}
		rows = append(rows, row{
			taskName(&t.TraceTask), percent(t.RunShare), percent(t.WaitShare), grouped(uint64(t.SwitchesPerSecond)), grouped(uint64(t.WakeupsPerSecond)),
			t.State, strconv.Itoa(t.CPU), strconv.Itoa(t.Nice), rhythm, clean(t.Group),
		})
	}
	writeTable(w, "", rows, 1, 2, 3, 4, 6, 7, 8)
}

const (
	// maxTraceEdges bounds the pairs of groups that a summary keeps apart.
	maxTraceEdges = 4096
	// shownTraceEdges is how many of them it shows.
	shownTraceEdges = 10
)

// traceSummary sums a trace: who made whom wait.
type traceSummary struct {
	events, lostBefore uint64
	total              *api.TraceTotal // once the trace said it itself
	edges              map[traceEdge]*waitSum
	others             waitSum // of pairs beyond maxTraceEdges
}

type traceEdge struct{ waiter, holder string }

type waitSum struct {
	count   uint64
	seconds float64
}

func (w *waitSum) add(seconds float64) {
	w.count++
	w.seconds += seconds
}

func (t *traceSummary) add(e *api.TraceEvent) {
	if e.End != nil {
		t.total = e.End
	}
	s := e.Slice
	if s == nil {
		return
	}
	t.events++
	t.lostBefore += s.LostBefore
	if s.Partial || s.WaitSeconds <= 0 || s.Holder == nil {
		return
	}
	if t.edges == nil {
		t.edges = make(map[traceEdge]*waitSum)
	}
	key := traceEdge{s.Group, s.Holder.Group}
	sum := t.edges[key]
	switch {
	case sum != nil:
	case len(t.edges) >= maxTraceEdges:
		sum = &t.others
	default:
		sum = &waitSum{}
		t.edges[key] = sum
	}
	sum.add(s.WaitSeconds)
}

func (t *traceSummary) write(w io.Writer, lasted time.Duration) {
	lost, atLeast := t.lostBefore, "at least "
	if t.total != nil {
		lost, atLeast = t.total.Lost, ""
	}
	fmt.Fprintf(w, "%s in %s, %s%s lost", count64(t.events, "event"), secondsOf(lasted), atLeast, grouped(lost))
	if lost > 0 {
		fmt.Fprintf(w, " (%s)", percent(float64(lost)/float64(lost+t.events)))
	}
	fmt.Fprintln(w)
	if t.total != nil && t.total.LeftOut > 0 {
		fmt.Fprintf(w, "%s of these were left out of the recording, because they were too many\n", grouped(t.total.LeftOut))
	}
	if t.total != nil && t.total.Unremembered+t.total.Missed > 0 {
		fmt.Fprintf(w, "slices of tasks that the kernel had no memory for: %s; switches, of any task, that it did not show: %s\n",
			grouped(t.total.Unremembered), grouped(t.total.Missed))
	}
	if len(t.edges) == 0 {
		return
	}
	keys := make([]traceEdge, 0, len(t.edges))
	for k := range t.edges {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b traceEdge) int {
		return cmp.Or(cmp.Compare(t.edges[b].seconds, t.edges[a].seconds), cmp.Compare(a.waiter, b.waiter), cmp.Compare(a.holder, b.holder))
	})
	fmt.Fprintln(w, "who waited for whom, by the time waited:")
	rows := []row{{"TOTAL", "WAITS", "GROUP", "WAITED FOR"}}
	for _, k := range keys[:min(len(keys), shownTraceEdges)] {
		sum := t.edges[k]
		rows = append(rows, row{span(sum.seconds), grouped(sum.count), clean(k.waiter), clean(k.holder)})
	}
	rest := t.others
	for _, k := range keys[min(len(keys), shownTraceEdges):] {
		rest.count += t.edges[k].count
		rest.seconds += t.edges[k].seconds
	}
	if rest.count > 0 {
		rows = append(rows, row{span(rest.seconds), grouped(rest.count), "others", ""})
	}
	writeTable(w, "  ", rows, 0, 1)
}
