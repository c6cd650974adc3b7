// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SuperviseWord is the hidden first argument under which the autosa executable
// is a scheduler's supervisor: main hands the arguments after it to
// [SuperviseMain] before it does anything else.
const SuperviseWord = "internal-supervise"

// Descriptors that a supervisor is started with, beside the standard ones.
const (
	lifelineFD = 3 // read: commands; end of file means that the daemon is gone
	reportFD   = 4 // write: reports
)

// Commands on the lifeline, a byte each.
const (
	cmdStart     = 'S'
	cmdOpen      = 'O' // let the scheduler register
	cmdTerminate = 'T'
	cmdKill      = 'K'
)

// report is what a supervisor tells its daemon, a line of JSON each.
type report struct {
	Ready   bool   `json:"ready,omitempty"`
	Started int    `json:"started,omitempty"` // the scheduler's PID
	Failed  string `json:"failed,omitempty"`  // why it could not be executed
	NoGate  string `json:"no_gate,omitempty"` // why it cannot be held; it is not started, or killed
	Parked  bool   `json:"parked,omitempty"`  // it is held right before its registration
	Ended   *ended `json:"ended,omitempty"`
}

// ended is how the scheduler's process ended.
type ended struct {
	Code   int `json:"code"`
	Signal int `json:"signal,omitempty"`
}

// noGate stands for the path of the kernel's state file where a supervisor is to
// start its scheduler without a gate.
const noGate = "-"

// SuperviseMain is a scheduler's supervisor: args are a grace period, the
// kernel's state file for a scheduler behind a [gate], the scheduler's path and
// its arguments. It returns the process's exit code.
//
// A scheduler must not outlive its daemon, and the daemon may be killed at any
// instruction. The supervisor leads a session of its own and holds the reading
// end of a pipe (the lifeline) whose only writing end is the daemon's,
// close-on-exec. The cases:
//
//   - The daemon dies while the supervisor is forked or executed, or before it
//     orders the start: the lifeline ends, and nothing is ever started.
//   - The daemon dies at any later moment: the lifeline ends, the scheduler gets
//     SIGTERM and, after the grace period, SIGKILL. No order is lost in between,
//     since end of file is a state and not an event.
//   - The supervisor dies: the scheduler has SIGKILL as its parent-death signal,
//     set by the thread that forks it, which is locked here and lives as long as
//     the process; the forked child compares its parent after setting it. The
//     daemon then kills the process group as well.
//   - The scheduler forks (a wrapper script): signals go to the whole process
//     group, and the supervisor is the subreaper that kills what is left of the
//     descendants, those in sessions of their own too.
//
// The kernel unregisters a scheduler when the last descriptor of its link closes,
// so a dead process means EEVDF. What remains is a daemon and a supervisor killed
// in the same instant while the scheduler runs below a wrapper: only the cgroup
// (KillMode in the systemd unit) covers that.
func SuperviseMain(args []string) int {
	if len(args) == 1 && args[0] == probeWord {
		return probe()
	}
	// For the life of the process: the parent-death signal follows this thread, and
	// the gate is its own.
	runtime.LockOSThread()

	if len(args) < 3 || !isPipe(lifelineFD) || !isPipe(reportFD) || unix.Getpgrp() != os.Getpid() {
		fmt.Fprintf(os.Stderr, "autosa %s is internal: the daemon runs it.\n", SuperviseWord)
		return 2
	}
	// The scheduler gets none of these, nor what whoever started the daemon left
	// open to it. (Since 5.11; sched_ext is younger.)
	if err := unix.CloseRange(lifelineFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintf(os.Stderr, "autosa %s: close descriptors on exec: %v\n", SuperviseWord, err)
		return 1
	}
	grace, err := time.ParseDuration(args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "autosa %s: grace period: %v\n", SuperviseWord, err)
		return 2
	}
	s := &supervisor{
		grace:    grace,
		state:    args[1],
		argv:     args[2:],
		report:   json.NewEncoder(os.NewFile(reportFD, "report")),
		commands: make(chan byte),
		signals:  make(chan os.Signal, 8),
	}
	signal.Notify(s.signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	// Orphans of the scheduler become ours. Without it (never on a kernel with
	// sched_ext) they would become init's.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		s.tell(report{Failed: fmt.Sprintf("become subreaper: %v", err)})
		return 1
	}
	go s.listen(os.NewFile(lifelineFD, "lifeline"))
	return s.run()
}

type supervisor struct {
	grace    time.Duration
	state    string // the kernel's state file, or noGate
	argv     []string
	report   *json.Encoder
	commands chan byte // closed when the daemon is gone
	signals  chan os.Signal
	asked    bool // SIGTERM was sent

	gate *gate  // nil without one
	held uint64 // the call that is held; 0: none
	open bool   // nothing is held any more
}

// tell reports to the daemon. A daemon that is gone does not mind.
func (s *supervisor) tell(r report) { _ = s.report.Encode(r) }

func (s *supervisor) listen(lifeline io.Reader) {
	defer close(s.commands)
	var b [1]byte
	for {
		if _, err := io.ReadFull(lifeline, b[:]); err != nil {
			return
		}
		s.commands <- b[0]
	}
}

