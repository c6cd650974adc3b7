// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"autosa/api"
	"autosa/config"
	"autosa/policy"
	"autosa/scx"
	"autosa/workload"
)

// A scheduler that always fails, three simulated days of the whole daemon, ten
// restarts: some of them orderly, some as if the machine had lost its power, two
// of these in the middle of an attempt.
func TestSchedulerThatAlwaysFailsIsTriedThirteenTimesInThreeDays(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { alwaysFails(t, seed) })
		})
	}
}

func alwaysFails(t *testing.T, seed uint64) {
	const days, tick, startTime = 3 * 24 * time.Hour, 20 * time.Second, 2 * time.Second
	r := rand.New(rand.NewPCG(seed, 5))
	sample, _ := computing() // once: it takes long to make
	began := time.Now()
	at := func() time.Duration { return time.Since(began) }
	var tries []time.Duration
	midway := make(chan struct{}, 1)
	cut := []int{3 + r.IntN(3), 7 + r.IntN(4)} // the attempts that a crash cuts short

	c := benchConfig(t)
	c.CollectionInterval, c.AggregationWindow = tick, tick
	boot := func(dir string) *bench {
		c.StateDir = dir
		b := newBench(t, c)
		b.source.set(func() (workload.Sample, error) { return sample, nil })
		now, _ := b.Daemon.hands.InCharge()
		b.hands.set(now, func(ctx context.Context, target scx.Target) error {
			if target.Name != "scx_rusty" {
				t.Errorf("tried %s", target.Name)
			}
			tries = append(tries, at())
			if slices.Contains(cut, len(tries)) {
				midway <- struct{}{}
			}
			select {
			case <-time.After(startTime):
				return &scx.SwitchError{Target: target, Phase: scx.PhaseStarting, Err: scx.ErrExited, Ending: scx.EndingCrashed}
			case <-ctx.Done():
				return &scx.SwitchError{Target: target, Phase: scx.PhaseStarting, Err: ctx.Err(), Ending: scx.EndingStopped}
			}
		})
		return b.run()
	}

	// Eight at any moment, and two in the middle of an attempt, see midway.
	restarts := []time.Duration{days}
	for range 8 {
		restarts = append(restarts, time.Duration(r.Int64N(int64(days))))
	}
	slices.Sort(restarts)
	dir := t.TempDir()
	b := boot(dir)
	crash := func() {
		// What the disk has at this moment is what the next one finds.
		next := t.TempDir()
		if err := os.CopyFS(next, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		b.end()
		dir = next
		b = boot(dir)
	}
	for i := 0; i < len(restarts); {
		select {
		case <-midway:
			time.Sleep(startTime / 2)
			crash()
			continue
		case <-time.After(restarts[i] - at()):
		}
		switch i++; {
		case i == len(restarts): // the end of the third day
		case i%2 == 0:
			b.end()
			b = boot(dir)
		default:
			crash()
		}
	}
	b.end()

	t.Log(tries)
	if len(tries) > 13 || len(tries) < 12 {
		t.Errorf("%d attempts in three days", len(tries))
	}
	// Whatever falls between, an attempt comes no sooner than its rest is over, and the first ones not much later.
	want := time.Minute
	for i := 1; i < len(tries); i++ {
		gap := tries[i] - tries[i-1]
		if slack := startTime + 2*tick; gap < want || i < 6 && gap > want+slack {
			t.Errorf("attempt %d came %v after the one before, want %v", i+1, gap, want)
		}
		want = min(2*want, 24*time.Hour)
	}
}

func failWith(ending scx.Ending) func(context.Context, scx.Target) error {
	return func(_ context.Context, target scx.Target) error {
		return &scx.SwitchError{
			Target: target, Phase: scx.PhaseStarting, Err: scx.ErrExited, Ending: ending, Version: "1.2.3", Path: "/opt/" + target.Name,
			Exit: &scx.Exit{Code: 101}, Output: "thread panicked", Kernel: []string{"said"}, Gap: 70 * time.Millisecond,
		}
	}
}

func TestOrderForAQuarantinedSchedulerIsRefusedUnlessForcedOrCleared(t *testing.T) {
	c := benchConfig(t)
	c.AutoSwitch = false
	b := newBench(t, c)
	now, _ := b.Daemon.hands.InCharge()
	b.hands.set(now, failWith(scx.EndingCrashed))
	b.run()
	order := func(req api.SwitchRequest) error {
		_, err := b.Switch(context.Background(), req)
		return err
	}
	code(t, order(api.SwitchRequest{Scheduler: "lavd", Args: []string{"-x"}}), api.CodeFailed)
	err := order(api.SwitchRequest{Scheduler: "lavd", Args: []string{"-x"}})
	code(t, err, api.CodeConflict)
	for _, says := range []string{"scx_lavd -x is quarantined", "--force", "autosa quarantine clear scx_lavd", "failed once"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the refusal does not say %q: %v", says, err)
		}
	}
	code(t, order(api.SwitchRequest{Scheduler: "lavd"}), api.CodeFailed) // other arguments: another entry
	code(t, order(api.SwitchRequest{Scheduler: "lavd", Args: []string{"-x"}, Force: true}), api.CodeFailed)
	if got := len(b.hands.switched()); got != 3 {
		t.Errorf("%d attempts, want 3", got)
	}
	st := b.await("two entries", func(st api.Status) bool { return len(st.Quarantine) == 2 && st.Quarantine[0].Failures == 2 })
	if q := st.Quarantine[0]; q.Version != "1.2.3" || !q.Resting || q.Until.Sub(q.Time) != 2*time.Minute || q.Kernel == "" {
		t.Errorf("%+v", q)
	}
	done, err := b.ClearQuarantine(context.Background(), "lavd", false)
	if err != nil || done.Cleared != 2 || len(done.Left) != 0 {
		t.Errorf("clear: %+v %v", done, err)
	}
	b.hands.set(now, nil)
	if err := order(api.SwitchRequest{Scheduler: "lavd", Args: []string{"-x"}}); err != nil {
		t.Errorf("after clear: %v", err)
	}
	if _, err := b.ClearQuarantine(context.Background(), "nonsense", false); err == nil {
		t.Error("nonsense was cleared")
	}
}

