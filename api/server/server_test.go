// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/api/client"
)

func TestWrongRequestsAreRefusedWithTheirReason(t *testing.T) {
	socket, _ := serve(t, Options{})
	args := `["` + strings.Repeat(`x","`, 64) + `x"]`
	for _, tt := range []struct {
		name, request string
		status        int
		says          string
	}{
		{"unknown path", get("/v1/nothing"), 404, "no such path: /v1/nothing"},
		{"the root", get("/"), 404, "no such path: /"},
		{"a path that only begins like one", get("/v1/status/x"), 404, "no such path"},
		{"a path with dots", get("/v1/x/../status"), 404, "no such path"},
		{"wrong method", post("/v1/status", ""), 405, "/v1/status takes GET, not POST"},
		{"wrong method for an order", get("/v1/stop"), 405, "/v1/stop takes POST, not GET"},
		{"made-up method", "BREW /v1/status HTTP/1.1\r\nHost: a\r\n\r\n", 405, "takes GET, not BREW"},
		{"options", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no such path"},
		{"unknown query", get("/v1/status?wach=1"), 400, `unknown query parameter "wach"`},
		{"wrong query", get("/v1/status?watch=yes"), 400, `watch is 0 or 1, not "yes"`},
		{"broken query", get("/v1/status?watch=%zz"), 400, "query: "},
		{"empty body", post("/v1/switch", ""), 400, "the body is empty"},
		{"blank body", post("/v1/switch", " \n"), 400, "the body is empty"},
		{"not JSON", post("/v1/switch", "rusty"), 400, "body: invalid character"},
		{"cut off", post("/v1/switch", `{"scheduler":"ru`), 400, "body: unexpected EOF"},
		{"wrong type", post("/v1/switch", `{"scheduler":5}`), 400, "cannot unmarshal number"},
		{"an array", post("/v1/switch", `[]`), 400, "cannot unmarshal array"},
		{"null", post("/v1/switch", `null`), 400, "names no scheduler"},
		{"unknown field", post("/v1/switch", `{"scheduler":"rusty","arg":["x"]}`), 400, `unknown field "arg"`},
		{"trailing garbage", post("/v1/switch", `{"scheduler":"rusty"} {"scheduler":"lavd"}`), 400, "something follows the value at byte 21"},
		{"no scheduler", post("/v1/switch", `{"args":[]}`), 400, "names no scheduler"},
		{"long name", post("/v1/switch", `{"scheduler":"`+strings.Repeat("x", 65)+`"}`), 400, "longer than 64 bytes"},
		{"many arguments", post("/v1/switch", `{"scheduler":"rusty","args":`+args+`}`), 400, "65 arguments, 64 are allowed"},
		{"NUL", post("/v1/switch", `{"scheduler":"rusty","args":["a\u0000b"]}`), 400, "NUL"},
		{"large body", post("/v1/switch", `{"scheduler":"`+strings.Repeat("x", 70<<10)+`"}`), 413, "larger than 65536 bytes"},
		{"body of an order without one", post("/v1/stop", `{"now":true}`), 400, `unknown field "now"`},
		{"an incident that is not", get("/v1/incidents/4"), 404, "there is none"},
		{"no incident's number", get("/v1/incidents/x"), 400, `"x" is not an incident's number`},
		{"below an incident", get("/v1/incidents/3/output"), 404, "no such path"},
		{"no number at all", get("/v1/incidents/"), 404, "no such path"},
		{"query for incidents", get("/v1/incidents?all=1"), 400, "takes no query parameters"},
		{"clears nothing", del("/v1/quarantine"), 400, "which scheduler?"},
		{"clears one and all", del("/v1/quarantine?scheduler=x&all=1"), 400, "not both"},
		{"clears all, doubtfully", del("/v1/quarantine?all=yes"), 400, `all is 1, not "yes"`},
		{"clears by another word", del("/v1/quarantine?name=x"), 400, `unknown query parameter "name"`},
		{"wrong method for the quarantine", post("/v1/quarantine", ""), 405, "/v1/quarantine takes GET, DELETE, not POST"},
		{"garbage for an order without a body", post("/v1/auto", `x`), 400, "body: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body, header := raw(t, socket, tt.request)
			var e api.Error
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatalf("the answer is no api.Error: %v: %.200s", err, body)
			}
			if status != tt.status || !strings.Contains(e.Message, tt.says) {
				t.Errorf("%d %q, want %d %q", status, e.Message, tt.status, tt.says)
			}
			if header.Get("Content-Type") != "application/json" || (status == 405) != (header.Get("Allow") != "") {
				t.Errorf("headers: %v", header)
			}
		})
	}
}

