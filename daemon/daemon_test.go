// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"autosa/api"
	"autosa/bpf/sched"
	"autosa/config"
	"autosa/scx"
	"autosa/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a sampler whose samples a test sets. A real collector cannot be
// made to fail, nor to see a kind of work at will; the tests in vmtest/e2e run
// the real one.
type script struct {
	mu   sync.Mutex
	make func() (workload.Sample, error) // guarded by mu
}

func (s *script) set(f func() (workload.Sample, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.make = f
}

func (s *script) Collect(now time.Time) (workload.Sample, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.make()
	out.Time = now
	return out, err
}

func (*script) Close() error { return nil }

// computing is a sample of a machine whose two CPUs calculate.
func computing() (workload.Sample, error) {
	s := workload.Sample{Interval: time.Second, CPUs: 2, Source: workload.SourceBPF}
	s.Host = workload.Group{Name: workload.HostName, Switches: 500, Voluntary: 10, Involuntary: 490, Run: 1990 * time.Millisecond, Wait: 5 * time.Millisecond}
	for range 500 {
		s.Host.RunHist.Observe(4 * time.Millisecond)
		s.Host.WaitHist.Observe(10 * time.Microsecond)
	}
	return s, nil
}

// fakeHands stands for the switcher: what it says and does is set by a test.
type fakeHands struct {
	mu     sync.Mutex
	now    scx.InCharge                                  // guarded by mu
	onto   func(ctx context.Context, t scx.Target) error // guarded by mu; nil: succeeds
	calls  []scx.Target                                  // guarded by mu
	events chan scx.Event
	from   scx.Target // what a swap that fails left
	closed bool       // guarded by mu

	adjusted []string // guarded by mu; policies that were ordered in place
	refuses  error    // guarded by mu; what comes of such orders

	// changes tells that what is in charge may be another.
	changes chan struct{}
}

func newFakeHands() *fakeHands {
	return &fakeHands{
		now:    scx.InCharge{Name: api.EEVDF, Owner: scx.OwnerKernel, Kernel: scx.KernelState{Supported: true, State: scx.StateDisabled}},
		events: make(chan scx.Event, 4), changes: make(chan struct{}, 1),
	}
}

func (h *fakeHands) Switch(ctx context.Context, t scx.Target) (scx.Result, error) {
	h.mu.Lock()
	h.calls = append(h.calls, t)
	onto := h.onto
	h.mu.Unlock()
	if onto != nil {
		if err := onto(ctx, t); err != nil {
			return scx.Result{From: h.from}, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	seq := h.now.Kernel.EnableSeq
	h.now = scx.InCharge{Name: t.Name, Args: t.Args, Owner: scx.OwnerAutosa, Kernel: scx.KernelState{Supported: true, State: scx.StateEnabled, Ops: strings.TrimPrefix(t.Name, "scx_"), EnableSeq: seq + 1}}
	if t.Name == api.EEVDF {
		h.now.Owner, h.now.Kernel = scx.OwnerKernel, scx.KernelState{Supported: true, State: scx.StateDisabled, EnableSeq: seq}
	}
	return scx.Result{To: t, Gap: 3 * time.Millisecond}, nil
}

func (h *fakeHands) Adjust(t scx.Target) (scx.InCharge, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.adjusted = append(h.adjusted, t.Name)
	if h.refuses != nil {
		return scx.InCharge{}, h.refuses
	}
	h.now.Name = t.Name
	return h.now, nil
}

func (h *fakeHands) Builtin() *scx.BuiltinState {
	h.mu.Lock()
	defer h.mu.Unlock()
	policy, ok := strings.CutPrefix(h.now.Name, "builtin:")
	if !ok {
		return nil
	}
	return &scx.BuiltinState{Policy: policy, Generation: uint64(len(h.adjusted) + 1), CPUs: 2, Obeying: 1, Stats: sched.Stats{Stolen: 7}}
}

func (h *fakeHands) Changes() <-chan struct{} { return h.changes }

func (h *fakeHands) InCharge() (scx.InCharge, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now, nil
}

func (h *fakeHands) set(c scx.InCharge, onto func(context.Context, scx.Target) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now, h.onto = c, onto
}

func (h *fakeHands) switched() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, t := range h.calls {
		names = append(names, t.Name)
	}
	return names
}

func (h *fakeHands) Events() <-chan scx.Event { return h.events }

func (h *fakeHands) Close(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return nil
}

// shelf is a list of installed schedulers.
type shelf []string

func (s shelf) List(context.Context) []scx.Entry {
	var out []scx.Entry
	for _, n := range s {
		out = append(out, scx.Entry{Name: n, Installed: true, Usable: true})
	}
	return out
}

func (s shelf) Lookup(_ context.Context, name string) (scx.Entry, error) {
	for _, e := range s.List(context.Background()) {
		if e.Name == name || e.Name == "scx_"+name {
			return e, nil
		}
	}
	if name == api.EEVDF {
		return scx.Entry{Name: name, Installed: true, Usable: true}, nil
	}
	return scx.Entry{}, &scx.UnknownError{Name: name}
}

// bench is a daemon that runs on fakes.
type bench struct {
	*Daemon
	t      *testing.T
	hands  *fakeHands
	source *script
	cancel context.CancelFunc
	done   chan error
}

func benchConfig(t *testing.T) config.Config {
	c := config.Default()
	c.CollectionInterval, c.AggregationWindow, c.MinSwitchInterval = 10*time.Millisecond, 50*time.Millisecond, 0
	c.StateDir = t.TempDir()
	return c
}

func newBench(t *testing.T, c config.Config) *bench {
	t.Helper()
	pc, err := policyConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		Daemon: newDaemon(Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler)}, pc),
		t:      t, hands: newFakeHands(), source: &script{make: computing}, done: make(chan error, 1),
	}
	b.Daemon.hands, b.Daemon.source = b.hands, b.source
	b.list = shelf{"scx_rusty", "scx_lavd", "scx_bpfland"}
	return b
}

