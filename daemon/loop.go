// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"autosa/api"
	"autosa/config"
	"autosa/engine"
	"autosa/policy"
	"autosa/scx"
	"autosa/workload"
)

// maxWarnings bounds the warnings in the status; the oldest give way.
const maxWarnings = 8

// loop is the daemon's state and the goroutine that owns it: nothing here is
// touched from anywhere else.
type loop struct {
	*Daemon
	engine *engine.Engine
	config config.Config // in force: as the daemon began, with what was reloaded
	clock  *engine.Clock
	rec    recorder
	manual *policy.Order
	// chosen is the arm, and the name of its mode, that the operator named last.
	chosen  chosen
	sighted string            // the foreign scheduler that the log has told of
	whyNot  map[string]string // usable schedulers; nil until first looked for
	// versions are the schedulers', as last seen.
	versions map[string]string
	failed   []policy.Failure     // since the last decision
	forgive  []string             // schedulers whose failures are to be forgotten
	veto     *policy.Veto         // SysRq-S, until an order
	ring     []api.IncidentSample // the last samples in brief
	last     time.Time            // end of the last swap or attempt
	skip     int                  // samples still to be kept from the classifier
	swap     *swap                // the one under way
	// Changes of the built-in scheduler's policy, and when the newest was made.
	adjustments uint64
	adjusted    time.Time
	waiting     []order    // orders that came during a swap
	held        []*held    // holds in force, in the order of their beginning
	holdID      uint64     // the newest hold's
	st          api.Status // what is published next

	// What runs beside the loop, and reports to it.
	beside  sync.WaitGroup
	swapped chan outcome
	found   chan shelved
	looking bool
	// quarantine is the file of policy's rests.
	quarantine *quarantine
	// troubles are conditions that last, by what they are about, so that each
	// is logged when it begins and when it ends and not at every tick.
	troubles map[string]string
}

func newLoop(d *Daemon) *loop {
	return &loop{
		Daemon: d, engine: engine.New(d.opts.Config.AggregationWindow, *d.policy.Load()), config: d.opts.Config, clock: engine.NewClock(time.Now()), st: d.Status(),
		swapped: make(chan outcome, 1), found: make(chan shelved, 1),
		troubles: make(map[string]string), versions: make(map[string]string), quarantine: newQuarantine(d.opts.Config.StateDir),
	}
}

// shelved is what a look found: the installed schedulers, why each cannot be
// used, and their versions.
type shelved struct{ whyNot, versions map[string]string }

// run is the loop. When ctx ends it waits for what runs beside it, answers the
// orders it took, and returns.
func (l *loop) run(ctx context.Context) {
	l.restore()
	l.look(ctx)
	tick := time.NewTicker(l.opts.Config.CollectionInterval)
	defer tick.Stop()
	look := time.NewTicker(catalogueInterval)
	defer look.Stop()
	var events <-chan scx.Event
	var changes <-chan struct{}
	if l.hands != nil {
		events, changes = l.hands.Events(), l.hands.Changes()
	}
	l.log.Info("started", "version", l.opts.Version, "kernel", l.st.Kernel.Release, "mode", string(l.mode()), "socket", l.opts.Config.Socket)
	for {
		select {
		case <-ctx.Done():
			l.end()
			return
		case now := <-tick.C:
			l.tick(ctx, now)
		case <-look.C:
			l.look(ctx)
		case o := <-l.orders:
			l.take(ctx, o)
		case o := <-l.holds:
			l.takeHold(o)
		case r := <-l.reloads:
			l.reload(r)
		case t := <-l.tapes:
			l.startTape(t)
		case p := <-l.phases:
			l.progress(p)
		case out := <-l.swapped:
			l.finish(ctx, out)
		case m := <-l.found:
			l.whyNot, l.looking = m.whyNot, false
			maps.Copy(l.versions, m.versions)
		case f := <-l.calls:
			f(l)
		case <-changes:
			l.changed(time.Now())
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			l.event(e)
		}
	}
}

