// SPDX-License-Identifier: Apache-2.0

package scx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds on asking a binary something. The time allows for a busy or emulated
// machine; the longest --help of the known ones has 20 KiB.
const (
	askTimeout    = 10 * time.Second
	versionOutput = 4 << 10
	helpOutput    = 128 << 10
)

// version is what a binary said of itself.
type version struct {
	text string
	// note says why there is no version though the binary may well work.
	note string
	// broken says why the binary cannot be executed at all.
	broken string
}

// version asks the binary once per file version. What the context cut short is
// not remembered.
func (c *Catalogue) version(ctx context.Context, file fileID, flag string) version {
	c.mu.Lock()
	v, ok := c.versions[file]
	c.mu.Unlock()
	if ok {
		return v
	}
	v = askVersion(ctx, file.path, flag)
	if ctx.Err() != nil {
		return version{note: "its version was not asked for: " + ctx.Err().Error()}
	}
	c.mu.Lock()
	c.versions[file] = v
	c.mu.Unlock()
	return v
}

func askVersion(ctx context.Context, path, flag string) version {
	text, a := ask(ctx, path, flag, versionOutput)
	switch {
	case a.broken != "":
		return version{broken: a.broken}
	case a.failed != "":
		return version{note: a.failed}
	}
	if v := parseVersion(text); v != "" {
		return version{text: v}
	}
	return version{note: "its answer to " + flag + " names no version"}
}

// answer is how a binary took a question. failed says why there is no answer
// though it may well work, broken why it cannot be executed at all.
type answer struct{ failed, broken string }

// ask runs a binary with one flag that has it print something and exit, for at
// most askTimeout, and returns the first limit bytes of what it printed, also where
// its exit status says that it failed.
func ask(ctx context.Context, path, flag string, limit int) (string, answer) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out := &boundedWriter{max: limit}
	cmd := exec.CommandContext(ctx, path, flag)
	cmd.Env = cleanEnv()
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own, so that what a wrapper started is killed with it.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second

	err := cmd.Run()
	text := stripEscapes(string(out.b))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", answer{failed: fmt.Sprintf("did not answer %s within %v", flag, askTimeout)}
	case errors.As(err, &exit) && exit.ExitCode() == 127:
		// The dynamic loader's word for a missing library.
		return "", answer{broken: "it cannot be executed: " + oneLine(text)}
	case errors.As(err, &exit):
		return text, answer{failed: fmt.Sprintf("did not answer %s: %v", flag, exit)}
	case err != nil && cmd.Process == nil:
		return "", answer{broken: fmt.Sprintf("it cannot be executed: %v", err)}
	case err != nil:
		return "", answer{failed: fmt.Sprintf("did not answer %s: %v", flag, err)}
	}
	return text, answer{}
}

// parseVersion finds the version in "scx_lavd 1.1.4 x86_64-unknown-linux-gnu":
// the first word of the first line that has one.
func parseVersion(text string) string {
	for line := range strings.Lines(text) {
		for _, word := range strings.Fields(line) {
			word = strings.TrimPrefix(word, "v")
			if isVersion(word) && len(word) <= 64 {
				return word
			}
		}
	}
	return ""
}

// boundedWriter keeps the first max bytes and swallows the rest.
type boundedWriter struct {
	b   []byte
	max int
}

var _ io.Writer = (*boundedWriter)(nil)

func (w *boundedWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p[:min(len(p), w.max-len(w.b))]...)
	return len(p), nil
}

// cleanEnv is the whole environment that schedulers get.
func cleanEnv() []string {
	return []string{
		"PATH=" + strings.Join(searchPath, ":"),
		"HOME=/",
		"LANG=C.UTF-8",
		"NO_COLOR=1",
	}
}
