// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"autosa/api"
	"autosa/text"
	"autosa/workload"
)

// page prints a status for people.
type page struct {
	styles styles
	now    time.Time
	width  int // of the terminal; 0 for none
}

// How much of the lists a page shows.
const (
	shownReasons = 3
	shownGroups  = 8
	shownWaits   = 3
	shownEdges   = 2
)

func (p page) write(w io.Writer, st api.Status) error {
	b := &strings.Builder{}
	p.head(b, st)
	p.scheduler(b, st)
	p.builtin(b, st)
	p.workload(b, st)
	p.waits(b, st)
	p.decision(b, st)
	p.swap(b, st)
	p.trouble(b, st)
	p.groups(b, st)
	p.tracer(b, st)
	p.warnings(b, st)
	_, err := io.WriteString(w, b.String())
	return err
}

// field prints a labelled line; an empty label continues the one before.
func (p page) field(b *strings.Builder, label, format string, args ...any) {
	// Padded before it is styled, so that the styles do not count.
	fmt.Fprintf(b, "%s%s\n", p.styles.title.Render(fmt.Sprintf("%-11s", label)), fmt.Sprintf(format, args...))
}

func (p page) more(b *strings.Builder, format string, args ...any) {
	fmt.Fprintf(b, "%11s%s\n", "", p.styles.faint.Render(fmt.Sprintf(format, args...)))
}

func (p page) head(b *strings.Builder, st api.Status) {
	mode := p.styles.good
	if st.Mode != api.ModeAuto {
		mode = p.styles.warn
	}
	fmt.Fprintf(b, "autosa %s  %s  up %s, %s samples, PID %d\n\n", clean(st.Version), mode.Bold(true).Render(string(st.Mode)),
		age(p.now.Sub(st.Since)), grouped(st.Samples), st.PID)
	if st.ModeReason != "" {
		p.field(b, "Mode", "%s: %s", clean(string(st.Mode)), clean(st.ModeReason))
	}
	for _, h := range st.Holds {
		end := "until its holder ends"
		if h.Until != nil {
			end = "for another " + age(h.Until.Sub(p.now))
		}
		p.field(b, "Held", "%s: %s (%d)", p.styles.warn.Render(end), clean(h.Reason), h.ID)
	}
	kernel := clean(st.Kernel.Release)
	if st.Kernel.SchedExt {
		kernel += fmt.Sprintf(", sched_ext %s", clean(st.Kernel.State))
	} else {
		kernel += ", without sched_ext"
	}
	p.field(b, "Kernel", "%s", kernel)
}

func (p page) scheduler(b *strings.Builder, st api.Status) {
	s := st.Scheduler
	whose := map[api.Owner]string{
		api.OwnerKernel:  "the kernel's own",
		api.OwnerAutosa:  "started by autosa",
		api.OwnerForeign: p.styles.warn.Render("started by somebody else, left alone"),
		api.OwnerAdopted: p.styles.warn.Render("started by somebody else, adopted"),
	}[s.Owner]
	mode := ""
	if s.Mode != "" {
		mode = ", mode " + clean(s.Mode)
	}
	p.field(b, "Scheduler", "%s  %s%s%s", p.styles.title.Render(command(s.Name, s.Args)), whose, mode, p.since(s.Since))
	p.foreigner(b, s)
	if st.Swap != nil {
		p.more(b, "now %s: %s, for %s", clean(st.Swap.Phase), command(st.Swap.To, st.Swap.Args), age(p.now.Sub(st.Swap.Since)))
	}
}

// builtin says what the built-in scheduler counts.
func (p page) builtin(b *strings.Builder, st api.Status) {
	s := st.Builtin
	if s == nil {
		return
	}
	c := s.Counts
	p.more(b, "policy %s, obeyed by %d of %d CPUs; %s changed", clean(s.Policy), s.ObeyingCPUs, s.CPUs, count(int(s.Adjustments), "time"))
	p.more(b, "%s to idle CPUs, %s queued (%s stolen), %s preempted, %s overdue", grouped(c.Direct), grouped(c.Enqueued), grouped(c.Stolen),
		grouped(c.Preemptions), grouped(c.Overdue))
}

