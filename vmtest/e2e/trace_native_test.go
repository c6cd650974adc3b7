// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

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
