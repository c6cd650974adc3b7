// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/bpf/trace/tracetest"
)

func TestTraceThroughTheDaemonShowsEverySwitchOfAThread(t *testing.T) {
	needRoot(t)
	tracetest.RequireTracer(t)
	bin := build(t)
	a := start(t, bin)
	if err := os.Chmod(a.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	checkTraceIsWhole(t, a)
	checkTraceRefusals(t, a)
	checkTracesEndWithTheirClients(t, a)

	before := tracetest.Kernel(t)
	var list api.TaskList
	if err := json.Unmarshal([]byte(a.mustRun("trace", "--tasks", "3", "--rhythm", "--json")), &list); err != nil || len(list.Top) != 3 {
		t.Errorf("%d of the three busiest tasks, %v", len(list.Top), err)
	}
	for _, what := range []string{"wakeups", "block"} {
		out, errOut, code := a.run("trace", "--"+what, "--json")
		if code != 0 && !(what == "block" && code == api.ExitUnsupported) || code == 0 && !strings.Contains(out, `"kind":"`+what+`"`) {
			t.Errorf("--%s: exit %d: %s%s", what, code, out, errOut)
		}
	}
	tracetest.AwaitKernel(t, before)
}

func TestTraceWithoutADaemonTracesByItself(t *testing.T) {
	needRoot(t)
	tracetest.RequireTracer(t)
	checkTraceWithoutADaemon(t, build(t))
}

func checkTraceRefusals(t *testing.T, a *autosa) {
	t.Helper()
	for _, tt := range []struct {
		code int
		says string
		args []string
	}{
		{api.ExitUsage, "no cgroup nosuch.service", []string{"--cgroup", "nosuch.service"}},
		{api.ExitUsage, "flood", []string{"--switches"}},
		{api.ExitUsage, "16 bytes", []string{"--comm", "0123456789abcdef"}},
		{api.ExitUsage, "0 is no process id", []string{"--pid", "0"}},
	} {
		if out, errOut, code := a.run(append([]string{"trace", "--duration", "1s"}, tt.args...)...); code != tt.code || !strings.Contains(errOut, tt.says) || out != "" {
			t.Errorf("trace %v: exit %d, want %d and %q: %s%s", tt.args, code, tt.code, tt.says, out, errOut)
		}
	}
}

// streams is how many streams' programs the kernel holds.
func streams(t *testing.T) int {
	t.Helper()
	n := 0
	for name, count := range tracetest.Kernel(t) {
		if strings.HasPrefix(name, "on_stream") { // the kernel cuts names
			n += count
		}
	}
	return n
}

// checkTracesEndWithTheirClients starts as many traces as there may be, kills
// their clients, and sees the programs gone and the places free.
func checkTracesEndWithTheirClients(t *testing.T, a *autosa) {
	t.Helper()
	before := streams(t)
	n := startNapper(t)
	var all []*tracing
	for range 4 {
		tr := a.trace("--switches", "--pid", fmt.Sprint(n.tid))
		if _, ok := tr.next(); !ok {
			t.Fatalf("no line: %s", tr.stderr.String())
		}
		all = append(all, tr)
	}
	if now := streams(t) - before; now != 4 {
		t.Errorf("%d programs for four traces", now)
	}
	if _, errOut, code := a.run("trace", "--duration", "1s"); code != api.ExitConflict || !strings.Contains(errOut, "4 traces") {
		t.Errorf("a fifth trace: exit %d: %s", code, errOut)
	}
	for _, tr := range all {
		_ = tr.cmd.Process.Kill()
		_ = tr.cmd.Wait()
	}
	for deadline := time.Now().Add(2 * time.Minute); streams(t) > before; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d programs of killed clients stay", streams(t)-before)
		}
	}
	out := a.mustRun("trace", "--json", "--switches", "--pid", fmt.Sprint(n.tid), "--duration", "100ms")
	if !strings.Contains(out, `"kind":"end"`) {
		t.Errorf("after all of them: %s", out)
	}
}
