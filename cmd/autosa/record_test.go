// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autosa/api"
	"autosa/daemon"
	"autosa/engine"
	"autosa/policy"
	"autosa/recording"
	"autosa/workload"
)

// taped is a recording of a machine that calculates for ten seconds, with a
// swap in its sixth.
func taped(w io.Writer, req api.RecordRequest) error {
	c := policy.DefaultConfig()
	e := engine.New(time.Minute, c)
	out, err := recording.NewWriter(w, recording.Header{
		Autosa: buildVersion(), Start: noon.UnixNano(), Config: engine.WireConfig(time.Minute, c),
		Machine: recording.Machine{Host: "web1", Kernel: "6.18.0", Arch: runtime.GOARCH, CPUs: 2, CPUModel: "Example 3000"},
		Events:  req.Events,
	})
	if err != nil {
		return err
	}
	put := func(r recording.Record) {
		if err == nil {
			err = out.Write(r)
		}
	}
	put(e.State(noon, 0))
	in := policy.Input{
		InCharge: policy.InCharge{Arm: policy.Default(), Owner: policy.OwnerKernel}, WhyNot: map[string]string{"scx_rusty": "", "scx_lavd": ""},
	}
	for i := range 10 {
		in.Now = noon.Add(time.Duration(i+1) * time.Second)
		s := workload.Sample{Time: in.Now, Interval: time.Second, CPUs: 2, Source: workload.SourceBPF}
		s.Host = workload.Group{Name: workload.HostName, Switches: 500, Voluntary: 10, Involuntary: 490, Run: 1990 * time.Millisecond, Wait: 5 * time.Millisecond}
		for range 500 {
			s.Host.RunHist.Observe(4 * time.Millisecond)
			s.Host.WaitHist.Observe(10 * time.Microsecond)
		}
		e.Observe(in.Now, &s)
		put(&recording.Sample{At: recording.Nanos(in.Now), Sample: s})
		d := e.Decide(policy.ModeAuto, in)
		put(engine.WireInput(0, policy.ModeAuto, in))
		put(engine.WireDecision(&d))
		if req.Events {
			put(event(in.Now, i))
		}
		if d.Action == policy.ActionSwap {
			put(&recording.Swap{At: recording.Nanos(in.Now), From: "eevdf", To: engine.WireArm(d.Arm), OK: true})
			in.InCharge, in.LastSwap = policy.InCharge{Arm: d.Arm, Owner: policy.OwnerAutosa}, in.Now
		}
		if err == nil {
			err = out.Flush()
		}
	}
	if req.Events {
		at := recording.Nanos(in.Now)
		put(&recording.Total{At: at, Time: at, Events: 10, Lost: 9, LeftOut: 4})
	}
	if err != nil {
		return err
	}
	return out.Close(recording.Nanos(in.Now))
}

// event is the i-th of a recording: every third is an I/O wait, and before the
// seventh some were lost.
func event(at time.Time, i int) *recording.Event {
	e := &recording.Event{
		At: recording.Nanos(at), Time: recording.Nanos(at.Add(time.Microsecond)), PID: 812, TGID: 812, Comm: "pipewire", Group: "/user.slice", CPU: 1,
		Wait: int64(time.Duration(5+i) * time.Millisecond), Run: 120e3, Before: "sleep", Left: "sleep", Arrivals: uint64(i),
		HolderPID: 900, HolderComm: "cc1plus\x1b[31m", HolderGroup: "/build", NextPID: 901, NextComm: "cc1plus",
	}
	switch {
	case i%3 == 0:
		e.IO, e.Before, e.Queued = true, "io_wait", 30e3
	case i == 7:
		e.LostBefore = 5
	}
	return e
}

// Record records and takes its leave.
func (f *fake) Record(_ context.Context, req api.RecordRequest, w io.Writer) error {
	if f.err != nil {
		return f.err
	}
	f.mu.Lock()
	f.records = append(f.records, req)
	f.mu.Unlock()
	return taped(w, req)
}