// What failed a moment ago, and no decision has been made since, is cleared and counted like the rest.
func TestClearingCountsWhatHasJustFailed(t *testing.T) {
	c := benchConfig(t)
	c.AutoSwitch, c.CollectionInterval = false, time.Hour
	b := newBench(t, c)
	now, _ := b.Daemon.hands.InCharge()
	b.hands.set(now, failWith(scx.EndingCrashed))
	b.run()
	for _, args := range [][]string{{"-x"}, {"-y"}} {
		_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd", Args: args})
		code(t, err, api.CodeFailed)
	}
	done, err := b.ClearQuarantine(context.Background(), "lavd", false)
	if err != nil || done.Cleared != 2 || len(done.Left) != 0 {
		t.Errorf("clear: %+v %v", done, err)
	}
}

func TestQuarantineSurvivesARestartForItsVersionAndKernelOnly(t *testing.T) {
	c := benchConfig(t)
	b := newBench(t, c)
	now, _ := b.Daemon.hands.InCharge()
	b.hands.set(now, failWith(scx.EndingStall))
	b.run()
	b.await("a quarantine", func(st api.Status) bool { return len(st.Quarantine) == 1 })
	b.end()
	q := newQuarantine(c.StateDir)
	kept, err := q.load(time.Now(), time.Hour)
	if err != nil || len(kept.Entries) != 1 || kept.Trying != nil || kept.Entries[0].Version != "1.2.3" {
		t.Fatalf("%+v %v", kept, err)
	}
	tries := func(change func(*rest)) int {
		t.Helper()
		p := quarantined{Version: quarantineVersion, Entries: slices.Clone(kept.Entries)}
		p.Entries[0].At, p.Entries[0].Until = time.Now(), time.Now().Add(time.Hour)
		change(&p.Entries[0])
		if err := replaceFile("quarantine", q.path, 0o600, p); err != nil {
			t.Fatal(err)
		}
		b := newBench(t, c)
		b.list = versioned{"1.2.3"}
		b.run()
		b.await("a decision", func(st api.Status) bool { return st.Samples > 20 && st.LastDecision != nil && st.Swap == nil })
		b.end()
		return len(b.hands.switched())
	}
	if n := tries(func(*rest) {}); n != 0 {
		t.Errorf("tried %d times though it rests", n)
	}
	for name, change := range map[string]func(*rest){
		"another kernel":    func(e *rest) { e.Kernel = "5.0" },
		"another version":   func(e *rest) { e.Version = "1.2.2" },
		"another argument":  func(e *rest) { e.Args = []string{"-x"} },
		"its rest is over":  func(e *rest) { e.At, e.Until = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour) },
		"another scheduler": func(e *rest) { e.Scheduler = "scx_lavd" },
	} {
		if n := tries(change); n != 1 {
			t.Errorf("%s: tried %d times, want once", name, n)
		}
		if again, err := q.load(time.Now(), time.Hour); err != nil || len(again.Entries) != 1 {
			t.Errorf("%s: not kept: %+v %v", name, again, err)
		}
	}
}

