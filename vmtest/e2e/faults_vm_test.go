// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/scx"
	"autosa/vmtest/broken"
	"autosa/vmtest/guest"
)

// fault is a way for a scheduler, or for what is around it, to go wrong. However it does, in the end tasks are scheduled, the
// status says what the kernel says, and there is an incident with the right class of ending.
type fault struct {
	name string
	// short rows are in the short matrix too: those that were seen to pass.
	short bool
	// ending is that of the one incident which the fault leaves; empty where it is to leave none.
	ending scx.Ending
	// inCharge is what is in charge in the end.
	inCharge string
	// does makes the fault happen. It returns once it has shown.
	does func(f *faults)
}

// faults is one daemon that everything happens to, and what its rows use.
type faults struct {
	*autosa
	t   *testing.T // the row's
	dir string     // of schedulers that go wrong; root trusts it
}

var faultTable = []fault{
	{"the scheduler is killed", true, scx.EndingKilled, api.EEVDF, func(f *faults) { f.lose("rusty", sends(unix.SIGKILL)) }},
	{"the watchdog ejects a scheduler that forgets tasks", true, scx.EndingStall, api.EEVDF, func(f *faults) {
		f.lose("stall", func(pid int) {
			sends(unix.SIGUSR1)(pid)
			f.forgotten()
		})
	}},
	{"the scheduler gives up with scx_bpf_error", true, scx.EndingBPFError, api.EEVDF, func(f *faults) { f.lose("error", sends(unix.SIGUSR1)) }},
	{"SysRq-S", false, scx.EndingSysRq, api.EEVDF, func(f *faults) {
		f.lose("rusty", func(int) { f.write("/proc/sysrq-trigger", "S") })
	}},
	{"the next scheduler exits at once", false, scx.EndingExited, "scx_rusty", func(f *faults) { f.refused("exits") }},

	{"the scheduler is stopped by somebody else", false, scx.EndingByUser, api.EEVDF, func(f *faults) { f.lose("bpfland", sends(unix.SIGTERM)) }},
	{"the scheduler crashes", false, scx.EndingCrashed, api.EEVDF, func(f *faults) { f.lose("rusty", sends(unix.SIGSEGV)) }},
	{"the supervisor is killed", false, scx.EndingKilled, api.EEVDF, func(f *faults) {
		f.lose("rusty", func(pid int) { sends(unix.SIGKILL)(f.parent(pid)) })
	}},
	{"the scheduler's cgroup is killed", false, scx.EndingKilled, api.EEVDF, func(f *faults) {
		cg := f.cgroup("killed", "")
		f.within("inside", cg, guest.Scheduler(f.t, "scx_rusty"))
		f.lose("inside", func(int) { f.write(filepath.Join(cg, "cgroup.kill"), "1") })
	}},
	{"a real scheduler is starved by a real-time task", false, scx.EndingStall, api.EEVDF, func(f *faults) { f.lose("bpfland", f.starve) }},
	{"the scheduler dies a second after it was registered", false, scx.EndingExited, api.EEVDF, func(f *faults) { f.lose("dies", func(int) {}) }},
	{"a CPU goes under a scheduler that does not heed it", false, scx.EndingHotplug, "scx_good", func(f *faults) {
		// It is started anew at once: the order for it stands.
		before := f.order("good")
		f.cpu1("0")
		f.await(soon, "registered anew after the CPU went", func(st api.Status) bool {
			return st.Incidents > before.Incidents && f.inCharge(st, "good") && st.Kernel.EnableSeq > before.Kernel.EnableSeq
		})
	}},
	{"a CPU goes and comes under a real scheduler", false, "", "scx_rusty", func(f *faults) {
		f.order("rusty")
		f.cpu1("0")
		time.Sleep(5 * time.Second)
		f.cpu1("1")
		time.Sleep(5 * time.Second)
		f.await(soon, "scx_rusty in charge", func(st api.Status) bool { return f.inCharge(st, "rusty") })
	}},
	{"a CPU goes and comes while the next scheduler loads", false, "", "scx_bpfland", func(f *faults) {
		f.order("rusty")
		wait := f.begin("bpfland", scx.PhaseLoading)
		f.cpu1("0")
		f.cpu1("1")
		if out, code := wait(); code != 0 {
			f.t.Errorf("exit %d: %s", code, out)
		}
	}},

	{"the verifier rejects the next scheduler", false, scx.EndingVerifier, "scx_rusty", func(f *faults) { f.refused("rejects") }},
	{"the next scheduler does not know its arguments", false, scx.EndingUsage, "scx_rusty", func(f *faults) { f.refused("bpfland", "--no-such-option") }},
	{"the next scheduler never registers", false, scx.EndingTimeout, "scx_rusty", func(f *faults) { f.refused("never") }},
	{"the next scheduler finds no memory in its cgroup", false, scx.EndingMemory, "scx_rusty", func(f *faults) {
		f.within("hungry", f.cgroup("hungry", "memory"), guest.Scheduler(f.t, "scx_bpfland"))
		f.write(filepath.Join(f.cgroup("hungry", "memory"), "memory.max"), "4M")
		f.refused("hungry")
	}},
	{"the next scheduler registers as another one", false, scx.EndingUnknown, "scx_rusty", func(f *faults) { f.refused("flash") }},
	{"the kernel's configuration is hidden", false, scx.EndingKernelConfig, "scx_rusty", func(f *faults) {
		if err := unix.Mount("tmpfs", "/boot", "tmpfs", 0, ""); err != nil {
			f.t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount("/boot", 0); err != nil {
				f.t.Error(err)
			}
		}()
		f.refused("lavd")
	}},
	{"another manager registers its scheduler first", false, scx.EndingForeign, "", func(f *faults) {
		f.mustRun("switch", "eevdf")
		wait := f.begin("slow", scx.PhaseVerifying)
		foreign := guest.Start(f.t, guest.Scheduler(f.t, "scx_rusty"))
		out, code := wait()
		if code == 0 || !strings.Contains(out, "rusty") {
			f.t.Errorf("exit %d: %s", code, out)
		}
		if st := f.settled(); st.Scheduler.Owner != api.OwnerForeign || st.Scheduler.Ops != kernel().Ops || foreign.Ended() {
			f.t.Errorf("in charge: %+v, the kernel says %+v", st.Scheduler, kernel())
		}
		_ = foreign.Stop()
		awaitDisabled(f.t, soon)
	}},
}

