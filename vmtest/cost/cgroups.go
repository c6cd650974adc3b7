// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"autosa/vmtest/measure"
)

const treePrefix = "autosa-cost-"

// tree is cgroups 0 to n-1 below one that was made for them.
type tree struct {
	path string
	n    int
}

// makeTree makes n cgroups, after it has removed those of runs that were killed.
func makeTree(ctx context.Context, n int) (tree, error) {
	root, err := measure.CgroupRoot()
	if err != nil {
		return tree{}, err
	}
	old, err := filepath.Glob(filepath.Join(root, treePrefix+"*"))
	if err != nil {
		return tree{}, err
	}
	for _, path := range old {
		pid := strings.TrimPrefix(filepath.Base(path), treePrefix)
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			if err := removeTree(path); err != nil {
				return tree{}, err
			}
		}
	}
	t := tree{filepath.Join(root, treePrefix+strconv.Itoa(os.Getpid())), n}
	if err := os.Mkdir(t.path, 0o755); err != nil {
		return tree{}, fmt.Errorf("make cgroups: %w", err)
	}
	for i := range n {
		err := os.Mkdir(filepath.Join(t.path, strconv.Itoa(i)), 0o755)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return tree{}, errors.Join(fmt.Errorf("make cgroup %d: %w", i, err), t.remove())
		}
	}
	return t, nil
}

func (t tree) remove() error { return removeTree(t.path) }

// removeTree removes a cgroup and those in it, once their last processes have left.
func removeTree(path string) error {
	children, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, c := range children {
		if c.IsDir() {
			if err := removeEmpty(filepath.Join(path, c.Name())); err != nil {
				return err
			}
		}
	}
	return removeEmpty(path)
}

func removeEmpty(path string) error {
	err := unix.Rmdir(path)
	for end := time.Now().Add(30 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		err = unix.Rmdir(path)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", path, err)
	}
	return nil
}

// startRing starts the load and returns once a process is in every cgroup.
func startRing(ctx context.Context, program, dir string, groups, rate int) (stop func() error, err error) {
	cmd := exec.Command(program, dir, strconv.Itoa(groups), strconv.Itoa(rate))
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the load: %w", err)
	}
	stop = func() error {
		// The whole group: its processes are many, and each ends by itself only once its parent is gone.
		err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait() // says that it was killed
		return err
	}
	ready := make(chan error, 1)
	go func() {
		line := make([]byte, len("ready\n"))
		_, err := io.ReadFull(out, line)
		ready <- err
	}()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(3 * time.Minute):
		err = errors.New("not in place within 3 minutes")
	}
	if err != nil {
		serr := stop()
		return nil, errors.Join(fmt.Errorf("the load: %w: %s", err, bytes.TrimSpace(said.Bytes())), serr)
	}
	return stop, nil
}
