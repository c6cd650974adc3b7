// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"autosa/api"
	"autosa/text"
	"autosa/workload"
)

// header is what stands above the table, most important first: where the room
// is short, the last lines are left out.
func (m *model) header(width int) []string {
	st := &m.shown.status
	var out []string
	add := func(pieces ...piece) {
		if l := line(width, pieces...); l != "" {
			out = append(out, l)
		}
	}
	if m.trouble != "" {
		add(piece{"! " + text.Cells(m.trouble), bad, 1})
	}
	add(m.title(st)...)
	add(m.scheduler(st)...)
	if s := st.Swap; s != nil {
		add(piece{"→ " + text.Cells(text.Command(s.To, s.Args)) + ": " + text.Cells(s.Phase), warn, 2},
			piece{"for " + text.Age(st.Time.Sub(s.Since)), plain, 1})
	}
	add(m.waits(st)...)
	add(pressure(st.PSI)...)
	add(tracer(st)...)
	if st.ModeReason != "" {
		add(piece{string(st.Mode) + ": " + text.Cells(st.ModeReason), plain, 1})
	}
	if st.Tracer.Reason != "" {
		add(piece{"tracer: " + text.Cells(st.Tracer.Reason), plain, 1})
	}
	return out
}

// title says who decides and what the machine is doing.
func (m *model) title(st *api.Status) []piece {
	mode := piece{text.Cells(string(st.Mode)), good, 10}
	if st.Mode != api.ModeAuto {
		mode.tone = warn
	}
	pieces := []piece{{"autosa " + text.Cells(st.Version), plain, 1}, mode}
	if m.paused {
		pieces = append(pieces, piece{"PAUSED", warn, 12})
	}
	if m.stale {
		pieces = append(pieces, piece{"OLD", bad, 13})
	}
	if l := text.LossesOf(st.Tracer.Losses, st.Tracer.Switches); l.Notable {
		pieces = append(pieces, piece{"! LOST " + text.Grouped(l.Total), bad, 11})
	}
	wl := st.Workload
	if wl.Confidence == 0 {
		pieces = append(pieces, piece{"not judged yet", plain, 9})
	} else {
		pieces = append(pieces, piece{wl.Class.String() + " " + text.Percent(wl.Confidence), strong, 9})
		pieces = append(pieces, lasting(wl.Since, st.Time, 5), piece{runnersUp(wl), faint, 3})
	}
	return append(pieces, piece{clock(st.Time), plain, 4}, piece{"up " + text.Age(st.Time.Sub(st.Since)), plain, 2})
}

// runnersUp names the next likely classes, as far as they count.
func runnersUp(wl api.Workload) string {
	others := slices.DeleteFunc(workload.Classes(), func(c workload.Class) bool { return c == wl.Class || wl.Probabilities[c] < 0.05 })
	slices.SortStableFunc(others, func(a, b workload.Class) int { return cmp.Compare(wl.Probabilities[b], wl.Probabilities[a]) })
	var list []string
	for _, c := range others[:min(len(others), 2)] {
		list = append(list, c.String()+" "+text.Percent(wl.Probabilities[c]))
	}
	if len(list) == 0 {
		return ""
	}
	return "(" + strings.Join(list, ", ") + ")"
}

// lasting says for how long something has been so at a time.
func lasting(since, at time.Time, rank int) piece {
	if since.IsZero() {
		return piece{}
	}
	return piece{"for " + text.Age(at.Sub(since)), plain, rank}
}

func clock(t time.Time) string { return t.Format(time.TimeOnly) }

func (m *model) scheduler(st *api.Status) []piece {
	s := st.Scheduler
	owner := piece{text.Cells(string(s.Owner)), plain, 7}
	switch s.Owner {
	case api.OwnerKernel:
		owner.text = "the kernel's own"
	case api.OwnerAutosa:
		owner.text = "by autosa"
	case api.OwnerForeign:
		owner = piece{"by somebody else", warn, 8}
	case api.OwnerAdopted:
		owner = piece{"by somebody else, adopted", warn, 8}
	}
	pieces := []piece{{text.Cells(text.Command(s.Name, s.Args)), strong, 10}, owner, lasting(s.Since, st.Time, 6)}
	if s.Ops != "" && s.Ops != s.Name {
		pieces = append(pieces, piece{"ops " + text.Cells(s.Ops), faint, 3})
	}
	swaps := text.Grouped(st.Swaps) + " swaps"
	if st.Swaps == 1 {
		swaps = "1 swap"
	}
	pieces = append(pieces, piece{swaps, plain, 4})
	if st.FailedSwaps > 0 {
		pieces = append(pieces, piece{text.Grouped(st.FailedSwaps) + " failed", bad, 5})
	}
	return pieces
}

func (m *model) waits(st *api.Status) []piece {
	w := st.Waits
	var pieces []piece
	if w.Distributions {
		pieces = append(pieces, piece{"wait p50 " + text.Span(w.RunQueueP50Seconds) + " p99 " + text.Span(w.RunQueueP99Seconds), plain, 10})
	} else {
		pieces = append(pieces, piece{"waits: totals only", plain, 5})
	}
	if m.shown.switchesKnown {
		pieces = append(pieces, piece{rate(m.shown.switches) + " switches/s", plain, 8})
	}
	if w.Distributions {
		pieces = append(pieces, piece{"I/O p50 " + text.Span(w.IOP50Seconds) + " p99 " + text.Span(w.IOP99Seconds), plain, 7})
	}
	return append(pieces, piece{text.Figures(w.WaitPerRun) + " waited per run", plain, 3})
}

func pressure(p api.PSI) []piece {
	if !p.Available {
		return []piece{{"pressure: the kernel does not say", faint, 1}}
	}
	of := func(what string, some, full float64) string {
		return what + " " + text.Percent(some) + "/" + text.Percent(full)
	}
	return []piece{
		{"pressure some/full:", plain, 1},
		{of("cpu", p.CPUSome, p.CPUFull), plain, 4}, {of("io", p.IOSome, p.IOFull), plain, 3}, {of("memory", p.MemorySome, p.MemoryFull), plain, 2},
	}
}

// tracer says what the figures rest on, and what is missing from them.
func tracer(st *api.Status) []piece {
	t := st.Tracer
	pieces := []piece{{"tracer " + text.Cells(string(t.Source)), plain, 9}}
	if t.Cost.NanosPerSwitch > 0 {
		pieces = append(pieces, piece{text.Span(t.Cost.NanosPerSwitch/1e9) + "/switch", plain, 7},
			piece{text.Percent(t.Cost.BPFCPURatio) + " CPU", plain, 6})
	}
	pieces = append(pieces, piece{"daemon " + text.Percent(t.Cost.DaemonCPURatio) + fmt.Sprintf(" CPU %d MiB", t.Cost.ResidentBytes>>20), plain, 4})
	if l := text.LossesOf(t.Losses, t.Switches); l.Total > 0 {
		pieces = append(pieces, piece{"! not counted " + text.Grouped(l.Total), warn, 8})
	}
	ext := "without sched_ext"
	if st.Kernel.SchedExt {
		ext = "sched_ext " + text.Cells(st.Kernel.State)
	}
	return append(pieces, piece{"kernel " + text.Cells(st.Kernel.Release), plain, 5}, piece{ext, plain, 3})
}
