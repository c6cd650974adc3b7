// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program that runs beside a measurement until it is told to end.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer // these two are valid once done is closed
	err  error
}

// launch starts a program in a group of its own, which a Ctrl-C at the terminal does not reach.
func launch(argv ...string) (*process, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// early returns an error when the process has ended by itself.
func (p *process) early() error {
	select {
	case <-p.done:
		why := p.err
		if why == nil {
			why = errors.New("exit status 0")
		}
		return fmt.Errorf("%s ended by itself: %w: %s", strings.Join(p.cmd.Args, " "), why, bytes.TrimSpace(p.out.Bytes()))
	default:
		return nil
	}
}

// end ends the process and all that it has started. To have ended before, or not to heed the signal, is an error.
func (p *process) end(sig syscall.Signal) error {
	if err := p.early(); err != nil {
		return err
	}
	const limit = 20 * time.Second
	_ = p.cmd.Process.Signal(sig) // it may end just now
	var late error
	select {
	case <-p.done:
	case <-time.After(limit):
		late = fmt.Errorf("%s did not end within %v of %v", strings.Join(p.cmd.Args, " "), limit, sig)
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		<-p.done
	}
	return late
}