// Every row of the table in turn; in the short matrix those that are marked. Then a swap through the gate, as if nothing had been.
func TestVMFaultsLeaveTasksScheduledAndTheStatusTrue(t *testing.T) {
	guest.SchedExt(t)
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{t: t, dir: dir}
	for _, mode := range []string{broken.Good, broken.Rejects, broken.Stall, broken.Error, broken.Dies} {
		f.script("scx_"+mode, "exec "+self+" "+brokenWord+" "+mode)
	}
	f.script("scx_exits", "echo 'Error: not today' >&2; exit 1")
	f.script("scx_never", "exec sleep 1000")
	f.script("scx_slow", "sleep 20; exec "+guest.Scheduler(t, "scx_bpfland"))
	f.script("scx_flash", "exec "+guest.Scheduler(t, "scx_bpfland")+` "$@"`) // which is asked for its version and its options
	config := fmt.Sprintf("start_timeout_secs = 60\nstop_timeout_secs = 20\n[schedulers.paths]\nscx_flash = %q\n", filepath.Join(dir, "scx_flash"))
	f.autosa = start(t, bin(t), append(inVM(t, config), "--no-auto-switch", "--scheduler-dir", dir)...)

	done := 0
	var endings []string
	for _, row := range faultTable {
		if testing.Short() && !row.short {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			f.t, f.autosa.t = t, t
			defer func() { f.t, f.autosa.t = nil, nil }()
			f.run(row)
			if !t.Failed() {
				done++
				endings = append(endings, string(row.ending))
			}
		})
	}
	f.t, f.autosa.t = t, t
	f.order("rusty")
	if st := f.order("bpfland"); st.LastSwap.Ungated != "" || st.LastSwap.GapSeconds <= 0 {
		t.Errorf("after the faults: %+v, want a swap through the gate", st.LastSwap)
	}
	t.Logf("counted: %d rows, endings %s", done, strings.Join(endings, ", "))
}

