// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"

	"autosa/api"
)

// fed runs a feed in virtual time and returns what it sent within a time.
func fed(t *testing.T, within time.Duration, watch func(ctx context.Context, n int, yield func(api.Status, error) bool)) []string {
	t.Helper()
	var got []string
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		n := 0
		var mu sync.Mutex // the word of a silence comes from its timer
		var sent []tea.Msg
		feed(ctx, func(context.Context) iter.Seq2[api.Status, error] {
			n++
			return func(yield func(api.Status, error) bool) { watch(ctx, n, yield) }
		}, func(msg tea.Msg) {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, msg)
		})
		mu.Lock()
		defer mu.Unlock()
		for _, msg := range sent {
			switch msg := msg.(type) {
			case statusMsg:
				got = append(got, fmt.Sprintf("status %d", msg.status.Samples))
			case lostMsg:
				got = append(got, msg.why)
			case quietMsg:
				got = append(got, "quiet for "+msg.since.String())
			}
		}
	})
	return got
}

func TestTheFeedOutlivesDaemons(t *testing.T) {
	got := fed(t, time.Minute, func(ctx context.Context, n int, yield func(api.Status, error) bool) {
		switch n {
		case 1:
			_ = yield(status(1, 1), nil) && yield(api.Status{}, io.EOF)
		case 2, 3:
			yield(api.Status{}, errors.New("connection refused"))
		default:
			for i := 2; i < 5 && yield(status(i, 1), nil); i++ {
			}
			<-ctx.Done()
		}
	})
	want := []string{"status 1", "the daemon has stopped", "connection refused", "connection refused", "status 2", "status 3", "status 4", "quiet for 5s"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestASilentDaemonIsNoticedAtItsOwnPace(t *testing.T) {
	for name, tt := range map[string]struct {
		ticks []int // when a status came, in seconds
		want  string
	}{
		"at once":         {[]int{0}, "quiet for 30s"},
		"every second":    {[]int{0, 1, 2}, "quiet for 5s"},
		"every minute":    {[]int{0, 60}, "quiet for 3m0s"},
		"after a standby": {[]int{0, 3600, 3601}, "quiet for 5s"},
	} {
		got := fed(t, 10*time.Hour, func(ctx context.Context, _ int, yield func(api.Status, error) bool) {
			for _, tick := range tt.ticks {
				yield(status(tick, 1), nil)
			}
			<-ctx.Done()
		})
		if len(got) != len(tt.ticks)+1 || got[len(got)-1] != tt.want {
			t.Errorf("%s: %q, want %s at the end", name, got, tt.want)
		}
	}
}
