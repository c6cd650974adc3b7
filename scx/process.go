// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is how a scheduler's process ended. Its code alone says little: some
// schedulers return 0 after the kernel took them out.
type Exit struct {
	// Code is the exit status, -1 when a signal ended it or its supervisor was
	// lost.
	Code int
	// Signal ended it; 0 if none did.
	Signal syscall.Signal
	// Requested is true when autosa asked it to end.
	Requested bool
	// Builtin is true of the built-in scheduler, which has no process: Code is then 1
	// when the kernel took it out or refused it.
	Builtin bool
	// Reason is what the scheduler printed of the kernel's exit information
	// ("EXIT: …"); empty if nothing.
	Reason string
	// Complaint is the line of its output that best says why it ended; empty where
	// none does.
	Complaint string
}

func (e Exit) String() string {
	var s string
	switch {
	case e.Builtin && e.Code != 0:
		s = "the kernel took it out, or refused it"
	case e.Builtin:
		s = "it ended"
	case e.Signal != 0:
		s = fmt.Sprintf("killed by %s", unix.SignalName(e.Signal))
	case e.Code < 0:
		s = "lost with its supervisor"
	default:
		s = fmt.Sprintf("exited with status %d", e.Code)
	}
	if e.Complaint != "" {
		s += ": " + e.Complaint
	}
	return s
}

// supervisorReady bounds the start of a supervisor, generously: it is this
// executable, and the machine may be emulated.
const supervisorReady = 30 * time.Second

// process is one supervised scheduler process: spawned (the supervisor waits),
// started, ended. All methods are safe for concurrent use.
type process struct {
	path string
	args []string
	log  *slog.Logger
	out  *output
	// group is the process group and session of the supervisor and the scheduler,
	// and the supervisor's PID.
	group    int
	lifeline *os.File
	ready    chan struct{} // closed when the supervisor waits for its order
	started  chan error    // one answer to the start order
	parked   chan struct{} // closed when it is held at its registration
	done     chan struct{} // closed when nothing of it is left
	cmd      *exec.Cmd     // the supervisor
	failure  error         // why it could not be started, or held; valid after done

	mu        sync.Mutex
	pid       int  // guarded by mu; the scheduler's, 0 before it was started
	reaped    bool // guarded by mu; group may belong to others now
	requested bool // guarded by mu
	exit      Exit // guarded by mu; complete after done
}

// spawn starts a supervisor for the scheduler and waits until it is ready for
// the order to start. Nothing of the scheduler runs yet. grace is how long the
// scheduler may take to end when the daemon dies. state is the kernel's state
// file for one behind a [gate], or [noGate]. The caller ends it with
// abandon, or with terminate and kill, and waits for done.
func spawn(ctx context.Context, log *slog.Logger, state, path string, args []string, grace time.Duration) (*process, error) {
	p := &process{
		path:    path,
		args:    args,
		log:     log,
		out:     &output{log: log},
		ready:   make(chan struct{}),
		started: make(chan error, 1),
		parked:  make(chan struct{}),
		done:    make(chan struct{}),
	}
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			files = append(files, r, w)
		}
		return r, w, err
	}
	outR, outW, err1 := pipe()
	lifeR, lifeW, err2 := pipe()
	reportR, reportW, err3 := pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		closeAll()
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	// This executable as it runs, even if the file was replaced meanwhile.
	p.cmd = exec.Command("/proc/self/exe")
	p.cmd.Args = append([]string{"autosa", SuperviseWord, grace.String(), state, path}, args...)
	p.cmd.Env = append(cleanEnv(), "GOMAXPROCS=1", "GOTRACEBACK=single")
	p.cmd.Dir = "/"
	p.cmd.Stdout, p.cmd.Stderr = outW, outW
	p.cmd.ExtraFiles = []*os.File{lifeR, reportW}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		closeAll()
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	outW.Close()
	lifeR.Close()
	reportW.Close()
	p.lifeline, p.group = lifeW, p.cmd.Process.Pid
	go p.attend(outR, reportR)

	ctx, cancel := context.WithTimeout(ctx, supervisorReady)
	defer cancel()
	select {
	case <-p.ready:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("start supervisor: %w", p.failure)
	case <-ctx.Done():
		p.abandon()
		return nil, fmt.Errorf("start supervisor: %w", ctx.Err())
	}
}

