// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/scx"
	"autosa/workload"
)

func held1(st api.Status) bool { return len(st.Holds) == 1 }

func TestHoldKeepsAutoFromActingAndNotTheOperator(t *testing.T) {
	b := newBench(t, benchConfig(t))
	b.source.set(func() (workload.Sample, error) { return workload.Sample{}, errors.New("not yet") })
	b.run()
	ctx := context.Background()
	h, ended, err := b.Hold(ctx, api.HoldRequest{Reason: "live demo"})
	if err != nil || h.Until != nil || h.Reason != "live demo" {
		t.Fatalf("Hold: %+v %v", h, err)
	}
	b.source.set(computing)
	st := b.await("a decision that waits for the hold", func(st api.Status) bool {
		return st.LastDecision != nil && strings.Contains(strings.Join(st.LastDecision.Reasons, "\n"), "held until its holder ends (live demo)")
	})
	if st.LastDecision.Action != "keep" || len(b.hands.switched()) != 0 || !held1(st) || st.Mode != api.ModeAuto {
		t.Errorf("mode %s, decision %+v, swaps %v, holds %v", st.Mode, st.LastDecision, b.hands.switched(), st.Holds)
	}
	if _, err := b.Switch(ctx, api.SwitchRequest{Scheduler: "lavd"}); err != nil {
		t.Errorf("an order during a hold: %v", err)
	}
	if _, err := b.Auto(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // ten ticks in which auto would have scx_rusty
	if got := b.hands.switched(); len(got) != 1 || got[0] != "scx_lavd" {
		t.Errorf("swaps during the hold: %v, want the order's alone", got)
	}
	_, err = b.Release(ctx, h.ID+1)
	code(t, err, api.CodeNotFound)
	if released, err := b.Release(ctx, h.ID); err != nil || len(released) != 1 || released[0].ID != h.ID {
		t.Errorf("Release: %v %v", released, err)
	}
	select {
	case <-ended:
	default:
		t.Error("the holder was not told of the end")
	}
	b.await("auto's choice after the hold", inCharge("scx_rusty"))
}

func TestTimedHoldEndsByItselfAndOutlivesTheDaemon(t *testing.T) {
	c := benchConfig(t)
	b := newBench(t, c).run()
	ctx := context.Background()
	for _, seconds := range []float64{3600, 0} { // the second is of a holder that ends with the daemon
		if _, _, err := b.Hold(ctx, api.HoldRequest{Seconds: seconds, Reason: "measuring"}); err != nil {
			t.Fatal(err)
		}
	}
	b.end()

	b = newBench(t, c).run()
	st := b.await("the hold from before", held1)
	if h := st.Holds[0]; h.Reason != "measuring" || h.Until == nil || time.Until(*h.Until) > time.Hour || time.Until(*h.Until) < 50*time.Minute {
		t.Errorf("after the restart: %+v", st.Holds)
	}
	if released, err := b.Release(ctx, 0); err != nil || len(released) != 1 {
		t.Errorf("Release: %v %v", released, err)
	}
	_, ended, err := b.Hold(ctx, api.HoldRequest{Seconds: 0.05})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("a hold of 50 ms is in force after a minute")
	}
	b.await("auto's choice", inCharge("scx_rusty"))
	b.end()
	if p, err := newStore(c.StateDir).load(time.Now()); err != nil || len(p.Holds) != 0 {
		t.Errorf("state afterwards: %+v %v", p, err)
	}
}

// A wall clock that was set back while no daemon ran prolongs nothing.
func TestHoldFromTheFutureIsNotLongerThanItWas(t *testing.T) {
	c := benchConfig(t)
	since := time.Now().Add(48 * time.Hour)
	kept := persisted{Holds: []persistedHold{
		{Reason: "set back", Since: since, Until: since.Add(time.Minute)},
		{Reason: "over", Since: since.Add(-72 * time.Hour), Until: since.Add(-71 * time.Hour)},
		{Reason: "turned round", Since: since.Add(time.Hour), Until: since},
	}}
	if err := newStore(c.StateDir).save(kept); err != nil {
		t.Fatal(err)
	}
	st := newBench(t, c).run().await("the hold", held1)
	if h := st.Holds[0]; h.Reason != "set back" || time.Until(*h.Until) > time.Minute {
		t.Errorf("holds %+v", st.Holds)
	}
}

func TestHoldsAreBounded(t *testing.T) {
	b := newBench(t, benchConfig(t)).run()
	for range maxHolds {
		if _, _, err := b.Hold(context.Background(), api.HoldRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := b.Hold(context.Background(), api.HoldRequest{})
	code(t, err, api.CodeConflict)
	_, _, err = b.Hold(context.Background(), api.HoldRequest{Seconds: -1})
	code(t, err, api.CodeBadRequest)
	b.end()
	_, _, err = b.Hold(context.Background(), api.HoldRequest{})
	code(t, err, api.CodeUnavailable)
}

func TestHoldIsRefusedWhereAutosaOnlyObserves(t *testing.T) {
	b := newBench(t, benchConfig(t))
	b.observe = "no sched_ext"
	b.run()
	_, _, err := b.Hold(context.Background(), api.HoldRequest{})
	code(t, err, api.CodeUnsupported)
}

func TestOrderThatDoesNotWaitIsAnsweredAtOnceAndItsEndIsInTheStatus(t *testing.T) {
	c := benchConfig(t)
	c.AutoSwitch = false
	b := newBench(t, c)
	now, _ := b.hands.InCharge()
	going, finish := make(chan struct{}), make(chan error)
	b.hands.set(now, func(context.Context, scx.Target) error { going <- struct{}{}; return <-finish })
	b.run()
	ctx := context.Background()
	for _, name := range []string{"lavd", "bpfland"} { // the second waits for the first
		res, err := b.Switch(ctx, api.SwitchRequest{Scheduler: name, NoWait: true})
		if err != nil || !res.Accepted || res.Swap.To != "" {
			t.Fatalf("%s: %+v %v", name, res, err)
		}
	}
	<-going
	finish <- nil
	<-going
	if st := b.await("the first", inCharge0("scx_lavd")); st.Mode != api.ModeManual {
		t.Errorf("mode %s", st.Mode)
	}
	finish <- &scx.SwitchError{Target: scx.Target{Name: "scx_bpfland"}, Phase: scx.PhaseStarting, Err: scx.ErrExited}
	st := b.await("the failure", func(st api.Status) bool { return st.FailedSwaps == 1 })
	if len(st.Warnings) != 1 || st.LastSwap.OK || st.LastSwap.To != "scx_bpfland" {
		t.Errorf("warnings %q, last swap %+v", st.Warnings, st.LastSwap)
	}
}

func inCharge0(name string) func(api.Status) bool {
	return func(st api.Status) bool { return st.Scheduler.Name == name }
}

func TestDamagedHoldsAreSetAside(t *testing.T) {
	c := benchConfig(t)
	path := filepath.Join(c.StateDir, "state.json")
	if err := os.WriteFile(path, []byte(`{"version": 1, "holds": [{"reason": 3}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	st := newBench(t, c).run().await("a warning", func(st api.Status) bool { return len(st.Warnings) > 0 })
	if !strings.Contains(st.Warnings[0], "kept as "+path+".damaged-") {
		t.Errorf("warnings %q", st.Warnings)
	}
}
