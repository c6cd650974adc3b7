// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"autosa/api"
)

// checkBudget says what observing may take, and where a daemon runs what it
// takes there. st is nil where none does.
func checkBudget(budget float64, st *api.Status) check {
	c := check{Name: "budget", Verdict: verdictOK, Detail: "observing may take whatever it does"}
	if st != nil {
		budget = st.Tracer.BudgetRatio
	}
	if budget > 0 {
		c.Detail = fmt.Sprintf("observing may take %s of the CPUs", percent(budget))
	}
	if st == nil {
		return c
	}
	t := &st.Tracer
	c.Detail += fmt.Sprintf("; the daemon's takes %s", percent(t.Cost.BPFCPURatio+t.Cost.DaemonCPURatio))
	if t.Step > 0 {
		c.Verdict = verdictWarn
		c.Detail += fmt.Sprintf(", and has backed off to step %d (%s)", t.Step, t.StepName)
		c.Remedy = "it comes back by itself when the load ends; a larger tracer.budget keeps it from backing off"
	}
	return c
}
