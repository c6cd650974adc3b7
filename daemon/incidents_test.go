// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/scx"
)

func TestIncidentsAreNumberedBoundedAndSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := newIncidents(dir)
	if err := s.load(time.Now()); err != nil {
		t.Fatal(err)
	}
	for i := range maxIncidents + 5 {
		in, err := s.add(api.Incident{Scheduler: fmt.Sprint("scx_", i), Output: strings.Repeat("x", maxIncidentOutput) + "end"})
		if err != nil || in.ID != uint64(i+1) || in.Output != "" {
			t.Fatalf("%+v %v", in, err)
		}
	}
	s = newIncidents(dir)
	if err := s.load(time.Now()); err != nil {
		t.Fatal(err)
	}
	all := s.all()
	if len(all) != maxIncidents || all[0].ID != maxIncidents+5 || all[maxIncidents-1].ID != 6 || all[0].Output != "" || all[0].Args == nil {
		t.Fatalf("%d incidents, first %+v, last %+v", len(all), all[0], all[len(all)-1])
	}
	files, _ := filepath.Glob(filepath.Join(dir, "incidents", "*"))
	if len(files) != maxIncidents {
		t.Errorf("%d files", len(files))
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("dumps name tasks: %v %v", info.Mode(), err)
	}
	in, ok, err := s.get(maxIncidents + 5)
	if err != nil || !ok || len(in.Output) != maxIncidentOutput || !strings.HasSuffix(in.Output, "xend") || in.Scheduler != fmt.Sprint("scx_", maxIncidents+4) {
		t.Errorf("%d bytes of output, %v %v", len(in.Output), ok, err)
	}
	if _, ok, _ := s.get(1); ok {
		t.Error("the oldest is still there")
	}
	if next, err := s.add(api.Incident{}); err != nil || next.ID != maxIncidents+6 {
		t.Errorf("%+v %v", next, err)
	}
}

func TestDamagedIncidentIsKeptAsideAndNamed(t *testing.T) {
	dir := t.TempDir()
	s := newIncidents(dir)
	for range 3 {
		if _, err := s.add(api.Incident{Scheduler: "scx_x"}); err != nil {
			t.Fatal(err)
		}
	}
	for id, body := range map[uint64]string{1: `{"format": 1, "id": 1, "sched`, 3: `{"format": 7, "id": 3}`, 9: `{"format": 1, "id": 8}`} {
		if err := os.WriteFile(s.path(id), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "incident-x.json"), nil, 0o600); err != nil { // somebody else's
		t.Fatal(err)
	}
	s = newIncidents(dir)
	err := s.load(time.Now())
	if err == nil {
		t.Fatal("no error")
	}
	for _, id := range []uint64{1, 3, 9} {
		aside, _ := filepath.Glob(s.path(id) + ".damaged-*")
		if len(aside) != 1 || !strings.Contains(err.Error(), aside[0]) {
			t.Errorf("%d: kept aside %v, error %v", id, aside, err)
		}
	}
	if all := s.all(); len(all) != 1 || all[0].ID != 2 {
		t.Errorf("%+v", all)
	}
	// The number of a damaged one is not used again.
	if in, err := s.add(api.Incident{}); err != nil || in.ID != 10 {
		t.Errorf("%+v %v", in, err)
	}
}

func TestIncidentsThatTheDiskDoesNotTakeStayInMemoryForAWhile(t *testing.T) {
	s := newIncidents("/proc/no-such-place")
	for i := range 2 * maxUnsavedOutput {
		if _, err := s.add(api.Incident{Output: fmt.Sprint("output ", i)}); err == nil {
			t.Fatal("it was written to /proc")
		}
	}
	if all := s.all(); len(all) != 2*maxUnsavedOutput || slices.ContainsFunc(all, func(in api.Incident) bool { return in.Output != "" }) {
		t.Errorf("%+v", all)
	}
	if in, ok, err := s.get(2 * maxUnsavedOutput); !ok || err != nil || in.Output != "output 7" {
		t.Errorf("the newest: %+v %v %v", in, ok, err)
	}
	if in, ok, err := s.get(1); !ok || err != nil || in.Output != "" {
		t.Errorf("the oldest: %+v %v %v", in, ok, err)
	}
}

