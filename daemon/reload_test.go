// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"autosa/api"
	"autosa/config"
	"autosa/engine"
	"autosa/recording"
	"autosa/scx"
	"autosa/workload"
)

func TestReloadChangesWhatAutoDoesAndSaysWhatWaits(t *testing.T) {
	c := benchConfig(t)
	c.AutoSwitch = false
	b := newBench(t, c)
	reloaded := make(chan config.Config, 1)
	b.opts.OnReload = func(c config.Config) { reloaded <- c }
	b.run()
	b.await("a recommendation", func(st api.Status) bool { return st.LastDecision != nil && st.LastDecision.Action == "recommend" })

	next := c
	next.AutoSwitch, next.Socket = true, "/elsewhere"
	next.Arms = map[string][]config.Arm{workload.Compute.String(): {{Scheduler: "scx_bpfland"}}}
	b.Reload(context.Background(), next, nil)
	st := b.await("the new table's choice", inCharge("scx_bpfland"))
	if st.Mode != api.ModeAuto || len(st.Warnings) != 1 || !strings.HasSuffix(st.Warnings[0], "waiting for a restart: socket") {
		t.Errorf("mode %s, warnings %q", st.Mode, st.Warnings)
	}
	if got := <-reloaded; !got.AutoSwitch || got.Socket != c.Socket {
		t.Errorf("in force: auto %t, socket %s", got.AutoSwitch, got.Socket)
	}
	list, err := b.Schedulers(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if chosen := len(s.Classes) > 0; s.Name == "scx_bpfland" && !chosen || s.Name == "scx_rusty" && len(s.Classes) != 1 {
			t.Errorf("%s is listed for %v", s.Name, s.Classes)
		}
	}
}

func TestBadReloadChangesNothingAndIsSaidUntilAGoodOne(t *testing.T) {
	c := benchConfig(t)
	b := newBench(t, c).run()
	b.await("auto's choice", inCharge("scx_rusty"))
	next := c
	next.AutoSwitch = false
	b.Reload(context.Background(), next, errors.New("config.toml:3: colour: unknown key"))
	st := b.await("the mistake", func(st api.Status) bool {
		return strings.Contains(strings.Join(st.Warnings, ""), "config.toml:3: colour")
	})
	if st.Mode != api.ModeAuto {
		t.Errorf("mode %s", st.Mode)
	}
	next.Arms = map[string][]config.Arm{"idle": {{Scheduler: "scx_rusty"}}} // which only policy knows to be wrong
	b.Reload(context.Background(), next, nil)
	st = b.await("policy's word", func(st api.Status) bool { return strings.Contains(strings.Join(st.Warnings, ""), "an arm for idle") })
	if st.Mode != api.ModeAuto {
		t.Errorf("mode %s", st.Mode)
	}
	next.Arms = nil
	b.Reload(context.Background(), next, nil)
	b.await("no warning", func(st api.Status) bool { return len(st.Warnings) == 0 && st.Mode == api.ModeRecommend })
	b.end()
	b.Reload(context.Background(), next, nil) // to nobody: returns
}

func TestReloadDuringASwapDoesNotDisturbIt(t *testing.T) {
	c := benchConfig(t)
	b := newBench(t, c)
	now, _ := b.hands.InCharge()
	going, finish := make(chan struct{}), make(chan struct{})
	b.hands.set(now, func(context.Context, scx.Target) error { close(going); <-finish; return nil })
	b.run()
	<-going
	next := c
	next.AutoSwitch = false
	b.Reload(context.Background(), next, nil)
	b.await("the reload", func(st api.Status) bool { return st.Mode == api.ModeRecommend })
	close(finish)
	st := b.await("the swap's end", inCharge("scx_rusty"))
	if st.Mode != api.ModeRecommend || st.Swaps != 1 || !st.LastSwap.OK {
		t.Errorf("mode %s, %d swaps, last %+v", st.Mode, st.Swaps, st.LastSwap)
	}
}

// A recording over a reload replays to the same decisions.
func TestRecordingOfAReloadReplays(t *testing.T) {
	c := benchConfig(t)
	c.AutoSwitch = false
	b := newBench(t, c).run()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var file bytes.Buffer
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- b.Record(ctx, api.RecordRequest{}, w); _ = w.Close() }()
	copied := make(chan struct{})
	go func() { _, _ = io.Copy(&file, r); close(copied) }()
	samples := func(n uint64) {
		from := b.Status().Samples
		b.await("samples", func(st api.Status) bool { return st.Samples >= from+n })
	}
	samples(10)
	next := c
	next.MinConfidence = 1
	next.Arms = map[string][]config.Arm{workload.Compute.String(): {{Scheduler: "scx_bpfland"}}}
	b.Reload(ctx, next, nil)
	samples(10)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	<-copied
	reader, err := recording.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	arms := map[string]int{}
	res, err := engine.Replay(reader, engine.ReplayOptions{Step: func(s engine.Step) error {
		for _, why := range s.Decision.Reasons {
			if name, _, ok := strings.Cut(string(why), " is the choice for compute"); ok {
				arms[name]++
			}
		}
		return nil
	}})
	if err != nil || res.Different != 0 || res.DifferentStates != 0 || res.Compared < 10 {
		t.Errorf("%+v %v", res, err)
	}
	if len(arms) != 2 || arms["scx_bpfland"] == 0 {
		t.Errorf("decisions by choice: %v, want some of either table", arms)
	}
}
