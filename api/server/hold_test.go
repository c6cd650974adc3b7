// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/api/client"
)

// holder is a backend with one hold without an end of its own.
func holder() (f *fake, ended chan struct{}) {
	f, ended = newFake(), make(chan struct{})
	f.hold = func(_ context.Context, req api.HoldRequest) (api.Hold, <-chan struct{}, error) {
		return api.Hold{ID: 7, Reason: req.Reason}, ended, nil
	}
	return f, ended
}

func awaitRelease(t *testing.T, f *fake) {
	t.Helper()
	eventually(t, "the hold is released", func() bool { _, ok := f.orders.Load("release"); return ok })
	if id, _ := f.orders.Load("release"); id != uint64(7) {
		t.Errorf("hold %v was released, want 7", id)
	}
}

func TestHoldEndsWithItsHoldersConnection(t *testing.T) {
	f, _ := holder()
	socket, _ := serve(t, Options{Backend: f})
	h, err := client.New(socket).HoldWhile(t.Context(), "measuring")
	if err != nil || h.ID != 7 || h.Reason != "measuring" || h.Until != nil {
		t.Fatalf("%+v %v", h, err)
	}
	time.Sleep(50 * time.Millisecond)
	if _, released := f.orders.Load("release"); released {
		t.Fatal("released while its holder is there")
	}
	h.Close()
	awaitRelease(t, f)
}

func TestHolderIsToldOfTheEnd(t *testing.T) {
	f, ended := holder()
	socket, _ := serve(t, Options{Backend: f})
	h, err := client.New(socket).HoldWhile(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	close(ended)
	select {
	case <-h.Ended:
	case <-time.After(time.Minute):
		t.Fatal("the holder was not told")
	}
	awaitRelease(t, f)
}

// A hold lasts longer than an answer may take to be written.
func TestHoldOutlivesTheWriteTimeout(t *testing.T) {
	f, _ := holder()
	limits := Limits{WriteTimeout: 500 * time.Millisecond, IdleTimeout: 500 * time.Millisecond}
	socket, _ := serve(t, Options{Backend: f, Limits: limits})
	h, err := client.New(socket).HoldWhile(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	select {
	case <-h.Ended:
		t.Error("the hold ended by itself")
	case <-time.After(1500 * time.Millisecond):
	}
}

func TestTimedHoldAndReleaseAreOrdersThatEnd(t *testing.T) {
	f := newFake()
	socket, _ := serve(t, Options{Backend: f})
	c := client.New(socket)
	want := api.HoldRequest{Seconds: 90, Reason: "demo"}
	if h, err := c.Hold(t.Context(), want); err != nil || h.Reason != "demo" {
		t.Fatalf("%+v %v", h, err)
	}
	if got, _ := f.orders.Load("hold"); got != want {
		t.Errorf("the backend got %+v, want %+v", got, want)
	}
	if _, err := c.Hold(t.Context(), api.HoldRequest{}); err == nil {
		t.Error("a hold without an end or a holder was taken")
	}
	for _, id := range []uint64{0, 12} {
		if released, err := c.Release(t.Context(), id); err != nil || len(released) != 1 || released[0].ID != id {
			t.Errorf("release %d: %v %v", id, released, err)
		}
	}
}

func TestBadHoldsAreBadRequests(t *testing.T) {
	f := newFake()
	socket, _ := serve(t, Options{Backend: f})
	for _, body := range []string{`{"seconds": -1}`, `{"seconds": 1e9}`, `{"seconds": 1e-9}`, `{"reason": "a\nb"}`, `{"for": 3}`, ``} {
		if got, _, _ := raw(t, socket, post(api.PathHold, body)); got != http.StatusBadRequest {
			t.Errorf("%s: status %d", body, got)
		}
	}
	for _, query := range []string{"?id=x", "?id=0", "?id=1&id=2", "?all=1", "?id=-1"} {
		if got, _, _ := raw(t, socket, strings.Replace(get(api.PathHold+query), "GET", "DELETE", 1)); got != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, got)
		}
	}
	for _, order := range []string{"hold", "release"} {
		if _, ok := f.orders.Load(order); ok {
			t.Errorf("a bad %s reached the backend", order)
		}
	}
}