// restore takes up the operator's choice from before a restart.
func (l *loop) restore() {
	if l.opts.ObserveOnly != "" {
		return
	}
	p, err := l.store.load(time.Now())
	if err != nil {
		l.warn(err.Error())
	}
	if m := p.Manual; m != nil {
		l.manual = &policy.Order{Arm: policy.Arm{Scheduler: m.Scheduler, Args: m.Args}, Since: m.Since}
		l.chosen = chosen{l.manual.Arm, m.Mode}
		l.log.Info("the operator's choice from before holds", "scheduler", m.Scheduler, "args", m.Args)
	}
	l.restoreHolds(p.Holds, time.Now())
	l.restoreQuarantine()
	if err := l.incidents.load(time.Now()); err != nil {
		l.warn(err.Error())
	}
}

// save keeps the operator's choice and the holds for after a restart. A directory that cannot
// be written is said and does not stop the daemon.
func (l *loop) save() {
	p := persisted{Holds: l.keptHolds()}
	if m := l.manual; m != nil {
		p.Manual = &persistedArm{Scheduler: m.Arm.Scheduler, Args: list(m.Arm.Args), Since: m.Since, Mode: l.chosen.of(m.Arm)}
	}
	err := l.store.save(p)
	l.trouble("state", err)
}

// look asks, beside the loop, which schedulers are usable: a binary not seen
// before is asked for its version, which takes time.
func (l *loop) look(ctx context.Context) {
	if l.looking {
		return
	}
	l.looking = true
	l.beside.Go(func() {
		m := shelved{make(map[string]string), make(map[string]string)}
		for _, e := range l.list.List(ctx) {
			switch {
			case e.Usable:
				m.whyNot[e.Name] = ""
			case e.Installed:
				m.whyNot[e.Name] = e.WhyNot
			}
			if e.Installed && e.Name != api.EEVDF {
				m.versions[e.Name] = versionOf(e)
			}
		}
		l.found <- m // room for one, and one looks at a time
	})
}

// mode is who decides now.
func (l *loop) mode() api.Mode {
	switch {
	case l.observe != "":
		return api.ModeObserve
	case l.manual != nil:
		return api.ModeManual
	case !l.config.AutoSwitch:
		return api.ModeRecommend
	}
	return api.ModeAuto
}

func (l *loop) modeReason() string {
	switch l.mode() {
	case api.ModeObserve:
		return l.observe
	case api.ModeManual:
		return "the operator chose " + l.manual.Arm.String() + "; `autosa auto` gives the choice back"
	case api.ModeRecommend:
		return "automatic switching is off (enable_auto_switch = false, or --no-auto-switch)"
	}
	return ""
}

// tick takes one sample through the whole way.
func (l *loop) tick(ctx context.Context, now time.Time) {
	before := l.clock.Offset()
	if l.clock.Tick(now); l.clock.Offset() != before {
		l.clockSet()
	}
	l.expire(now)
	s, err := l.source.Collect(now)
	l.trouble("collector", err)
	settled := l.truth()
	l.hear()
	if err == nil {
		l.sample(now, &s)
		if l.swap == nil && settled {
			l.decide(ctx, now)
		}
	}
	l.emit(now)
	if l.opts.OnTick != nil {
		l.opts.OnTick(l.Status())
	}
}

// sample classifies s and puts its figures into the status. A sample that holds
// a swap is shown and not classified: loading a scheduler is work of autosa's
// own making.
func (l *loop) sample(now time.Time, s *workload.Sample) {
	l.st.Samples++
	l.st.Waits, l.st.PSI, l.st.Events = apiWaits(s), apiPSI(s.PSI), apiEvents(&s.Events)
	l.st.Tracer = apiTracer(s, residentBytes())
	l.ring = append(l.ring[max(0, len(l.ring)+1-incidentSamples):], api.IncidentSample{
		Time: now, Scheduler: l.st.Scheduler.Name, Class: l.st.Workload.Class,
		SwitchesPerSecond: float64(s.Host.Switches) / s.CoveredTime().Seconds(), WaitP99Seconds: l.st.Waits.RunQueueP99Seconds,
	})
	if l.swap != nil || l.skip > 0 {
		if l.swap == nil {
			l.skip--
		}
		l.st.Groups = apiGroups(s, nil)
		l.recordSample(now, s, "it holds a swap")
		return
	}
	classes := l.engine.Observe(l.clock.Steady(now), s)
	l.recordSample(now, s, "")
	classes[0].Since = l.clock.Wall(classes[0].Since)
	if before := l.st.Workload; before.Class != classes[0].Class || before.Confidence == 0 {
		l.log.Info("workload", "class", classes[0].Class.String(), "confidence", fmt.Sprintf("%.2f", classes[0].Confidence))
	}
	l.st.Workload = apiWorkload(classes[0])
	l.st.Groups = apiGroups(s, classes[1:])
}

