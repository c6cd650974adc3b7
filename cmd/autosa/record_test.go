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

	"autosa/api"
	"autosa/engine"
	"autosa/policy"
	"autosa/recording"
	"autosa/workload"
)

// taped is a recording of a machine that calculates for ten seconds, with a
// swap in its sixth.
func taped(w io.Writer) error {
	c := policy.DefaultConfig()
	e := engine.New(time.Minute, c)
	out, err := recording.NewWriter(w, recording.Header{
		Autosa: buildVersion(), Start: noon.UnixNano(), Config: engine.WireConfig(time.Minute, c),
		Machine: recording.Machine{Host: "web1", Kernel: "6.18.0", Arch: runtime.GOARCH, CPUs: 2, CPUModel: "Example 3000"},
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
		if d.Action == policy.ActionSwap {
			put(&recording.Swap{At: recording.Nanos(in.Now), From: "eevdf", To: engine.WireArm(d.Arm), OK: true})
			in.InCharge, in.LastSwap = policy.InCharge{Arm: d.Arm, Owner: policy.OwnerAutosa}, in.Now
		}
		if err == nil {
			err = out.Flush()
		}
	}
	if err != nil {
		return err
	}
	return out.Close(recording.Nanos(in.Now))
}

// Record records and takes its leave.
func (f *fake) Record(_ context.Context, w io.Writer) error {
	if f.err != nil {
		return f.err
	}
	return taped(w)
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
	if err := taped(&whole); err != nil {
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
