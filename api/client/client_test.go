// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"autosa/api"
)

const childEnv = "CLIENT_TEST_CHILD"

func TestMain(m *testing.M) {
	if socket := os.Getenv(childEnv); socket != "" {
		_, err := New(socket).Status(context.Background())
		var refusal *api.Error
		if !errors.As(err, &refusal) {
			refusal = &api.Error{Code: "none"}
		}
		_, _ = os.Stdout.WriteString(string(refusal.Code) + " " + refusal.Message)
		return
	}
	goleak.VerifyTestMain(m)
}

// serve answers every request with a handler until the test ends.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return New(socket)
}

func TestNobodyListeningIsErrNoDaemon(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for socket, says := range map[string]string{
		filepath.Join(dir, "none"):     "no such file or directory",
		dead:                           "connection refused",
		filepath.Join(file, "s"):       "not a directory",
		filepath.Join(dir, "no/where"): "no such file or directory",
	} {
		_, err := New(socket).Status(t.Context())
		want := "autosa is not running (" + socket + ": " + says + ")"
		if !errors.Is(err, ErrNoDaemon) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		for _, err := range New(socket).Watch(t.Context()) {
			if !errors.Is(err, ErrNoDaemon) {
				t.Errorf("watch met %v", err)
			}
		}
		if _, err := New(socket).Process(t.Context()); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("process: %v", err)
		}
	}
}

func TestAClosedDoorIsForbiddenNotAbsent(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("takes root, to become another user")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childEnv + "=" + filepath.Join(dir, "s"), "GORACE=atexit_sleep_ms=0"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "forbidden connect to "+dir) || !strings.HasSuffix(string(out), "permission denied") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestARefusalKeepsCodeAndMessage(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"code":"conflict","message":"busy"}`)
	})
	_, err := c.Switch(t.Context(), api.SwitchRequest{Scheduler: "x"})
	var refusal *api.Error
	if !errors.As(err, &refusal) || refusal.Code != api.CodeConflict || err.Error() != "busy" {
		t.Errorf("%v", err)
	}
}

func TestStrangeAnswersAreErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"not ours": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "teapot\x1b[31m", http.StatusTeapot) }, `418 I'm a teapot: "teapot\x1b[31m"`},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		}, "302 Found"},
		"not JSON":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, "answer of the daemon: invalid character"},
		"nothing":         {func(http.ResponseWriter, *http.Request) {}, "answer of the daemon: unexpected end"},
		"a broken-off":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "closed the connection"},
		"an endless":      {endless("x"), "larger than 8 MiB"},
		"an endless line": {endless(" "), "larger than 8 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := serve(t, tt.answer).Status(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %s", err, tt.says)
			}
		})
	}
}

func endless(what string) http.HandlerFunc {
	block := []byte(strings.Repeat(what, 64<<10))
	return func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

func TestAnEndlessLineEndsAWatch(t *testing.T) {
	for _, err := range serve(t, endless("x")).Watch(t.Context()) {
		if err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("met %v", err)
		}
	}
}

func TestADaemonThatDoesNotAnswerIsNotWaitedForForever(t *testing.T) {
	release := make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("%v", err)
	}
}

func TestLeavingAWatchIsNoError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{\"samples\":1}\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for st, err := range c.Watch(ctx) {
		if err != nil || st.Samples != 1 {
			t.Errorf("%+v, %v", st, err)
		}
		n++
		cancel()
	}
	if n != 1 {
		t.Errorf("%d statuses, want 1", n)
	}
}

func TestAStreamCutWithinALineIsTheEndNotAMalformedStatus(t *testing.T) {
	half := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "{\"samples\":1}\n{\"samples\":")
		_ = http.NewResponseController(w).Flush()
	}
	n := 0
	for _, err := range serve(t, func(w http.ResponseWriter, _ *http.Request) { half(w); panic(http.ErrAbortHandler) }).Watch(t.Context()) {
		if n++; n == 2 && !errors.Is(err, io.EOF) {
			t.Errorf("a daemon that went away: %v", err)
		}
	}
	if n != 2 {
		t.Errorf("%d statuses and errors, want one of each", n)
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { half(w); <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range c.Watch(ctx) {
		if err != nil {
			t.Errorf("having left: %v", err)
		}
		time.AfterFunc(20*time.Millisecond, cancel)
	}
}

func TestTheProcessIsTheListener(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) {})
	if pid, err := c.Process(t.Context()); err != nil || pid != os.Getpid() {
		t.Errorf("%d, %v", pid, err)
	}
}
