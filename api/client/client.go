// SPDX-License-Identifier: Apache-2.0

// Package client talks to a running autosa daemon.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"autosa/api"
)

const (
	// maxAnswerBytes bounds what is read of one answer, or one line of a stream.
	maxAnswerBytes = 8 << 20
	// readTimeout bounds the requests that the daemon answers from memory.
	readTimeout = 10 * time.Second
)

// ErrNoDaemon is matched by [*NoDaemonError].
var ErrNoDaemon = errors.New("autosa is not running")

// NoDaemonError says that nobody listens on the socket.
type NoDaemonError struct {
	Socket string
	// Err is what connecting met.
	Err error
}

func (e *NoDaemonError) Error() string {
	return fmt.Sprintf("autosa is not running (%s: %v)", e.Socket, e.Err)
}

// Is reports whether target is [ErrNoDaemon].
func (e *NoDaemonError) Is(target error) bool { return target == ErrNoDaemon }

func (e *NoDaemonError) Unwrap() error { return e.Err }

// Client talks to the daemon on one socket. It keeps nothing open between
// calls, needs no closing, and is safe for concurrent use.
//
// Errors are a [*NoDaemonError] where nobody listens, an [*api.Error] where the
// daemon refused or the socket may not be connected to, and others where the
// conversation broke.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client of the daemon that listens on socket. It does not
// connect.
func New(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true},
		// Nothing in the API redirects.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Socket is the path given to New.
func (c *Client) Socket() string { return c.socket }

// Status returns the daemon's present status.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return read[api.Status](ctx, c, http.MethodGet, api.PathStatus)
}

// Schedulers lists the schedulers that the daemon knows.
func (c *Client) Schedulers(ctx context.Context) ([]api.Scheduler, error) {
	return read[[]api.Scheduler](ctx, c, http.MethodGet, api.PathSchedulers)
}

// Switch orders a scheduler by hand and returns once the kernel has confirmed
// it, or the daemon has given up; only ctx bounds that. The order is carried out
// even where ctx ends first.
func (c *Client) Switch(ctx context.Context, req api.SwitchRequest) (api.SwitchResult, error) {
	var result api.SwitchResult
	body, err := json.Marshal(req)
	if err != nil {
		return result, fmt.Errorf("encode order: %w", err)
	}
	err = c.call(ctx, http.MethodPost, api.PathSwitch, body, &result)
	return result, err
}

// Auto withdraws the operator's choice.
func (c *Client) Auto(ctx context.Context) (api.Status, error) {
	return read[api.Status](ctx, c, http.MethodPost, api.PathAuto)
}

// Stop asks the daemon to end and returns the PID to wait for.
func (c *Client) Stop(ctx context.Context) (api.Stopping, error) {
	return read[api.Stopping](ctx, c, http.MethodPost, api.PathStop)
}

// Process returns the daemon's PID as the kernel knows it in this process's PID
// namespace: 0 when the daemon lives in another one.
func (c *Client) Process(ctx context.Context) (int, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return 0, c.explain("connect", err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, inner); err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	return int(cred.Pid), nil
}

// Watch yields the present status and then one a tick. It ends when ctx ends or
// the caller stops, without an error, and with one when the daemon ends:
// [io.EOF] where it took its leave.
func (c *Client) Watch(ctx context.Context) iter.Seq2[api.Status, error] {
	return func(yield func(api.Status, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		resp, err := c.do(ctx, http.MethodGet, api.PathStatus+"?watch=1", nil)
		if err != nil {
			if ctx.Err() == nil {
				yield(api.Status{}, err)
			}
			return
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(make([]byte, 64<<10), maxAnswerBytes)
		for lines.Scan() {
			var st api.Status
			if err := json.Unmarshal(lines.Bytes(), &st); err != nil {
				if lines.Err() != nil || ctx.Err() != nil {
					break // the stream broke off within the line
				}
				yield(st, fmt.Errorf("watch status: %w", err))
				return
			}
			if !yield(st, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			yield(api.Status{}, fmt.Errorf("watch status: %w", err))
			return
		}
		yield(api.Status{}, io.EOF)
	}
}

// read makes a request without a body that is answered from memory.
func read[T any](ctx context.Context, c *Client, method, path string) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var v T
	err := c.call(ctx, method, path, nil, &v)
	return v, err
}

// call makes a request and decodes its answer.
func (c *Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := bounded(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", path, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: answer of the daemon: %w", path, err)
	}
	return nil
}

// do makes a request and returns the answer of one that succeeded.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://autosa"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	b, err := bounded(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: read answer: %w", path, err)
	}
	refusal := &api.Error{}
	if json.Unmarshal(b, refusal) != nil || refusal.Message == "" {
		return nil, fmt.Errorf("%s: the daemon answered %s: %.200q", path, resp.Status, strings.TrimSpace(string(b)))
	}
	return nil, refusal
}

// explain turns what a request met into an error that callers can branch on.
func (c *Client) explain(path string, err error) error {
	var op *net.OpError
	connecting := errors.As(err, &op) && op.Op == "dial"
	var errno unix.Errno
	errors.As(err, &errno)
	switch {
	case connecting && (errors.Is(err, fs.ErrNotExist) || errno == unix.ECONNREFUSED || errno == unix.ENOTDIR):
		return &NoDaemonError{Socket: c.socket, Err: errno}
	case connecting && errors.Is(err, fs.ErrPermission):
		return &api.Error{Code: api.CodeForbidden, Message: fmt.Sprintf("connect to %s: %v", c.socket, errno)}
	case connecting && errno == unix.EAGAIN:
		return &api.Error{Code: api.CodeUnavailable, Message: fmt.Sprintf("connect to %s: too many are waiting", c.socket)}
	case connecting && errno != 0:
		return fmt.Errorf("connect to %s: %w", c.socket, errno)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: the daemon did not answer in time: %w", path, context.DeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("%s: the daemon closed the connection: %w", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func bounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxAnswerBytes+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxAnswerBytes {
		return nil, fmt.Errorf("larger than %d MiB", maxAnswerBytes>>20)
	}
	return b, nil
}
