// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"autosa/api"
)

// Incidents is the part of a [Backend] that knows what went wrong.
type Incidents interface {
	// Incidents lists them, newest first, without output.
	Incidents(ctx context.Context) ([]api.Incident, error)
	Incident(ctx context.Context, id uint64) (api.Incident, error)
	Quarantine(ctx context.Context) ([]api.Quarantine, error)
	// ClearQuarantine forgets the failures of the named scheduler, or of all.
	ClearQuarantine(ctx context.Context, scheduler string, all bool) (api.QuarantineCleared, error)
}

func (s *Server) incidentList(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noQuery(r); err != nil {
		return nil, err
	}
	list, err := s.backend.Incidents(r.Context())
	if list == nil {
		list = []api.Incident{}
	}
	return list, err
}

func (s *Server) incident(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noQuery(r); err != nil {
		return nil, err
	}
	word := strings.TrimPrefix(r.URL.Path, api.PathIncident)
	id, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return nil, badRequest("%q is not an incident's number", word)
	}
	return s.backend.Incident(r.Context(), id)
}

func (s *Server) quarantine(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noQuery(r); err != nil {
		return nil, err
	}
	list, err := s.backend.Quarantine(r.Context())
	if list == nil {
		list = []api.Quarantine{}
	}
	return list, err
}

func (s *Server) clearQuarantine(w http.ResponseWriter, r *http.Request) (any, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: %v", err)
	}
	for key := range query {
		if key != "scheduler" && key != "all" {
			return nil, badRequest("unknown query parameter %q", key)
		}
	}
	name, all := query.Get("scheduler"), query.Get("all")
	switch {
	case all != "" && all != "1":
		return nil, badRequest("all is 1, not %q", all)
	case (name == "") == (all == ""):
		return nil, badRequest("which scheduler? It takes scheduler=NAME or all=1, and not both")
	case len(name) > maxNameBytes:
		return nil, badRequest("the scheduler's name is longer than %d bytes", maxNameBytes)
	}
	if err := s.decode(w, r, &struct{}{}, false); err != nil {
		return nil, err
	}
	return s.backend.ClearQuarantine(r.Context(), name, all == "1")
}

func noQuery(r *http.Request) error {
	if r.URL.RawQuery != "" {
		return badRequest("%s takes no query parameters", r.URL.Path)
	}
	return nil
}