func TestMalformedHTTPIsRefused(t *testing.T) {
	socket, _ := serve(t, Options{})
	for name, request := range map[string]string{
		"no HTTP":         "hello\r\n\r\n",
		"old version":     "GET /v1/status HTTP/0.9\r\n\r\n",
		"no host":         "GET /v1/status HTTP/1.1\r\n\r\n",
		"two lengths":     "POST /v1/switch HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"negative length": "POST /v1/switch HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"large header":    "GET /v1/status HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"endless headers": "GET /v1/status HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 10000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			if status, body, _ := raw(t, socket, request); status < 400 || status == 500 {
				t.Errorf("answered %d %s", status, body)
			}
		})
	}
}

func TestOrdersReachTheBackendAsSent(t *testing.T) {
	backend := newFake()
	socket, _ := serve(t, Options{Backend: backend})
	c := client.New(socket)
	want := api.SwitchRequest{Scheduler: "rusty", Args: []string{"--x", "a b", "<&>"}}
	got, err := c.Switch(t.Context(), want)
	if err != nil || got.Swap.To != "rusty" {
		t.Errorf("%+v, %v", got, err)
	}
	if req, _ := backend.orders.Load("switch"); fmt.Sprint(req) != fmt.Sprint(want) {
		t.Errorf("the backend got %+v, want %+v", req, want)
	}
	if _, err := c.Auto(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err := c.Stop(t.Context()); err != nil || s.PID != os.Getpid() {
		t.Error(s, err)
	}
	for _, name := range []string{"auto", "stop"} {
		if _, ok := backend.orders.Load(name); !ok {
			t.Errorf("%s did not arrive", name)
		}
	}
	if in, err := c.Incident(t.Context(), 3); err != nil || in.ID != 3 || in.Output != "dump" {
		t.Errorf("incident: %+v, %v", in, err)
	}
	for name, want := range map[string]string{"scx_x&all=1": `"scx_x&all=1" false`, "": `"" true`} {
		done, err := c.ClearQuarantine(t.Context(), name)
		if got, _ := backend.orders.Load("clear"); err != nil || done.Cleared != 2 || got != want {
			t.Errorf("clear %q arrived as %v: %+v, %v", name, got, done, err)
		}
	}
	if list, err := c.Incidents(t.Context()); err != nil || list == nil {
		t.Errorf("no incidents arrive as %v, %v; want []", list, err)
	}
	if list, err := c.Quarantine(t.Context()); err != nil || list == nil {
		t.Errorf("no quarantine arrives as %v, %v; want []", list, err)
	}
	if list, err := c.Schedulers(t.Context()); err != nil || list == nil {
		t.Errorf("an empty list arrives as %v, %v; want []", list, err)
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	backend := newFake()
	socket, _ := serve(t, Options{Backend: backend})
	for _, tt := range []struct {
		err  error
		code api.Code
		http int
		says string
	}{
		{&api.Error{Code: api.CodeConflict, Message: "a swap is under way"}, api.CodeConflict, 409, "a swap is under way"},
		{fmt.Errorf("switch to rusty: %w", &api.Error{Code: api.CodeUnsupported, Message: "no sched_ext"}), api.CodeUnsupported, 501, "switch to rusty: no sched_ext"},
		{errors.New("it broke"), api.CodeFailed, 500, "it broke"},
		{&api.Error{Code: api.CodeUnavailable, Message: "stopping"}, api.CodeUnavailable, 503, "stopping"},
	} {
		backend.switchTo = func(context.Context, api.SwitchRequest) (api.SwitchResult, error) { return api.SwitchResult{}, tt.err }
		status, body, _ := raw(t, socket, post(api.PathSwitch, `{"scheduler":"rusty"}`))
		var e api.Error
		if err := json.Unmarshal([]byte(body), &e); err != nil || status != tt.http || e.Code != tt.code || e.Message != tt.says {
			t.Errorf("%v: %d %+v (%v)", tt.err, status, e, err)
		}
	}
}

func TestAPanicIsContainedAndLogged(t *testing.T) {
	backend := newFake()
	backend.switchTo = func(context.Context, api.SwitchRequest) (api.SwitchResult, error) { panic("at the disco") }
	log := &syncBuffer{}
	socket, _ := serve(t, Options{Backend: backend, Logger: slog.New(slog.NewTextHandler(log, nil))})
	status, body, _ := raw(t, socket, post(api.PathSwitch, `{"scheduler":"rusty"}`))
	if status != 500 || !strings.Contains(body, "internal error") || strings.Contains(body, "disco") {
		t.Errorf("%d %s", status, body)
	}
	if !strings.Contains(log.String(), "at the disco") || !strings.Contains(log.String(), "server_test.go") {
		t.Errorf("the log has no panic with its stack: %s", log)
	}
	if _, err := client.New(socket).Status(t.Context()); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}

func TestOneWhoSendsSlowlyIsCutOff(t *testing.T) {
	socket, _ := serve(t, Options{Limits: Limits{ReadTimeout: 150 * time.Millisecond, IdleTimeout: 150 * time.Millisecond}})
	for name, begin := range map[string]string{
		"in the headers": "GET /v1/status HTTP/1.1\r\nHost: a\r\n",
		"in the body":    "POST /v1/switch HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
		"at once":        "",
		"between two":    "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				_, _ = io.WriteString(c, begin)
				for begin != "" { // a byte now and then must not keep it open
					select {
					case <-stop:
						return
					case <-time.After(30 * time.Millisecond):
						if name == "between two" {
							return
						}
						_, _ = io.WriteString(c, "x")
					}
				}
			}()
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("still connected after 5 s")
			}
			if _, err := client.New(socket).Status(t.Context()); err != nil {
				t.Errorf("others meanwhile: %v", err)
			}
		})
	}
}