func TestRecordedEventsArePrintedAsATraceWould(t *testing.T) {
	dir := t.TempDir()
	with, without := filepath.Join(dir, "with"), filepath.Join(dir, "without")
	f := &fake{}
	socket := serve(t, f)
	_, errs, code := autosa(t, nil, "record", "--events", "--min-wait", "1ms", "--cgroup", "a.service,/b", "-o", with, "--socket", socket)
	if code != 0 || !strings.Contains(errs, "one swap, 10 events (9 missing, 4 of these because they were too many), ") {
		t.Errorf("record: exit %d: %s", code, errs)
	}
	want := api.RecordRequest{Events: true, MinWait: time.Millisecond, Cgroups: []string{"a.service", "/b"}}
	if diff := cmp.Diff([]api.RecordRequest{want}, f.records); diff != "" {
		t.Error(diff)
	}
	if _, errs, code := autosa(t, nil, "record", "-o", without, "--socket", socket); code != 0 || strings.Contains(errs, "event") {
		t.Errorf("record: exit %d: %s", code, errs)
	}
	out, errOut, code := autosa(t, nil, "replay", with, "--events")
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	golden(t, "replay-events", out+"--\n"+errOut)
	short, errOut, _ := autosa(t, nil, "replay", with, "--events", "--until", "4s")
	if n := strings.Count(short, "pipewire"); n != 4 || !strings.Contains(errOut, "4 events in 4.00 s, at least 0 lost") {
		t.Errorf("%d events until 4 s: %s", n, errOut)
	}

	out, _, _ = autosa(t, nil, "replay", with, "--events", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 11 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		var got api.TraceEvent
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			if want := (api.TraceTotal{Events: 10, Lost: 9, LeftOut: 4}); got.End == nil || *got.End != want {
				t.Errorf("the last line is %s", line)
			}
			continue
		}
		want := daemon.RecordedEvent(event(noon.Add(time.Duration(i+1)*time.Second), i))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, args := range [][]string{{}, {"--json"}, {"--set", "min_class_age=8s"}} {
		a, errA, codeA := autosa(t, nil, append([]string{"replay", with}, args...)...)
		b, _, codeB := autosa(t, nil, append([]string{"replay", without}, args...)...)
		if a != b || codeA != 0 || codeB != 0 || errA != "" {
			t.Errorf("replay %v of events %d: %s\n%s\nwithout %d:\n%s", args, codeA, errA, a, codeB, b)
		}
	}
	if _, errs, code := autosa(t, nil, "replay", without, "--events"); code != api.ExitFailed || !strings.Contains(errs, "record --events") {
		t.Errorf("of a recording without: exit %d: %s", code, errs)
	}

	b, err := os.ReadFile(with)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(with, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, code := autosa(t, nil, "replay", with, "--events"); code != 0 || !strings.Contains(out, "lost: block") {
		t.Errorf("of a damaged one: exit %d: %s", code, out)
	}
	if out, errs, code := autosa(t, nil, "replay", with, "--events", "--json"); code != 0 || strings.Contains(out, "block") || !strings.Contains(errs, "lost: block") {
		t.Errorf("of a damaged one, as JSON: exit %d: %s%s", code, out, errs)
	}
}

func TestBadFlagsOfEventsAreNamed(t *testing.T) {
	none := t.TempDir() + "/none.sock"
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"record", "--min-wait", "1ms"}, "they go with events"},
		{[]string{"record", "--cgroup", "x"}, "they go with events"},
		{[]string{"record", "--events", "--min-wait", "0"}, "min-wait: must be positive"},
		{[]string{"record", "--events", "--min-wait", "-1s"}, "min-wait: must be from 0"},
		{[]string{"record", "--events", "--cgroup", ""}, "--cgroup is empty"},
		{[]string{"replay", "x", "--events", "--verify"}, "--events prints what was recorded"},
		{[]string{"replay", "x", "--events", "--fast"}, "--events prints what was recorded"},
		{[]string{"replay", "x", "--events", "--speed", "2"}, "--events prints what was recorded"},
		{[]string{"replay", "x", "--events", "--set", "min_confidence=0.5"}, "--events prints what was recorded"},
	} {
		args := c.args
		if args[0] == "record" {
			args = append(args, "--socket", none, "--duration", "1ms", "-o", t.TempDir()+"/x")
		}
		if out, errs, code := autosa(t, nil, args...); code != api.ExitUsage || !strings.Contains(errs, c.says) || out != "" {
			t.Errorf("%v: exit %d, want %d and %q: %s%s", c.args, code, api.ExitUsage, c.says, out, errs)
		}
	}
}

func TestRecordingFromADaemonReplaysAndVerifies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.autosa")
	socket := serve(t, &fake{})
	_, errs, code := autosa(t, nil, "record", "-o", file, "--socket", socket)
	if code != 0 || !strings.Contains(errs, "10 samples, 10 decisions, one swap") || !strings.Contains(errs, "autosa has stopped") {
		t.Fatalf("record: exit %d: %s", code, errs)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v %v: it names tasks, and is for its owner", st, err)
	}
	_, errs, code = autosa(t, nil, "record", "-o", file, "--socket", socket)
	if code != api.ExitFailed || !strings.Contains(errs, "--force") {
		t.Errorf("over a file that exists: exit %d: %s", code, errs)
	}
	if _, errs, code = autosa(t, nil, "record", "--force", "-o", file, "--socket", socket); code != 0 {
		t.Errorf("with --force: exit %d: %s", code, errs)
	}

	for _, args := range [][]string{{}, {"--json"}, {"--verify"}, {"--verify", "--json"}, {"--set", "min_class_age=8s"}} {
		args = append([]string{"replay", file}, args...)
		first, errs, code := autosa(t, nil, args...)
		again, _, _ := autosa(t, nil, args...)
		if code != 0 || errs != "" || first != again || first == "" {
			t.Errorf("%v: exit %d: %s\n%s\nand again\n%s", args, code, errs, first, again)
		}
	}
	out, _, _ := autosa(t, nil, "replay", file)
	golden(t, "replay", out)
	out, _, _ = autosa(t, nil, "replay", file, "--set", "min_class_age=8s")
	golden(t, "replay-whatif", out)
	if out, _, _ := autosa(t, nil, "replay", file, "--set", "arms.compute=scx_lavd --performance"); !strings.Contains(out, "now:      swap scx_lavd --performance") {
		t.Errorf("with another arm:\n%s", out)
	}
	if out, _, _ := autosa(t, nil, "replay", file, "--until", "3s"); !strings.Contains(out, "3 samples") && !strings.Contains(out, "4 samples") {
		t.Errorf("until 3 s:\n%s", out)
	}
}

