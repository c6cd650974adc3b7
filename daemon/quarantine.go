// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"autosa/api"
	"autosa/policy"
	"autosa/scx"
)

const (
	quarantineVersion = 1
	// maxQuarantine bounds the file, other kernels' entries included.
	maxQuarantine = 256
	// forgetAfter is when an entry that rests no more is dropped, should the
	// scheduler never have been tried again.
	forgetAfter = 30 * 24 * time.Hour
)

// quarantined is the file that outlives the daemon: policy's rests, those of other
// kernels, and the attempt under way.
type quarantined struct {
	Version int    `json:"version"`
	Entries []rest `json:"entries"`
	// Trying is the arm that was being put in charge when the file was written. A
	// daemon that finds one was killed over it, or the machine was.
	Trying *attempt `json:"trying,omitempty"`
}

// rest is one entry. Its times are of the wall clock.
type rest struct {
	Scheduler string    `json:"scheduler"`
	Args      []string  `json:"args"`
	Version   string    `json:"version"`
	Kernel    string    `json:"kernel"`
	Failures  int       `json:"failures"`
	At        time.Time `json:"at"`
	Until     time.Time `json:"until"`
	Reason    string    `json:"reason"`
}

type attempt struct {
	Scheduler string    `json:"scheduler"`
	Args      []string  `json:"args"`
	Version   string    `json:"version"`
	Kernel    string    `json:"kernel"`
	Since     time.Time `json:"since"`
}

// quarantine keeps the file. It is used by the daemon's loop alone.
type quarantine struct {
	path   string
	others []rest // of other kernels
	trying *attempt
	// What was saved last, to save no more than changes.
	saved []policy.Rest
	tried *attempt
}

func newQuarantine(stateDir string) *quarantine {
	return &quarantine{path: filepath.Join(stateDir, "quarantine.json")}
}

// load reads the file, as the clock stands now. One that is not there is empty;
// one that cannot be understood is kept aside, and the error says where.
func (q *quarantine) load(now time.Time, longest time.Duration) (quarantined, error) {
	p, err := q.read(now, longest)
	var damaged *damagedError
	if errors.As(err, &damaged) {
		err = keepAside("quarantine", q.path, now, damaged.err)
	}
	return p, err
}

// damagedError is why a file cannot be understood.
type damagedError struct {
	path string
	err  error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("%s cannot be understood: %v", e.path, e.err)
}
func (e *damagedError) Unwrap() error { return e.err }

// read is load, and leaves the file where it is.
func (q *quarantine) read(now time.Time, longest time.Duration) (quarantined, error) {
	f, err := os.Open(q.path)
	if errors.Is(err, fs.ErrNotExist) {
		return quarantined{}, nil
	}
	if err != nil {
		return quarantined{}, fmt.Errorf("read quarantine: %w", err)
	}
	defer f.Close()
	var p quarantined
	err = decodeBounded(f, &p)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return quarantined{}, fmt.Errorf("read quarantine: %w", &damagedError{q.path, err})
	}
	for i := range p.Entries {
		p.Entries[i] = p.Entries[i].clamp(now, longest)
	}
	p.Entries = slices.DeleteFunc(p.Entries, func(e rest) bool { return now.Sub(e.Until) > forgetAfter })
	if p.Trying != nil && p.Trying.Since.After(now) {
		p.Trying.Since = now
	}
	return p, nil
}

// Resting is what rests on this kernel as the last daemon with that state directory
// has left it, whatever versions are installed now. It changes nothing.
func Resting(stateDir string, now time.Time) ([]api.Quarantine, error) {
	p, err := newQuarantine(stateDir).read(now, policy.DefaultMaxBackoff)
	if err != nil {
		return nil, err
	}
	var out []api.Quarantine
	for _, e := range p.Entries {
		if e.Kernel == scx.Release() && now.Before(e.Until) {
			out = append(out, e.wire(now))
		}
	}
	return out, nil
}

// wire is an entry as the API has it.
func (e rest) wire(now time.Time) api.Quarantine {
	return api.Quarantine{
		Scheduler: e.Scheduler, Args: list(e.Args), Version: e.Version, Kernel: e.Kernel, Failures: e.Failures,
		Time: e.At, Reason: e.Reason, Until: e.Until, Resting: now.Before(e.Until),
	}
}

func (p *quarantined) check() error {
	if p.Version != quarantineVersion {
		return fmt.Errorf("format version %d, this autosa writes %d", p.Version, quarantineVersion)
	}
	if len(p.Entries) > maxQuarantine {
		return fmt.Errorf("%d entries", len(p.Entries))
	}
	for _, e := range p.Entries {
		if e.Scheduler == "" || e.Failures < 1 || e.At.IsZero() {
			return errors.New("an entry without a scheduler, a failure or a time")
		}
	}
	if p.Trying != nil && (p.Trying.Scheduler == "" || p.Trying.Since.IsZero()) {
		return errors.New("an attempt without a scheduler or a time")
	}
	return nil
}

