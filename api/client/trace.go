// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	"autosa/api"
)

// Trace yields the lines of a trace as they come. When ctx ends, the daemon is
// asked to stop; the lines that it still has follow, and the line with the
// totals is the last one. A trace that ends in any other way ends with an error:
// [io.ErrUnexpectedEOF] where the daemon ended. When the caller stops, the
// daemon does too.
func (c *Client) Trace(ctx context.Context, req api.TraceRequest) iter.Seq2[api.TraceEvent, error] {
	return func(yield func(api.TraceEvent, error) bool) {
		body, err := c.stream(ctx, api.PathTrace+"?"+req.Query().Encode())
		if err != nil {
			if ctx.Err() == nil {
				yield(api.TraceEvent{}, err)
			}
			return
		}
		defer body.Close()
		lines := bufio.NewScanner(body)
		lines.Buffer(make([]byte, 64<<10), maxAnswerBytes)
		ended := false
		for lines.Scan() {
			var e api.TraceEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				if lines.Err() != nil {
					break // the stream broke off within the line
				}
				yield(e, fmt.Errorf("trace: %w", err))
				return
			}
			ended = e.Kind == api.TraceEnd
			if !yield(e, nil) {
				return
			}
		}
		if ended {
			return
		}
		err = lines.Err()
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		yield(api.TraceEvent{}, fmt.Errorf("trace: the daemon ended it: %w", err))
	}
}

// Tasks lists the busiest tasks over a short time, which it takes.
func (c *Client) Tasks(ctx context.Context, req api.TasksRequest) (api.TaskList, error) {
	var list api.TaskList
	ctx, cancel := context.WithTimeout(ctx, 2*readTimeout)
	defer cancel()
	err := c.call(ctx, http.MethodGet, api.PathTasks+"?"+req.Query().Encode(), nil, &list)
	return list, err
}
