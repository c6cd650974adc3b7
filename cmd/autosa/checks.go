// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/api/client"
	"autosa/bpf/trace"
	"autosa/config"
	"autosa/daemon"
	"autosa/scx"
)

// Names of the checks that conclusions are drawn from.
const (
	checkNameSchedExt = "sched_ext"
	checkNameTracing  = "tracing"

	checkNameQuarantine = "quarantine"
)

// examine runs all checks. mistakes is what is wrong with the configuration; cfg
// is then the default one.
func (a *app) examine(ctx context.Context, cfg config.Config, mistakes error) []check {
	checks := []check{checkTracing(), checkPSI("/proc/pressure/cpu"), checkCgroup(scx.Host{})}
	var catalogue *scx.Catalogue
	catalogue, err := daemon.NewCatalogue(cfg)
	if err != nil {
		checks = append(checks, check{Name: "schedulers", Verdict: verdictFail, Detail: err.Error(), swapping: true})
	}
	st, running := a.checkDaemon(ctx, cfg.Socket)
	owned := attributed(st)
	for _, c := range scx.Preflight(ctx, scx.PreflightOptions{Catalogue: catalogue, InCharge: owned}) {
		checks = append(checks, check{
			Name: c.Name, Verdict: verdict(c.Level), Detail: c.Detail, Remedy: c.Remedy, swapping: true,
		})
	}
	return append(checks, checkConfig(cfg, mistakes), checkStateDir(cfg.StateDir), checkOperators(cfg.OperatorGroup),
		checkBudget(cfg.Tracer.Budget, st), checkQuarantine(cfg.StateDir, st), running)
}

func checkTracing() check {
	c := check{Name: checkNameTracing, Verdict: verdictOK, Detail: "the BPF tracer can run"}
	err := trace.Probe()
	var lacking *trace.UnsupportedError
	switch {
	case err == nil:
	case errors.As(err, &lacking):
		c.Verdict, c.Detail, c.Remedy = verdictFail, err.Error(), "boot a kernel with "+lacking.Needs+"; /proc serves meanwhile, without distributions"
		c.lacking = true
	case errors.Is(err, os.ErrPermission):
		c.Verdict, c.Detail, c.Remedy = verdictFail, err.Error(), "run as root, or grant CAP_BPF and CAP_PERFMON; /proc serves meanwhile, without distributions"
	default:
		c.Verdict, c.Detail = verdictFail, err.Error()
	}
	return c
}

// checkPSI reads a file of pressure stall information: where it is switched off
// the file exists, and reading it fails.
func checkPSI(path string) check {
	if _, err := os.ReadFile(path); err != nil {
		return check{
			Name: "pressure", Verdict: verdictWarn, Detail: fmt.Sprintf("no pressure stall information: %v", err),
			Remedy: "boot a kernel with CONFIG_PSI=y, with psi=1 on its command line if it is off by default",
		}
	}
	return check{Name: "pressure", Verdict: verdictOK, Detail: path}
}

// checkCgroup looks for the version 2 hierarchy among the mounts.
func checkCgroup(h scx.Host) check {
	c := check{Name: "cgroups", Verdict: verdictOK}
	at, err := h.Cgroup2()
	if err == nil {
		c.Detail = "version 2 at " + at
		return c
	}
	c.Verdict, c.Detail = verdictWarn, err.Error()+": groups are not told apart"
	c.Remedy = "boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none /sys/fs/cgroup/unified"
	return c
}

func checkConfig(cfg config.Config, mistakes error) check {
	c := check{Name: "configuration", Verdict: verdictOK, Detail: "defaults, there is no " + config.DefaultFile}
	switch {
	case mistakes != nil:
		c.Verdict, c.Detail, c.Remedy = verdictFail, strings.ReplaceAll(mistakes.Error(), "\n", "; "), "correct it; the other checks used the defaults"
	case len(cfg.Warnings) > 0:
		c.Verdict, c.Detail = verdictWarn, strings.Join(cfg.Warnings, "; ")
	case cfg.File != "":
		c.Detail = cfg.File
	}
	return c
}

