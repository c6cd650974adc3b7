// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"autosa/api"
)

// A daemon that shall only watch leaves everything as it is: it has no lock, no
// hands, and does not even put a damaged state file aside.
func TestObserveOnlyTakesNothingAndTouchesNothing(t *testing.T) {
	c := benchConfig(t)
	damaged := filepath.Join(c.StateDir, "state.json")
	if err := os.WriteFile(damaged, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	const why = "this one only looks"
	d, err := New(Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler), ObserveOnly: why})
	if err != nil {
		t.Fatal(err)
	}
	if d.lock != nil || d.hands != nil {
		t.Errorf("lock %v, hands %v: want neither", d.lock, d.hands)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	b := &bench{Daemon: d, t: t, cancel: cancel, done: done}
	t.Cleanup(b.end)
	st := b.await("samples", func(st api.Status) bool { return st.Samples > 2 && st.Workload.Confidence > 0 })
	if st.Mode != api.ModeObserve || st.ModeReason != why {
		t.Errorf("mode %s because %q, want observe because %q", st.Mode, st.ModeReason, why)
	}
	_, err = b.Switch(ctx, api.SwitchRequest{Scheduler: api.EEVDF})
	code(t, err, api.CodeUnsupported)
	b.end()
	files, err := os.ReadDir(c.StateDir)
	if err != nil || len(files) != 1 || files[0].Name() != "state.json" {
		t.Errorf("the state directory has %v (%v), want the damaged file alone, as it was", files, err)
	}
	if p, err := newStore(c.StateDir).load(time.Now()); err == nil {
		t.Errorf("the damaged state was replaced: %+v", p)
	}
}
