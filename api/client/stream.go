// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// streamRest bounds the time in which the daemon sends what is left of a stream
// that was ended.
const streamRest = 5 * time.Second

// stream returns an answer that goes on. When ctx ends, the daemon is asked for
// its end, by shutting down this side of the connection: what it still has can
// be read. The caller closes it.
func (c *Client) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	var (
		mu   sync.Mutex
		conn *net.UnixConn // guarded by mu
	)
	own := &Client{socket: c.socket, http: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			dialed, err := d.DialContext(ctx, "unix", c.socket)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			conn = dialed.(*net.UnixConn)
			return dialed, nil
		}},
		CheckRedirect: c.http.CheckRedirect,
	}}
	asking, abandon := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if conn == nil || conn.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(streamRest)) != nil {
			abandon()
		}
	})
	resp, err := own.do(asking, http.MethodGet, path, nil) //nolint:bodyclose // the caller does
	if err != nil {
		forget()
		abandon()
		return nil, err
	}
	return &streamed{ReadCloser: resp.Body, end: func() { forget(); abandon() }}, nil
}

// streamed is the body of a stream.
type streamed struct {
	io.ReadCloser
	end func()
}

// Close gives up what is left.
func (s *streamed) Close() error {
	err := s.ReadCloser.Close()
	s.end()
	return err
}