// checkStateDir asks whether the directory, or the nearest one above it that
// exists, may be written to.
func checkStateDir(dir string) check {
	c := check{Name: "state", Verdict: verdictOK, Detail: dir}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			err = unix.ENOTDIR
		}
		if err == nil {
			err = unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
		}
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			c.Verdict, c.Detail = verdictFail, fmt.Sprintf("%s cannot be written to: %v", at, err)
			c.Remedy = "run as root, or name another directory with --state-dir"
		}
		return c
	}
}

func checkOperators(group string) check {
	c := check{Name: "operators", Verdict: verdictOK, Detail: "orders are taken from root alone"}
	if group == "" {
		return c
	}
	if _, err := user.LookupGroup(group); err != nil {
		c.Detail += fmt.Sprintf(" (there is no group %s)", group)
		return c
	}
	c.Detail = "orders are taken from root and the group " + group
	return c
}

// checkDaemon asks a running daemon how it is. Where there is one it also
// returns what it says.
func (a *app) checkDaemon(ctx context.Context, socket string) (*api.Status, check) {
	c := check{Name: "daemon", Verdict: verdictOK}
	st, err := client.New(socket).Status(ctx)
	switch {
	case errors.Is(err, client.ErrNoDaemon):
		c.Detail = "none is running on " + socket
		return nil, c
	case err != nil:
		c.Verdict, c.Detail, c.Remedy = verdictFail, err.Error(), "look at its log, and start it again"
		return nil, c
	}
	c.Detail = fmt.Sprintf("PID %d, version %s, mode %s, on %s", st.PID, st.Version, st.Mode, socket)
	if own := buildVersion(); st.Version != own {
		c.Verdict = verdictWarn
		c.Detail += fmt.Sprintf("; this command is version %s", own)
		c.Remedy = "restart the daemon"
	}
	return &st, c
}

// attributed is what the daemon knows of the scheduler in charge, which the kernel
// alone cannot tell whose it is; nil where it knows of none.
func attributed(st *api.Status) *scx.InCharge {
	if st == nil || !slices.Contains([]api.Owner{api.OwnerAutosa, api.OwnerForeign, api.OwnerAdopted}, st.Scheduler.Owner) {
		return nil
	}
	s := st.Scheduler
	in := &scx.InCharge{Name: s.Name, Ops: s.Ops, Owner: scx.Owner(s.Owner), HandsOff: s.HandsOff}
	if p := s.Process; p != nil {
		in.Process = &scx.Process{PID: p.PID, Comm: p.Comm, Unit: p.Unit, Manager: p.Manager}
	}
	return in
}

// checkQuarantine names what rests after failures: as a running daemon says, else as
// the last one has left it.
func checkQuarantine(stateDir string, st *api.Status) check {
	c := check{Name: checkNameQuarantine, Verdict: verdictOK, Detail: "no scheduler rests after failures", swapping: true}
	var resting []api.Quarantine
	if st != nil {
		resting = st.Quarantine
	} else {
		var err error
		if resting, err = daemon.Resting(stateDir, time.Now()); err != nil {
			c.Verdict, c.Detail, c.Remedy = verdictWarn, err.Error(), "the next daemon puts it aside; remove it if nothing shall rest"
			if errors.Is(err, os.ErrPermission) {
				c.Remedy = "run as root"
			}
			return c
		}
	}
	if len(resting) == 0 {
		return c
	}
	var names []string
	for _, q := range resting {
		names = append(names, fmt.Sprintf("%s until %s (%s)", strings.Join(append([]string{q.Scheduler}, q.Args...), " "),
			q.Until.Local().Format(time.DateTime), q.Reason))
	}
	c.Verdict, c.Detail = verdictWarn, strings.Join(names, "; ")
	c.Remedy = "autosa incidents says what happened; autosa quarantine clear forgets it"
	return c
}
