// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	rustyOps = "rusty_1.1.4_x86_64_unknown_linux_gnu"
	left     = `BPF scheduler "` + rustyOps + `" disabled (unregistered from user space)`
)

// The texts marked "seen" were printed by real kernels and schedulers in guests;
// the others are those of the sources.
func TestEndingFollowsTheStrongestEvidence(t *testing.T) {
	gone := func(code int, text string) *Exit {
		return &Exit{Code: code, Reason: exitReason(text), Complaint: complaint(text, code > 0)}
	}
	killed := func(sig unix.Signal) *Exit { return &Exit{Code: -1, Signal: sig} }
	ours := func(e *Exit) *Exit { e.Requested = true; return e }
	out := func(reason string) string { return `BPF scheduler "` + rustyOps + `" disabled (` + reason + `)` }
	exited := fmt.Errorf("%w: x", ErrExited)
	// What scx_rusty 1.1.4 prints in every run on 6.18, before it registers and as it does.
	const preamble = "21:17:54 [INFO]  DOM[00] mask= 3\n21:17:59 [INFO] libbpf: struct_ops rusty: member sub_attach not found in kernel, skipping it as it's set to zero\n\n"
	const up = preamble + "21:18:17 [WARN] libbpf: map 'rusty': BPF map skeleton link is uninitialized\n\n21:18:19 [INFO] Rusty scheduler started! Run `scx_rusty --monitor` for metrics.\n"
	const clean = up + "EXIT: unregistered from user space\n21:17:43 [INFO] Unregister scx_rusty scheduler\n"
	const vetoed = up + "21:19:04 [INFO] Unregister scx_rusty scheduler\nError: EXIT: disabled by sysrq-S\n"
	const usage = "error: unexpected argument '--no-such-option' found\n\nUsage: scx_rusty [OPTIONS]\n\nFor more information, try '--help'.\n"
	for name, c := range map[string]struct {
		e    Evidence
		want Ending
	}{
		"SIGTERM by somebody else [seen]": {Evidence{CameUp: true, Exit: gone(0, clean), Output: clean, Kernel: []string{left}}, EndingByUser},
		"the same, log not readable":      {Evidence{CameUp: true, Exit: gone(0, clean), Output: clean}, EndingByUser},
		"SIGTERM that it does not handle": {Evidence{CameUp: true, Exit: killed(unix.SIGTERM), Kernel: []string{left}}, EndingByUser},
		"stopped by autosa":               {Evidence{CameUp: true, Exit: ours(gone(0, clean)), Output: clean, Kernel: []string{left}}, EndingStopped},
		"SIGKILL [seen]":                  {Evidence{CameUp: true, Exit: killed(unix.SIGKILL), Output: up, Kernel: []string{left}}, EndingKilled},
		"SIGKILL of the supervisor":       {Evidence{CameUp: true, Exit: gone(-1, "")}, EndingKilled},
		"OOM kill":                        {Evidence{CameUp: true, Exit: killed(unix.SIGKILL), OOMKilled: true, Kernel: []string{left}}, EndingMemory},
		"an OOM kill that was not its":    {Evidence{CameUp: true, Exit: gone(0, clean), OOMKilled: true}, EndingByUser},
		"no memory in Rust":               {Evidence{CameUp: true, Exit: killed(unix.SIGABRT), Output: "memory allocation of 8388608 bytes failed\n"}, EndingMemory},
		"no memory while it loads":        {Evidence{Err: exited, Exit: gone(1, ""), Output: "Error: Failed to load BPF program: Cannot allocate memory (os error 12)\n"}, EndingMemory},
		"segmentation fault":              {Evidence{CameUp: true, Exit: killed(unix.SIGSEGV), Kernel: []string{left}}, EndingCrashed},
		"panic":                           {Evidence{CameUp: true, Exit: gone(101, "thread 'main' panicked at src/main.rs:1\n"), Kernel: []string{left}}, EndingCrashed},
		"panic while it loads":            {Evidence{Err: exited, Exit: gone(101, "")}, EndingCrashed},
		"SysRq-S [seen]":                  {Evidence{CameUp: true, Exit: gone(1, vetoed), Output: vetoed, Kernel: []string{out("disabled by sysrq-S")}}, EndingSysRq},
		"SysRq-S, kernel only":            {Evidence{CameUp: true, Exit: killed(unix.SIGKILL), Kernel: []string{out("disabled by sysrq-S")}}, EndingSysRq},
		"SysRq-S, scheduler only":         {Evidence{CameUp: true, Exit: gone(1, "Error: EXIT: disabled by sysrq-S\n")}, EndingSysRq},
		"hotplug": {Evidence{CameUp: true, Exit: gone(0, "EXIT: unregistered from the main kernel (cpu 1 going offline, exiting scheduler)\n"),
			Kernel: []string{out("unregistered from the main kernel")}}, EndingHotplug},
		"hotplug before it attached":                {Evidence{Err: exited, Exit: gone(1, "EXIT: unregistered from the main kernel (expected hotplug seq 3 did not match actual 4)\n")}, EndingHotplug},
		"by the kernel, for reasons that it keeps":  {Evidence{CameUp: true, Exit: killed(unix.SIGKILL), Kernel: []string{out("unregistered from the main kernel")}}, EndingUnknown},
		"killed long after it re-attached":          {Evidence{CameUp: true, Exit: &Exit{Code: -1, Signal: unix.SIGKILL, Reason: "unregistered from the main kernel (cpu 1 going offline)"}, Kernel: []string{left}}, EndingKilled},
		"by itself":                                 {Evidence{CameUp: true, Exit: gone(0, "EXIT: unregistered from BPF (done)\n")}, EndingExited},
		"stall":                                     {Evidence{CameUp: true, Exit: gone(1, "Error: EXIT: runnable task stall (sh[12] failed to run for 30.1s)\n")}, EndingStall},
		"stall, status 0, log only":                 {Evidence{CameUp: true, Exit: gone(0, ""), Kernel: []string{out("runnable task stall"), rustyOps + ": sh[12] failed to run for 30.1s"}}, EndingStall},
		"watchdog that cannot look":                 {Evidence{CameUp: true, Exit: gone(1, "EXIT: runtime error (watchdog failed to check in for 5.000s)\n")}, EndingStall},
		"scx_bpf_error":                             {Evidence{CameUp: true, Exit: gone(1, "EXIT: scx_bpf_error (bad thing)\n")}, EndingBPFError},
		"runtime error":                             {Evidence{CameUp: true, Exit: gone(1, ""), Kernel: []string{out("runtime error"), rustyOps + ": invalid CPU 77"}}, EndingBPFError},
		"error while it attaches":                   {Evidence{Err: exited, Exit: gone(1, "Error: EXIT: scx_bpf_error (init failed)\n")}, EndingBPFError},
		"soft lockup":                               {Evidence{CameUp: true, Exit: gone(1, "EXIT: runtime error (soft lockup - CPU 1 stuck for 45s)\n")}, EndingLockup},
		"soft lockup, 6.16":                         {Evidence{CameUp: true, Exit: gone(1, ""), Kernel: []string{`Soft lockup - CPU1 stuck for 26s, disabling "rusty"`, out("runtime error")}}, EndingLockup},
		"hard lockup":                               {Evidence{CameUp: true, Exit: gone(1, "EXIT: runtime error (hard lockup - CPU 1)\n")}, EndingLockup},
		"RCU stall":                                 {Evidence{CameUp: true, Exit: gone(1, "EXIT: runtime error (RCU CPU stall detected!)\n")}, EndingLockup},
		"a kind of a later kernel":                  {Evidence{CameUp: true, Exit: gone(1, ""), Kernel: []string{out("rescue bandwidth overload")}}, EndingUnknown},
		"a kind of a later kernel, killed":          {Evidence{CameUp: true, Exit: killed(unix.SIGKILL), Kernel: []string{out("no such words")}}, EndingUnknown},
		"another scheduler's stall in the log":      {Evidence{CameUp: true, Ops: "rusty", Exit: killed(unix.SIGKILL), Kernel: []string{left, `BPF scheduler "lavd_1.0.0" disabled (runnable task stall)`}}, EndingKilled},
		"stays though ejected, killed by autosa":    {Evidence{CameUp: true, Err: ErrTimeout, Exit: ours(killed(unix.SIGKILL)), Kernel: []string{out("runnable task stall")}}, EndingStall},
		"stays out of charge, nobody says why":      {Evidence{CameUp: true, Err: ErrTimeout, Exit: ours(killed(unix.SIGKILL))}, EndingTimeout},
		"usage [seen]":                              {Evidence{Err: exited, Exit: gone(2, usage), Output: usage}, EndingUsage},
		"status 2 of one that was in charge":        {Evidence{CameUp: true, Exit: gone(2, "")}, EndingExited},
		"exits at once":                             {Evidence{Err: exited, Exit: gone(1, "Error: no such luck\n"), Output: "Error: no such luck\n"}, EndingExited},
		"exits after what every run prints [seen]":  {Evidence{Err: exited, Exit: gone(1, preamble), Output: preamble + "Error: no such luck\n", NoKernelConfig: true}, EndingExited},
		"exits at once with status 0":               {Evidence{Err: exited, Exit: gone(0, "")}, EndingExited},
		"never comes up":                            {Evidence{Err: fmt.Errorf("%w: not after 60s", ErrTimeout), Exit: ours(killed(unix.SIGKILL))}, EndingTimeout},
		"given up":                                  {Evidence{Err: context.Canceled, Exit: ours(gone(0, ""))}, EndingStopped},
		"given up before it was started":            {Evidence{Err: context.Canceled}, EndingStopped},
		"verifier":                                  {Evidence{Err: exited, Exit: gone(1, ""), Output: "libbpf: prog 'rusty_init': BPF program load failed: Permission denied\nlibbpf: prog 'rusty_init': -- BEGIN PROG LOAD LOG --\nR1 invalid mem access 'scalar'\nprocessed 12 insns (limit 1000000) max_states_per_insn 0\n-- END PROG LOAD LOG --\n"}, EndingVerifier},
		"verifier, the kernel config missing too":   {Evidence{Err: exited, Exit: gone(1, ""), NoKernelConfig: true, Output: "Error: Failed to load BPF program\n"}, EndingKernelConfig},
		"load failure [seen]":                       {Evidence{Err: exited, Exit: gone(1, ""), Output: "Error: Failed to load BPF program\n\nCaused by:\n    Invalid argument (os error 22)\n"}, EndingLoad},
		"no kernel config [seen]":                   {Evidence{Err: exited, Exit: gone(1, ""), NoKernelConfig: true, Output: "Error: Failed to load BPF program\n\nCaused by:\n    Invalid argument (os error 22)\n"}, EndingKernelConfig},
		"no kernel config, libbpf's words":          {Evidence{Err: exited, Exit: gone(1, ""), Output: "libbpf: failed to open system Kconfig\n"}, EndingKernelConfig},
		"no kernel config beside another complaint": {Evidence{Err: exited, Exit: gone(1, ""), NoKernelConfig: true, Output: "Error: no such luck\n"}, EndingExited},
		"no kernel config, refused":                 {Evidence{Err: &UnusableError{Scheduler: "scx_lavd", Why: "…", kernelConfig: true}}, EndingKernelConfig},
		"not installed":                             {Evidence{Err: &UnusableError{Scheduler: "scx_lavd", Why: "not installed"}}, EndingUnusable},
		"not permitted":                             {Evidence{Err: fmt.Errorf("x: %w", ErrNotPermitted)}, EndingUnusable},
		"foreign":                                   {Evidence{Err: errors.Join(&ForeignError{Ops: "p2dq"}, ErrTimeout), Exit: ours(killed(unix.SIGKILL))}, EndingForeign},
		"cannot be executed":                        {Evidence{Err: errors.New("start scx_x: exec format error")}, EndingUnknown},
		"nothing":                                   {Evidence{}, EndingUnknown},
	} {
		if got := c.e.Ending(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if r := c.e.Reason(); r == "" || strings.Contains(r, "\n") {
			t.Errorf("%s: the reason is %q", name, r)
		}
	}
}

func TestUnknownEndingKeepsItsText(t *testing.T) {
	e := Evidence{CameUp: true, Exit: &Exit{Code: 1}, Kernel: []string{`BPF scheduler "x" disabled (rescue bandwidth overload)`, "x: too much"}}
	if got := e.Reason(); e.Ending() != EndingUnknown || !strings.Contains(got, "rescue bandwidth overload") || !strings.Contains(got, "too much") {
		t.Errorf("%s: %s", e.Ending(), got)
	}
}

func TestOOMKillIsReadFromTheKernelsLog(t *testing.T) {
	for record, want := range map[string]int{
		"3,900,5,-;Out of memory: Killed process 1234 (scx_rusty) total-vm:9kB, anon-rss:8kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:56kB oom_score_adj:0\n": 1234,
		"3,900,5,-;Memory cgroup out of memory: Killed process 77 (scx_lavd) total-vm:9kB\n":                                                                      77,
		"3,900,5,-;Out of memory (oom_kill_allocating_task): Killed process 5 (x) total-vm:9kB\n":                                                                 5,
		"3,900,5,-;sched_ext: Out of memory: Killed process 5 (x)\n":                                                                                              0,
		"3,900,5,-;oom_reaper: reaped process 1234 (scx_rusty), now anon-rss:0kB\n":                                                                               0,
		"3,900,5,-;autosa: x\n SUBSYSTEM=;Out of memory: Killed process 5 (x)\n":                                                                                  0,
		"Out of memory: Killed process 5 (x)":                                                                                                                     0,
		"3,1,1,-;Out of memory: Killed process 99999999999999999999 (x)":                                                                                          0,
	} {
		if pid, ok := oomVictim(record); pid != want && ok || ok != (want != 0) {
			t.Errorf("%q: %d %v, want %d", record, pid, ok, want)
		}
	}
	k := &kmsg{fd: -1, victims: []int{4, 5}}
	var none *kmsg
	if !k.killed(9, 5) || k.killed(6) || none.killed(5) {
		t.Error("the victims are not told apart")
	}
}

func TestOOMKillsAreTheCgroups(t *testing.T) {
	h := fakeHost(t)
	root := t.TempDir()
	write(t, h.Proc+"/self/mountinfo", "30 24 0:26 / "+root+" rw,nosuid - cgroup2 cgroup2 rw\n")
	write(t, h.Proc+"/self/cgroup", "1:name=systemd:/\n0::/autosa.service\n")
	if got := h.oomKills(); got != 0 {
		t.Errorf("without a count: %d", got)
	}
	write(t, root+"/autosa.service/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
	if got := h.oomKills(); got != 2 {
		t.Errorf("got %d", got)
	}
}

// What a swap and a loss carry, through the whole of the switcher.
func TestEndingsOfSwapsAndLosses(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_lavd", "lavd_1.0.0_x", `echo "error: unexpected argument '-z' found" >&2; exit 2`)
	k.scheduler("scx_flash", "flash_1.0.0_x", "exec sleep 1000")
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	s := k.switcher(Options{ReadyTimeout: 0})
	fails := func(name string, want Ending) *SwitchError {
		t.Helper()
		_, err := s.Switch(t.Context(), Target{Name: name})
		var failed *SwitchError
		if !errors.As(err, &failed) || failed.Ending != want {
			t.Fatalf("%s: %v, want %q", name, err, want)
		}
		return failed
	}
	if f := fails("lavd", EndingUsage); f.Version != "1.0.0" || f.Path != k.bin+"/scx_lavd" {
		t.Errorf("%+v", f)
	}
	s.opt.ReadyTimeout = 1e9
	fails("flash", EndingTimeout)
	fails("tickless", EndingUnusable)
	s.opt.ReadyTimeout = 20e9
	k.enable("p2dq_1.0.0_x", 3)
	fails("rusty", EndingForeign)
	k.disable()
	pid := mustSwitch(t, s, "rusty").InCharge.PID
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := <-s.Events(); e.Ending != EndingKilled || e.Version != "1.0.0" || e.Path != k.bin+"/scx_rusty" {
		t.Errorf("%+v", e)
	}
	pid = mustSwitch(t, s, "rusty").InCharge.PID
	k.put("root/events", "SCX_EV_BYPASS 7\n")
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := <-s.Events(); e.Ending != EndingByUser {
		t.Errorf("%+v", e)
	}
}

// What a scheduler printed of an end before it registered itself anew is not why
// it ended at last.
func TestEndingIsNotThatBeforeAReattachment(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", `register
while :; do sleep 0.02; [ -e $K/again ] && { rm $K/again; echo "EXIT: unregistered from the main kernel (cpu 1 going offline, exiting scheduler)"
	put state disabled; sleep 0.2; register; }; done`)
	s := k.switcher(Options{})
	pid := mustSwitch(t, s, "rusty").InCharge.PID
	k.put("again", "")
	if e := <-s.Events(); e.Kind != EventReattached || e.Ending != EndingReattached {
		t.Fatalf("%+v", e)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := <-s.Events(); e.Kind != EventDied || e.Ending != EndingKilled || !strings.Contains(e.Output, "cpu 1 going offline") {
		t.Errorf("%+v", e)
	}
}

// The operator takes the new scheduler out as it comes up: the old one is not
// started again.
func TestSysRqDuringASwapIsNotFollowedByTheOldOne(t *testing.T) {
	k := newFakeKernel(t)
	k.scheduler("scx_rusty", "rusty_1.0.0_x", "")
	k.scheduler("scx_lavd", "lavd_1.0.0_x", `link; echo "EXIT: disabled by sysrq-S" >&2; exit 0`)
	s := k.switcher(Options{})
	mustSwitch(t, s, "rusty")
	seq, _ := os.ReadFile(k.dir + "/enable_seq")
	_, err := s.Switch(t.Context(), Target{Name: "lavd"})
	var failed *SwitchError
	if !errors.As(err, &failed) || failed.Ending != EndingSysRq || failed.Returned || failed.InCharge.Name != EEVDF {
		t.Errorf("%v: %+v", err, failed)
	}
	if now, _ := os.ReadFile(k.dir + "/enable_seq"); string(now) != string(seq) || k.state() != "disabled" {
		t.Errorf("the kernel says %s, %s enables before and %s after", k.state(), seq, now)
	}
}

func FuzzEnding(f *testing.F) {
	f.Add("EXIT: runnable task stall (x)\n", `BPF scheduler "x" disabled (runtime error)`, 1, 0)
	f.Add("error: x\n", "", 2, 0)
	f.Add("", `BPF scheduler "x" disabled (`, -1, 9)
	f.Fuzz(func(t *testing.T, output, line string, code, signal int) {
		e := Evidence{
			CameUp: code%2 == 0, Output: output, Kernel: strings.Split(line, "\n"),
			Exit: &Exit{Code: code, Signal: unix.Signal(signal), Reason: exitReason(output)},
		}
		got := e.Ending()
		if got == "" || e.Reason() == "" && strings.TrimSpace(output+line) != "" || len(e.Reason()) > 500 {
			t.Fatalf("%q, reason %q", got, e.Reason())
		}
		if got == EndingSysRq && !strings.Contains(output+line, "sysrq-S") {
			t.Fatalf("a veto that nobody spoke: %q %q", output, line)
		}
	})
}
