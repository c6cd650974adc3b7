// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"autosa/api"
)

// hold begins a hold. Without a time it lasts as long as the connection: the
// answer is the hold on a line, and its end.
func (s *Server) hold(w http.ResponseWriter, r *http.Request) (any, error) {
	var req api.HoldRequest
	if err := s.decode(w, r, &req, true); err != nil {
		return nil, err
	}
	if err := req.Check(); err != nil {
		return nil, badRequest("%v", err)
	}
	if req.Seconds > 0 {
		h, _, err := s.backend.Hold(r.Context(), req)
		return h, err
	}
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return nil, &api.Error{Code: api.CodeUnavailable, Message: "too many connections are kept open"}
	}
	h, ended, err := s.backend.Hold(r.Context(), req)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.limits.WriteTimeout)
		defer cancel()
		if _, err := s.backend.Release(ctx, h.ID); err != nil {
			s.log.Debug("release a hold", "id", h.ID, "err", err) // over already, as everything is when the daemon ends
		}
	}()
	line, err := encode(h)
	if err != nil {
		return nil, fmt.Errorf("encode hold: %w", err)
	}
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	_ = control.SetWriteDeadline(time.Now().Add(s.limits.WriteTimeout))
	if _, err := w.Write(line); err != nil {
		return nil, fmt.Errorf("write hold: %w", err)
	}
	if err := control.Flush(); err != nil {
		return nil, fmt.Errorf("write hold: %w", err)
	}
	_ = control.SetWriteDeadline(time.Time{})
	select {
	case <-r.Context().Done():
	case <-ended:
	}
	s.deadline(w)
	return nil, nil
}

func (s *Server) release(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := s.decode(w, r, &struct{}{}, false); err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: %v", err)
	}
	var id uint64
	for key, values := range query {
		if key != "id" || len(values) != 1 {
			return nil, badRequest("unknown query parameter %q", key)
		}
		if id, err = strconv.ParseUint(values[0], 10, 64); err != nil || id == 0 {
			return nil, badRequest("id is the number of a hold, not %q", values[0])
		}
	}
	return s.backend.Release(r.Context(), id)
}
