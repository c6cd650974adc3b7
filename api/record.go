// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"net/url"
	"time"
)

// PathRecord streams a recording of what the daemon measures, is given and
// decides, in the format that docs/RECORDING.md describes: GET, query
// RecordRequest.
const PathRecord = "/v1/record"

// RecordingType is the media type of a recording.
const RecordingType = "application/x-autosa-recording"

// RecordRequest says what a recording holds. The zero value is one without
// single events.
type RecordRequest struct {
	// Events adds single waits, as a trace has them.
	Events bool
	// MinWait and Cgroups choose among them, as in a [TraceRequest].
	MinWait time.Duration
	Cgroups []string
}

// Trace is the trace whose events the recording holds.
func (r *RecordRequest) Trace() TraceRequest {
	return TraceRequest{MinWait: r.MinWait, Cgroups: r.Cgroups}
}

// Validate says what is wrong with a request, all of it.
func (r *RecordRequest) Validate() error {
	t := r.Trace()
	err := t.Validate()
	if !r.Events && (r.MinWait != 0 || len(r.Cgroups) > 0) {
		err = errors.Join(err, errors.New("min-wait and cgroup choose among events: they go with events"))
	}
	return err
}

// Query encodes a request; ParseRecordRequest is its inverse.
func (r *RecordRequest) Query() url.Values {
	t := r.Trace()
	q := t.Query()
	if r.Events {
		q.Set("events", "1")
	}
	return q
}

// ParseRecordRequest decodes and validates a request. Unknown keys are errors.
func ParseRecordRequest(q url.Values) (RecordRequest, error) {
	p := query{values: q}
	r := RecordRequest{Events: p.flag("events"), MinWait: p.duration("min_wait"), Cgroups: p.list("cgroup")}
	if err := p.end(); err != nil {
		return RecordRequest{}, err
	}
	if err := r.Validate(); err != nil {
		return RecordRequest{}, err
	}
	return r, nil
}