func (b *bench) run() *bench {
	b.publish(b.first())
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	go func() { b.done <- b.Run(ctx) }()
	b.t.Cleanup(func() { b.end() })
	return b
}

func (b *bench) end() {
	b.cancel()
	select {
	case err := <-b.done:
		b.done <- err // for the next who asks
		if err != nil {
			b.t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		b.t.Fatal("Run did not return within 10 s of its context's end")
	}
}

func (b *bench) await(what string, ok func(api.Status) bool) api.Status {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		if st := b.Status(); ok(st) {
			return st
		} else if time.Now().After(deadline) {
			b.t.Fatalf("not within 10 s: %s\nlast: %+v\ndecision: %+v", what, st, st.LastDecision)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func inCharge(name string) func(api.Status) bool {
	return func(st api.Status) bool { return st.Scheduler.Name == name && st.Swap == nil }
}

func code(t *testing.T, err error, want api.Code) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("error %v, want code %s", err, want)
	}
}

func TestAutoPutsTheTablesChoiceInChargeAndCountsIt(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	st := b.await("scx_rusty in charge for a compute load", inCharge("scx_rusty"))
	if st.Workload.Class != workload.Compute || st.Swaps != 1 || st.LastSwap == nil || !st.LastSwap.OK || st.LastSwap.Cause != "auto" || len(st.LastSwap.Reasons) == 0 {
		t.Errorf("class %v, swaps %d, last swap %+v", st.Workload.Class, st.Swaps, st.LastSwap)
	}
	if st.Mode != api.ModeAuto || st.ModeReason != "" {
		t.Errorf("mode %s because %q", st.Mode, st.ModeReason)
	}
	time.Sleep(100 * time.Millisecond)
	if got := b.hands.switched(); len(got) != 1 {
		t.Errorf("the same scheduler was swapped again: %v", got)
	}
}

func TestManualOrderHoldsSurvivesARestartAndIsGivenBack(t *testing.T) {
	c := benchConfig(t)
	b := newBench(t, c).run()
	res, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd", Args: []string{"--performance"}})
	if err != nil || res.Swap.To != "scx_lavd" || res.Swap.Cause != "manual" || !res.Swap.OK {
		t.Fatalf("Switch: %+v %v", res, err)
	}
	if st := b.Status(); st.Mode != api.ModeManual || st.Scheduler.Name != "scx_lavd" {
		t.Errorf("mode %s, in charge %s", st.Mode, st.Scheduler.Name)
	}
	again, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "scx_lavd", Args: []string{"--performance"}})
	if err != nil || !again.Unchanged {
		t.Errorf("the same order again: %+v %v, want unchanged", again, err)
	}
	time.Sleep(100 * time.Millisecond) // ten ticks in which auto would have scx_rusty
	if st := b.Status(); st.Scheduler.Name != "scx_lavd" {
		t.Errorf("auto acted against the operator: %s", st.Scheduler.Name)
	}
	b.end()

	b = newBench(t, c).run()
	b.await("the choice from before the restart", inCharge("scx_lavd"))
	if st := b.Status(); st.LastSwap.Cause != "manual" || st.Scheduler.Args[0] != "--performance" {
		t.Errorf("after the restart: %+v", st.LastSwap)
	}
	if _, err := b.Auto(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.await("auto's choice", inCharge("scx_rusty"))
	b.end()
	if p, err := newStore(c.StateDir).load(time.Now()); err != nil || p.Manual != nil {
		t.Errorf("state after auto: %+v %v", p, err)
	}
}