// foreigner says who runs a scheduler that somebody else started, and why it is left
// alone.
func (p page) foreigner(b *strings.Builder, s api.InCharge) {
	if r := s.Process; r != nil {
		by := ", by hand"
		if r.Unit != "" {
			by = fmt.Sprintf(", by hand in %s", clean(r.Unit))
		}
		if r.Manager != "" {
			by = ", by " + clean(r.Manager)
		}
		p.more(b, "run by %s%s", task(r.Comm, r.PID), by)
	}
	if s.HandsOff != "" {
		p.more(b, "left alone: %s", clean(s.HandsOff))
	}
}

// since says when something began; nothing for the zero time.
func (p page) since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", for " + age(p.now.Sub(t))
}

func (p page) workload(b *strings.Builder, st api.Status) {
	wl := st.Workload
	if wl.Confidence == 0 {
		p.field(b, "Workload", "not judged yet")
		return
	}
	p.field(b, "Workload", "%s %s%s%s", p.styles.title.Render(wl.Class.String()), percent(wl.Confidence), p.since(wl.Since), runnersUp(wl))
	for _, r := range wl.Reasons[:min(len(wl.Reasons), shownReasons)] {
		sign := "+"
		if r.Weight < 0 {
			sign = "−"
		}
		p.more(b, "%s %s", sign, clean(r.Text))
	}
}

// runnersUp names the next likely classes, as far as they count.
func runnersUp(wl api.Workload) string {
	var others []workload.Class
	for _, c := range workload.Classes() {
		if c != wl.Class && wl.Probabilities[c] >= 0.05 {
			others = append(others, c)
		}
	}
	slices.SortStableFunc(others, func(x, y workload.Class) int { return cmp.Compare(wl.Probabilities[y], wl.Probabilities[x]) })
	if len(others) == 0 {
		return ""
	}
	var list []string
	for _, c := range others[:min(len(others), 2)] {
		list = append(list, fmt.Sprintf("%s %s", c, percent(wl.Probabilities[c])))
	}
	return "  (" + strings.Join(list, ", ") + ")"
}

func (p page) waits(b *strings.Builder, st api.Status) {
	w := st.Waits
	share := figures(w.WaitPerRun) + " of run time"
	if w.Distributions {
		p.field(b, "Waits", "run queue p50 %s, p99 %s, %s", span(w.RunQueueP50Seconds), span(w.RunQueueP99Seconds), share)
		p.field(b, "", "I/O p50 %s, p99 %s", span(w.IOP50Seconds), span(w.IOP99Seconds))
	} else {
		p.field(b, "Waits", "run queue %s (totals only)", share)
	}
	worst := st.Events.Worst
	for _, e := range worst[:min(len(worst), shownWaits)] {
		line := fmt.Sprintf("%s waited %s", task(e.Comm, e.PID), span(e.WaitSeconds))
		switch {
		case e.IO:
			line += " for I/O"
		case e.HolderPID != 0:
			line += fmt.Sprintf(" for %s on CPU %d", task(e.HolderComm, e.HolderPID), e.CPU)
		}
		p.more(b, "%s", line)
	}
	for _, e := range st.Events.WaitedFor[:min(len(st.Events.WaitedFor), shownEdges)] {
		p.more(b, "noisy: %s made %s wait %s (%s)", groupLabel(e.Holder), groupLabel(e.Waiter), span(e.TotalSeconds), count(int(e.Count), "wait"))
	}
	if st.PSI.Available {
		p.field(b, "Pressure", "CPU %s, I/O %s, memory %s", percent(st.PSI.CPUSome), percent(st.PSI.IOSome), percent(st.PSI.MemorySome))
	}
}

