// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"slices"
	"time"

	"autosa/api"
	"autosa/policy"
)

// maxHolds bounds the holds at one time.
const maxHolds = 32

// held is a hold in force. Its times are of the steady clock: setting the wall
// clock neither ends nor prolongs it.
type held struct {
	id           uint64
	reason       string
	since, until time.Time // until is zero for one that ends with its holder
	ended        chan struct{}
}

// holdOrder begins or releases holds.
type holdOrder struct {
	begin   *api.HoldRequest // nil to release
	release uint64           // 0: all
	reply   chan holdReply   // has room for the one answer
}

type holdReply struct {
	holds []api.Hold
	ended <-chan struct{} // of the hold that was begun
	err   error
}

// Hold keeps autosa from changing anything by itself, for as long as req says;
// without a time until [Daemon.Release]. Orders are still followed. The channel
// is closed when the hold ends. Its errors are [*api.Error].
func (d *Daemon) Hold(ctx context.Context, req api.HoldRequest) (api.Hold, <-chan struct{}, error) {
	if err := req.Check(); err != nil {
		return api.Hold{}, nil, apiError(api.CodeBadRequest, "%v", err)
	}
	r, err := d.holding(ctx, holdOrder{begin: &req})
	if err != nil {
		return api.Hold{}, nil, err
	}
	return r.holds[0], r.ended, nil
}

// Release ends a hold, or with id 0 all, and returns those that it ended. A
// hold that is not there is an [*api.Error].
func (d *Daemon) Release(ctx context.Context, id uint64) ([]api.Hold, error) {
	r, err := d.holding(ctx, holdOrder{release: id})
	return r.holds, err
}

func (d *Daemon) holding(ctx context.Context, o holdOrder) (holdReply, error) {
	if d.observe != "" {
		return holdReply{}, apiError(api.CodeUnsupported, "autosa only observes here: %s", d.observe)
	}
	o.reply = make(chan holdReply, 1)
	select {
	case d.holds <- o:
	case <-d.ended:
		return holdReply{}, apiError(api.CodeUnavailable, "the daemon is stopping")
	case <-ctx.Done():
		return holdReply{}, apiError(api.CodeUnavailable, "the order was not taken: %v", context.Cause(ctx))
	}
	r := <-o.reply // the loop answers at once
	return r, r.err
}

// takeHold follows an order about holds.
func (l *loop) takeHold(o holdOrder) {
	now := time.Now()
	l.expire(now)
	switch {
	case o.begin == nil:
		released, err := l.release(o.release, "released")
		o.reply <- holdReply{holds: released, err: err}
	case len(l.held) >= maxHolds:
		o.reply <- holdReply{err: apiError(api.CodeConflict, "%d holds are in force already", len(l.held))}
		return
	default:
		var length time.Duration
		if s := o.begin.Seconds; s > 0 {
			length = time.Duration(s * float64(time.Second))
		}
		h := l.beginHold(now, length, o.begin.Reason)
		l.log.Info("held", "id", h.id, "for", length, "reason", h.reason)
		o.reply <- holdReply{holds: []api.Hold{l.apiHold(h)}, ended: h.ended}
	}
	l.save()
	l.emit(now)
}

// beginHold adds a hold; a length of 0 has no end of its own.
func (l *loop) beginHold(now time.Time, length time.Duration, reason string) *held {
	l.holdID++
	h := &held{id: l.holdID, reason: reason, since: l.clock.Steady(now), ended: make(chan struct{})}
	if length > 0 {
		h.until = h.since.Add(length)
	}
	l.held = append(l.held, h)
	return h
}

// release ends the hold of that number, or all.
func (l *loop) release(id uint64, why string) (released []api.Hold, err error) {
	released = []api.Hold{}
	l.held = slices.DeleteFunc(l.held, func(h *held) bool {
		if id != 0 && h.id != id {
			return false
		}
		released = append(released, l.apiHold(h))
		l.log.Info("a hold has ended", "id", h.id, "why", why, "reason", h.reason)
		close(h.ended)
		return true
	})
	if id != 0 && len(released) == 0 {
		return nil, apiError(api.CodeNotFound, "there is no hold %d", id)
	}
	return released, nil
}

// expire ends the holds whose time is over.
func (l *loop) expire(now time.Time) {
	var over []uint64
	for _, h := range l.held {
		if !h.until.IsZero() && !h.until.After(l.clock.Steady(now)) {
			over = append(over, h.id)
		}
	}
	for _, id := range over {
		_, _ = l.release(id, "its time is over")
	}
	if len(over) > 0 {
		l.save()
	}
}

func (l *loop) apiHold(h *held) api.Hold {
	out := api.Hold{ID: h.id, Reason: h.reason, Since: l.clock.Wall(h.since)}
	if !h.until.IsZero() {
		until := l.clock.Wall(h.until)
		out.Until = &until
	}
	return out
}

// apiHolds are the holds in force, as the status shows them.
func (l *loop) apiHolds() []api.Hold {
	out := make([]api.Hold, 0, len(l.held))
	for _, h := range l.held {
		out = append(out, l.apiHold(h))
	}
	return out
}

// policyHolds are the holds in force, on the steady clock.
func (l *loop) policyHolds() (out []policy.Hold) {
	for _, h := range l.held {
		out = append(out, policy.Hold{Reason: h.why(), Since: h.since, Until: h.until})
	}
	return out
}

func (h *held) why() string {
	if h.reason == "" {
		return "no reason was given"
	}
	return h.reason
}

// persistedHold is a hold with an end of its own, on the wall clock.
type persistedHold struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

// keptHolds are those that outlive the daemon.
func (l *loop) keptHolds() (out []persistedHold) {
	for _, h := range l.held {
		if !h.until.IsZero() {
			out = append(out, persistedHold{Reason: h.reason, Since: l.clock.Wall(h.since).Round(0), Until: l.clock.Wall(h.until).Round(0)})
		}
	}
	return out
}

// restoreHolds takes up those from before a restart. None gets longer by a wall
// clock that was set back meanwhile.
func (l *loop) restoreHolds(kept []persistedHold, now time.Time) {
	for _, h := range kept {
		length := min(h.Until.Sub(now), h.Until.Sub(h.Since), api.MaxHold)
		if length <= 0 || len(l.held) >= maxHolds {
			continue
		}
		l.beginHold(now, length, h.Reason)
		l.log.Info("a hold from before goes on", "for", length.Round(time.Second), "reason", h.Reason)
	}
}
