// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"autosa/api"
)

// permission is what a route asks of its caller.
type permission int

const (
	anyone    permission = iota // anyone local
	operators                   // root, the daemon's own user, the operator group
)

// route is one endpoint, or where its path ends with a slash, all one word below
// it. Its handler returns the answer's body, or nil when it
// has written the answer itself.
type route struct {
	method, path string
	permission   permission
	handle       func(s *Server, w http.ResponseWriter, r *http.Request) (any, error)
}

func (rt *route) serves(path string) bool {
	if !strings.HasSuffix(rt.path, "/") {
		return path == rt.path
	}
	word, ok := strings.CutPrefix(path, rt.path)
	return ok && word != "" && !strings.Contains(word, "/")
}

var routes = []route{
	{http.MethodGet, api.PathStatus, anyone, (*Server).status},
	{http.MethodGet, api.PathSchedulers, anyone, (*Server).schedulers},
	{http.MethodGet, api.PathTrace, operators, (*Server).trace},
	{http.MethodGet, api.PathTasks, operators, (*Server).tasks},
	{http.MethodPost, api.PathSwitch, operators, (*Server).switchTo},
	{http.MethodPost, api.PathAuto, operators, (*Server).auto},
	{http.MethodPost, api.PathHold, operators, (*Server).hold},
	{http.MethodDelete, api.PathHold, operators, (*Server).release},
	{http.MethodPost, api.PathStop, operators, (*Server).stop},
	{http.MethodGet, api.PathRecord, operators, (*Server).record},
	{http.MethodGet, api.PathIncidents, anyone, (*Server).incidentList},
	{http.MethodGet, api.PathIncident, operators, (*Server).incident}, // its output names tasks
	{http.MethodGet, api.PathQuarantine, anyone, (*Server).quarantine},
	{http.MethodDelete, api.PathQuarantine, operators, (*Server).clearQuarantine},
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	p := peerFrom(r.Context())
	began := &answered{ResponseWriter: w}
	defer func() {
		what := recover()
		if what == nil {
			return
		}
		if err, ok := what.(error); ok && errors.Is(err, http.ErrAbortHandler) { // our own, below
			panic(what)
		}
		s.log.Error("panic in a request", "method", r.Method, "path", r.URL.Path, "panic", what, "stack", string(debug.Stack()))
		if began.yes {
			panic(http.ErrAbortHandler) // closes the connection: the answer is incomplete
		}
		s.fail(w, &api.Error{Code: api.CodeFailed, Message: "internal error, see the daemon's log"})
	}()
	rt, err := s.find(w, r)
	if err == nil && rt.permission == operators {
		if !s.auth.privileged(p) {
			err = &api.Error{Code: api.CodeForbidden, Message: s.auth.explain(p)}
		}
		s.log.Info("order", "path", r.URL.Path, "uid", p.uid, "pid", p.pid, "allowed", err == nil)
	}
	var body any
	if err == nil {
		body, err = rt.handle(s, began, r)
	}
	switch {
	case err != nil && began.yes:
		panic(http.ErrAbortHandler)
	case err != nil:
		s.fail(w, err)
	case body != nil:
		s.answer(w, http.StatusOK, body)
	}
}

// answered notes whether the answer has begun.
type answered struct {
	http.ResponseWriter
	yes bool
}

func (a *answered) WriteHeader(code int) {
	a.yes = true
	a.ResponseWriter.WriteHeader(code)
}

func (a *answered) Write(b []byte) (int, error) {
	a.yes = true
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the connection.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a auth) explain(p peer) string {
	if a.hasGroup {
		return fmt.Sprintf("user %d may not do this: it is for root and the operator group (gid %d)", p.uid, a.group)
	}
	return fmt.Sprintf("user %d may not do this: it is for root", p.uid)
}

// find returns the route of a request.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (*route, error) {
	var allow []string
	for i := range routes {
		rt := &routes[i]
		if !rt.serves(r.URL.Path) {
			continue
		}
		if rt.method == r.Method {
			return rt, nil
		}
		allow = append(allow, rt.method)
	}
	if allow == nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no such path: %s", r.URL.Path)}
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	return nil, &statusError{
		err:    &api.Error{Code: api.CodeBadRequest, Message: fmt.Sprintf("%s takes %s, not %s", r.URL.Path, strings.Join(allow, ", "), r.Method)},
		status: http.StatusMethodNotAllowed,
	}
}