func TestAWatcherWhoDoesNotReadIsCutOff(t *testing.T) {
	backend := newFake()
	backend.status.Warnings = []string{strings.Repeat("w", 100<<10)}
	socket, _ := serve(t, Options{Backend: backend, Limits: Limits{WriteTimeout: 150 * time.Millisecond, Watchers: 1}})
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, get(api.PathStatus+"?watch=1"))
	// It has the only place once its answer has begun; it reads no further.
	begin := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(c, begin); err != nil || string(begin) != "HTTP/1.1 200" {
		t.Fatalf("its answer begins with %q: %v", begin, err)
	}
	eventually(t, "its place is free", func() bool {
		for _, err := range client.New(socket).Watch(t.Context()) {
			return err == nil
		}
		return false
	})
}

func TestWatchersAreBounded(t *testing.T) {
	socket, _ := serve(t, Options{Limits: Limits{Watchers: 2}})
	c := client.New(socket)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan error, 2), make(chan struct{}, 2)
	for range 2 {
		go func() {
			n := 0
			for _, err := range c.Watch(ctx) {
				if n++; n == 1 {
					ready <- err
				}
			}
			done <- struct{}{}
		}()
	}
	for range 2 {
		if err := <-ready; err != nil {
			t.Fatal(err)
		}
	}
	var refusal *api.Error
	for _, err := range c.Watch(t.Context()) {
		if !errors.As(err, &refusal) || refusal.Code != api.CodeUnavailable {
			t.Errorf("a third watcher met %v", err)
		}
		break
	}
	cancel()
	<-done
	<-done
	eventually(t, "there is room again", func() bool {
		for _, err := range c.Watch(t.Context()) {
			return err == nil
		}
		return false
	})
}