func TestFailedOrderLeavesTheChoiceBeforeItInForce(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	if _, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd"}); err != nil {
		t.Fatal(err)
	}
	now, _ := b.hands.InCharge()
	b.hands.set(now, func(context.Context, scx.Target) error {
		return &scx.SwitchError{Target: scx.Target{Name: "scx_bpfland"}, Phase: scx.PhaseStarting, Err: scx.ErrExited, Output: "no such luck"}
	})
	_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "bpfland"})
	code(t, err, api.CodeFailed)
	if !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("the error does not show what the scheduler printed: %v", err)
	}
	st := b.Status()
	if st.Mode != api.ModeManual || !strings.Contains(st.ModeReason, "scx_lavd") || st.FailedSwaps != 1 || len(st.Warnings) == 0 || st.LastSwap.OK {
		t.Errorf("mode %s (%s), %d failed, warnings %v, last swap %+v", st.Mode, st.ModeReason, st.FailedSwaps, st.Warnings, st.LastSwap)
	}
}

func TestAutoDoesNotRetryAFailedSchedulerAtOnce(t *testing.T) {
	b := newBench(t, benchConfig(t))
	now, _ := b.hands.InCharge()
	b.hands.set(now, func(context.Context, scx.Target) error { return scx.ErrTimeout })
	b.run()
	b.await("a failed swap", func(st api.Status) bool { return st.FailedSwaps > 0 })
	time.Sleep(200 * time.Millisecond)
	if got := b.hands.switched(); len(got) != 1 {
		t.Errorf("%d attempts within 200 ms, want 1: %v", len(got), got)
	}
}

func TestForeignSchedulerIsLeftAlone(t *testing.T) {
	b := newBench(t, benchConfig(t))
	b.hands.set(scx.InCharge{Name: "scx_p2dq", Ops: "p2dq_1", Owner: scx.OwnerForeign, Kernel: scx.KernelState{Supported: true, State: scx.StateEnabled, Ops: "p2dq_1"}}, nil)
	b.run()
	st := b.await("the foreign scheduler shown", func(st api.Status) bool { return st.Scheduler.Owner == api.OwnerForeign && st.LastDecision != nil })
	if st.LastDecision.Action != "keep" {
		t.Errorf("decided %+v over a foreign scheduler", st.LastDecision)
	}
	_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd"})
	code(t, err, api.CodeConflict)
	if st := b.Status(); st.Mode != api.ModeAuto || len(b.hands.switched()) != 0 {
		t.Errorf("mode %s, switched %v", st.Mode, b.hands.switched())
	}
}

// Orders that come during a swap wait for it; the last one wins, each is
// answered, and no two swaps overlap.
func TestOrdersDuringASwapWaitTheirTurn(t *testing.T) {
	b := newBench(t, benchConfig(t))
	var running, most int
	var mu sync.Mutex
	gate := make(chan struct{})
	now, _ := b.hands.InCharge()
	b.hands.set(now, func(ctx context.Context, _ scx.Target) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		defer func() { mu.Lock(); running--; mu.Unlock() }()
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	b.run()
	b.await("auto's swap under way", func(st api.Status) bool { return st.Swap != nil && st.Swap.To == "scx_rusty" })
	answers := make(chan error, 2)
	for _, name := range []string{"lavd", "bpfland"} {
		go func() {
			_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: name})
			answers <- err
		}()
		time.Sleep(50 * time.Millisecond)
	}
	if got := b.hands.switched(); len(got) != 1 {
		t.Errorf("an order interrupted the swap under way: %v", got)
	}
	close(gate)
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("an order that waited: %v", err)
		}
	}
	if got := fmt.Sprint(b.hands.switched()); got != "[scx_rusty scx_lavd scx_bpfland]" || most != 1 {
		t.Errorf("swaps %s, %d at a time; want the orders after the swap, one at a time", got, most)
	}
	b.await("the last order in force", func(st api.Status) bool {
		return st.Scheduler.Name == "scx_bpfland" && strings.Contains(st.ModeReason, "scx_bpfland")
	})
}

