// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"autosa/api"
	"autosa/api/client"
)

// Record writes something, and what is left when ctx ends.
func (f *fake) Record(ctx context.Context, req api.RecordRequest, w io.Writer) error {
	f.orders.Store("record", req)
	if _, err := io.WriteString(w, "a recording"); err != nil {
		return err
	}
	<-ctx.Done()
	_, err := io.WriteString(w, " and its rest")
	return err
}

func TestRecordingIsStreamedAsItIsWrittenToItsRest(t *testing.T) {
	backend := newFake()
	socket, _ := serve(t, Options{Backend: backend})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	want := api.RecordRequest{Events: true, MinWait: time.Millisecond, Cgroups: []string{"/a b", "c"}}
	body, err := client.New(socket).Record(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got := make([]byte, len("a recording"))
	if _, err := io.ReadFull(body, got); err != nil || string(got) != "a recording" {
		t.Errorf("while the recording goes on: %q %v", got, err)
	}
	cancel()
	if rest, err := io.ReadAll(body); err != nil || string(rest) != " and its rest" {
		t.Errorf("after its end: %q %v", rest, err)
	}
	if got, _ := backend.orders.Load("record"); !reflect.DeepEqual(got, want) {
		t.Errorf("asked for %+v, the backend heard %+v", want, got)
	}
}

// Whoever records counts as one who watches: the number of both is bounded.
func TestRecordingsAreBoundedAndBadQueriesDoNotReachTheBackend(t *testing.T) {
	backend := newFake()
	socket, _ := serve(t, Options{Backend: backend, Limits: Limits{Watchers: 1}})
	for _, query := range []string{"?colour=1", "?events=2", "?min_wait=1ms", "?events=1&min_wait=-1s", "?events=1&cgroup=", "?%zz"} {
		if code, body, _ := raw(t, socket, get(api.PathRecord+query)); code != 400 || !strings.Contains(body, "bad_request") {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	if _, reached := backend.orders.Load("record"); reached {
		t.Error("a bad query reached the backend")
	}
	body, err := client.New(socket).Record(t.Context(), api.RecordRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var refusal *api.Error
	if _, err := client.New(socket).Record(t.Context(), api.RecordRequest{}); !errors.As(err, &refusal) || refusal.Code != api.CodeUnavailable {
		t.Errorf("a second recording where one is allowed: %v", err)
	}
}