func (s *supervisor) run() int {
	s.tell(report{Ready: true})
	select {
	case c, ok := <-s.commands:
		if !ok || c != cmdStart {
			return 0
		}
	case <-s.signals:
		s.tell(report{Failed: "the supervisor was told to end"})
		return 0
	}
	var calls chan call
	if s.state != noGate {
		var err error
		if s.gate, err = newGate(s.state); err != nil {
			s.tell(report{NoGate: err.Error()})
			return 0
		}
		calls = s.gate.calls
	}
	child, err := os.StartProcess(s.argv[0], s.argv, &os.ProcAttr{
		Dir:   "/",
		Env:   cleanEnv(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
	})
	if err != nil {
		s.tell(report{Failed: err.Error()})
		return 1
	}
	s.tell(report{Started: child.Pid})

	exited := make(chan *os.ProcessState, 1)
	go func() {
		// The only error is a wait that somebody else did: nobody does.
		state, _ := child.Wait()
		exited <- state
	}()
	var kill <-chan time.Time
	for {
		select {
		case state := <-exited:
			killDescendants()
			s.tell(report{Ended: endOf(state)})
			return 0
		case c, ok := <-s.commands:
			switch {
			case !ok:
				s.commands = nil
				s.terminate()
				kill = time.After(s.grace)
			case c == cmdOpen:
				s.letGo()
			case c == cmdTerminate:
				s.terminate()
			case c == cmdKill:
				_ = child.Kill() // gone already is as good
			}
		case c := <-calls:
			if err := s.answer(c); err != nil {
				s.tell(report{NoGate: err.Error()})
				_ = child.Kill()
			}
		case <-s.signals:
			// Our own reaches the whole group, and this process in it: what was asked
			// for already has its own bound.
			if !s.asked {
				s.terminate()
				kill = time.After(s.grace)
			}
		case <-kill:
			_ = child.Kill()
		}
	}
}

// answer holds the call that registers the scheduler, the first time, and lets
// all others through: a scheduler may register itself anew later.
func (s *supervisor) answer(c call) error {
	switch {
	case c.err != nil:
		return c.err
	case c.registers && s.asked:
		s.gate.deny(c.id)
	case !c.registers || s.open:
		s.gate.allow(c.id)
	case s.held != 0:
		s.held = c.id // a signal interrupted it, and it was made again
	default:
		s.held = c.id
		if err := s.gate.show(); err != nil {
			return fmt.Errorf("show %s: %w", s.state, err)
		}
		s.tell(report{Parked: true})
	}
	return nil
}

// letGo opens the gate.
func (s *supervisor) letGo() {
	s.open = true
	if s.gate != nil && s.held != 0 {
		s.gate.allow(s.held)
		s.held = 0
	}
}

// terminate asks the whole group, once: this process is in it too. What is held
// fails.
func (s *supervisor) terminate() {
	if s.asked {
		return
	}
	s.asked = true
	_ = unix.Kill(0, unix.SIGTERM)
	if s.held != 0 {
		s.gate.deny(s.held)
		s.held = 0
	}
}

func endOf(state *os.ProcessState) *ended {
	if state == nil {
		return &ended{Code: -1}
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return &ended{Code: -1, Signal: int(ws.Signal())}
	}
	return &ended{Code: state.ExitCode()}
}

// killDescendants kills and reaps every remaining child, and as subreaper those
// of the children, until there is none. It gives up after a while on a child that
// is stuck in the kernel.
func killDescendants() {
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			return
		}
		if pid > 0 || err != nil {
			continue
		}
		for _, pid := range childrenOf(os.Getpid()) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	return processes("/proc", func(s procStat) bool { return s.ppid == pid })
}

// procStat is what is needed of /proc/PID/stat.
type procStat struct {
	pid, ppid, pgrp int
	comm            string
	started         uint64 // in clock ticks since boot; 0 where the line ends before
}

// processes lists those that match.
func processes(proc string, match func(procStat) bool) []int {
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	var pids []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if s, ok := readStat(proc, pid); ok && match(s) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// readStat reads /proc/PID/stat; ok is false when the process has ended.
func readStat(proc string, pid int) (procStat, bool) {
	b, err := os.ReadFile(proc + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, false
	}
	s, ok := parseStat(string(b))
	return s, ok && s.pid == pid
}

// parseStat reads "PID (comm) state ppid pgrp …", see proc_pid_stat(5); comm may
// hold anything.
func parseStat(text string) (procStat, bool) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return procStat{}, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text[:open]))
	rest := strings.Fields(text[end+1:])
	if err != nil || len(rest) < 3 {
		return procStat{}, false
	}
	s := procStat{pid: pid, comm: text[open+1 : end]}
	var err1, err2 error
	s.ppid, err1 = strconv.Atoi(rest[1])
	s.pgrp, err2 = strconv.Atoi(rest[2])
	if len(rest) > 19 { // starttime is the 22nd field, and rest begins with the third
		s.started, _ = strconv.ParseUint(rest[19], 10, 64)
	}
	return s, err1 == nil && err2 == nil
}

func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}
