// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"autosa/api"
	"autosa/policy"
	"autosa/scx"
)

// order is what an operator wants, on its way to the loop.
type order struct {
	// manual is the arm to hold; nil to give the choice back to autosa.
	manual *policy.Arm
	// mode is the name of the arm's arguments; empty where they were given themselves.
	mode string
	// version is the arm's, force that it is tried though it is quarantined.
	version string
	force   bool
	// noWait: the answer is not the outcome but that the order was taken.
	noWait bool
	// reply gets exactly one answer; it has room for it.
	reply    chan reply
	answered bool // it got it
}

type reply struct {
	result api.SwitchResult
	err    error
}

func apiError(code api.Code, format string, args ...any) error {
	return &api.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Switch puts the scheduler that req names in charge, waits for the kernel's
// word, unless req says otherwise, and holds it until Auto is called. When that fails, whatever was chosen
// before stays chosen. Its errors are [*api.Error]. Where ctx ends first the
// order goes on: it was given.
func (d *Daemon) Switch(ctx context.Context, req api.SwitchRequest) (api.SwitchResult, error) {
	if d.observe != "" {
		return api.SwitchResult{}, apiError(api.CodeUnsupported, "autosa only observes here: %s", d.observe)
	}
	e, err := d.list.Lookup(ctx, req.Scheduler)
	if err != nil {
		return api.SwitchResult{}, switchError(err)
	}
	if !e.Usable {
		return api.SwitchResult{}, apiError(api.CodeFailed, "%s", (&scx.UnusableError{Scheduler: e.Name, Why: e.WhyNot, Remedy: e.Remedy}).Error())
	}
	if (e.Name == api.EEVDF || scx.IsBuiltin(e.Name)) && len(req.Args) > 0 {
		return api.SwitchResult{}, apiError(api.CodeBadRequest, "%s takes no arguments", e.Name)
	}
	if req.Mode != "" {
		m, err := modeOf(&e, req)
		if err != nil {
			return api.SwitchResult{}, err
		}
		req.Args = m.Args
	}
	return d.order(ctx, order{manual: &policy.Arm{Scheduler: e.Name, Args: req.Args}, mode: req.Mode, version: versionOf(e), force: req.Force, noWait: req.NoWait})
}

// Auto withdraws the operator's choice. What is in charge stays until the next
// decision.
func (d *Daemon) Auto(ctx context.Context) (api.Status, error) {
	if d.observe != "" {
		return api.Status{}, apiError(api.CodeUnsupported, "autosa only observes here: %s", d.observe)
	}
	if _, err := d.order(ctx, order{}); err != nil {
		return api.Status{}, err
	}
	return d.Status(), nil
}

func (d *Daemon) order(ctx context.Context, o order) (api.SwitchResult, error) {
	o.reply = make(chan reply, 1)
	gone := apiError(api.CodeUnavailable, "the daemon is stopping")
	select {
	case d.orders <- o:
	case <-d.ended:
		return api.SwitchResult{}, gone
	case <-ctx.Done():
		return api.SwitchResult{}, apiError(api.CodeUnavailable, "the order was not taken: %v", context.Cause(ctx))
	}
	select {
	case r := <-o.reply:
		return r.result, r.err
	case <-d.ended:
		// The loop answers every order it took before it ends.
		select {
		case r := <-o.reply:
			return r.result, r.err
		default:
			return api.SwitchResult{}, gone
		}
	case <-ctx.Done():
		return api.SwitchResult{}, apiError(api.CodeUnavailable, "the order is being carried out, its outcome will be in the status: %v", context.Cause(ctx))
	}
}

// Stop asks the daemon to end. It returns at once, with the PID to wait for.
func (d *Daemon) Stop(context.Context) (api.Stopping, error) {
	if d.stopping.CompareAndSwap(false, true) {
		close(d.stop)
	}
	return api.Stopping{PID: os.Getpid()}, nil
}

// Schedulers lists the known and the installed schedulers.
func (d *Daemon) Schedulers(ctx context.Context) ([]api.Scheduler, error) {
	entries := d.list.List(ctx)
	if err := ctx.Err(); err != nil {
		return nil, apiError(api.CodeUnavailable, "the list was not finished: %v", err)
	}
	st := d.Status()
	out := make([]api.Scheduler, 0, len(entries))
	for _, e := range entries {
		s := apiScheduler(&e)
		s.InCharge = e.Name == st.Scheduler.Name
		s.Classes = list(d.policy.Load().Table.Classes(e.Name))
		if s.Usable && d.observe != "" && e.Name != api.EEVDF {
			s.Usable, s.WhyNot = false, d.observe
		}
		out = append(out, s)
	}
	return out, nil
}

// switchError gives what scx says its place in the wire's errors.
func switchError(err error) error {
	var already *api.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	code := api.CodeFailed
	switch {
	case errors.Is(err, scx.ErrUnknown), errors.Is(err, scx.ErrBadArgs):
		code = api.CodeBadRequest
	case errors.Is(err, scx.ErrForeign), errors.Is(err, scx.ErrBusy):
		code = api.CodeConflict
	case errors.Is(err, scx.ErrNotSupported):
		code = api.CodeUnsupported
	case errors.Is(err, scx.ErrNotPermitted):
		code = api.CodeForbidden
	case errors.Is(err, context.Canceled), errors.Is(err, scx.ErrClosed):
		code = api.CodeUnavailable
	}
	msg := err.Error()
	var failed *scx.SwitchError
	if errors.As(err, &failed) && failed.Output != "" {
		msg += "\n" + lastLines(failed.Output, 12)
	}
	return &api.Error{Code: code, Message: msg}
}

// lastLines is the end of a program's output, indented to stand below an error.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = slices.Concat([]string{fmt.Sprintf("… %d lines before", len(lines)-n)}, lines[len(lines)-n:])
	}
	return "  " + strings.Join(lines, "\n  ")
}
