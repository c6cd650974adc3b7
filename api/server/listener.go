// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"autosa/api"
)

// listener hands out connections whose peer is known, as many as the limits
// allow; the others it answers itself.
type listener struct {
	*net.UnixListener
	limits Limits
	auth   auth
	log    *slog.Logger

	mu    sync.Mutex // guards what follows
	open  int
	byUID map[uint32]int // of those who may not give orders
}

// conn is a connection with its peer.
type conn struct {
	*net.UnixConn
	peer    peer
	release func()
}

// Close closes the connection and frees its place, once.
func (c *conn) Close() error {
	err := c.UnixConn.Close()
	c.release()
	return err
}

// Accept waits for the next connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err != nil {
			l.log.Warn("connection refused", "err", err)
			_ = c.Close()
			continue
		}
		if why := l.admit(p); why != "" {
			l.log.Debug("connection refused", "uid", p.uid, "pid", p.pid, "reason", why)
			turnAway(c, why)
			continue
		}
		return &conn{UnixConn: c, peer: p, release: sync.OnceFunc(func() { l.leave(p) })}, nil
	}
}

// admit takes a place for a peer, or says why there is none.
func (l *listener) admit(p peer) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.auth.privileged(p) {
		if l.open >= l.limits.Conns {
			return "too many connections"
		}
		l.open++
		return ""
	}
	switch {
	case l.open >= l.limits.Conns-l.limits.ReservedConns:
		return "too many connections"
	case l.byUID[p.uid] >= l.limits.ConnsPerUID:
		return fmt.Sprintf("too many connections of user %d", p.uid)
	}
	l.open++
	l.byUID[p.uid]++
	return ""
}

func (l *listener) leave(p peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.auth.privileged(p) {
		return
	}
	if l.byUID[p.uid]--; l.byUID[p.uid] == 0 {
		delete(l.byUID, p.uid)
	}
}

// turnAway answers 503 without reading the request. It does not block: the
// answer fits the empty socket buffer.
func turnAway(c *net.UnixConn, why string) {
	body, _ := json.Marshal(api.Error{Code: api.CodeUnavailable, Message: why})
	_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		http.StatusServiceUnavailable, http.StatusText(http.StatusServiceUnavailable), len(body), body)
	_ = c.Close()
}