// clamp makes an entry sound whatever the clock has done since: a rest is never
// longer than it was, nor than longest, and no failure is in the future.
func (e rest) clamp(now time.Time, longest time.Duration) rest {
	length := min(max(e.Until.Sub(e.At), 0), longest)
	if e.At.After(now) {
		e.At = now
	}
	e.Until = e.At.Add(length)
	return e
}

// restoreQuarantine takes up what rested before a restart.
func (l *loop) restoreQuarantine() {
	now := time.Now()
	p, err := l.quarantine.load(now, l.policy.Load().MaxBackoff)
	if err != nil {
		l.warn(err.Error())
	}
	var rests []policy.Rest
	for _, e := range p.Entries {
		if e.Kernel != l.st.Kernel.Release {
			l.quarantine.others = append(l.quarantine.others, e)
			continue
		}
		rests = append(rests, policy.Rest{
			Arm: policy.Arm{Scheduler: e.Scheduler, Args: e.Args}, Version: e.Version, Failures: e.Failures, Reason: e.Reason,
			At: l.clock.Steady(e.At), Until: l.clock.Steady(e.Until),
		})
	}
	l.engine.Recall(rests)
	if t := p.Trying; t != nil && t.Kernel == l.st.Kernel.Release {
		l.quarantine.trying = t // until the failure is noted
		l.fail(policy.Failure{
			Arm: policy.Arm{Scheduler: t.Scheduler, Args: t.Args}, Version: t.Version, At: t.Since,
			Reason: "autosa was killed, or the machine went down, while it was put in charge",
		})
	}
	if len(rests) > 0 {
		l.log.Info("schedulers rest after failures before the restart", "count", len(rests))
	}
}

// saveQuarantine keeps what rests, if that has changed.
func (l *loop) saveQuarantine() {
	q := l.quarantine
	rests := l.engine.Resting()
	if l.opts.ObserveOnly != "" || reflect.DeepEqual(rests, q.saved) && q.trying == q.tried {
		return
	}
	p := quarantined{Version: quarantineVersion, Trying: q.trying}
	for _, r := range rests {
		p.Entries = append(p.Entries, rest{
			Scheduler: r.Arm.Scheduler, Args: list(r.Arm.Args), Version: r.Version, Kernel: l.st.Kernel.Release, Failures: r.Failures,
			At: l.clock.Wall(r.At).UTC(), Until: l.clock.Wall(r.Until).UTC(), Reason: r.Reason,
		})
	}
	p.Entries = append(p.Entries, q.others[max(0, len(q.others)-(maxQuarantine-len(rests))):]...)
	err := replaceFile("quarantine", q.path, 0o644, p)
	l.trouble("quarantine", err)
	if err == nil {
		q.saved, q.tried = rests, q.trying
	}
}

// clockSet saves the rests anew: their file has the wall clock.
func (l *loop) clockSet() {
	if len(l.quarantine.saved) > 0 {
		l.quarantine.saved = nil
		l.saveQuarantine()
	}
}

// try notes an attempt before it is made, so that one that takes autosa or the
// machine down counts.
func (l *loop) try(a policy.Arm) {
	if a.Scheduler == api.EEVDF {
		return
	}
	l.quarantine.trying = &attempt{
		Scheduler: a.Scheduler, Args: list(a.Args), Version: l.versions[a.Scheduler], Kernel: l.st.Kernel.Release, Since: time.Now().UTC(),
	}
	l.saveQuarantine()
}

// tried forgets the attempt: it succeeded, or what it came to is known and saved.
func (l *loop) tried() {
	l.quarantine.trying = nil
	l.saveQuarantine()
}

// fail notes a failure for the next decision.
func (l *loop) fail(f policy.Failure) {
	// It has just been seen in that version, whatever the last look found.
	l.versions[f.Arm.Scheduler] = cmp.Or(f.Version, l.versions[f.Arm.Scheduler])
	f.Version = l.versions[f.Arm.Scheduler]
	l.failed = append(l.failed, f)
}

// restVersions are the versions that policy has to know: of schedulers that have
// failed.
func (l *loop) restVersions() map[string]string {
	var out map[string]string
	add := func(name string) {
		if v := l.versions[name]; v != "" {
			if out == nil {
				out = make(map[string]string)
			}
			out[name] = v
		}
	}
	failed := func(name string) {
		add(name)
		for other := range l.versions {
			if policy.IsBuiltin(name) && policy.IsBuiltin(other) { // it rests as one
				add(other)
			}
		}
	}
	for _, r := range l.engine.Resting() {
		failed(r.Arm.Scheduler)
	}
	for _, f := range l.failed {
		failed(f.Arm.Scheduler)
	}
	return out
}

