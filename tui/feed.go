// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"context"
	"errors"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"autosa/api"
)

// retryAfter is the time between two attempts to reach a daemon that is gone.
const retryAfter = time.Second

// feed sends the statuses of one watch after the other until ctx ends, and says so
// when they cease to come.
func feed(ctx context.Context, watch Watch, send func(tea.Msg)) {
	for ctx.Err() == nil {
		why := "the daemon has stopped"
		quiet := newSilence(send)
		for st, err := range watch(ctx) {
			switch {
			case err == nil:
				quiet.broken(st)
				send(statusMsg{st})
			case !errors.Is(err, io.EOF):
				why = err.Error()
			}
		}
		quiet.end()
		if ctx.Err() != nil {
			return
		}
		send(lostMsg{why})
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// The times without a status that are worth a word: three times the daemon's own
// pace, but no less than minSilence, and firstSilence before that pace is known.
const (
	minSilence   = 5 * time.Second
	firstSilence = 30 * time.Second
)

// silence says when a daemon that is there has nothing to say: one that was
// stopped or hangs, while what it said last stays on the screen.
type silence struct {
	send  func(tea.Msg)
	timer *time.Timer
	last  time.Time
}

func newSilence(send func(tea.Msg)) *silence {
	s := &silence{send: send}
	s.await(firstSilence)
	return s
}

func (s *silence) await(limit time.Duration) {
	s.timer = time.AfterFunc(limit, func() { s.send(quietMsg{limit}) })
}

// broken notes a status, from whose times the daemon's pace is learnt.
func (s *silence) broken(st api.Status) {
	s.timer.Stop()
	if s.last.IsZero() {
		s.await(firstSilence)
	} else {
		s.await(max(minSilence, 3*st.Time.Sub(s.last)))
	}
	s.last = st.Time
}

func (s *silence) end() { s.timer.Stop() }