func TestStopDuringASwapEndsItAnswersEveryoneAndCloses(t *testing.T) {
	b := newBench(t, benchConfig(t))
	now, _ := b.hands.InCharge()
	b.hands.set(now, func(ctx context.Context, _ scx.Target) error { <-ctx.Done(); return ctx.Err() })
	b.run()
	answers := make(chan error, 2)
	for _, name := range []string{"lavd", "bpfland"} {
		go func() {
			_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: name})
			answers <- err
		}()
	}
	b.await("a swap under way", func(st api.Status) bool { return st.Swap != nil })
	time.Sleep(50 * time.Millisecond)
	watch := b.Watch(context.Background())
	if s, err := b.Stop(context.Background()); err != nil || s.PID == 0 {
		t.Errorf("Stop: %+v %v", s, err)
	}
	_, _ = b.Stop(context.Background()) // twice is once
	for range 2 {
		select {
		case err := <-answers:
			code(t, err, api.CodeUnavailable)
		case <-time.After(time.Minute):
			t.Fatal("an order was never answered")
		}
	}
	for range watch { // ends with the daemon
	}
	b.end()
	if !b.hands.closed {
		t.Error("the switcher was not closed")
	}
	if _, err := b.Auto(context.Background()); err == nil {
		t.Error("an order after the end was accepted")
	}
}

func TestSchedulerThatDiesIsSaidAndRests(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	b.await("scx_rusty in charge", inCharge("scx_rusty"))
	gone := scx.InCharge{Name: api.EEVDF, Owner: scx.OwnerKernel, Kernel: scx.KernelState{Supported: true, State: scx.StateDisabled, EnableSeq: 1}}
	// The kernel's word comes first, the news of why a while after.
	gone.Unsettled = true
	b.hands.set(gone, nil)
	b.await("EEVDF in charge", func(st api.Status) bool { return st.Scheduler.Name == api.EEVDF })
	time.Sleep(200 * time.Millisecond)
	target := scx.Target{Name: "scx_rusty", Args: []string{"--slice-us-underutil", "20000"}}
	b.hands.events <- scx.Event{Kind: scx.EventEjected, Target: target, Reason: "runnable task stall"}
	gone.Unsettled = false
	b.hands.set(gone, nil)
	b.await("the death in the warnings", func(st api.Status) bool {
		return st.Scheduler.Name == api.EEVDF && strings.Contains(strings.Join(st.Warnings, "\n"), "runnable task stall")
	})
	time.Sleep(200 * time.Millisecond)
	if got := b.hands.switched(); len(got) != 1 {
		t.Errorf("scx_rusty was started again at once: %v", got)
	}
}

func TestFailingCollectorIsATroubleThatPasses(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	b.await("samples", func(st api.Status) bool { return st.Samples > 2 })
	b.source.set(func() (workload.Sample, error) { return workload.Sample{}, errors.New("the disk is on fire") })
	b.await("the trouble", func(st api.Status) bool {
		return strings.Contains(strings.Join(st.Warnings, "\n"), "the disk is on fire")
	})
	b.source.set(computing)
	b.await("its end", func(st api.Status) bool { return len(st.Warnings) == 0 })
}

func TestUnwritableStateIsSaidAndTheOrderStands(t *testing.T) {
	c := benchConfig(t)
	c.StateDir = filepath.Join("/proc", "no-such-place") // nobody can create it, root neither
	b := newBench(t, c).run()
	if _, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd"}); err != nil {
		t.Fatal(err)
	}
	st := b.await("the warning", func(st api.Status) bool { return strings.Contains(strings.Join(st.Warnings, "\n"), "state") })
	if st.Mode != api.ModeManual {
		t.Errorf("mode %s", st.Mode)
	}
}

func TestObserveModeRefusesOrdersAndSaysWhy(t *testing.T) {
	b := newBench(t, benchConfig(t))
	b.observe, b.Daemon.hands = "this kernel has no sched_ext", nil
	b.run()
	st := b.await("observe mode with a class", func(st api.Status) bool { return st.Workload.Confidence > 0 && st.LastDecision != nil })
	if st.Mode != api.ModeObserve || st.ModeReason != b.observe || st.LastDecision.Action == "swap" {
		t.Errorf("mode %s (%s), decision %+v", st.Mode, st.ModeReason, st.LastDecision)
	}
	_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd"})
	code(t, err, api.CodeUnsupported)
	list, err := b.Schedulers(context.Background())
	if err != nil || len(list) == 0 || list[0].Usable {
		t.Errorf("schedulers %+v %v: want none usable", list, err)
	}
}

func TestUnknownSchedulerAndArgumentsForEEVDFAreBadRequests(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "nonsense"})
	code(t, err, api.CodeBadRequest)
	_, err = b.Switch(context.Background(), api.SwitchRequest{Scheduler: api.EEVDF, Args: []string{"-x"}})
	code(t, err, api.CodeBadRequest)
}

func TestSlowWatcherGetsTheNewestAndDelaysNobody(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	ctx, cancel := context.WithCancel(context.Background())
	w := b.Watch(ctx)
	<-w
	b.await("many ticks", func(st api.Status) bool { return st.Samples > 20 })
	if st := <-w; st.Samples < 15 {
		t.Errorf("a slow watcher got sample %d of more than 20: an old one", st.Samples)
	}
	cancel()
	for range w { // is closed
	}
}
