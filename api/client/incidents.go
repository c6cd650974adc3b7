// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"autosa/api"
)

// Incidents lists what went wrong, newest first, without output.
func (c *Client) Incidents(ctx context.Context) ([]api.Incident, error) {
	return read[[]api.Incident](ctx, c, http.MethodGet, api.PathIncidents)
}

// Incident returns one with its output.
func (c *Client) Incident(ctx context.Context, id uint64) (api.Incident, error) {
	return read[api.Incident](ctx, c, http.MethodGet, api.PathIncident+strconv.FormatUint(id, 10))
}

// Quarantine lists what rests after failures.
func (c *Client) Quarantine(ctx context.Context) ([]api.Quarantine, error) {
	return read[[]api.Quarantine](ctx, c, http.MethodGet, api.PathQuarantine)
}

// ClearQuarantine forgets the failures of a scheduler; of all where it is "".
func (c *Client) ClearQuarantine(ctx context.Context, scheduler string) (api.QuarantineCleared, error) {
	query := url.Values{"all": {"1"}}
	if scheduler != "" {
		query = url.Values{"scheduler": {scheduler}}
	}
	return read[api.QuarantineCleared](ctx, c, http.MethodDelete, api.PathQuarantine+"?"+query.Encode())
}
