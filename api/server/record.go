// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"autosa/api"
)

// Recorder is the part of a [Backend] that records.
type Recorder interface {
	// Record writes a recording of what req asks for to w until ctx ends or the
	// daemon stops. A w that is slow delays nobody else.
	Record(ctx context.Context, req api.RecordRequest, w io.Writer) error
}

// record streams a recording. It counts as one that watches.
func (s *Server) record(w http.ResponseWriter, r *http.Request) (any, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: %v", err)
	}
	req, err := api.ParseRecordRequest(query)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return nil, &api.Error{Code: api.CodeUnavailable, Message: "too many are watching"}
	}
	w.Header().Set("Content-Type", api.RecordingType)
	err = s.backend.Record(r.Context(), req, &flushed{s: s, w: w})
	if r.Context().Err() != nil {
		return nil, nil // whoever recorded has enough
	}
	return nil, err
}

// flushed sends each write on its way at once, and bounds the time it may take.
type flushed struct {
	s *Server
	w http.ResponseWriter
}

func (f *flushed) Write(b []byte) (int, error) {
	f.s.deadline(f.w)
	n, err := f.w.Write(b)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	if err != nil {
		return n, fmt.Errorf("send: %w", err)
	}
	return n, nil
}