func TestReplaySaysWhatIsWrongWithAFile(t *testing.T) {
	dir := t.TempDir()
	var whole bytes.Buffer
	if err := taped(&whole, api.RecordRequest{}); err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(whole.Bytes())
	other[len(other)/2] ^= 1
	write := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	cut, damaged := write("cut", whole.Bytes()[:whole.Len()-40]), write("damaged", other)
	for _, c := range []struct {
		args []string
		code int
		says string // in what is printed
	}{
		{[]string{filepath.Join(dir, "none")}, api.ExitFailed, "no such file"},
		{[]string{write("text", []byte("hello, this is a text file"))}, api.ExitFailed, "not an autosa recording: it is text"},
		{[]string{write("empty", nil)}, api.ExitFailed, "empty"},
		{[]string{cut}, 0, "cut off"},
		{[]string{damaged}, 0, "lost: block"},
		{[]string{damaged, "--verify"}, api.ExitFailed, "NOT WHOLE: one damage, at least 3 records missing"},
		{[]string{cut, "--verify"}, api.ExitFailed, "cut off"},
		{[]string{cut, "--verify", "--json"}, api.ExitFailed, `"complete": false`},
		{[]string{cut, "--set", "colour=1"}, api.ExitUsage, "min_class_age, min_confidence, min_switch_interval, arms.CLASS"},
		{[]string{cut, "--set", "min_confidence=7"}, api.ExitUsage, "from 0 to 1"},
		{[]string{cut, "--set", "arms.frantic=scx_lavd"}, api.ExitUsage, "frantic"},
		{[]string{cut, "--speed", "-1"}, api.ExitUsage, "--speed"},
		{[]string{cut, "--until", "-1s"}, api.ExitUsage, "--until"},
		{nil, api.ExitUsage, "argument"},
	} {
		out, errs, code := autosa(t, nil, append([]string{"replay"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("replay %v: exit %d, want %d with %q:\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
	}
}

func TestReplayOfAnotherDecisionEndsWithOne(t *testing.T) {
	var b bytes.Buffer
	out, err := recording.NewWriter(&b, recording.Header{Autosa: buildVersion(), Machine: recording.Machine{Arch: runtime.GOARCH}})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(time.Minute, policy.DefaultConfig())
	in := policy.Input{Now: noon}
	for _, r := range []recording.Record{e.State(noon, 0), engine.WireInput(0, policy.ModeAuto, in), &recording.Decision{Action: "swap", Arm: recording.Arm{Scheduler: "scx_\x1b[31m"}}} {
		if err := out.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(1); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	text, errs, code := autosa(t, nil, "replay", file)
	if code != api.ExitFailed || errs != "" || !strings.Contains(text, `recorded: swap scx_\x1b[31m`) || !strings.Contains(text, "1 of 1 decisions differ") {
		t.Errorf("exit %d: %s%s", code, text, errs)
	}
	text, _, code = autosa(t, nil, "replay", file, "--json")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var line struct {
		Same *bool `json:"same"`
	}
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil || code != api.ExitFailed || line.Same == nil || *line.Same {
		t.Errorf("exit %d, %v: %s", code, err, text)
	}
}

func TestRecordEndsWithTheRefusalOfTheDaemon(t *testing.T) {
	dir := t.TempDir()
	socket := serve(t, &fake{err: &api.Error{Code: api.CodeForbidden, Message: "user 5 may not do this"}})
	file := filepath.Join(dir, "x")
	_, errs, code := autosa(t, nil, "record", "-o", file, "--socket", socket)
	if code != api.ExitForbidden || !strings.Contains(errs, "may not") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was made for nothing")
	}
	if _, errs, code := autosa(t, nil, "record", "--duration", "-1s"); code != api.ExitUsage {
		t.Errorf("a negative duration: exit %d: %s", code, errs)
	}
}
