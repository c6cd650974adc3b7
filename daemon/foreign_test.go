// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/config"
	"autosa/scx"
)

// moded are schedulers of which one has modes.
type moded struct{ shelf }

func (m moded) Lookup(ctx context.Context, name string) (scx.Entry, error) {
	e, err := m.shelf.Lookup(ctx, name)
	if e.Name == "scx_lavd" {
		e.Modes = []scx.Mode{{Name: "gaming", Args: []string{"--performance"}}, {Name: "server", Args: []string{"--x"}, WhyNot: "this version does not know --x"}}
	}
	return e, err
}

// quietBench decides nothing by itself and remembers its state in dir.
func quietBench(t *testing.T, dir string) *bench {
	c := benchConfig(t)
	c.AutoSwitch, c.StateDir = false, dir
	b := newBench(t, c)
	b.list = moded{shelf{"scx_rusty", "scx_lavd"}}
	return b
}

func TestAnOrderByModeHasItsArgumentsAndIsShownByItsName(t *testing.T) {
	dir := t.TempDir()
	b := quietBench(t, dir).run()
	for _, c := range []struct {
		req  api.SwitchRequest
		code api.Code
		says string
	}{
		{api.SwitchRequest{Scheduler: "lavd", Mode: "gaming", Args: []string{"-x"}}, api.CodeBadRequest, "a mode stands for all of them"},
		{api.SwitchRequest{Scheduler: "lavd", Mode: "fast"}, api.CodeBadRequest, `no mode "fast"`},
		{api.SwitchRequest{Scheduler: "rusty", Mode: "gaming"}, api.CodeBadRequest, "has no modes"},
		{api.SwitchRequest{Scheduler: "lavd", Mode: "server"}, api.CodeFailed, "does not know --x"},
	} {
		_, err := b.Switch(t.Context(), c.req)
		if code(t, err, c.code); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.req, err)
		}
	}
	if n := len(b.hands.switched()); n != 0 {
		t.Fatalf("%d swaps", n)
	}
	if _, err := b.Switch(t.Context(), api.SwitchRequest{Scheduler: "lavd", Mode: "gaming"}); err != nil {
		t.Fatal(err)
	}
	st := b.await("the mode", func(st api.Status) bool { return st.Scheduler.Mode == "gaming" })
	if !slices.Equal(st.Scheduler.Args, []string{"--performance"}) || st.Scheduler.Name != "scx_lavd" {
		t.Errorf("%+v", st.Scheduler)
	}
	// The same arguments given themselves are no mode.
	if res, err := b.Switch(t.Context(), api.SwitchRequest{Scheduler: "lavd", Args: []string{"--performance"}}); err != nil || !res.Unchanged {
		t.Errorf("%+v, %v", res, err)
	}
	b.await("no mode", func(st api.Status) bool { return st.Scheduler.Mode == "" && st.Scheduler.Name == "scx_lavd" })
	if _, err := b.Switch(t.Context(), api.SwitchRequest{Scheduler: "lavd", Mode: "gaming"}); err != nil {
		t.Fatal(err)
	}
	b.await("the mode again", func(st api.Status) bool { return st.Scheduler.Mode == "gaming" })
	b.end()

	again := quietBench(t, dir).run()
	again.await("the mode after a restart", func(st api.Status) bool {
		return st.Scheduler.Mode == "gaming" && slices.Equal(st.Scheduler.Args, []string{"--performance"})
	})
}

