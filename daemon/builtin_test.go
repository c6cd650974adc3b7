// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/bpf/sched"
	"autosa/policy"
	"autosa/scx"
)

var builtinShelf = shelf{policy.BuiltinLatency, policy.BuiltinBalanced, policy.BuiltinThroughput}

func TestPolicyNamesThePoliciesThatThereAre(t *testing.T) {
	var want []string
	for _, p := range sched.Policies() {
		want = append(want, policy.BuiltinPrefix+string(p))
	}
	if !slices.Equal(builtinShelf, want) {
		t.Errorf("policy knows %v, the scheduler has %v", builtinShelf, want)
	}
}

// An hour must lie between two swaps: auto changes the built-in scheduler's
// policy all the same, without one.
func TestAutoChangesThePolicyInPlaceWithoutASwap(t *testing.T) {
	c := benchConfig(t)
	c.MinSwitchInterval = time.Hour
	b := newBench(t, c)
	b.list = builtinShelf
	b.hands.set(scx.InCharge{Name: policy.BuiltinLatency, Owner: scx.OwnerAutosa, Kernel: scx.KernelState{Supported: true, State: scx.StateEnabled, Ops: "autosa", EnableSeq: 3}}, nil)
	b.run()
	st := b.await("the policy for a compute load", inCharge(policy.BuiltinThroughput))
	if len(b.hands.switched()) != 0 || st.Swaps != 0 || st.LastSwap != nil || st.Kernel.EnableSeq != 3 {
		t.Errorf("swapped %v, %d swaps, enable_seq %d", b.hands.switched(), st.Swaps, st.Kernel.EnableSeq)
	}
	if s := st.Builtin; s == nil || s.Policy != "throughput" || s.Generation != 2 || s.CPUs != 2 || s.ObeyingCPUs != 1 || s.Adjustments != 1 ||
		s.LastAdjustment == nil || s.Counts.Stolen != 7 {
		t.Errorf("the status says %+v", s)
	}
	time.Sleep(100 * time.Millisecond)
	if got := b.hands.adjustments(); len(got) != 1 {
		t.Errorf("the policy was ordered %d times: %v", len(got), got)
	}
}

func (h *fakeHands) adjustments() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.adjusted)
}

func TestAnOrderForAnotherPolicyIsAnsweredInPlaceAndHolds(t *testing.T) {
	b := newBench(t, benchConfig(t))
	b.list = builtinShelf
	b.run()
	if res, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "builtin:balanced"}); err != nil || res.InPlace || res.Swap.To != "builtin:balanced" {
		t.Fatalf("from eevdf: %+v %v, want a swap", res, err)
	}
	res, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "builtin:latency"})
	if err != nil || !res.InPlace || !res.Swap.OK || res.Swap.From != "builtin:balanced" || res.Swap.To != "builtin:latency" || res.Swap.Cause != "manual" {
		t.Errorf("%+v %v", res, err)
	}
	time.Sleep(100 * time.Millisecond) // ticks in which auto would have throughput
	if st := b.Status(); st.Mode != api.ModeManual || st.Scheduler.Name != "builtin:latency" || st.Swaps != 1 {
		t.Errorf("mode %s, %s in charge, %d swaps", st.Mode, st.Scheduler.Name, st.Swaps)
	}
	_, err = b.Switch(context.Background(), api.SwitchRequest{Scheduler: "builtin:latency", Args: []string{"-x"}})
	code(t, err, api.CodeBadRequest)
}

// What cannot be changed is said, and the choice before it stays.
func TestAPolicyThatIsNotTakenIsAnErrorAndChoosesNothing(t *testing.T) {
	b := newBench(t, benchConfig(t))
	b.list = builtinShelf
	b.run()
	if _, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "builtin:balanced"}); err != nil {
		t.Fatal(err)
	}
	b.hands.mu.Lock()
	b.hands.refuses = errors.New("the mapping is gone")
	b.hands.mu.Unlock()
	_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "builtin:latency"})
	code(t, err, api.CodeFailed)
	st := b.await("the trouble in the status", func(st api.Status) bool {
		return strings.Contains(strings.Join(st.Warnings, "\n"), "the mapping is gone")
	})
	if !strings.Contains(st.ModeReason, "builtin:balanced") || st.Builtin.Adjustments != 0 {
		t.Errorf("mode %q, %+v", st.ModeReason, st.Builtin)
	}
	// Auto meets the same, goes on, and says it when it is over.
	if _, err := b.Auto(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.await("auto's try", func(api.Status) bool { return slices.Contains(b.hands.adjustments(), "builtin:throughput") })
	b.hands.mu.Lock()
	b.hands.refuses = nil
	b.hands.mu.Unlock()
	st = b.await("auto's policy", inCharge(policy.BuiltinThroughput))
	if strings.Contains(strings.Join(st.Warnings, "\n"), "the mapping is gone") {
		t.Errorf("warnings %v", st.Warnings)
	}
}

// Ejected under one policy it rests under all, and an order for another is
// refused; cleared under any name it is free.
func TestTheBuiltinSchedulerIsQuarantinedAsOne(t *testing.T) {
	b := newBench(t, benchConfig(t))
	b.list = builtinShelf
	b.run()
	b.await("the built-in one in charge", inCharge(policy.BuiltinThroughput))
	b.hands.set(scx.InCharge{Name: api.EEVDF, Owner: scx.OwnerKernel, Kernel: scx.KernelState{Supported: true, State: scx.StateDisabled, EnableSeq: 1}}, nil)
	b.hands.events <- scx.Event{
		Kind: scx.EventEjected, Target: scx.Target{Name: policy.BuiltinThroughput}, Ending: scx.EndingStall, Reason: "runnable task stall", Time: time.Now(),
		Exit: &scx.Exit{Builtin: true, Code: 1},
	}
	st := b.await("its incident", func(st api.Status) bool { return st.Incidents == 1 && len(st.Quarantine) == 1 })
	if st.Builtin != nil || st.LastIncident.Ending != "stall" || !strings.Contains(st.LastIncident.Exit, "the kernel took it out") {
		t.Errorf("%+v %+v", st.Builtin, st.LastIncident)
	}
	_, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "builtin:latency"})
	code(t, err, api.CodeConflict)
	done, err := b.ClearQuarantine(context.Background(), "builtin:balanced", false)
	if err != nil || done.Cleared != 1 {
		t.Fatalf("%+v %v", done, err)
	}
	if _, err = b.Switch(context.Background(), api.SwitchRequest{Scheduler: "builtin:latency"}); err != nil {
		t.Errorf("after it was cleared: %v", err)
	}
}