// attend follows the process to its end; it is the only one to wait for it.
func (p *process) attend(outR, reportR *os.File) {
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(p.out, outR) // ends with the last writer, or by the deadline below
		p.out.close()
	}()
	end := p.follow(reportR)
	reportR.Close()

	// The supervisor is gone or going. While it is not reaped its PID, and so the
	// group's number, belongs to nobody else.
	for {
		err := unix.Waitid(unix.P_PID, p.group, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	_ = unix.Kill(-p.group, unix.SIGKILL)
	p.reaped = true
	p.mu.Unlock()
	supervisorErr := p.cmd.Wait()
	p.lifeline.Close()

	_ = outR.SetReadDeadline(time.Now().Add(time.Second))
	<-copied
	outR.Close()

	text := p.out.text()
	p.mu.Lock()
	p.exit = Exit{Code: -1, Requested: p.requested, Reason: exitReason(text)}
	if end != nil {
		p.exit.Code, p.exit.Signal = end.Code, syscall.Signal(end.Signal)
	}
	p.exit.Complaint = complaint(text, p.exit.Code > 0)
	if p.failure == nil && end == nil {
		p.failure = errors.New("the supervisor was lost")
		if supervisorErr != nil {
			p.failure = fmt.Errorf("the supervisor was lost: %w", supervisorErr)
		}
	}
	p.mu.Unlock()
	close(p.done)
}

// follow reads the supervisor's reports to their end.
func (p *process) follow(reports io.Reader) *ended {
	var end *ended
	answered := false
	answer := func(err error) {
		if !answered {
			answered = true
			p.started <- err
		}
	}
	for dec := json.NewDecoder(reports); ; {
		var r report
		if err := dec.Decode(&r); err != nil {
			answer(errors.New("the supervisor ended before it started the scheduler"))
			return end
		}
		switch {
		case r.Ready:
			close(p.ready)
		case r.Started != 0:
			p.mu.Lock()
			p.pid = r.Started
			p.mu.Unlock()
			answer(nil)
		case r.Parked:
			close(p.parked) // told once
		case r.NoGate != "":
			p.failure = &gateError{why: r.NoGate}
			answer(p.failure)
		case r.Failed != "":
			p.failure = errors.New(r.Failed)
			answer(p.failure)
		case r.Ended != nil:
			end = r.Ended
		}
	}
}

// start orders the start and waits until the scheduler's program was executed, or
// could not be. Called once.
func (p *process) start(ctx context.Context) error {
	p.send(cmdStart)
	select {
	case err := <-p.started:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// park waits, after start, until the scheduler is held at its registration. Where
// it cannot be held the error is a [*gateError]; it then ends by itself.
func (p *process) park(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.parked:
		return nil
	case <-p.done:
		var g *gateError
		if errors.As(p.failure, &g) {
			return g
		}
		return fmt.Errorf("%w: %s", ErrExited, p.ending())
	case <-timer.C:
		return fmt.Errorf("%w: it has not come to its registration after %v", ErrTimeout, limit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open lets a held scheduler register.
func (p *process) open() { p.send(cmdOpen) }

// gateError is why a scheduler cannot be held at its registration.
type gateError struct{ why string }

func (e *gateError) Error() string { return "it cannot be held before its registration: " + e.why }

// send gives the supervisor an order. If it is gone, so is the scheduler.
func (p *process) send(order byte) { _, _ = p.lifeline.Write([]byte{order}) }

// abandon ends it as the daemon's death would, without waiting.
func (p *process) abandon() {
	p.request()
	p.lifeline.Close()
}

// terminate asks the scheduler to end.
func (p *process) terminate() {
	p.request()
	p.send(cmdTerminate)
}

// kill has the supervisor kill the scheduler.
func (p *process) kill() {
	p.request()
	p.send(cmdKill)
}

// destroy kills the supervisor and the scheduler at once, for when the
// supervisor does not answer.
func (p *process) destroy() {
	p.request()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.group, unix.SIGKILL)
	}
}

func (p *process) request() {
	p.mu.Lock()
	p.requested = true
	p.mu.Unlock()
}

// alive reports whether anything of it is left.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// PID is the scheduler's process; 0 before it was started.
func (p *process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// ending is how it ended; valid after done.
func (p *process) ending() Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}
