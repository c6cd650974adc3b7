// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"io"
	"net/http"

	"autosa/api"
)

// Record returns a recording of what the daemon does from now on, as package
// recording reads it. It ends when ctx ends, which is an error of Read, or when
// the daemon does, with the recording's end record. The caller closes it.
func (c *Client) Record(ctx context.Context) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, api.PathRecord, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