// truth reads what the kernel says is in charge. It returns false where that is
// no ground for a decision: it could not be read, or the scheduler has just gone
// and the event that says why is still to come.
func (l *loop) truth() bool {
	if l.hands == nil {
		l.foreignWithoutHands()
		return true
	}
	c, err := l.hands.InCharge()
	l.trouble("kernel state", err)
	if err != nil {
		return false
	}
	if c.Name != l.st.Scheduler.Name || c.Kernel.Ops != l.st.Scheduler.Ops {
		l.log.Info("in charge", "scheduler", c.Name, "ops", c.Kernel.Ops, "owner", string(c.Owner))
	}
	l.st.Kernel.State, l.st.Kernel.EnableSeq = string(c.Kernel.State), c.Kernel.EnableSeq
	l.st.Scheduler = api.InCharge{
		Name: c.Name, Ops: c.Kernel.Ops, Args: list(c.Args), PID: c.PID, Since: c.Since, Owner: api.Owner(c.Owner),
		Mode: l.modeOf(c), Process: apiProcess(c.Process), HandsOff: c.HandsOff,
	}
	l.foreigner(c)
	return !c.Unsettled
}

// hear takes the events that have come: a decision must know of a death that the
// kernel's word already shows.
func (l *loop) hear() {
	if l.hands == nil {
		return
	}
	for {
		select {
		case e, ok := <-l.hands.Events():
			if !ok {
				return
			}
			l.event(e)
		default:
			return
		}
	}
}

// foreignWithoutHands shows what is in charge where autosa may read the
// kernel's word and cannot change it.
func (l *loop) foreignWithoutHands() {
	if !l.st.Kernel.SchedExt {
		return
	}
	k, err := l.kernel.Read()
	l.trouble("kernel state", err)
	if err != nil {
		return
	}
	l.st.Kernel.State, l.st.Kernel.EnableSeq = string(k.State), k.EnableSeq
	if name := k.Scheduler(); name != l.st.Scheduler.Name || k.Ops != l.st.Scheduler.Ops {
		owner := api.OwnerForeign
		if name == api.EEVDF {
			owner = api.OwnerKernel
		}
		l.st.Scheduler = api.InCharge{Name: name, Ops: k.Ops, Args: []string{}, Since: time.Now(), Owner: owner}
	}
}

// consult asks policy what should be in charge, with an order that is in force
// or only tried, and what is known of the usable schedulers.
func (l *loop) consult(now time.Time, manual *policy.Order, whyNot map[string]string) policy.Decision {
	mode := policy.Mode(l.mode())
	if manual != nil {
		mode = policy.ModeManual
		manual = &policy.Order{Arm: manual.Arm, Since: l.clock.Steady(manual.Since)}
	}
	in := policy.Input{
		Now: l.clock.Steady(now), WhyNot: whyNot, Manual: manual, LastSwap: l.clock.Steady(l.last), Failures: l.failed,
		Holds: l.policyHolds(), Versions: l.restVersions(), Forgive: l.forgive,
		InCharge: policy.InCharge{
			Arm:   policy.Arm{Scheduler: l.st.Scheduler.Name, Args: l.st.Scheduler.Args},
			Owner: policy.Owner(l.st.Scheduler.Owner),
		},
	}
	for i := range in.Failures {
		in.Failures[i].At = l.clock.Steady(in.Failures[i].At)
	}
	if l.veto != nil {
		in.Veto = &policy.Veto{Arm: l.veto.Arm, Since: l.clock.Steady(l.veto.Since)}
	}
	dec := l.engine.Decide(mode, in)
	l.recordDecision(mode, in, &dec)
	l.failed, l.forgive = nil, nil
	if l.swap == nil {
		l.tried()
	} else {
		l.saveQuarantine()
	}
	dec.Time = now
	return dec
}

