// SPDX-License-Identifier: Apache-2.0

// Command readme runs the commands of README.md's first steps as they stand, in a fresh clone of HEAD, and fails at the
// first one that fails, that takes too long, or if there are none. It is run in the module's directory.
//
//	readme [-timeout DURATION] [-list]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const heading = "First steps"

func main() {
	timeout := flag.Duration("timeout", time.Hour, "limit for each command")
	list := flag.Bool("list", false, "print the commands of the working tree's README.md and run nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *timeout, *list); err != nil {
		fmt.Fprintln(os.Stderr, "readme:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, timeout time.Duration, list bool) (err error) {
	if list {
		commands, err := readCommands("README.md")
		if err != nil {
			return err
		}
		fmt.Println(strings.Join(commands, "\n"))
		return nil
	}
	dir, err := os.MkdirTemp("", "autosa-readme-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	clone := filepath.Join(dir, "autosa")
	if out, err := exec.CommandContext(ctx, "git", "clone", "-q", ".", clone).CombinedOutput(); err != nil {
		return fmt.Errorf("clone HEAD: %w: %s", err, out)
	}
	commands, err := readCommands(filepath.Join(clone, "README.md"))
	if err != nil {
		return err
	}
	for _, c := range commands {
		fmt.Printf("$ %s\n", c)
		began := time.Now()
		if err := execute(ctx, clone, c, timeout); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		fmt.Printf("readme: %s: done in %.0f s\n", c, time.Since(began).Seconds())
	}
	fmt.Printf("readme: %d commands of %q work as they stand\n", len(commands), heading)
	return nil
}

func readCommands(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	commands := extract(string(text))
	if len(commands) == 0 {
		return nil, fmt.Errorf("%s has no ```sh block with a command under the heading %q", path, heading)
	}
	return commands, nil
}

// extract returns the commands in the ```sh blocks of the section: a line each, or several that backslashes join. Lines of comment alone
// are left out.
func extract(text string) []string {
	var commands []string
	var level int // of the section's heading, zero outside it
	var inBlock, inOther, open bool
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && (inBlock || inOther):
			inBlock, inOther, open = false, false, false
		case fence:
			inBlock = level > 0 && strings.TrimSpace(line) == "```sh"
			inOther = !inBlock
		case inOther:
		case inBlock:
			trimmed := strings.TrimSpace(line)
			switch {
			case open:
				commands[len(commands)-1] += "\n" + line
			case trimmed == "" || strings.HasPrefix(trimmed, "#"):
				continue
			default:
				commands = append(commands, trimmed)
			}
			open = strings.HasSuffix(line, `\`)
		case strings.HasPrefix(line, "#"):
			title := strings.TrimLeft(line, "#")
			l := len(line) - len(title)
			switch {
			case strings.TrimSpace(title) == heading:
				level = l
			case level > 0 && l <= level:
				level = 0
			}
		}
	}
	return commands
}

// execute runs one command with the shell. When its time is over, or ctx ends, everything it started is asked to end, and
// killed if it has not after half a minute.
func execute(ctx context.Context, dir, command string, timeout time.Duration) error {
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUN_SECONDS=60") // `make run` starts the daemon itself where it can, which would not end
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	var end, cause error
	ended := make(chan struct{})
	go func() {
		end = cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return end
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-time.After(timeout):
		cause = fmt.Errorf("not done within %s", timeout)
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // the shell may have ended meanwhile
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	return cause
}