// versioned is a shelf whose schedulers say their version.
type versioned struct{ version string }

func (v versioned) List(ctx context.Context) []scx.Entry {
	out := shelf{"scx_rusty", "scx_lavd"}.List(ctx)
	for i := range out {
		out[i].Version = v.version
	}
	return out
}

func (v versioned) Lookup(ctx context.Context, name string) (scx.Entry, error) {
	e, err := shelf{"scx_rusty", "scx_lavd"}.Lookup(ctx, name)
	e.Version = v.version
	return e, err
}

func TestClockThatJumpsDoesNotStretchARest(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	entry := func(at, until time.Duration) rest {
		return rest{Scheduler: "scx_x", Kernel: "k", Failures: 3, At: now.Add(at), Until: now.Add(until)}
	}
	for name, c := range map[string]struct{ in, want rest }{
		"resting":                   {entry(-time.Minute, 3*time.Minute), entry(-time.Minute, 3*time.Minute)},
		"over":                      {entry(-time.Hour, -time.Minute), entry(-time.Hour, -time.Minute)},
		"the clock was set back":    {entry(5*24*time.Hour, 5*24*time.Hour+4*time.Minute), entry(0, 4*time.Minute)},
		"longer than the longest":   {entry(-time.Minute, 1000*time.Hour), entry(-time.Minute, 24*time.Hour-time.Minute)},
		"ends before it began":      {entry(-time.Minute, -time.Hour), entry(-time.Minute, -time.Minute)},
		"in the future and endless": {entry(time.Hour, 1<<62), entry(0, 24*time.Hour)},
	} {
		if got := c.in.clamp(now, 24*time.Hour); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: from %v until %v, want %v until %v", name, got.At, got.Until, c.want.At, c.want.Until)
		}
	}
	q := newQuarantine(t.TempDir())
	p := quarantined{Version: quarantineVersion, Entries: []rest{entry(-40*24*time.Hour, -35*24*time.Hour), entry(-40*24*time.Hour, -29*24*time.Hour)}}
	if err := replaceFile("quarantine", q.path, 0o600, p); err != nil {
		t.Fatal(err)
	}
	if got, err := q.load(now, 365*24*time.Hour); err != nil || len(got.Entries) != 1 || got.Entries[0].Until != p.Entries[1].Until {
		t.Errorf("%+v %v: what is long over is forgotten, and nothing else", got, err)
	}
}

func TestDamagedQuarantineIsKeptAsideAndSaid(t *testing.T) {
	const entry = `{"scheduler":"scx_x","args":[],"version":"","kernel":"k","failures":1,"at":"2026-01-01T00:00:00Z","until":"2026-01-01T00:01:00Z","reason":""}`
	for name, body := range map[string]string{
		"half":            `{"version": 1, "entr`,
		"another version": `{"version": 9, "entries": []}`,
		"unknown field":   `{"version": 1, "entries": [], "surprise": 1}`,
		"no failure":      `{"version": 1, "entries": [` + strings.Replace(entry, `"failures":1`, `"failures":0`, 1) + `]}`,
		"no time":         `{"version": 1, "entries": [{"scheduler":"x","failures":1}]}`,
		"no name":         `{"version": 1, "entries": [` + strings.Replace(entry, "scx_x", "", 1) + `]}`,
		"no attempt":      `{"version": 1, "entries": [], "trying": {}}`,
		"too many":        `{"version": 1, "entries": [` + strings.Repeat(entry+",", maxQuarantine) + entry + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := benchConfig(t)
			path := filepath.Join(c.StateDir, "quarantine.json")
			if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
			b := newBench(t, c).run()
			b.await("a warning that names it", func(st api.Status) bool {
				return slices.ContainsFunc(st.Warnings, func(w string) bool { return strings.Contains(w, path+".damaged-") })
			})
			b.await("work as ever", inCharge("scx_rusty"))
			b.end()
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 {
				t.Errorf("kept aside: %v", aside)
			}
		})
	}
}

