// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"autosa/api"
)

// Hold keeps the daemon from changing anything by itself for as long as the
// request says, which must be above 0.
func (c *Client) Hold(ctx context.Context, req api.HoldRequest) (api.Hold, error) {
	var h api.Hold
	if !(req.Seconds > 0) {
		return h, errors.New("a hold without an end of its own needs a holder: HoldWhile")
	}
	body, err := json.Marshal(req)
	if err != nil {
		return h, fmt.Errorf("encode hold: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err = c.call(ctx, http.MethodPost, api.PathHold, body, &h)
	return h, err
}

// Held is a hold that lasts as long as this process keeps it, and no longer,
// however the process ends.
type Held struct {
	api.Hold
	// Ended is closed when the hold has ended, through Close or otherwise.
	Ended  <-chan struct{}
	cancel context.CancelFunc
}

// Close ends the hold and waits until the connection is closed.
func (h *Held) Close() {
	h.cancel()
	<-h.Ended
}

// HoldWhile begins a hold that lasts until it is closed, ctx ends, or the
// daemon ends it.
func (c *Client) HoldWhile(ctx context.Context, reason string) (*Held, error) {
	body, err := json.Marshal(api.HoldRequest{Reason: reason})
	if err != nil {
		return nil, fmt.Errorf("encode hold: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	slow := time.AfterFunc(readTimeout, cancel)
	resp, err := c.do(ctx, http.MethodPost, api.PathHold, body) //nolint:bodyclose // closed when the hold ends
	if err != nil {
		cancel()
		return nil, err
	}
	lines := bufio.NewReader(io.LimitReader(resp.Body, maxAnswerBytes))
	line, err := lines.ReadBytes('\n')
	ended := make(chan struct{})
	h := &Held{Ended: ended, cancel: cancel}
	if err == nil {
		err = json.Unmarshal(line, &h.Hold)
	}
	if err != nil || !slow.Stop() {
		cancel()
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s: answer of the daemon: %w", api.PathHold, errors.Join(err, ctx.Err()))
	}
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, lines)
		_ = resp.Body.Close()
		cancel()
	}()
	return h, nil
}

// Release ends a hold, or with id 0 all, and returns those that it ended.
func (c *Client) Release(ctx context.Context, id uint64) ([]api.Hold, error) {
	path := api.PathHold
	if id != 0 {
		path += "?id=" + strconv.FormatUint(id, 10)
	}
	return read[[]api.Hold](ctx, c, http.MethodDelete, path)
}