// statusError is an error with an HTTP status of its own.
type statusError struct {
	err    *api.Error
	status int
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, err error) {
	body := &api.Error{Code: api.CodeFailed, Message: err.Error()}
	var known *api.Error
	if errors.As(err, &known) {
		// The message keeps what was wrapped around it.
		body.Code = known.Code
	}
	status := body.HTTPStatus()
	var own *statusError
	if errors.As(err, &own) {
		status = own.status
	}
	s.answer(w, status, body)
}

func (s *Server) answer(w http.ResponseWriter, status int, body any) {
	b, err := encode(body)
	if err != nil {
		s.log.Error("encode answer", "err", err)
		status = http.StatusInternalServerError
		b, _ = encode(&api.Error{Code: api.CodeFailed, Message: fmt.Sprintf("encode answer: %v", err)})
	}
	s.deadline(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// encode writes v and a newline.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// deadline bounds the write that follows.
func (s *Server) deadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.limits.WriteTimeout))
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) (any, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: %v", err)
	}
	for key := range query {
		if key != "watch" {
			return nil, badRequest("unknown query parameter %q", key)
		}
	}
	switch watch := query.Get("watch"); watch {
	case "", "0":
		return s.visible(s.backend.Status(), r), nil
	case "1":
		return nil, s.watch(w, r)
	default:
		return nil, badRequest("watch is 0 or 1, not %q", watch)
	}
}

// watch streams a status a tick, each on a line.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) error {
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return &api.Error{Code: api.CodeUnavailable, Message: "too many are watching"}
	}
	statuses := s.backend.Watch(r.Context())
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for {
		select {
		case <-r.Context().Done():
			return nil
		case st, ok := <-statuses:
			if !ok {
				return nil
			}
			line, err := encode(s.visible(st, r))
			if err != nil {
				return fmt.Errorf("encode status: %w", err)
			}
			s.deadline(w)
			if _, err := w.Write(line); err != nil {
				return fmt.Errorf("write status: %w", err)
			}
			if err := control.Flush(); err != nil {
				return fmt.Errorf("write status: %w", err)
			}
		}
	}
}

// visible is what the peer of a request may see of a status.
func (s *Server) visible(st api.Status, r *http.Request) api.Status {
	if s.auth.privileged(peerFrom(r.Context())) {
		return st
	}
	// The slices are shared with everyone else: replaced, not cleared.
	st.Events.Withheld = true
	st.Events.Worst = []api.WaitEvent{}
	st.Events.Periods = []api.Period{}
	st.Scheduler.PID = 0
	return st
}

func (s *Server) schedulers(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := s.backend.Schedulers(r.Context())
	if list == nil {
		list = []api.Scheduler{}
	}
	return list, err
}

// Bounds of a switch order.
const (
	maxArgs      = 64
	maxNameBytes = 64
)

func (s *Server) switchTo(w http.ResponseWriter, r *http.Request) (any, error) {
	var req api.SwitchRequest
	if err := s.decode(w, r, &req, true); err != nil {
		return nil, err
	}
	switch {
	case req.Scheduler == "":
		return nil, badRequest("the order names no scheduler")
	case len(req.Scheduler) > maxNameBytes:
		return nil, badRequest("the scheduler's name is longer than %d bytes", maxNameBytes)
	case len(req.Args) > maxArgs:
		return nil, badRequest("%d arguments, %d are allowed", len(req.Args), maxArgs)
	case slices.ContainsFunc(req.Args, func(a string) bool { return strings.ContainsRune(a, 0) }):
		return nil, badRequest("an argument contains a NUL character")
	}
	return s.backend.Switch(r.Context(), req)
}

func (s *Server) auto(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := s.decode(w, r, &struct{}{}, false); err != nil {
		return nil, err
	}
	return s.backend.Auto(r.Context())
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := s.decode(w, r, &struct{}{}, false); err != nil {
		return nil, err
	}
	return s.backend.Stop(r.Context())
}

// decode reads the one JSON value that a request's body is; without required
// it may also be empty.
func (s *Server) decode(w http.ResponseWriter, r *http.Request, into any, required bool) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.limits.BodyBytes))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return &statusError{
				err:    badRequest("the body is larger than %d bytes", large.Limit),
				status: http.StatusRequestEntityTooLarge,
			}
		}
		return badRequest("read body: %v", err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		if required {
			return badRequest("the body is empty")
		}
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return badRequest("body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if rest := bytes.TrimSpace(body[dec.InputOffset():]); len(rest) > 0 {
		return badRequest("body: something follows the value at byte %d", dec.InputOffset())
	}
	return nil
}

func badRequest(format string, args ...any) *api.Error {
	return &api.Error{Code: api.CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}