// What the machine went down over is not tried at once when it is back.
func TestAttemptThatTookTheDaemonDownCounts(t *testing.T) {
	c := benchConfig(t)
	b := newBench(t, c)
	now, _ := b.Daemon.hands.InCharge()
	b.hands.set(now, func(ctx context.Context, _ scx.Target) error { <-ctx.Done(); return ctx.Err() })
	b.run()
	b.await("an attempt", func(st api.Status) bool { return st.Swap != nil })
	left, err := os.ReadFile(filepath.Join(c.StateDir, "quarantine.json"))
	if err != nil || !strings.Contains(string(left), `"trying"`) {
		t.Fatalf("during the attempt: %s %v", left, err)
	}
	b.end() // in order: nobody's failure
	if after, err := newQuarantine(c.StateDir).load(time.Now(), time.Hour); err != nil || after.Trying != nil || len(after.Entries) != 0 {
		t.Errorf("after an orderly end: %+v %v", after, err)
	}

	if err := os.WriteFile(filepath.Join(c.StateDir, "quarantine.json"), left, 0o600); err != nil {
		t.Fatal(err)
	}
	b = newBench(t, c).run()
	st := b.await("a quarantine", func(st api.Status) bool { return len(st.Quarantine) == 1 })
	if q := st.Quarantine[0]; q.Scheduler != "scx_rusty" || !strings.Contains(q.Reason, "went down") || len(b.hands.switched()) != 0 {
		t.Errorf("%+v, switched %v", q, b.hands.switched())
	}
}

// SysRq-S says no: to auto, to an order that stands, and to the swap under way.
func TestSysRqIsAVetoUntilAnOrder(t *testing.T) {
	eevdf := scx.InCharge{Name: api.EEVDF, Owner: scx.OwnerKernel, Kernel: scx.KernelState{Supported: true, State: scx.StateDisabled, EnableSeq: 1}}
	veto := func(b *bench, name string, args ...string) {
		t.Helper()
		b.hands.set(eevdf, nil)
		b.hands.events <- scx.Event{Kind: scx.EventEjected, Ending: scx.EndingSysRq, Target: scx.Target{Name: name, Args: args}, Reason: "disabled by sysrq-S"}
		st := b.await("a veto", func(st api.Status) bool { return st.Veto != nil && st.Veto.Scheduler == name })
		b.await("ticks", func(later api.Status) bool { return later.Samples > st.Samples+20 })
		st = b.Status()
		if st.Scheduler.Name != api.EEVDF || len(st.Quarantine) != 0 || !strings.Contains(strings.Join(st.LastDecision.Reasons, "\n"), "SysRq-S") ||
			st.LastIncident == nil || st.LastIncident.Ending != "sysrq" {
			t.Errorf("in charge %s, quarantine %v, decision %+v, incident %+v", st.Scheduler.Name, st.Quarantine, st.LastDecision, st.LastIncident)
		}
	}
	t.Run("auto", func(t *testing.T) {
		b := newBench(t, benchConfig(t)).run()
		b.await("scx_rusty in charge", inCharge("scx_rusty"))
		veto(b, "scx_rusty", "--slice-us-underutil", "20000")
		if _, err := b.Auto(context.Background()); err != nil {
			t.Fatal(err)
		}
		b.await("scx_rusty again after auto", inCharge("scx_rusty"))
	})
	t.Run("an order that stands", func(t *testing.T) {
		b := newBench(t, benchConfig(t)).run()
		order := func(name string) error {
			_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: name})
			return err
		}
		if err := order("lavd"); err != nil {
			t.Fatal(err)
		}
		veto(b, "scx_lavd")
		b.hands.set(eevdf, failWith(scx.EndingCrashed))
		if err := order("bpfland"); err == nil {
			t.Fatal("it did not fail")
		}
		if st := b.Status(); st.Veto == nil {
			t.Error("an order that failed withdrew the veto")
		}
		b.hands.set(eevdf, nil)
		if err := order("lavd"); err != nil {
			t.Fatal(err)
		}
		b.await("no veto", func(st api.Status) bool { return st.Veto == nil && st.Scheduler.Name == "scx_lavd" })
	})
	t.Run("a swap under way", func(t *testing.T) {
		b := newBench(t, benchConfig(t))
		now, _ := b.Daemon.hands.InCharge()
		b.hands.set(now, func(ctx context.Context, target scx.Target) error {
			<-ctx.Done()
			return &scx.SwitchError{Target: target, Phase: scx.PhaseLoading, Err: ctx.Err(), Ending: scx.EndingStopped}
		})
		b.run()
		b.await("a swap under way", func(st api.Status) bool { return st.Swap != nil })
		veto(b, "scx_lavd")
		if st := b.Status(); st.Swap != nil || len(b.hands.switched()) != 1 {
			t.Errorf("swap %+v, switched %v", st.Swap, b.hands.switched())
		}
	})
}

