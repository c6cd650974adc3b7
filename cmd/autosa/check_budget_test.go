// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"autosa/api"
)

func TestBudgetIsTheRunningDaemonsWhereThereIsOne(t *testing.T) {
	if c := checkBudget(0.005, nil); c.Verdict != verdictOK || !strings.Contains(c.Detail, "0.5 %") {
		t.Errorf("without a daemon: %+v", c)
	}
	if c := checkBudget(0, nil); c.Verdict != verdictOK || strings.Contains(c.Detail, "%") {
		t.Errorf("without a budget: %+v", c)
	}
	st := &api.Status{Tracer: api.Tracer{BudgetRatio: 0.02, Cost: api.Cost{BPFCPURatio: 0.01, DaemonCPURatio: 0.005}}}
	if c := checkBudget(0.005, st); c.Verdict != verdictOK || !strings.Contains(c.Detail, "2.0 %") || !strings.Contains(c.Detail, "1.5 %") {
		t.Errorf("with a daemon: %+v", c)
	}
	st.Tracer.Step, st.Tracer.StepName = 3, "duty cycle"
	if c := checkBudget(0.005, st); c.Verdict != verdictWarn || !strings.Contains(c.Detail, "duty cycle") || c.Remedy == "" {
		t.Errorf("backed off: %+v", c)
	}
}
