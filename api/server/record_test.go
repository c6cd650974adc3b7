// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"autosa/api"
	"autosa/api/client"
)

// Record writes a line every time it is asked to, until ctx ends.
func (f *fake) Record(ctx context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, "a recording"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func TestRecordingIsStreamedAsItIsWritten(t *testing.T) {
	socket, _ := serve(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, err := client.New(socket).Record(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got := make([]byte, len("a recording"))
	if _, err := io.ReadFull(body, got); err != nil || string(got) != "a recording" {
		t.Errorf("while the recording goes on: %q %v", got, err)
	}
	cancel()
	if _, err := body.Read(got); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

// Whoever records counts as one who watches: the number of both is bounded.
func TestRecordingsAreBoundedAndTakeNoQuery(t *testing.T) {
	socket, _ := serve(t, Options{Limits: Limits{Watchers: 1}})
	if code, body, _ := raw(t, socket, get(api.PathRecord+"?colour=1")); code != 400 || !strings.Contains(body, "query") {
		t.Errorf("with a query: %d %s", code, body)
	}
	body, err := client.New(socket).Record(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var refusal *api.Error
	if _, err := client.New(socket).Record(t.Context()); !errors.As(err, &refusal) || refusal.Code != api.CodeUnavailable {
		t.Errorf("a second recording where one is allowed: %v", err)
	}
}