// groupLabel is a cgroup's short name.
func groupLabel(name string) string { return clean(workload.ParseCgroup(name).Label) }

func (p page) decision(b *strings.Builder, st api.Status) {
	d := st.LastDecision
	if d == nil {
		p.field(b, "Decision", "none yet")
		return
	}
	p.field(b, "Decision", "%s %s, %s ago", clean(d.Action), command(d.Arm, d.Args), age(p.now.Sub(d.Time)))
	for _, r := range d.Reasons[:min(len(d.Reasons), shownReasons)] {
		p.more(b, "%s", clean(r))
	}
}

func (p page) swap(b *strings.Builder, st api.Status) {
	total := fmt.Sprintf("%s made", grouped(st.Swaps))
	if st.FailedSwaps > 0 {
		total += p.styles.bad.Render(fmt.Sprintf(", %s failed", grouped(st.FailedSwaps)))
	}
	s := st.LastSwap
	if s == nil {
		p.field(b, "Swaps", "%s", total)
		return
	}
	outcome := p.styles.good.Render("confirmed")
	if !s.OK {
		outcome = p.styles.bad.Render("failed")
	}
	took := "took " + span(s.TotalSeconds)
	if s.GapSeconds > 0 {
		took += ", gap " + span(s.GapSeconds)
	}
	if s.Ungated != "" {
		took += ", loaded after the old one was stopped"
	}
	p.field(b, "Swaps", "%s; the last %s ago: %s → %s (%s) %s, %s", total, age(p.now.Sub(s.Time)), clean(s.From), command(s.To, s.Args),
		clean(s.Cause), outcome, took)
	if s.Error != "" {
		for line := range strings.Lines(s.Error) {
			p.more(b, "%s", clean(strings.TrimRight(line, "\n")))
		}
	}
}

// trouble says what is not tried, and what went wrong last.
func (p page) trouble(b *strings.Builder, st api.Status) {
	if v := st.Veto; v != nil {
		p.field(b, "Veto", "%s", p.styles.warn.Render(fmt.Sprintf("SysRq-S took %s out %s ago; nothing is started until `autosa auto` or `autosa switch`",
			clean(v.Scheduler), age(p.now.Sub(v.Since)))))
	}
	for i, q := range st.Quarantine {
		label := ""
		if i == 0 {
			label = "Quarantine"
		}
		p.field(b, label, "%s rests for another %s after %s: %s", command(q.Scheduler, q.Args), age(q.Until.Sub(p.now)), count(q.Failures, "failure"), clean(q.Reason))
	}
	if in := st.LastIncident; in != nil {
		p.field(b, "Incidents", "%s; the last %s ago: %s, %s (`autosa incidents %d`)", grouped(st.Incidents), age(p.now.Sub(in.Time)),
			command(in.Scheduler, in.Args), clean(in.Ending), in.ID)
	}
}

func (p page) groups(b *strings.Builder, st api.Status) {
	if len(st.Groups) == 0 {
		return
	}
	b.WriteByte('\n')
	// What all others did stays in sight.
	listed := st.Groups
	var other []api.Group
	if last := len(listed) - 1; listed[last].Name == workload.OtherName {
		listed, other = listed[:last], listed[last:]
	}
	rest := max(len(listed)-shownGroups, 0)
	shown := slices.Concat(listed[:len(listed)-rest], other)
	rows := []row{{"GROUP", "CLASS", "SURE", "CPU", "SW/S", "P50", "P99", "I/O"}}
	held := slices.ContainsFunc(shown, func(g api.Group) bool { return g.ThrottledShare > 0.01 })
	if held { // by its own CPU quota: what the scheduler cannot help
		rows[0] = append(rows[0], "THROTTLED")
	}
	for i := range rows[0] {
		rows[0][i] = p.styles.faint.Render(rows[0][i])
	}
	for _, g := range shown {
		class, sure := g.Class.String(), percent(g.Confidence)
		if g.Confidence == 0 {
			class, sure = "-", "-"
		}
		p50, p99 := "-", "-"
		if st.Waits.Distributions {
			p50, p99 = span(g.WaitP50Seconds), span(g.WaitP99Seconds)
		}
		r := row{clean(cmp.Or(g.Label, g.Name)), class, sure, percent(g.CPUShare), grouped(uint64(max(g.SwitchesPerSecond, 0))), p50, p99, percent(g.IOShare)}
		if held {
			r = append(r, percent(g.ThrottledShare))
		}
		rows = append(rows, r)
	}
	p.fit(rows)
	writeTable(b, "", rows, 2, 3, 4, 5, 6, 7, 8)
	if rest > 0 {
		fmt.Fprintln(b, p.styles.faint.Render(fmt.Sprintf("and %s, see --json", count(rest, "more group"))))
	}
	b.WriteByte('\n')
}

