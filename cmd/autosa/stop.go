// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/api/client"
)

func (a *app) stopCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon; a scheduler it started ends with it",
		Long: `Stop the daemon and wait until it is gone. A scheduler that it started ends with
it, and the kernel's own scheduler takes over.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef(cmd, "--timeout must be positive")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return a.stopDaemon(ctx, c, timeout)
		},
	}
	a.clientFlags(cmd, nil)
	cmd.Flags().DurationVar(&timeout, "timeout", 60*time.Second, "how long to wait until it is gone")
	return cmd
}

// stopDaemon orders the daemon to end and waits until its process has.
func (a *app) stopDaemon(ctx context.Context, c *client.Client, timeout time.Duration) error {
	pid, err := c.Process(ctx)
	if err != nil {
		return err
	}
	// Opened before the order, so that the PID cannot be another process's yet.
	gone, closeGone := watchProcess(pid)
	defer closeGone()
	began := a.now()
	stopping, err := c.Stop(ctx)
	if err != nil {
		return err
	}
	if gone == nil {
		gone = func() (bool, error) { return silent(ctx, c), nil }
	}
	_, _, progress := terminal(a.stderr)
	for next := began.Add(2 * time.Second); ; {
		ended, err := gone()
		switch {
		case err != nil:
			return err
		case ended:
			fmt.Fprintf(a.stdout, "autosa has stopped (PID %d)\n", stopping.PID)
			return nil
		case ctx.Err() != nil:
			return &exitError{api.ExitFailed, fmt.Sprintf("no longer waiting; autosa is stopping (PID %d)", stopping.PID)}
		case a.now().Sub(began) > timeout:
			return &exitError{api.ExitFailed, fmt.Sprintf("autosa is still stopping after %s (PID %d)", age(timeout), stopping.PID)}
		}
		if progress && a.now().After(next) {
			fmt.Fprintf(a.stderr, "waiting for autosa to end (PID %d), %s\n", stopping.PID, age(a.now().Sub(began)))
			next = next.Add(2 * time.Second)
		}
	}
}

// silent waits a little and says whether nobody listens on the socket any more.
func silent(ctx context.Context, c *client.Client) bool {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
	_, err := c.Process(ctx)
	return errors.Is(err, client.ErrNoDaemon)
}

// watchProcess returns a function that waits a little for a process to end and
// says whether it has; nil where the process cannot be seen from here. A
// pidfd is free of reuse, and needs no permission over the process.
func watchProcess(pid int) (gone func() (bool, error), closeFD func()) {
	if pid <= 0 {
		return nil, func() {}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, func() {}
	}
	poll := func() (bool, error) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("wait for process %d: %w", pid, err)
		}
		return n > 0, nil
	}
	return poll, func() { _ = unix.Close(fd) }
}
