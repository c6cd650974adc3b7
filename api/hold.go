// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
)

// PathHold is the endpoint of holds: POST HoldRequest → Hold, and where the
// request names no time NDJSON, a Hold and then nothing until it ends, which it
// does with the connection; DELETE ?id=N, or without one for all, → []Hold, those
// that were released.
const PathHold = "/v1/hold"

// Bounds of a hold.
const (
	MaxHold            = 7 * 24 * time.Hour
	MaxHoldReasonBytes = 200
)

// HoldRequest asks that autosa change nothing by itself.
type HoldRequest struct {
	// Seconds is for how long; 0: until the connection of the request ends.
	Seconds float64 `json:"seconds,omitempty"`
	// Reason is shown wherever the hold is; empty is allowed.
	Reason string `json:"reason,omitempty"`
}

// Check says what is wrong with a request.
func (r HoldRequest) Check() error {
	switch {
	case !(r.Seconds >= 0) || math.IsInf(r.Seconds, 1):
		return fmt.Errorf("a hold of %v seconds: it takes a number above 0", r.Seconds)
	case r.Seconds > MaxHold.Seconds():
		return fmt.Errorf("a hold of %v is too long: at most %v", time.Duration(min(r.Seconds, 1e9)*float64(time.Second)).Round(time.Second), MaxHold)
	case r.Seconds > 0 && r.Seconds < 1e-3:
		return fmt.Errorf("a hold of %v seconds is over at once", r.Seconds)
	case len(r.Reason) > MaxHoldReasonBytes:
		return fmt.Errorf("the reason is longer than %d bytes", MaxHoldReasonBytes)
	case strings.ContainsFunc(r.Reason, unicode.IsControl):
		return fmt.Errorf("the reason %q contains a control character", r.Reason)
	}
	return nil
}

// Hold is one in force.
type Hold struct {
	ID     uint64    `json:"id"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Until is when it ends; absent for one that ends with its holder.
	Until *time.Time `json:"until,omitempty"`
}
