// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"autosa/api"
	"autosa/api/server"
	"autosa/bpf/sched"
	"autosa/config"
	"autosa/policy"
	"autosa/scx"
	"autosa/workload"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		main()
		return
	}
	time.Local = time.UTC // before anything else runs: local times are printed
	goleak.VerifyTestMain(m)
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

// noon is when the tests take place.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fake is a daemon for the command to talk to.
type fake struct {
	mu         sync.Mutex
	status     api.Status // guarded by mu
	list       []api.Scheduler
	err        error // of every order
	orders     []api.SwitchRequest
	holds      []api.HoldRequest   // guarded by mu
	released   []uint64            // guarded by mu
	holdEnd    chan struct{}       // of every hold
	traces     []api.TraceRequest  // guarded by mu
	records    []api.RecordRequest // guarded by mu
	lines      []api.TraceEvent    // of every trace
	tasks      api.TaskList
	incidents  []api.Incident
	quarantine []api.Quarantine
	cleared    []string
	pages      int // statuses of a watch before it ends; 0 for no end
}

func (f *fake) Status() api.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fake) Watch(ctx context.Context) <-chan api.Status {
	c := make(chan api.Status)
	go func() {
		defer close(c)
		for i := 0; f.pages == 0 || i < f.pages; i++ {
			select {
			case c <- f.Status():
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

func (f *fake) Schedulers(context.Context) ([]api.Scheduler, error) { return f.list, f.err }

func (f *fake) Incidents(context.Context) ([]api.Incident, error) { return f.incidents, f.err }

func (f *fake) Incident(_ context.Context, id uint64) (api.Incident, error) {
	for _, in := range f.incidents {
		if in.ID == id {
			return in, f.err
		}
	}
	return api.Incident{}, &api.Error{Code: api.CodeNotFound, Message: "there is no such incident"}
}

func (f *fake) Quarantine(context.Context) ([]api.Quarantine, error) { return f.quarantine, f.err }

func (f *fake) ClearQuarantine(_ context.Context, scheduler string, all bool) (api.QuarantineCleared, error) {
	f.cleared = append(f.cleared, scheduler)
	return api.QuarantineCleared{Cleared: 1, Left: []api.Quarantine{}}, f.err
}

func (f *fake) Switch(_ context.Context, req api.SwitchRequest) (api.SwitchResult, error) {
	f.orders = append(f.orders, req)
	if req.NoWait {
		return api.SwitchResult{Accepted: true}, f.err
	}
	return api.SwitchResult{Swap: api.Swap{
		From: "scx_lavd", To: req.Scheduler, Args: req.Args, OK: true, GapSeconds: 0.0481, TotalSeconds: 2.31,
	}}, f.err
}

func (f *fake) Auto(context.Context) (api.Status, error) { return f.Status(), f.err }

func (f *fake) Hold(_ context.Context, req api.HoldRequest) (api.Hold, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds = append(f.holds, req)
	h := api.Hold{ID: uint64(len(f.holds)), Reason: req.Reason, Since: noon}
	if req.Seconds > 0 {
		until := noon.Add(time.Duration(req.Seconds * float64(time.Second)))
		h.Until = &until
	}
	return h, f.holdEnd, f.err
}

func (f *fake) Release(_ context.Context, id uint64) ([]api.Hold, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released = append(f.released, id)
	if id == 0 {
		return []api.Hold{}, f.err
	}
	return []api.Hold{{ID: id, Reason: "demo"}}, f.err
}

func (f *fake) Stop(context.Context) (api.Stopping, error) {
	return api.Stopping{PID: os.Getpid()}, f.err
}

func (f *fake) Trace(_ context.Context, req api.TraceRequest, sink api.TraceSink) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.traces = append(f.traces, req)
	for i := range f.lines {
		if err := sink.Event(&f.lines[i]); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fake) Tasks(context.Context, api.TasksRequest) (api.TaskList, error) { return f.tasks, f.err }

// serve serves a fake and returns its socket.
func serve(t *testing.T, f *fake) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	s, err := server.Listen(socket, server.Options{Backend: f, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

// autosa runs the command.
func autosa(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, environ: environ, now: func() time.Time { return noon }}
	code = a.run(t.Context(), args)
	return out.String(), errs.String(), code
}

func TestExitCodesAndMessages(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none.sock")
	wrong := filepath.Join(dir, "wrong.toml")
	if err := os.WriteFile(wrong, []byte("colour = 1\nmin_confidence_threshold = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy := serve(t, &fake{err: &api.Error{Code: api.CodeConflict, Message: "rusty_1.1.4 was put in charge by somebody else"}})
	denied := serve(t, &fake{err: &api.Error{Code: api.CodeForbidden, Message: "user 5 may not do this"}})
	unable := serve(t, &fake{err: &api.Error{Code: api.CodeUnsupported, Message: "autosa only observes here: no sched_ext"}})
	broken := serve(t, &fake{err: &api.Error{Code: api.CodeFailed, Message: "it exited\n\x1b[31mred"}})
	for _, tt := range []struct {
		args []string
		code int
		says string // the whole of standard error
	}{
		{[]string{"frobnicate"}, 2, "autosa: unknown command \"frobnicate\"; see `autosa --help`\n"},
		{[]string{"statsu"}, 2, "autosa: unknown command \"statsu\" (did you mean \"status\"?); see `autosa --help`\n"},
		{[]string{"status", "--jsn"}, 2, "autosa: unknown flag: --jsn; see `autosa status --help`\n"},
		{[]string{"status", "now"}, 2, "autosa: unexpected argument \"now\"; see `autosa status --help`\n"},
		{[]string{"switch"}, 2, "autosa: which scheduler? autosa switch SCHEDULER [--mode MODE | -- ARGS...] [flags]; see `autosa switch --help`\n"},
		{[]string{"switch", "rusty", "lavd"}, 2, "autosa: unexpected argument \"lavd\": a scheduler's arguments follow --; see `autosa switch --help`\n"},
		{[]string{"switch", "--", "rusty"}, 2, "autosa: which scheduler? autosa switch SCHEDULER [--mode MODE | -- ARGS...] [flags]; see `autosa switch --help`\n"},
		{[]string{"stop", "--timeout", "-1s"}, 2, "autosa: --timeout must be positive; see `autosa stop --help`\n"},
		{[]string{"status", "--socket", "x.sock"}, 2, "autosa: the configuration has one mistake; nothing was done\n--socket: \"x.sock\" is not an absolute path\n"},
		{[]string{"start", "-c", wrong}, 2, "autosa: the configuration has 2 mistakes; nothing was done\n" + wrong + ":1: colour: unknown key\n" +
			wrong + ":2: min_confidence_threshold: must be from 0 to 1, not 3\n"},
		{[]string{"start", "--collection-interval", "soon"}, 2, "autosa: the configuration has one mistake; nothing was done\n" +
			"--collection-interval: \"soon\" is not seconds as a number, or a duration such as \"1m30s\"\n"},
		{[]string{"status", "--socket", none}, 3, "autosa is not running (" + none + ": no such file or directory): start it with `sudo autosa start`\n"},
		{[]string{"stop", "--socket", none}, 3, "autosa is not running (" + none + ": no such file or directory): start it with `sudo autosa start`\n"},
		{[]string{"status", "--watch", "--json", "--socket", none}, 3, "autosa is not running (" + none + ": no such file or directory): start it with `sudo autosa start`\n"},
		{[]string{"switch", "rusty", "--socket", denied}, 4, "autosa: user 5 may not do this\n"},
		{[]string{"switch", "lavd", "--socket", busy}, 5, "autosa: rusty_1.1.4 was put in charge by somebody else\n"},
		{[]string{"auto", "--socket", unable}, 6, "autosa only observes here: no sched_ext\n"},
		{[]string{"switch", "lavd", "--socket", broken}, 1, "autosa: it exited\n\\x1b[31mred\n"},
		{[]string{"list", "--socket", broken}, 1, "autosa: it exited\n\\x1b[31mred\n"},
	} {
		t.Run(strings.Join(tt.args[:min(len(tt.args), 2)], " "), func(t *testing.T) {
			out, errOut, code := autosa(t, nil, tt.args...)
			if code != tt.code || out != "" {
				t.Errorf("exit %d, want %d; standard output %q", code, tt.code, out)
			}
			if diff := cmp.Diff(tt.says, errOut); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHelpSaysWhatExitCodesMean(t *testing.T) {
	out, _, code := autosa(t, nil, "help", "exit-codes")
	if code != 0 || strings.Count(out, "\n  ") != 7 {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

func TestTheSocketComesFromEnvironmentToo(t *testing.T) {
	socket := serve(t, &fake{status: observing()})
	if out, errOut, code := autosa(t, []string{"AUTOSA_SOCKET=" + socket}, "status", "--json"); code != 0 || !strings.Contains(out, `"mode": "observe"`) {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
}

func TestSwitchHandsTheArgumentsOver(t *testing.T) {
	f := &fake{}
	out, errOut, code := autosa(t, nil, "switch", "--socket", serve(t, f), "scx_rusty", "--", "--slice-us", "15 000", "-k")
	if code != 0 || errOut != "" || out != "scx_rusty --slice-us '15 000' -k is in charge, after scx_lavd in 2.31 s, 48.1 ms of them without either; it stays until `autosa auto`\n" {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	want := []api.SwitchRequest{{Scheduler: "scx_rusty", Args: []string{"--slice-us", "15 000", "-k"}}}
	if diff := cmp.Diff(want, f.orders); diff != "" {
		t.Error(diff)
	}
}

func TestWatchPrintsPageAfterPage(t *testing.T) {
	socket := serve(t, &fake{status: observing(), pages: 3})
	out, errOut, code := autosa(t, nil, "status", "--watch", "--socket", socket)
	if code != 0 || errOut != "autosa has stopped\n" || strings.Count(out, "\n\nautosa 0.1.0") != 2 || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	out, _, code = autosa(t, nil, "status", "--watch", "--json", "--socket", socket)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 3 || !strings.HasPrefix(lines[0], `{"version":"0.1.0"`) {
		t.Errorf("exit %d, %d lines: %s", code, len(lines), out)
	}
}

func TestLeavingAWatchIsFine(t *testing.T) {
	socket := serve(t, &fake{status: observing()})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, now: func() time.Time { return noon }}
	if code := a.run(ctx, []string{"status", "-w", "--socket", socket}); code != 0 || errs.Len() > 0 || out.Len() == 0 {
		t.Errorf("exit %d, %q", code, errs.String())
	}
}

func TestARedrawnPageStaysWithinTheTerminal(t *testing.T) {
	got := string(redraw("one line that is long\ntwo\nthree\nfour\n", 8, 4, true))
	want := "\x1b[H\x1b[2Jone lin…\x1b[K\r\ntwo\x1b[K\r\nthree\x1b[K\r\n\x1b[J"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestListGolden(t *testing.T) {
	f := &fake{list: []api.Scheduler{
		{Name: "eevdf", Description: "the kernel's default scheduler", Version: "6.18.5", Installed: true, Usable: true},
		{Name: "scx_lavd", Description: "latency criticality", Path: "/usr/bin/scx_lavd", Version: "1.1.4", Installed: true, Usable: true, InCharge: true,
			Classes: []workload.Class{workload.Interactive, workload.Server}, Known: true, Suits: []string{"media"}, WatchdogSeconds: 30,
			Modes: []api.SchedulerMode{{Name: "auto"}, {Name: "gaming", Args: []string{"--performance"}, WhyNot: "this version does not know --performance"}},
			Needs: []string{"kernel-config"}, LeavesBehind: []string{"nothing"}, Notes: []string{"one", "two"}, ModesUnchecked: "did not answer"},
		{Name: "scx_rusty", Description: "several cache domains", Installed: true, WhyNot: "/opt/scx_rusty can be written by user 1000"},
		{Name: "scx_bpfland", WhyNot: "not installed"},
		{Name: "scx_flash", WhyNot: "not installed"},
	}}
	out, _, code := autosa(t, nil, "list", "--socket", serve(t, f))
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	one, _, code := autosa(t, nil, "list", "lavd", "--socket", serve(t, f))
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	golden(t, "list", out+"---\n"+one)
	var e api.Scheduler
	one, _, _ = autosa(t, nil, "list", "scx_lavd", "--json", "--socket", serve(t, f))
	if err := json.Unmarshal([]byte(one), &e); err != nil || e.Name != "scx_lavd" {
		t.Errorf("%v: %s", err, one)
	}
	if _, said, code := autosa(t, nil, "list", "what", "--socket", serve(t, f)); code != 2 || !strings.Contains(said, `no scheduler "what"`) {
		t.Errorf("exit %d: %s", code, said)
	}
}

func TestSwitchTakesAModeOrArguments(t *testing.T) {
	socket := serve(t, &fake{})
	for _, c := range []struct {
		args []string
		says string
	}{{[]string{"lavd", "--mode", "gaming", "--", "-x"}, "stands for all arguments"}, {[]string{"lavd", "--mode", ""}, "which mode?"}} {
		if _, said, code := autosa(t, nil, append([]string{"switch", "--socket", socket}, c.args...)...); code != 2 || !strings.Contains(said, c.says) {
			t.Errorf("%v: exit %d: %s", c.args, code, said)
		}
	}
}

func TestNamesSharedWithOtherPackagesAgree(t *testing.T) {
	if config.Default().Socket != api.DefaultSocket || config.EEVDF != api.EEVDF {
		t.Errorf("config says %s and %s, api %s and %s", config.Default().Socket, config.EEVDF, api.DefaultSocket, api.EEVDF)
	}
	for _, name := range classNames() {
		if _, err := workload.ParseClass(name); err != nil {
			t.Error(err)
		}
	}
	for _, p := range sched.Policies() {
		if name := policy.BuiltinPrefix + string(p); !scx.IsBuiltin(name) || !policy.IsBuiltin(name) {
			t.Errorf("%s is not everywhere a name of the built-in scheduler", name)
		}
	}
	if len(classNames()) != workload.NumClasses {
		t.Errorf("%d classes, want %d", len(classNames()), workload.NumClasses)
	}
}

func TestEveryCommandAndExitCodeIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/CLI.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	a := &app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	for _, c := range a.root().Commands() {
		if c.Runnable() && !c.Hidden && !strings.Contains(doc, "| `autosa "+c.Name()) {
			t.Errorf("autosa %s is not documented", c.Name())
		}
	}
	for line := range strings.Lines(exitCodesTopic().Long) {
		code, meaning, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if ok && !strings.Contains(doc, "| "+code+" | "+meaning+" |") {
			t.Errorf("exit code %s is not documented as %q", code, meaning)
		}
	}
}
