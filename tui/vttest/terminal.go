// SPDX-License-Identifier: Apache-2.0

package vttest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// patience bounds everything that is waited for.
const patience = 2 * time.Minute

// Terminal is a pseudo-terminal with a program on it.
type Terminal struct {
	t       *testing.T
	cmd     *exec.Cmd
	master  *os.File
	slave   *os.File // ours, so that the terminal outlives the program
	before  unix.Termios
	answers bool
	reports string        // the directory of the race detector's reports
	read    chan struct{} // closed when reading has ended

	mu      sync.Mutex
	changed *sync.Cond
	screen  *screen // guarded by mu
	raw     strings.Builder
	ended   bool // guarded by mu
}

// Start runs cmd on a terminal of a size. A terminal that answers replies to the
// program's questions as a modern one would; others keep silent. The program ends
// with the test.
func Start(t *testing.T, cmd *exec.Cmd, width, height int, answers bool) *Terminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	term := &Terminal{t: t, cmd: cmd, master: master, slave: slave, answers: answers, read: make(chan struct{}), screen: newScreen(width, height)}
	term.changed = sync.NewCond(&term.mu)
	if err := pty.Setsize(master, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		t.Fatal(err)
	}
	term.before = term.termios()
	// Reports of the race detector would land on the screen.
	if term.reports, err = os.MkdirTemp("", "vttest"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(term.reports, 0o777); err != nil { // the program may be another user's
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0 exitcode=0 log_path="+filepath.Join(term.reports, "race"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go term.reader()
	t.Cleanup(term.close)
	return term
}

func (term *Terminal) termios() unix.Termios {
	v, err := unix.IoctlGetTermios(int(term.slave.Fd()), unix.TCGETS)
	if err != nil {
		term.t.Fatal(err)
	}
	return *v
}

func (term *Terminal) reader() {
	defer close(term.read)
	buf := make([]byte, 64<<10)
	for {
		n, err := term.master.Read(buf)
		term.mu.Lock()
		for _, b := range buf[:n] {
			term.screen.parser.Advance(b)
		}
		term.raw.Write(buf[:n])
		replies := term.screen.replies
		term.screen.replies = nil
		term.ended = term.ended || err != nil
		term.changed.Broadcast()
		term.mu.Unlock()
		if term.answers {
			for _, r := range replies {
				_, _ = term.master.WriteString(r)
			}
		}
		if err != nil {
			return
		}
	}
}

func (term *Terminal) close() {
	if term.cmd.ProcessState == nil {
		_ = term.cmd.Process.Kill()
		_ = term.cmd.Wait()
	}
	_ = term.slave.Close()
	_ = term.master.Close()
	<-term.read
	_ = os.RemoveAll(term.reports)
}

// Send types.
func (term *Terminal) Send(keys string) {
	term.t.Helper()
	if _, err := term.master.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
}

// Resize changes the terminal's size; the kernel tells the program. The screen
// follows when the program begins its page anew.
func (term *Terminal) Resize(width, height int) {
	term.t.Helper()
	term.mu.Lock()
	term.screen.next = [2]int{width, height}
	term.mu.Unlock()
	if err := pty.Setsize(term.master, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		term.t.Fatal(err)
	}
}

// ScreenSize is the size that the program has taken notice of. It is for use by
// what Await is given.
func (term *Terminal) ScreenSize() (width, height int) { return term.screen.width, term.screen.height }

// Screen is the screen as text.
func (term *Terminal) Screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return strings.Join(term.screen.lines(), "\n")
}

// Raw is everything that the program has written.
func (term *Terminal) Raw() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.raw.String()
}

// Coloured says whether some colour was used.
func (term *Terminal) Coloured() bool {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.screen.colours
}

// Await waits until the screen is as wanted.
func (term *Terminal) Await(what string, ok func(screen string) bool) {
	term.t.Helper()
	timeout := time.AfterFunc(patience, func() {
		term.mu.Lock()
		defer term.mu.Unlock()
		term.ended = true
		term.changed.Broadcast()
	})
	defer timeout.Stop()
	term.mu.Lock()
	defer term.mu.Unlock()
	for {
		lines := strings.Join(term.screen.lines(), "\n")
		if ok(lines) {
			return
		}
		if term.ended {
			term.t.Fatalf("no %s on the screen:\n%s", what, lines)
		}
		term.changed.Wait()
	}
}

// AwaitText waits until text is on the screen.
func (term *Terminal) AwaitText(text string) {
	term.t.Helper()
	term.Await(text, func(s string) bool { return strings.Contains(s, text) })
}

// Kill sends the program a signal.
func (term *Terminal) Kill(s os.Signal) {
	term.t.Helper()
	if err := term.cmd.Process.Signal(s); err != nil {
		term.t.Fatal(err)
	}
}

// Wait waits for the program's end and returns its exit code. It fails the test
// where the program has written what no terminal understands, or past the end of a
// line, or did not leave the terminal as it was.
func (term *Terminal) Wait() int {
	term.t.Helper()
	killed := time.AfterFunc(patience, func() { _ = term.cmd.Process.Kill() })
	err := term.cmd.Wait()
	if !killed.Stop() {
		term.t.Errorf("the program did not end; on the screen:\n%s", term.Screen())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		term.t.Fatal(err)
	}
	after := term.termios()
	// What was written is read up to a mark that we write behind it.
	if _, err := term.slave.WriteString("\x1b]2;" + endMark + "\a"); err != nil {
		term.t.Fatal(err)
	}
	term.Await("mark", func(string) bool { return term.screen.ended })
	term.mu.Lock()
	defer term.mu.Unlock()
	if after != term.before {
		term.t.Errorf("the terminal's settings were %+v and are %+v", term.before, after)
	}
	for _, left := range term.screen.left() {
		term.t.Errorf("left behind: %s", left)
	}
	for _, d := range term.screen.defects {
		term.t.Error(d)
	}
	term.races()
	return term.cmd.ProcessState.ExitCode()
}

// knownRace is one of a library: at the end, the descriptor of its epoll instance is
// closed beside the goroutine that waits on it, whose wait then fails as it should.
const knownRace = "cancelreader.(*epollCancelReader).Close()"

// races fails the test where the race detector has found something in the program.
func (term *Terminal) races() {
	files, err := filepath.Glob(filepath.Join(term.reports, "race.*"))
	if err != nil {
		term.t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			term.t.Fatal(err)
		}
		for report := range strings.SplitSeq(string(b), "==================\n") {
			if strings.Contains(report, "DATA RACE") && !strings.Contains(report, knownRace) {
				term.t.Error(report)
			}
		}
	}
}
