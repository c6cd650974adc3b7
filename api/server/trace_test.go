// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/api/client"
)

func TestBadTraceQueriesDoNotReachTheBackend(t *testing.T) {
	backend := newFake()
	socket, _ := serve(t, Options{Backend: backend})
	for _, query := range []string{"?colour=red", "?pid=x", "?switches=1", "?comm=0123456789abcdef", "?%zz"} {
		if status, body, _ := raw(t, socket, get(api.PathTrace+query)); status != http.StatusBadRequest || !strings.Contains(body, "bad_request") {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	for _, query := range []string{"?colour=red", "?count=0x", "?count=100000"} {
		if status, body, _ := raw(t, socket, get(api.PathTasks+query)); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	if _, reached := backend.orders.Load("trace"); reached {
		t.Error("a bad query reached the backend")
	}
	if list, err := client.New(socket).Tasks(t.Context(), api.TasksRequest{Count: 2}); err != nil || list.Tasks != 3 {
		t.Errorf("%+v, %v", list, err)
	}
}

// endless hands out an event every millisecond until ctx ends, then the totals.
func endless(ctx context.Context, _ api.TraceRequest, sink api.TraceSink) error {
	var n uint64
	for ctx.Err() == nil {
		n++
		if err := errors.Join(sink.Event(&api.TraceEvent{Kind: api.TraceSwitch, Slice: &api.Slice{Arrivals: n}}), sink.Flush()); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return errors.Join(sink.Event(&api.TraceEvent{Kind: api.TraceEnd, End: &api.TraceTotal{Events: n}}), sink.Flush())
}

func TestAClientThatHasEnoughGetsTheRestAndTheTotals(t *testing.T) {
	backend := newFake()
	backend.trace = endless
	// Also when it lasts longer than a request may take to arrive.
	socket, _ := serve(t, Options{Backend: backend, Limits: Limits{ReadTimeout: 100 * time.Millisecond}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(400*time.Millisecond, cancel)
	defer cancel()
	var n, total uint64
	began := time.Now()
	for e, err := range client.New(socket).Trace(ctx, api.TraceRequest{}) {
		if err != nil {
			t.Fatalf("after %v and %d events: %v", time.Since(began), n, err)
		}
		if e.Slice != nil {
			if n++; e.Slice.Arrivals != n {
				t.Fatalf("event %d is number %d", n, e.Slice.Arrivals)
			}
		}
		if e.End != nil {
			total = e.End.Events
		}
	}
	if n == 0 || n != total {
		t.Errorf("%d events, the totals say %d", n, total)
	}
	if time.Since(began) < 300*time.Millisecond {
		t.Errorf("ended after %v by itself", time.Since(began))
	}
}

func TestATraceEndsWhenItsClientGoesOrDoesNotRead(t *testing.T) {
	backend := newFake()
	ended := make(chan error, 1)
	backend.trace = func(ctx context.Context, req api.TraceRequest, sink api.TraceSink) error {
		var err error
		for err == nil && ctx.Err() == nil {
			err = errors.Join(sink.Event(&api.TraceEvent{Slice: &api.Slice{Before: strings.Repeat("x", 4096)}}), sink.Flush())
		}
		ended <- errors.Join(err, ctx.Err())
		return err
	}
	socket, _ := serve(t, Options{Backend: backend, Limits: Limits{WriteTimeout: 200 * time.Millisecond}})
	for name, client := range map[string]func(c net.Conn){
		"goes": func(c net.Conn) {
			_, _ = bufio.NewReader(c).ReadString('\n')
			_ = c.Close()
		},
		"does not read": func(net.Conn) {},
	} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, get(api.PathTrace))
		client(c)
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("a client that %s: the trace ended without a reason", name)
			}
		case <-time.After(time.Minute):
			t.Fatalf("a client that %s: the trace goes on", name)
		}
		_ = c.Close()
	}
}

func TestATraceThatTheDaemonEndsIsNoCleanEnd(t *testing.T) {
	backend := newFake()
	backend.trace = func(_ context.Context, _ api.TraceRequest, sink api.TraceSink) error {
		return errors.Join(sink.Event(&api.TraceEvent{Slice: &api.Slice{}}), sink.Flush())
	}
	socket, _ := serve(t, Options{Backend: backend})
	var last error
	for _, err := range client.New(socket).Trace(t.Context(), api.TraceRequest{}) {
		last = err
	}
	if !errors.Is(last, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an unexpected end", last)
	}
	backend.trace = func(context.Context, api.TraceRequest, api.TraceSink) error {
		return &api.Error{Code: api.CodeConflict, Message: "4 traces are under way"}
	}
	for _, err := range client.New(socket).Trace(t.Context(), api.TraceRequest{}) {
		var refusal *api.Error
		if !errors.As(err, &refusal) || refusal.Code != api.CodeConflict {
			t.Errorf("%v, want a conflict", err)
		}
	}
}