// What is nobody's failure does not rest, and what was never tried by order neither.
func TestOnlyWhatFailedRests(t *testing.T) {
	for name, c := range map[string]struct {
		err   *scx.SwitchError
		rests int
		kept  int
	}{
		"crashed":                   {&scx.SwitchError{Phase: scx.PhaseVerifying, Err: scx.ErrExited, Ending: scx.EndingCrashed}, 1, 1},
		"foreign":                   {&scx.SwitchError{Phase: scx.PhaseOpening, Err: &scx.ForeignError{}, Ending: scx.EndingForeign}, 0, 1},
		"stopped":                   {&scx.SwitchError{Phase: scx.PhaseOpening, Err: context.Canceled, Ending: scx.EndingStopped}, 0, 0},
		"refused before it started": {&scx.SwitchError{Phase: scx.PhasePreflight, Err: scx.ErrUnusable, Ending: scx.EndingUnusable}, 0, 1},
		"the old one does not go":   {&scx.SwitchError{Phase: scx.PhaseStopping, Err: scx.ErrTimeout, Ending: scx.EndingTimeout}, 0, 1},
		"hotplug":                   {&scx.SwitchError{Phase: scx.PhaseOpening, Err: scx.ErrExited, Ending: scx.EndingHotplug}, 1, 1},
		"the return failed too":     {&scx.SwitchError{Phase: scx.PhaseOpening, Err: scx.ErrExited, Ending: scx.EndingLoad, ReturnErr: scx.ErrExited}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := benchConfig(t)
			cfg.AutoSwitch = false
			b := newBench(t, cfg)
			now, _ := b.Daemon.hands.InCharge()
			b.hands.set(now, func(_ context.Context, target scx.Target) error {
				c.err.Target = target
				return c.err
			})
			b.hands.from = scx.Target{Name: "scx_rusty"}
			b.run()
			if _, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd"}); err == nil {
				t.Fatal("no error")
			}
			st := b.Status()
			st = b.await("ticks", func(later api.Status) bool { return later.Samples > st.Samples+10 })
			list, err := b.Quarantine(context.Background())
			if err != nil || len(list) != c.rests || len(st.Quarantine) != c.rests || st.Incidents != uint64(c.kept) {
				t.Errorf("%v rest, %d incidents, %v; want %d and %d", list, st.Incidents, err, c.rests, c.kept)
			}
		})
	}
}

// CPUs come and go, and some schedulers end for it: in charge again at once.
func TestHotplugIsNobodysFailure(t *testing.T) {
	c := benchConfig(t)
	c.MinSwitchInterval = 100 * time.Millisecond
	b := newBench(t, c).run()
	b.await("scx_rusty in charge", inCharge("scx_rusty"))
	time.Sleep(c.MinSwitchInterval)
	b.hands.set(scx.InCharge{Name: api.EEVDF, Owner: scx.OwnerKernel, Kernel: scx.KernelState{Supported: true, State: scx.StateDisabled, EnableSeq: 1}}, nil)
	b.hands.events <- scx.Event{
		Kind: scx.EventEjected, Ending: scx.EndingHotplug, Target: scx.Target{Name: "scx_rusty", Args: []string{"--slice-us-underutil", "20000"}},
		Reason: "unregistered from the main kernel (cpu 1 going offline, exiting scheduler)",
	}
	st := b.await("scx_rusty again", func(st api.Status) bool { return st.Swaps == 2 && st.Scheduler.Name == "scx_rusty" })
	if st.LastIncident == nil || st.LastIncident.Ending != "hotplug" || len(st.Quarantine) != 0 {
		t.Errorf("incident %+v, quarantine %v", st.LastIncident, st.Quarantine)
	}
}