// What is known of a failed swap and of a loss reaches the file.
func TestIncidentHasWhatIsKnown(t *testing.T) {
	c := benchConfig(t)
	b := newBench(t, c)
	now, _ := b.Daemon.hands.InCharge()
	b.hands.set(now, failWith(scx.EndingCrashed))
	b.run()
	st := b.await("an incident", func(st api.Status) bool { return st.LastIncident != nil })
	if in := st.LastIncident; in.Output != "" || len(in.Samples) != 0 || st.Incidents != 1 {
		t.Errorf("in the status: %+v", in)
	}
	in, err := b.Incident(context.Background(), st.LastIncident.ID)
	if err != nil || in.Scheduler != "scx_rusty" || len(in.Args) != 2 || in.Version != "1.2.3" || in.Path != "/opt/scx_rusty" || in.Kernel != scx.Release() ||
		in.Ending != "crashed" || in.Phase != "starting" || in.Exit != "exited with status 101" || in.InCharge != api.EEVDF || in.GapSeconds != 0.07 ||
		len(in.KernelLog) != 1 || in.Output != "thread panicked" || in.Time.IsZero() || !strings.Contains(in.Reason, "the scheduler ended") {
		t.Errorf("%+v %v", in, err)
	}
	if n := len(in.Samples); n == 0 || n > incidentSamples || in.Samples[n-1].SwitchesPerSecond != 500 || in.Samples[n-1].Scheduler != api.EEVDF {
		t.Errorf("samples %+v", in.Samples)
	}

	b.hands.set(now, nil)
	if _, err := b.Switch(context.Background(), api.SwitchRequest{Scheduler: "lavd"}); err != nil {
		t.Fatal(err)
	}
	b.hands.set(now, nil)
	b.hands.events <- scx.Event{
		Kind: scx.EventEjected, Target: scx.Target{Name: "scx_lavd"}, Reason: "runnable task stall", Ending: scx.EndingStall, Version: "9", Path: "/x",
		Exit: &scx.Exit{Code: 1}, Output: "dump", Kernel: []string{"line"}, Counters: map[string]uint64{"SCX_EV_X": 4},
	}
	b.hands.events <- scx.Event{Kind: scx.EventReattached, Ending: scx.EndingReattached, Target: scx.Target{Name: "scx_lavd"}}
	st = b.await("a second one", func(st api.Status) bool { return st.Incidents > 1 })
	in, err = b.Incident(context.Background(), st.LastIncident.ID)
	if err != nil || in.Ending != "stall" || in.Phase != "" || in.Counters["SCX_EV_X"] != 4 || in.Output != "dump" || in.Reason != "runnable task stall" || in.GapSeconds != 0 {
		t.Errorf("%+v %v", in, err)
	}
	b.await("ticks", func(later api.Status) bool { return later.Samples > st.Samples+10 })
	if list, err := b.Incidents(context.Background()); err != nil || len(list) != 2 || list[0].ID != 2 {
		t.Errorf("a re-attachment is no incident: %+v %v", list, err)
	}
	if _, err := b.Incident(context.Background(), 99); err == nil {
		t.Error("there is no incident 99")
	} else {
		code(t, err, api.CodeNotFound)
	}
	b.end()
	if _, err := os.Stat(filepath.Join(c.StateDir, "incidents", "incident-000002.json")); err != nil {
		t.Error(err)
	}
}

func FuzzIncident(f *testing.F) {
	f.Add(`{"format":1,"id":1,"version":"1.1.4","time":"2026-01-01T00:00:00Z","scheduler":"scx_x","args":null,"ending":"stall","samples":[{"class":"server"}]}`)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, body string) {
		s := newIncidents(dir)
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path(1), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		err := s.load(time.Now())
		if all := s.all(); err == nil && (len(all) != 1 || all[0].ID != 1 || all[0].Args == nil || all[0].KernelLog == nil) || err != nil && len(all) != 0 {
			t.Fatalf("%+v with %v", all, err)
		}
		_ = filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, _ error) error {
			if strings.Contains(path, ".damaged-") {
				return os.Remove(path)
			}
			return nil
		})
	})
}
