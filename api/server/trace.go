// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"autosa/api"
)

// traceSink writes the lines of a trace to a client.
type traceSink struct {
	s       *Server
	w       http.ResponseWriter
	control *http.ResponseController
	buf     *bufio.Writer
	enc     *json.Encoder
}

// traceBuffer is what of a trace is written at a time, when there is much.
const traceBuffer = 32 << 10

func (t *traceSink) Event(e *api.TraceEvent) error {
	t.s.deadline(t.w)
	if err := t.enc.Encode(e); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

func (t *traceSink) Flush() error {
	t.s.deadline(t.w)
	if err := t.buf.Flush(); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	if err := t.control.Flush(); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

// trace streams what is traced, a line each, until the request's duration is
// over or the client has gone, or has shut down its side: then it gets the rest.
func (s *Server) trace(w http.ResponseWriter, r *http.Request) (any, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: %v", err)
	}
	req, err := api.ParseTraceRequest(query)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	t := &traceSink{s: s, w: w, control: http.NewResponseController(w), buf: bufio.NewWriterSize(w, traceBuffer)}
	t.enc = json.NewEncoder(t.buf)
	t.enc.SetEscapeHTML(false)
	w.Header().Set("Content-Type", "application/x-ndjson")
	err = s.backend.Trace(r.Context(), req, t)
	if err == nil {
		err = t.Flush()
	}
	if err != nil && r.Context().Err() != nil {
		return nil, nil // the client has gone: nobody is left to be told
	}
	return nil, err
}

func (s *Server) tasks(_ http.ResponseWriter, r *http.Request) (any, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: %v", err)
	}
	req, err := api.ParseTasksRequest(query)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	list, err := s.backend.Tasks(r.Context(), req)
	if err != nil {
		return nil, err
	}
	return list, nil
}