func TestAWatcherGetsAStatusATick(t *testing.T) {
	backend := newFake()
	backend.watch = func(ctx context.Context) <-chan api.Status {
		c := make(chan api.Status, 3)
		for i := range 3 {
			c <- api.Status{Samples: uint64(i)}
		}
		close(c)
		return c
	}
	socket, _ := serve(t, Options{Backend: backend})
	var got []uint64
	for st, err := range client.New(socket).Watch(t.Context()) {
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		got = append(got, st.Samples)
	}
	if fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("got %v, want three and then the end", got)
	}
}

func TestGarbageLeavesTheDaemonServing(t *testing.T) {
	socket, _ := serve(t, Options{Limits: Limits{ReadTimeout: 100 * time.Millisecond}})
	c := client.New(socket)
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	heads := []string{"", "GET /v1/status HTTP/1.1\r\n", "POST /v1/switch HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", "POST /v1/stop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"}
	for i := range 1000 {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		garbage := make([]byte, rnd.IntN(300))
		for j := range garbage {
			garbage[j] = byte(rnd.Uint32())
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(conn, heads[rnd.IntN(len(heads))]+string(garbage))
		_ = conn.Close()
	}
	eventually(t, "the daemon serves", func() bool { _, err := c.Status(t.Context()); return err == nil })
	eventually(t, "no descriptor is left open", func() bool { return descriptors(t) <= before })
}

func TestTheEndIsGraceful(t *testing.T) {
	backend := newFake()
	entered, release := make(chan struct{}), make(chan struct{})
	backend.switchTo = func(_ context.Context, req api.SwitchRequest) (api.SwitchResult, error) {
		close(entered)
		<-release
		return api.SwitchResult{Unchanged: true}, nil
	}
	log := &syncBuffer{}
	socket, end := serve(t, Options{Backend: backend, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	c := client.New(socket)
	watched := make(chan error, 1)
	watching := make(chan struct{})
	go func() {
		first := true
		for _, err := range c.Watch(context.Background()) {
			if err != nil {
				watched <- err
				return
			}
			if first {
				close(watching)
				first = false
			}
		}
		watched <- nil
	}()
	ordered := make(chan error, 1)
	go func() {
		r, err := c.Switch(context.Background(), api.SwitchRequest{Scheduler: "rusty"})
		if err == nil && !r.Unchanged {
			err = errors.New("not the answer")
		}
		ordered <- err
	}()
	<-entered
	<-watching
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	if err := <-watched; !errors.Is(err, io.EOF) {
		t.Errorf("the watcher met %v, want the end", err)
	}
	eventually(t, "the socket is gone", func() bool { _, err := os.Lstat(socket); return err != nil })
	if _, err := c.Status(t.Context()); !errors.Is(err, client.ErrNoDaemon) {
		t.Errorf("a new request met %v, want no daemon", err)
	}
	close(release)
	if err := <-ordered; err != nil {
		t.Errorf("the order under way got %v, want its answer", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if log.String() != "" {
		t.Errorf("a warning of an end in good order: %s", log)
	}
}

func TestARequestThatNeverEndsDoesNotKeepTheServer(t *testing.T) {
	backend := newFake()
	entered, release := make(chan struct{}), make(chan struct{})
	backend.switchTo = func(context.Context, api.SwitchRequest) (api.SwitchResult, error) {
		close(entered)
		<-release
		return api.SwitchResult{}, nil
	}
	socket, end := serve(t, Options{Backend: backend, Limits: Limits{ShutdownTimeout: 50 * time.Millisecond}})
	failed := make(chan error, 1)
	go func() {
		_, err := client.New(socket).Switch(context.Background(), api.SwitchRequest{Scheduler: "rusty"})
		failed <- err
	}()
	<-entered
	began := time.Now()
	if err := end(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v to end", took)
	}
	if err := <-failed; err == nil {
		t.Error("the client was told of success")
	}
	close(release)
}