// decide lets policy speak and does what it says.
func (l *loop) decide(ctx context.Context, now time.Time) {
	if l.whyNot == nil || l.st.Workload.Confidence == 0 && l.manual == nil {
		return // nothing known yet of what is installed, or of the work
	}
	dec := l.consult(now, l.manual, l.whyNot)
	l.note(&dec)
	switch {
	case l.hands == nil:
	case dec.Action == policy.ActionSwap:
		l.begin(ctx, &dec, nil)
	case dec.Action == policy.ActionAdjust:
		_, _ = l.adjust(&dec) // said where it matters; the next decision begins anew
	}
}

// note puts a decision into the status and, when it is a new one, into the log.
func (l *loop) note(dec *policy.Decision) {
	before := l.st.LastDecision
	l.st.LastDecision = apiDecision(dec)
	if before != nil && before.Arm == dec.Arm.Scheduler && before.Action == string(dec.Action) && slices.Equal(before.Args, l.st.LastDecision.Args) {
		return
	}
	if dec.Action != policy.ActionKeep {
		l.log.Info("decision", "action", string(dec.Action), "arm", dec.Arm.String(), "why", strings.Join(dec.Reasons, "; "))
	}
}

// emit publishes the status.
func (l *loop) emit(now time.Time) {
	l.st.Time, l.st.Mode, l.st.ModeReason = now, l.mode(), l.modeReason()
	st := l.st
	st.Quarantine = l.resting(now)
	if l.veto != nil {
		st.Veto = &api.Veto{Since: l.veto.Since, Scheduler: l.veto.Arm.Scheduler}
	}
	st.Holds, st.Builtin = l.apiHolds(), l.apiBuiltin()
	st.Warnings = list(l.st.Warnings)
	for _, what := range sortedKeys(l.troubles) {
		st.Warnings = append(st.Warnings, what+": "+l.troubles[what])
	}
	if l.swap != nil {
		p := l.swap.progress
		st.Swap = &p
	}
	l.publish(st)
}

// warn adds a lasting warning to log and status.
func (l *loop) warn(text string) {
	l.log.Warn(text)
	l.st.Warnings = append(l.st.Warnings, time.Now().Format(time.TimeOnly)+" "+text)
	l.st.Warnings = l.st.Warnings[max(0, len(l.st.Warnings)-maxWarnings):]
}

// trouble begins, goes on with or ends a condition.
func (l *loop) trouble(what string, err error) {
	before, was := l.troubles[what]
	switch {
	case err == nil && was:
		delete(l.troubles, what)
		l.log.Info("recovered", "from", what)
	case err != nil && before != err.Error():
		l.troubles[what] = err.Error()
		l.log.Warn(what, "error", err)
	}
}

// end waits for what runs beside the loop and answers who still waits. The
// swap under way sees ctx ended and comes to a defined end by itself.
func (l *loop) end() {
	l.endTapes()
	for _, h := range l.held { // those with an end of their own are kept, and go on after a restart
		close(h.ended)
	}
	l.held = nil
	done := make(chan struct{})
	go func() { l.beside.Wait(); close(done) }()
	stopping := apiError(api.CodeUnavailable, "the daemon is stopping")
	for {
		select {
		case out := <-l.swapped:
			l.lastOutcome(&out, stopping)
			continue
		case o := <-l.orders:
			l.answer(&o, reply{err: stopping})
			continue
		case o := <-l.holds:
			o.reply <- holdReply{err: stopping}
			continue
		case <-done:
		}
		break
	}
	select {
	case out := <-l.swapped:
		l.lastOutcome(&out, stopping)
	default:
	}
	if len(l.failed) > 0 {
		l.consult(time.Now(), l.manual, l.whyNot) // what failed is remembered
	}
	for i := range l.waiting {
		l.answer(&l.waiting[i], reply{err: stopping})
	}
}

// residentBytes is this process's resident memory, 0 where it cannot be read.
func residentBytes() uint64 {
	self, err := procfs.Self()
	if err != nil {
		return 0
	}
	stat, err := self.Stat()
	if err != nil {
		return 0
	}
	return uint64(max(stat.ResidentMemory(), 0))
}