// refuse says why an order for an arm is refused because of its quarantine; nil
// when it does not rest.
func (l *loop) refuse(a policy.Arm, now time.Time) error {
	r := l.engine.RestOf(a, l.versions[a.Scheduler], l.clock.Steady(now))
	if r == nil {
		return nil
	}
	times := "failed once"
	if r.Failures > 1 {
		times = fmt.Sprintf("failed %d times in a row", r.Failures)
	}
	return apiError(api.CodeConflict, "%s is quarantined for another %s: it %s, last at %s (%s). Try it all the same with --force, or forget its "+
		"failures with `autosa quarantine clear %s`", a, r.Until.Sub(l.clock.Steady(now)).Round(time.Second), times,
		l.clock.Wall(r.At).Format(time.DateTime), r.Reason, a.Scheduler)
}

// quarantineList has this kernel's entries and then the others'.
func (l *loop) quarantineList(now time.Time) []api.Quarantine {
	out := []api.Quarantine{}
	for _, r := range l.engine.Resting() {
		out = append(out, api.Quarantine{
			Scheduler: r.Arm.Scheduler, Args: list(r.Arm.Args), Version: r.Version, Kernel: l.st.Kernel.Release, Failures: r.Failures,
			Time: l.clock.Wall(r.At), Reason: r.Reason, Until: l.clock.Wall(r.Until), Resting: l.clock.Steady(now).Before(r.Until),
		})
	}
	for _, e := range l.quarantine.others {
		out = append(out, e.wire(now))
	}
	return out
}

// resting are the entries that keep this daemon from trying something now.
func (l *loop) resting(now time.Time) []api.Quarantine {
	return slices.DeleteFunc(l.quarantineList(now), func(q api.Quarantine) bool {
		return !q.Resting || q.Kernel != l.st.Kernel.Release || q.Version != l.versions[q.Scheduler]
	})
}

// clear forgets the failures of one scheduler, or of all.
func (l *loop) clear(scheduler string, all bool) api.QuarantineCleared {
	now := time.Now()
	matches := func(name string) bool {
		return all || name == scheduler || name == "scx_"+scheduler || policy.IsBuiltin(name) && policy.IsBuiltin(scheduler)
	}
	if len(l.failed) > 0 {
		l.consult(now, l.manual, l.whyNot) // what failed since the last decision rests, too, and is among what is cleared
	}
	before := len(l.engine.Resting()) + len(l.quarantine.others)
	for _, r := range l.engine.Resting() {
		if matches(r.Arm.Scheduler) && !slices.Contains(l.forgive, r.Arm.Scheduler) {
			l.forgive = append(l.forgive, r.Arm.Scheduler)
		}
	}
	others := slices.DeleteFunc(slices.Clone(l.quarantine.others), func(e rest) bool { return matches(e.Scheduler) })
	if len(others) < len(l.quarantine.others) {
		l.quarantine.others, l.quarantine.saved = others, []policy.Rest{{}} // is to be saved
	}
	// A consultation takes the word to policy's memory, and into recordings. What it decides is for the next tick to do.
	l.consult(now, l.manual, l.whyNot)
	left := l.quarantineList(now)
	l.log.Info("quarantine cleared", "scheduler", cmp.Or(scheduler, "all"), "entries", before-len(left))
	l.emit(now)
	return api.QuarantineCleared{Cleared: before - len(left), Left: left}
}

// ask has f called by the loop, which owns what f looks at.
func (d *Daemon) ask(ctx context.Context, f func(*loop)) error {
	done := make(chan struct{})
	select {
	case d.calls <- func(l *loop) { defer close(done); f(l) }:
	case <-d.ended:
		return apiError(api.CodeUnavailable, "the daemon is stopping")
	case <-ctx.Done():
		return apiError(api.CodeUnavailable, "the daemon did not answer: %v", context.Cause(ctx))
	}
	<-done
	return nil
}

// Quarantine lists what rests after failures, other kernels' entries last.
func (d *Daemon) Quarantine(ctx context.Context) (list []api.Quarantine, err error) {
	err = d.ask(ctx, func(l *loop) { list = l.quarantineList(time.Now()) })
	return list, err
}

// ClearQuarantine forgets the failures of the scheduler named, with or without
// "scx_", or of all.
func (d *Daemon) ClearQuarantine(ctx context.Context, scheduler string, all bool) (done api.QuarantineCleared, err error) {
	if err = d.ask(ctx, func(l *loop) { done = l.clear(scheduler, all) }); err != nil || all || done.Cleared > 0 {
		return done, err
	}
	// A name that is nobody's is a mistake; what is no longer installed could be cleared.
	if _, err = d.list.Lookup(ctx, scheduler); err != nil {
		return api.QuarantineCleared{}, switchError(err)
	}
	return done, nil
}

// versionOf tells one version of a scheduler from another: what the binary says,
// else when the file was made.
func versionOf(e scx.Entry) string {
	if e.Version != "" || e.Path == "" {
		return e.Version
	}
	info, err := os.Stat(e.Path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339))
}
