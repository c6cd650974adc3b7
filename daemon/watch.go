// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"sync"

	"autosa/api"
)

// watchers hands every published status to whoever watches. A slow watcher
// misses statuses, never delays anyone and always gets the newest.
type watchers struct {
	mu     sync.Mutex
	subs   map[chan api.Status]struct{} // guarded by mu
	closed bool                         // guarded by mu
}

// publish offers st to every watcher.
func (w *watchers) publish(st api.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.subs {
		select {
		case <-c: // the older one was not fetched: it gives way
		default:
		}
		c <- st // cap 1, and only publish sends: never blocks
	}
}

// watch returns a channel of statuses that is closed when ctx ends or the
// daemon stops.
func (w *watchers) watch(ctx context.Context, first api.Status) <-chan api.Status {
	c := make(chan api.Status, 1)
	c <- first
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(c)
		return c
	}
	if w.subs == nil {
		w.subs = make(map[chan api.Status]struct{})
	}
	w.subs[c] = struct{}{}
	context.AfterFunc(ctx, func() { w.drop(c) })
	return c
}

func (w *watchers) drop(c chan api.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.subs[c]; ok {
		delete(w.subs, c)
		close(c)
	}
}

// close ends every watch, now and in future.
func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for c := range w.subs {
		delete(w.subs, c)
		close(c)
	}
}