// fit shortens the names in the first column from the left, where cgroups have
// least to say, until the table fits the terminal.
func (p page) fit(rows []row) {
	if p.width == 0 {
		return
	}
	rest, longest := 0, 0
	for i := range rows[0] {
		widest := 0
		for _, r := range rows {
			widest = max(widest, ansi.StringWidth(r[i]))
		}
		if i == 0 {
			longest = widest
			continue
		}
		rest += widest + 2
	}
	room := max(p.width-rest, 12)
	if longest <= room {
		return
	}
	for _, r := range rows[1:] {
		if n := ansi.StringWidth(r[0]); n > room {
			r[0] = ansi.TruncateLeft(r[0], n-room+1, "…")
		}
	}
}

func (p page) tracer(b *strings.Builder, st api.Status) {
	t := st.Tracer
	p.field(b, "Tracer", "%s, %s switches%s", clean(string(t.Source)), grouped(t.Switches), p.losses(t))
	if t.Reason != "" {
		p.more(b, "%s", clean(t.Reason))
	}
	cost := fmt.Sprintf("daemon %s of CPU, %d MiB", percent(t.Cost.DaemonCPURatio), t.Cost.ResidentBytes>>20)
	if t.Cost.NanosPerSwitch > 0 {
		cost = fmt.Sprintf("%s a switch (measured %s ago), %s of CPU; ", span(t.Cost.NanosPerSwitch/1e9),
			age(time.Duration(t.Cost.AgeSeconds*float64(time.Second))), percent(t.Cost.BPFCPURatio)) + cost
	}
	if t.BudgetRatio > 0 {
		cost += fmt.Sprintf("; budget %s", percent(t.BudgetRatio))
	}
	p.field(b, "Cost", "%s", cost)
	if t.Step > 0 {
		p.more(b, "%s", p.styles.warn.Render(fmt.Sprintf("backed off to step %d of %d, %s: %s", t.Step, workload.NumSteps-1, clean(t.StepName), clean(t.StepReason))))
	}
	if t.Step > 0 && t.CoveredRatio < 1 {
		p.more(b, "counted for %s of the time", percent(t.CoveredRatio))
	}
}

// losses tells what was not counted from what was: single events are sampled and
// limited in rate, their loss is no reason to worry.
func (p page) losses(t api.Tracer) string {
	l := text.LossesOf(t.Losses, t.Switches)
	line := ", none lost"
	if len(l.Uncounted) > 0 {
		line = ", not counted: " + strings.Join(l.Uncounted, ", ")
		if l.Notable {
			line = p.styles.warn.Render(line)
		}
	}
	if len(l.Events) > 0 {
		line += p.styles.faint.Render("; events left out: " + strings.Join(l.Events, ", "))
	}
	return line
}

func (p page) warnings(b *strings.Builder, st api.Status) {
	for i, text := range st.Warnings {
		label := ""
		if i == 0 {
			label = "Warnings"
		}
		p.field(b, label, "%s", p.styles.warn.Render(clean(text)))
	}
}
