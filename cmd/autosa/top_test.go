// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autosa/api"
	"autosa/api/server"
	"autosa/config"
	"autosa/daemon"
	"autosa/tui"
	"autosa/tui/vttest"
)

// mainEnv makes the test binary the program itself.
const mainEnv = "AUTOSA_TEST_MAIN"

// program is the program with a command line.
func program(environ []string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{mainEnv + "=1", "TERM=xterm-256color"}, environ...)
	return cmd
}

// ticking is a daemon whose samples follow one another at a pace.
type ticking struct {
	*fake
	statuses int // of a watch before it ends; 0 for no end
}

func (d *ticking) Watch(ctx context.Context) <-chan api.Status {
	c := make(chan api.Status)
	go func() {
		defer close(c)
		for i := uint64(0); d.statuses == 0 || i < uint64(d.statuses); i++ {
			st := d.Status()
			st.Samples += i
			st.Time = st.Time.Add(time.Duration(i) * time.Second)
			st.Tracer.Switches += i * 1234
			select {
			case c <- st:
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

// serveOn serves a daemon on a socket until the function it returns is called.
func serveOn(t *testing.T, socket string, d server.Backend) (stop func()) {
	t.Helper()
	s, err := server.Listen(socket, server.Options{Backend: d, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// tickingSocket is the socket of a busy daemon.
func tickingSocket(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	t.Cleanup(serveOn(t, socket, &ticking{fake: &fake{status: deciding()}}))
	return socket
}

func TestTopNeedsATerminalThatCanShowIt(t *testing.T) {
	socket := tickingSocket(t)
	want := "autosa: standard output is not a terminal: use `autosa status --watch`, or --once for one page; see `autosa top --help`\n"
	if out, errOut, code := autosa(t, nil, "top", "--socket", socket); code != 2 || out != "" || errOut != want {
		t.Errorf("exit %d: %q %q", code, out, errOut)
	}
	if _, errOut, code := autosa(t, nil, "top", "--once", "--sort", "colour"); code != 2 || !strings.Contains(errOut, `no column "colour" (columns: group, class,`) {
		t.Errorf("exit %d: %q", code, errOut)
	}
	for _, name := range []string{"dumb", ""} {
		cmd := program(nil, "top", "--socket", socket)
		cmd.Env = append(cmd.Env, "TERM="+name)
		term := vttest.Start(t, cmd, 80, 24, true)
		if code := term.Wait(); code != 2 || !strings.Contains(term.Raw(), "autosa status --watch") || strings.Contains(term.Raw(), "\x1b[") {
			t.Errorf("TERM=%s: exit %d: %q", name, code, term.Raw())
		}
	}
}

func TestTopOncePrintsAPlainPage(t *testing.T) {
	socket := tickingSocket(t)
	out, errOut, code := autosa(t, []string{"COLUMNS=100"}, "top", "--once", "--socket", socket, "--sort", "io", "--filter", "BACKUP")
	if code != 0 || errOut != "" || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	for _, want := range []string{"1,234 switches/s", "I/O↓", "/system.slice/backup.service", "→ scx_rusty: verifying"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "session-2.scope   ") {
		t.Errorf("not filtered:\n%s", out)
	}
}

// Whatever ends it, and whatever the terminal can do, the terminal is as before.
func TestTopLeavesTheTerminalAsItWas(t *testing.T) {
	socket := tickingSocket(t)
	for name, end := range map[string]func(*vttest.Terminal){
		"q":       func(term *vttest.Terminal) { term.Send("q") },
		"Ctrl-C":  func(term *vttest.Terminal) { term.Send("\x03") },
		"Esc":     func(term *vttest.Terminal) { term.Send("\x1b") },
		"SIGINT":  func(term *vttest.Terminal) { term.Kill(unix.SIGINT) },
		"SIGTERM": func(term *vttest.Terminal) { term.Kill(unix.SIGTERM) },
		"SIGHUP":  func(term *vttest.Terminal) { term.Kill(unix.SIGHUP) },
	} {
		for _, modern := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				term := vttest.Start(t, program(nil, "top", "--socket", socket), 80, 24, modern)
				term.AwaitText("1,234 switches/s")
				if !term.Coloured() {
					t.Error("no colours on a terminal that has them")
				}
				end(term)
				if code := term.Wait(); code != 0 {
					t.Errorf("exit code %d", code)
				}
				if raw := term.Raw(); !strings.Contains(raw, "\x1b[?1049h") || !strings.Contains(raw, "\x1b[?25l") {
					t.Error("it used no screen of its own, or left the cursor: nothing was tested")
				}
			})
		}
	}
}

func TestTopFollowsTheTerminalsSize(t *testing.T) {
	term := vttest.Start(t, program(nil, "top", "--socket", tickingSocket(t)), 80, 24, true)
	term.AwaitText("1,234 switches/s")
	for _, size := range [][2]int{{200, 60}, {40, 10}, {1, 1}, {20, 3}, {132, 43}, {81, 24}, {80, 24}} {
		term.Resize(size[0], size[1])
		term.Await("page of the new size", func(screen string) bool {
			w, h := term.ScreenSize()
			return w == size[0] && h == size[1] && (w < 16 || strings.Contains(screen, "? help"))
		})
	}
	term.AwaitText("THROT")
	term.Send("q")
	if code := term.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTopWithoutColours(t *testing.T) {
	term := vttest.Start(t, program([]string{"NO_COLOR=1"}, "top", "--socket", tickingSocket(t)), 80, 24, true)
	term.AwaitText("1,234 switches/s")
	term.Send("q")
	if term.Wait(); term.Coloured() {
		t.Error("NO_COLOR is set, and there are colours")
	}
}

func TestTopShowsHostileNamesHarmlessly(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Cleanup(serveOn(t, socket, &ticking{fake: &fake{status: hostile()}}))
	term := vttest.Start(t, program(nil, "top", "--socket", socket), 200, 50, true)
	term.AwaitText(`\x1b]0;owned`)
	for _, keys := range []string{"\r", "d", "?", "q"} {
		term.Send(keys)
	}
	term.Wait() // it would fail at an escape sequence that is not top's own
	if strings.Contains(term.Raw(), "\x1b]0;") || strings.Contains(term.Raw(), "\u202e") {
		t.Error("a name reached the terminal raw")
	}
}

func TestTopOutlivesTheDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	stop := serveOn(t, socket, &ticking{fake: &fake{status: deciding()}})
	term := vttest.Start(t, program(nil, "top", "--socket", socket), 100, 24, true)
	term.AwaitText("1,234 switches/s")
	stop()
	term.AwaitText("autosa is not running")
	term.AwaitText("OLD")
	defer serveOn(t, socket, &ticking{fake: &fake{status: foreign()}})()
	term.Await("the new daemon", func(s string) bool { return strings.Contains(s, "by somebody else") && !strings.Contains(s, "OLD") })
	term.Send("q")
	if code := term.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Where something else listens, top does not observe by itself: it says so.
func TestTopOnSomethingElsesSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	_, errOut, code := autosa(t, nil, "top", "--once", "--socket", socket)
	_ = l.Close()
	if code != 1 || !strings.Contains(errOut, "closed") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

// observer is a daemon that watches this machine, served on a socket.
func observer(t *testing.T) string {
	t.Helper()
	cfg := config.Default()
	cfg.CollectionInterval = 100 * time.Millisecond
	d, err := daemon.New(daemon.Options{Config: cfg, Version: "test", Logger: slog.New(slog.DiscardHandler), ObserveOnly: "a test watches"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	socket := filepath.Join(t.TempDir(), "s")
	stop := serveOn(t, socket, backend{Daemon: d})
	t.Cleanup(func() {
		stop()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestTopShowsThisMachine(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("takes root, for the tracer")
	}
	term := vttest.Start(t, program(nil, "top", "--socket", observer(t)), 160, 40, true)
	term.AwaitText("a test watches")
	term.AwaitText("switches/s")
	term.AwaitText("tracer bpf")
	term.AwaitText("wait p50")
	term.Await("groups", func(s string) bool { return strings.Contains(s, "\n>") })
	term.Send("\r")
	term.AwaitText("IT MADE WAIT")
	term.Send("q")
	if code := term.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTopObservesByItselfWhereNoDaemonRuns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("takes root, for the tracer and to become another user")
	}
	const none = "/nonexistent/autosa.sock"
	for name, tt := range map[string]struct {
		user uint32
		says []string
	}{
		"root":   {0, []string{"tracer bpf"}},
		"nobody": {65534, []string{"tracer procfs", "missing CAP_BPF"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program([]string{"AUTOSA_COLLECTION_INTERVAL=100ms"}, "top", "--socket", none)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.user, Gid: tt.user}}
			term := vttest.Start(t, cmd, 160, 40, true)
			term.AwaitText("no daemon at " + none + ": top observes by itself")
			for _, text := range append(tt.says, "switches/s", "GROUP") {
				term.AwaitText(text)
			}
			term.Send("q")
			if code := term.Wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestTheDocumentationOfTopHasItsFlags(t *testing.T) {
	b, err := os.ReadFile("../../docs/CLI.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--once", "--filter TEXT", "--sort COLUMN", "(TOP.md)"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("docs/CLI.md does not say %q", want)
		}
	}
	out, _, code := autosa(t, nil, "__complete", "top", "--sort", "")
	if code != 0 || !strings.Contains(out, strings.Join(tui.Columns(), "\n")) {
		t.Errorf("exit %d: completion of --sort: %s", code, out)
	}
}