// run makes a row happen, judges what is left, and puts everything back.
func (f *faults) run(row fault) {
	f.t.Helper()
	f.clear()
	before := f.settled()
	row.does(f)
	want := before.Incidents
	if row.ending != "" {
		want++
	}
	st := f.settled()
	if st.Incidents != want {
		f.t.Errorf("%d incidents, want %d: %+v", st.Incidents-before.Incidents, want-before.Incidents, st.LastIncident)
	}
	if row.ending != "" && (st.LastIncident == nil || st.LastIncident.Ending != string(row.ending)) {
		f.t.Errorf("the incident is %+v, want the ending %q", st.LastIncident, row.ending)
	}
	if st.Incidents > before.Incidents {
		f.incident(st.LastIncident.ID)
	}
	if row.inCharge != "" && st.Scheduler.Name != row.inCharge {
		f.t.Errorf("%+v is in charge, want %s", st.Scheduler, row.inCharge)
	}
	f.sound()
	f.cpu1("1")
	f.clear()
}

// clear leaves EEVDF by order and no quarantine.
func (f *faults) clear() {
	f.t.Helper()
	f.mustRun("switch", "eevdf")
	f.mustRun("quarantine", "clear", "--all")
	awaitDisabled(f.t, soon)
}

// settled is the status once no swap is under way and it says what the kernel says: of the state, the scheduler's name in it, and
// how often one was enabled.
func (f *faults) settled() api.Status {
	f.t.Helper()
	return f.await(soon, "no swap under way, and the status as the kernel has it", func(st api.Status) bool {
		k := kernel()
		return st.Swap == nil && st.Kernel.State == k.State && st.Scheduler.Ops == k.Ops && st.Kernel.EnableSeq == k.EnableSeq &&
			(st.Scheduler.Name == api.EEVDF) == (k.State == "disabled")
	})
}

// sound checks that every CPU gives a new task its turns.
func (f *faults) sound() {
	f.t.Helper()
	for cpu := range 2 {
		cmd := exec.Command("timeout", "60", "taskset", "-c", fmt.Sprint(cpu), "sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo done")
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "done" {
			if f.online(cpu) {
				f.t.Errorf("a task on CPU %d: %v: %s", cpu, err, out)
			}
		}
	}
}

func (f *faults) online(cpu int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/online", cpu))
	return err != nil || strings.TrimSpace(string(b)) == "1" // CPU 0 has no such file
}

// opsOf are the names under which schedulers register that have another one than their file.
var opsOf = map[string]string{"good": broken.Ops, "stall": broken.Ops, "error": broken.Ops, "dies": broken.Ops, "inside": "rusty"}

func (f *faults) inCharge(st api.Status, name string) bool {
	ops := opsOf[name]
	if ops == "" {
		ops = name
	}
	return inCharge(st, "scx_"+name, ops)
}

// order puts a scheduler in charge.
func (f *faults) order(name string) api.Status {
	f.t.Helper()
	f.mustRun("switch", "--force", name)
	return f.await(soon, name+" in charge", func(st api.Status) bool { return f.inCharge(st, name) })
}

// lose puts a scheduler in charge, has it taken out, and waits for the incident.
func (f *faults) lose(name string, take func(pid int)) {
	f.t.Helper()
	f.mustRun("switch", "--force", name)
	st, err := f.status()
	if err != nil {
		f.t.Fatal(err)
	}
	take(st.Scheduler.PID)
	f.await(soon, name+" gone, and an incident", func(now api.Status) bool {
		return now.Scheduler.Name == api.EEVDF && now.LastIncident != nil && now.LastIncident.Scheduler == "scx_"+name
	})
}

// refused puts scx_rusty in charge and orders another one, which is not to come up.
func (f *faults) refused(name string, args ...string) {
	f.t.Helper()
	f.order("rusty")
	argv := []string{"switch", "--force", name}
	if len(args) > 0 {
		argv = append(append(argv, "--"), args...)
	}
	out, errOut, code := f.autosa.run(argv...)
	if code != api.ExitFailed {
		f.t.Errorf("switch to %s: exit %d, want %d: %s%s", name, code, api.ExitFailed, out, errOut)
	}
	f.t.Logf("switch to %s: %s", name, strings.TrimSpace(errOut))
}

