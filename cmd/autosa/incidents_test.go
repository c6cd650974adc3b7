// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/workload"
)

func troubles() *fake {
	return &fake{
		incidents: []api.Incident{{
			ID: 12, Time: noon.Add(-time.Minute), Scheduler: "scx_lavd", Args: []string{"--performance"}, Version: "1.1.4", Path: "/usr/bin/scx_lavd", Kernel: "6.18.5-amd64",
			Ending: "stall", Reason: "runnable task stall (sh\x1b[1] failed to run for 30.1s), and a good deal more was said that no table has any room for",
			Exit: "exited with status 1", InCharge: api.EEVDF, KernelLog: []string{`BPF scheduler "lavd" disabled (runnable task stall)`, "lavd: sh[1] failed"},
			Counters: map[string]uint64{"SCX_EV_SELECT_CPU_FALLBACK": 7, "SCX_EV_DISPATCH_LOCAL_DSQ_OFFLINE": 12345},
			Samples:  []api.IncidentSample{{Time: noon.Add(-62 * time.Second), Scheduler: "scx_lavd", Class: workload.Server, SwitchesPerSecond: 18211.4, WaitP99Seconds: 0.0014}},
			Output:   "DEBUG DUMP\n\x1b]0;evil\x07CPU states\nError: EXIT: runnable task stall\n",
		}, {
			ID: 3, Time: noon.Add(-48 * time.Hour), Scheduler: "scx_rusty", Kernel: "6.18.5-amd64", Ending: "usage", Reason: "status 2", Phase: "loading", InCharge: "scx_lavd", GapSeconds: 0.07,
		}},
		quarantine: []api.Quarantine{
			{Scheduler: "scx_lavd", Args: []string{"--performance"}, Version: "1.1.4", Kernel: "6.18.5-amd64", Failures: 3, Time: noon.Add(-time.Minute),
				Reason: "runnable task stall", Until: noon.Add(3 * time.Minute), Resting: true},
			{Scheduler: "scx_rusty", Kernel: "6.17.0", Failures: 1, Time: noon.Add(-48 * time.Hour), Reason: "status 2", Until: noon.Add(-47 * time.Hour)},
		},
	}
}

func TestIncidentsAndQuarantineForPeople(t *testing.T) {
	socket := serve(t, troubles())
	for name, args := range map[string][]string{
		"incidents": {"incidents"}, "incident": {"incidents", "12"}, "incident-swap": {"incidents", "3"},
		"quarantine": {"quarantine"}, "quarantine-list": {"quarantine", "list"},
	} {
		out, errs, code := autosa(t, nil, append(args, "--socket", socket)...)
		if code != 0 || errs != "" {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
		if strings.ContainsAny(out, "\x1b\x07") {
			t.Errorf("%s lets control characters through: %q", name, out)
		}
		golden(t, strings.TrimSuffix(name, "-list"), out)
	}
	none := serve(t, &fake{})
	for args, want := range map[string]string{"incidents": "nothing went wrong\n", "quarantine": "nothing is quarantined\n"} {
		if out, _, code := autosa(t, nil, args, "--socket", none); code != 0 || out != want {
			t.Errorf("%s: exit %d: %q", args, code, out)
		}
	}
}

func TestIncidentsAndQuarantineOrders(t *testing.T) {
	f := troubles()
	socket := serve(t, f)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"incidents", "4"}, api.ExitUsage, "no such incident"},
		{[]string{"incidents", "x"}, api.ExitUsage, "not an incident's number"},
		{[]string{"incidents", "3", "4"}, api.ExitUsage, "unexpected argument"},
		{[]string{"incidents", "--json"}, 0, `"ending": "stall"`},
		{[]string{"incidents", "--json", "3"}, 0, `"phase": "loading"`},
		{[]string{"quarantine", "--json"}, 0, `"failures": 3`},
		{[]string{"quarantine", "clear"}, api.ExitUsage, "which scheduler"},
		{[]string{"quarantine", "clear", ""}, api.ExitUsage, "which scheduler"},
		{[]string{"quarantine", "clear", "lavd", "--all"}, api.ExitUsage, "not both"},
		{[]string{"quarantine", "clear", "lavd", "rusty"}, api.ExitUsage, "unexpected argument"},
		{[]string{"quarantine", "purge"}, api.ExitUsage, "list or clear"},
		{[]string{"quarantine", "clear", "lavd"}, 0, "one entry cleared"},
		{[]string{"quarantine", "clear", "--all"}, 0, "one entry cleared"},
		{[]string{"quarantine", "clear", "--all", "--json"}, 0, `"cleared": 1`},
		{[]string{"switch", "lavd", "--force", "--", "-x"}, 0, "in charge"},
		{[]string{"__complete", "quarantine", "clear", ""}, 0, "scx_lavd\trunnable task stall"},
		{[]string{"__complete", "incidents", ""}, 0, "12\t"},
	} {
		out, errs, code := autosa(t, []string{"AUTOSA_SOCKET=" + socket}, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%v: exit %d, want %d with %q:\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
	}
	if strings.Join(f.cleared, ",") != "lavd,," {
		t.Errorf("cleared %q: what was wrong on the command line was sent all the same, or not sent", f.cleared)
	}
	if len(f.orders) != 1 || !f.orders[0].Force || strings.Join(f.orders[0].Args, " ") != "-x" {
		t.Errorf("orders %+v", f.orders)
	}
}

func TestStatusSaysWhatIsNotTriedAndWhy(t *testing.T) {
	f := troubles()
	st := observing()
	st.Quarantine = append(f.quarantine[:1:1], f.quarantine[0])
	st.Quarantine[1].Scheduler, st.Quarantine[1].Failures = "scx_flash", 1
	st.Veto = &api.Veto{Since: noon.Add(-90 * time.Second), Scheduler: "scx_lavd"}
	st.Incidents, st.LastIncident = 4, &f.incidents[0]
	var b bytes.Buffer
	if err := (page{styles: stylesFor(&b), now: noon}).write(&b, st); err != nil {
		t.Fatal(err)
	}
	golden(t, "status-trouble", b.String())
}
