// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"autosa/api"
	"autosa/policy"
	"autosa/scx"
)

// chosen is what the operator named last: an arm, and the mode whose arguments it
// has, if it was named by that.
type chosen struct {
	arm  policy.Arm
	mode string
}

// of is the mode of an arm; empty for any but the chosen one.
func (c chosen) of(a policy.Arm) string {
	if !c.arm.Equal(a) {
		return ""
	}
	return c.mode
}

// modeOf is the mode of what is in charge.
func (l *loop) modeOf(c scx.InCharge) string {
	if c.Owner != scx.OwnerAutosa {
		return ""
	}
	return l.chosen.of(policy.Arm{Scheduler: c.Name, Args: c.Args})
}

// changed looks at what is in charge because something has come or gone, or it has
// been found out whose it is.
func (l *loop) changed(now time.Time) {
	before := l.st.Scheduler
	l.truth()
	if !reflect.DeepEqual(before, l.st.Scheduler) {
		l.emit(now)
	}
}

// foreigner tells the log of a scheduler that somebody else started, once it is
// known who, and why it is left alone.
func (l *loop) foreigner(c scx.InCharge) {
	var sight string
	if p := c.Process; p != nil {
		sight = fmt.Sprintf("%s %d %d %s", c.Ops, c.Kernel.EnableSeq, p.PID, c.HandsOff)
	}
	if sight == "" || sight == l.sighted {
		return
	}
	l.sighted = sight
	l.log.Info("a scheduler that somebody else started is in charge", "scheduler", c.Name, "pid", c.Process.PID, "comm", c.Process.Comm,
		"args", c.Args, "unit", c.Process.Unit, "manager", c.Process.Manager, "owner", string(c.Owner), "hands_off", c.HandsOff)
}

// handsOff is why an order has to wait for somebody else's scheduler.
func (l *loop) handsOff() error {
	s := l.st.Scheduler
	var who, where strings.Builder
	fmt.Fprintf(&who, "%s (ops %s", s.Name, s.Ops)
	where.WriteString("where it was started")
	if p := s.Process; p != nil {
		fmt.Fprintf(&who, ", process %d", p.PID)
		if p.Unit != "" && p.Manager != "" {
			fmt.Fprintf(&where, " (systemctl stop %s)", p.Unit)
		}
	}
	return apiError(api.CodeConflict, "%s) was started by somebody else and is left alone: %s. Stop it %s, then try again", who.String(), s.HandsOff, where.String())
}

func apiProcess(p *scx.Process) *api.Process {
	if p == nil {
		return nil
	}
	return &api.Process{PID: p.PID, Comm: p.Comm, Exe: p.Exe, Cgroup: p.Cgroup, Unit: p.Unit, Manager: p.Manager}
}

// modeOf finds the mode that a request names.
func modeOf(e *scx.Entry, req api.SwitchRequest) (scx.Mode, error) {
	if len(req.Args) > 0 {
		return scx.Mode{}, apiError(api.CodeBadRequest, "a mode and arguments: a mode stands for all of them")
	}
	m, err := e.Mode(req.Mode)
	switch {
	case err != nil && m.WhyNot != "": // it exists, and this version is another
		return m, apiError(api.CodeFailed, "%s", err)
	case err != nil:
		return m, apiError(api.CodeBadRequest, "%s", err)
	}
	return m, nil
}

// apiScheduler is an entry of the catalogue as the wire has it.
func apiScheduler(e *scx.Entry) api.Scheduler {
	s := api.Scheduler{
		Name: e.Name, Description: e.Description, Path: e.Path, Version: e.Version,
		Installed: e.Installed, Usable: e.Usable, WhyNot: e.WhyNot, Remedy: e.Remedy, Known: e.Known, Ops: e.Ops,
		Suits: list(e.Suits), Modes: make([]api.SchedulerMode, 0, len(e.Modes)), ModesUnchecked: e.HelpNote, WatchdogSeconds: e.Watchdog.Seconds(),
		HonoursCPUWeight: e.CPUWeight, HonoursCPUMax: e.CPUMax, Needs: list(e.Needs), LeavesBehind: list(e.LeavesBehind), Notes: list(e.Notes),
	}
	for _, m := range e.Modes {
		s.Modes = append(s.Modes, api.SchedulerMode{Name: m.Name, Args: list(m.Args), WhyNot: m.WhyNot})
	}
	return s
}