// A day's rest is forgiven after a day in charge, and not before; the file follows.
func TestStayingUpIsForgivenInTheFileToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := benchConfig(t)
		c.CollectionInterval, c.AggregationWindow = 30*time.Second, 30*time.Second
		p := quarantined{Version: quarantineVersion, Entries: []rest{{
			Scheduler: "scx_rusty", Args: []string{"--slice-us-underutil", "20000"}, Kernel: scx.Release(), Failures: 20,
			At: time.Now().Add(-25 * time.Hour), Until: time.Now().Add(-time.Hour),
		}}}
		path := newQuarantine(c.StateDir).path
		if err := replaceFile("quarantine", path, 0o600, p); err != nil {
			t.Fatal(err)
		}
		b := newBench(t, c).run()
		time.Sleep(23 * time.Hour)
		if st := b.Status(); st.Scheduler.Name != "scx_rusty" {
			t.Errorf("in charge: %s", st.Scheduler.Name)
		}
		count := func() int {
			kept, err := newQuarantine(c.StateDir).load(time.Now(), 24*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return len(kept.Entries)
		}
		if n := count(); n != 1 {
			t.Errorf("%d entries after 23 hours", n)
		}
		time.Sleep(2 * time.Hour)
		if n := count(); n != 0 {
			t.Errorf("%d entries after 25 hours", n)
		}
		b.end()
	})
}

func TestReadOnlyStateIsAWarningAndIncidentsAreStillShown(t *testing.T) {
	c := benchConfig(t)
	c.StateDir = filepath.Join("/proc", "no-such-place")
	b := newBench(t, c)
	now, _ := b.Daemon.hands.InCharge()
	b.hands.set(now, failWith(scx.EndingCrashed))
	b.run()
	st := b.await("an incident and the warnings", func(st api.Status) bool {
		all := strings.Join(st.Warnings, "\n")
		return st.LastIncident != nil && len(st.Quarantine) == 1 && strings.Contains(all, "incidents: ") && strings.Contains(all, "quarantine: ")
	})
	in, err := b.Incident(context.Background(), st.LastIncident.ID)
	if err != nil || in.Output != "thread panicked" {
		t.Errorf("%+v %v", in, err)
	}
}

func TestConfigurationsDefaultsArePolicys(t *testing.T) {
	pc, err := policyConfig(config.Default())
	if err != nil || pc.Backoff != policy.DefaultBackoff || pc.MaxBackoff != policy.DefaultMaxBackoff || policy.DefaultMaxBackoff != 24*time.Hour {
		t.Errorf("%+v %v", pc, err)
	}
}

func FuzzQuarantine(f *testing.F) {
	f.Add(`{"version":1,"entries":[{"scheduler":"scx_x","args":["-v"],"version":"1","kernel":"k","failures":2,"at":"2026-01-01T00:00:00Z","until":"2026-01-01T00:02:00Z","reason":"r"}]}`)
	f.Add(`{"version":1,"entries":[],"trying":{"scheduler":"scx_x","args":[],"version":"","kernel":"k","since":"2029-01-01T00:00:00Z"}}`)
	dir := f.TempDir()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body string) {
		q := newQuarantine(dir)
		if err := os.WriteFile(q.path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := q.load(now, 24*time.Hour)
		if err != nil {
			left, _ := filepath.Glob(q.path + ".damaged-*")
			for _, path := range left {
				_ = os.Remove(path)
			}
			if len(p.Entries) > 0 || p.Trying != nil {
				t.Fatalf("%+v with %v", p, err)
			}
			return
		}
		for _, e := range p.Entries {
			if e.At.After(now) || e.Until.Sub(now) > 24*time.Hour || e.Until.Before(e.At) || e.Scheduler == "" || e.Failures < 1 {
				t.Fatalf("%+v from %q", e, body)
			}
		}
	})
}
