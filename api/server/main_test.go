// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"autosa/api"
	"autosa/api/client"
)

// childEnv holds what a re-executed test binary does instead of testing: the
// word and the socket.
const childEnv = "SERVER_TEST_CHILD"

func TestMain(m *testing.M) {
	if what, socket, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		child(what, socket)
		return
	}
	goleak.VerifyTestMain(m)
}

// visit is what a peer with other credentials found.
type visit struct {
	Status  api.Status
	Refusal *api.Error // of a switch order; nil when it was taken
	Traced  string     // "yes", or the code of the refusal of a trace
	Failure string
	Refused int // connections turned away
}

// child runs as another user and prints a visit.
func child(what, socket string) {
	var v visit
	c := client.New(socket)
	switch what {
	case "visit":
		var err error
		if v.Status, err = c.Status(context.Background()); err != nil {
			v.Failure = err.Error()
		}
		_, err = c.Switch(context.Background(), api.SwitchRequest{Scheduler: "scx_rusty"})
		if err != nil && !errors.As(err, &v.Refusal) {
			v.Failure = err.Error()
		}
		v.Traced = "yes"
		for _, err := range c.Trace(context.Background(), api.TraceRequest{}) {
			var refusal *api.Error
			if errors.As(err, &refusal) {
				v.Traced = string(refusal.Code)
			} else if err != nil {
				v.Failure = err.Error()
			}
		}
	case "hold": // 40 connections, until standard input ends
		var held []net.Conn
		for range 40 {
			conn, err := net.Dial("unix", socket)
			if err != nil {
				v.Failure = err.Error()
				break
			}
			held = append(held, conn)
		}
		var refused atomic.Int64
		var all sync.WaitGroup
		for _, conn := range held {
			all.Go(func() {
				_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				if line, _ := bufio.NewReader(conn).ReadString('\n'); strings.Contains(line, "503") {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		v.Refused = int(refused.Load())
		defer func() { _, _ = io.Copy(io.Discard, os.Stdin); held = nil }()
	}
	_ = json.NewEncoder(os.Stdout).Encode(v)
}

// as prepares this test binary to run as another user. It is executed through
// /proc/self/exe: the directory it lies in is closed to others.
func as(t *testing.T, what, socket string, cred syscall.Credential) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("takes root, to become another user")
	}
	cmd := exec.Command("/proc/self/exe")
	// The race detector would sleep for a second at the child's end.
	cmd.Env = []string{childEnv + "=" + what + " " + socket, "GORACE=atexit_sleep_ms=0"}
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &cred}
	return cmd
}

func visitAs(t *testing.T, socket string, cred syscall.Credential) visit {
	t.Helper()
	out, err := as(t, "visit", socket, cred).Output()
	if err != nil {
		t.Fatal(err)
	}
	var v visit
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	if v.Failure != "" {
		t.Fatal(v.Failure)
	}
	return v
}

// fake is a backend whose answers a test sets.
type fake struct {
	status api.Status
	// watch, if set, makes the channel of a watcher.
	watch    func(ctx context.Context) <-chan api.Status
	switchTo func(ctx context.Context, req api.SwitchRequest) (api.SwitchResult, error)
	trace    func(ctx context.Context, req api.TraceRequest, sink api.TraceSink) error
	hold     func(ctx context.Context, req api.HoldRequest) (api.Hold, <-chan struct{}, error)
	orders   sync.Map // names of the orders that arrived
}

func (f *fake) Status() api.Status { return f.status }

func (f *fake) Watch(ctx context.Context) <-chan api.Status {
	if f.watch != nil {
		return f.watch(ctx)
	}
	c := make(chan api.Status)
	go func() {
		defer close(c)
		for {
			select {
			case c <- f.status:
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

func (f *fake) Schedulers(context.Context) ([]api.Scheduler, error) { return nil, nil }

func (f *fake) Incidents(context.Context) ([]api.Incident, error) { return nil, nil }

func (f *fake) Incident(_ context.Context, id uint64) (api.Incident, error) {
	if id != 3 {
		return api.Incident{}, &api.Error{Code: api.CodeNotFound, Message: "there is none"}
	}
	return api.Incident{ID: id, Output: "dump"}, nil
}

func (f *fake) Quarantine(context.Context) ([]api.Quarantine, error) { return nil, nil }

func (f *fake) ClearQuarantine(_ context.Context, scheduler string, all bool) (api.QuarantineCleared, error) {
	f.orders.Store("clear", fmt.Sprintf("%q %v", scheduler, all))
	return api.QuarantineCleared{Cleared: 2, Left: []api.Quarantine{}}, nil
}

func (f *fake) Switch(ctx context.Context, req api.SwitchRequest) (api.SwitchResult, error) {
	f.orders.Store("switch", req)
	if f.switchTo != nil {
		return f.switchTo(ctx, req)
	}
	return api.SwitchResult{Swap: api.Swap{To: req.Scheduler, Args: req.Args, OK: true}}, nil
}

func (f *fake) Auto(context.Context) (api.Status, error) {
	f.orders.Store("auto", true)
	return f.status, nil
}

func (f *fake) Hold(ctx context.Context, req api.HoldRequest) (api.Hold, <-chan struct{}, error) {
	f.orders.Store("hold", req)
	if f.hold != nil {
		return f.hold(ctx, req)
	}
	return api.Hold{ID: 1, Reason: req.Reason}, nil, nil
}

func (f *fake) Release(_ context.Context, id uint64) ([]api.Hold, error) {
	f.orders.Store("release", id)
	return []api.Hold{{ID: id}}, nil
}

func (f *fake) Stop(context.Context) (api.Stopping, error) {
	f.orders.Store("stop", true)
	return api.Stopping{PID: os.Getpid()}, nil
}

func (f *fake) Trace(ctx context.Context, req api.TraceRequest, sink api.TraceSink) error {
	f.orders.Store("trace", req)
	if f.trace != nil {
		return f.trace(ctx, req, sink)
	}
	return sink.Event(&api.TraceEvent{Kind: api.TraceEnd, End: &api.TraceTotal{}})
}

func (f *fake) Tasks(_ context.Context, req api.TasksRequest) (api.TaskList, error) {
	f.orders.Store("tasks", req)
	return api.TaskList{Tasks: 3}, nil
}

func newFake() *fake {
	return &fake{status: api.Status{
		Version:   "1",
		PID:       7,
		Mode:      api.ModeAuto,
		Scheduler: api.InCharge{Name: "scx_lavd", PID: 99, Args: []string{"--performance"}},
		Events: api.Events{
			Received:  3,
			Worst:     []api.WaitEvent{{PID: 5, Comm: "secret"}},
			WaitedFor: []api.Edge{{Waiter: "/a", Holder: "/b"}},
			Periods:   []api.Period{{PID: 6, Comm: "secret"}},
		},
	}}
}

// serve serves a backend on a socket of its own until the test ends, or the
// function returned is called, which waits for it.
func serve(t *testing.T, opts Options) (socket string, end func() error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "autosa-server-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "autosa.sock")
	if opts.Backend == nil {
		opts.Backend = newFake()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := Listen(socket, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	end = sync.OnceValue(func() error { cancel(); return <-served })
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return socket, end
}

// raw sends bytes and returns the answer's status, body and headers.
func raw(t *testing.T, socket, request string) (int, string, http.Header) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	go func() { _, _ = io.WriteString(c, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("answer to %.60q: %v", request, err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func del(path string) string {
	return "DELETE " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
}

func get(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
}

// descriptors counts this process's open files.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// syncBuffer is a log that may be written to and read at once.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