func TestAForeignSchedulerIsShownWithItsProcessAtOnce(t *testing.T) {
	c := benchConfig(t)
	c.CollectionInterval = 10 * time.Minute // no tick comes
	b := newBench(t, c).run()
	in := scx.InCharge{
		Name: "scx_rusty", Ops: "rusty_1", Owner: scx.OwnerForeign, PID: 77, Args: []string{"-k"}, HandsOff: "it is run by systemd unit scx.service",
		Process: &scx.Process{PID: 77, Comm: "scx_rusty", Unit: "scx.service", Manager: "systemd unit scx.service"},
		Kernel:  scx.KernelState{Supported: true, State: scx.StateEnabled, Ops: "rusty_1", EnableSeq: 3},
	}
	b.hands.set(in, nil)
	b.hands.changes <- struct{}{}
	st := b.await("it", func(st api.Status) bool { return st.Scheduler.Name == "scx_rusty" })
	s := st.Scheduler
	if s.Owner != api.OwnerForeign || s.PID != 77 || s.Process == nil || s.Process.Manager != "systemd unit scx.service" || s.HandsOff != in.HandsOff || st.Samples != 0 {
		t.Errorf("%+v, %+v", s, s.Process)
	}
	_, err := b.Switch(t.Context(), api.SwitchRequest{Scheduler: "lavd"})
	if code(t, err, api.CodeConflict); err == nil || !strings.Contains(err.Error(), "process 77") || !strings.Contains(err.Error(), "systemctl stop scx.service") {
		t.Errorf("%v", err)
	}
}

func TestAnAdoptedSchedulerIsAnArmLikeAnyOther(t *testing.T) {
	b := newBench(t, benchConfig(t))
	adopted := scx.InCharge{
		Name: "scx_lavd", Owner: scx.OwnerAdopted, PID: 77, Args: []string{},
		Kernel: scx.KernelState{Supported: true, State: scx.StateEnabled, Ops: "lavd_1", EnableSeq: 3},
	}
	b.hands.set(adopted, nil)
	b.run()
	st := b.await("auto's choice in its place", inCharge("scx_rusty"))
	if st.LastSwap == nil || st.LastSwap.From != "scx_lavd" || st.Scheduler.Owner != api.OwnerAutosa {
		t.Errorf("%+v", st.LastSwap)
	}
}

func TestTheConfigurationsSchedulersReachTheCatalogue(t *testing.T) {
	str := func(s string) *string { return &s }
	d := 3 * time.Second
	yes := true
	c := config.Default()
	c.Schedulers.Known = map[string]config.Known{"scx_mine": {
		Description: str("d"), Ops: str("mine"), VersionFlag: str("-V"), HelpFlag: str("-h"), MinKernel: str("6.13"), Classes: []string{"io"},
		Needs: []string{"group-sched"}, LeavesBehind: []string{"l"}, Notes: []string{"n"}, Watchdog: &d, CPUWeight: &yes, CPUMax: &yes,
		Modes: map[string][]string{"auto": {}},
	}}
	cat, err := NewCatalogue(c)
	if err != nil {
		t.Fatal(err)
	}
	e, err := cat.Lookup(t.Context(), "mine")
	want := api.Scheduler{
		Name: "scx_mine", Description: "d", WhyNot: e.WhyNot, Remedy: e.Remedy, Known: true, Ops: "mine", Suits: []string{"io"},
		Modes: []api.SchedulerMode{{Name: "auto", Args: []string{}}}, WatchdogSeconds: 3, HonoursCPUWeight: true, HonoursCPUMax: true,
		Needs: []string{"group-sched"}, LeavesBehind: []string{"l"}, Notes: []string{"n"},
	}
	if got := apiScheduler(&e); err != nil || !reflect.DeepEqual(got, want) || e.WhyNot != "not installed" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatRestsIsReadWithoutADaemonAndWithoutChangingAnything(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if got, err := Resting(dir, now); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	entry := func(name, kernel string, until time.Duration) rest {
		return rest{Scheduler: name, Args: []string{"-x"}, Version: "1", Kernel: kernel, Failures: 2, At: now.Add(-time.Minute), Until: now.Add(until), Reason: "stall"}
	}
	file := filepath.Join(dir, "quarantine.json")
	b, err := json.Marshal(quarantined{Version: quarantineVersion, Entries: []rest{
		entry("scx_a", scx.Release(), time.Minute), entry("scx_b", "other", time.Minute), entry("scx_c", scx.Release(), -time.Second),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Resting(dir, now)
	if err != nil || len(got) != 1 || got[0].Scheduler != "scx_a" || got[0].Failures != 2 || !got[0].Resting {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Resting(dir, now); err == nil || !strings.Contains(err.Error(), "cannot be understood") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("the damaged file was moved")
	}
}