// begin orders a scheduler and returns once the swap is in the phase. wait waits for the client's end.
func (f *faults) begin(name string, phase scx.Phase) (wait func() (out string, code int)) {
	f.t.Helper()
	var out bytes.Buffer
	client := exec.Command(f.bin, "switch", "--force", name)
	client.Env = append(withoutSettings(), "AUTOSA_SOCKET="+f.socket)
	client.Stdout, client.Stderr = &out, &out
	if err := client.Start(); err != nil {
		f.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = client.Wait(); close(ended) }()
	f.t.Cleanup(func() { <-ended })
	for deadline := time.Now().Add(soon); ; time.Sleep(50 * time.Millisecond) {
		if st, err := f.status(); err == nil && st.Swap != nil && st.Swap.Phase == string(phase) {
			break
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("the swap to %s is not %s within %v", name, phase, soon)
		}
	}
	return func() (string, int) {
		<-ended
		return out.String(), client.ProcessState.ExitCode()
	}
}

func sends(sig unix.Signal) func(pid int) { return func(pid int) { _ = unix.Kill(pid, sig) } }

// parent is a process's.
func (f *faults) parent(pid int) int {
	f.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		f.t.Fatal(err)
	}
	_, after, _ := bytes.Cut(b, []byte(") "))
	var state string
	var parent int
	if _, err := fmt.Sscan(string(after), &state, &parent); err != nil {
		f.t.Fatal(err)
	}
	return parent
}

// forgotten starts a task that scx_stall does not run any more.
func (f *faults) forgotten() {
	f.t.Helper()
	path := filepath.Join(f.dir, broken.Forgotten)
	b, err := os.ReadFile("/bin/sleep")
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	time.Sleep(time.Second) // the scheduler heeds its signal
	guest.Start(f.t, path, "1")
}

// starve keeps CPU 1 from every task that is not a real-time one until the kernel has ejected the scheduler.
func (f *faults) starve(int) {
	f.t.Helper()
	// Since 7.1 the kernel keeps a share of each CPU for tasks of sched_ext.
	for _, share := range []string{"ext_server", "fair_server"} {
		path := "/sys/kernel/debug/sched/" + share + "/cpu1/runtime"
		if b, err := os.ReadFile(path); err == nil {
			f.write(path, "0")
			f.t.Cleanup(func() { _ = os.WriteFile(path, b, 0) })
		}
	}
	guest.Load(f.t, "spin", "-n", "1", "-cpu", "1")
	time.Sleep(time.Second)
	hog := guest.Start(f.t, "/usr/bin/timeout", "60", "chrt", "-f", "10", "taskset", "-c", "1", "sh", "-c", "while :; do :; done")
	guest.Await(f.t, soon, "the scheduler ejected", func() bool { return kernel().State == "disabled" })
	_ = hog.Stop()
}

// cpu1 takes CPU 1 off or on line.
func (f *faults) cpu1(value string) {
	f.t.Helper()
	const online = "/sys/devices/system/cpu/cpu1/online"
	if b, err := os.ReadFile(online); err != nil || strings.TrimSpace(string(b)) != value {
		f.write(online, value)
	}
}

// cgroup makes a cgroup, with a controller if one is named, and removes it with the test.
func (f *faults) cgroup(name, controller string) string {
	f.t.Helper()
	const root = "/sys/fs/cgroup"
	if controller != "" {
		f.write(filepath.Join(root, "cgroup.subtree_control"), "+"+controller)
	}
	dir := filepath.Join(root, "autosa-test-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = os.Remove(dir) })
	return dir
}

// within makes a scheduler that runs in a cgroup.
func (f *faults) within(name, cgroup, path string) {
	f.t.Helper()
	f.script("scx_"+name, "echo $$ >"+cgroup+"/cgroup.procs && exec "+path)
}

func (f *faults) script(name, body string) {
	f.t.Helper()
	text := "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n" + body + "\n"
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o755); err != nil {
		f.t.Fatal(err)
	}
}

func (f *faults) write(path, text string) {
	f.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		f.t.Fatal(err)
	}
}
