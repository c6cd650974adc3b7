// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"io"

	"autosa/api"
)

// Record returns a recording of what the daemon does from now on, as package
// recording reads it. When ctx ends, the daemon is asked to stop: what it still
// has follows, and no end record. When the daemon ends, the recording ends with
// that. The caller closes it.
func (c *Client) Record(ctx context.Context, req api.RecordRequest) (io.ReadCloser, error) {
	path := api.PathRecord
	if q := req.Query().Encode(); q != "" {
		path += "?" + q
	}
	return c.stream(ctx, path)
}
