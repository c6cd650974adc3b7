// SPDX-License-Identifier: Apache-2.0

// Package server serves autosa's API, HTTP/JSON under /v1/, on a Unix socket.
//
// Whoever connects is known by the kernel's word, not their own: the peer
// credentials of the connection decide what it may do. Everything that a peer
// can make the server hold is bounded: connections, headers, bodies, watchers,
// and the time each of them may take.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"autosa/api"
)

// Backend does what the API offers. Its methods are called concurrently. An
// error that is or wraps an *api.Error reaches the client with its code, any
// other as api.CodeFailed.
//
// The context ends when the client goes away or the server shuts down. An order
// that was taken is carried out all the same.
type Backend interface {
	Status() api.Status
	// Watch returns a channel that carries the present status and then one
	// status a tick; it is closed when the context ends or the daemon stops.
	Watch(ctx context.Context) <-chan api.Status
	Schedulers(ctx context.Context) ([]api.Scheduler, error)
	// Trace hands what is traced to sink until the request's duration is over or
	// ctx ends, and then the rest and the totals.
	Trace(ctx context.Context, req api.TraceRequest, sink api.TraceSink) error
	Tasks(ctx context.Context, req api.TasksRequest) (api.TaskList, error)
	Switch(ctx context.Context, req api.SwitchRequest) (api.SwitchResult, error)
	Auto(ctx context.Context) (api.Status, error)
	// Hold begins a hold; the channel is closed when it ends. Release ends one,
	// or with id 0 all.
	Hold(ctx context.Context, req api.HoldRequest) (api.Hold, <-chan struct{}, error)
	Release(ctx context.Context, id uint64) ([]api.Hold, error)
	Stop(ctx context.Context) (api.Stopping, error)
	Recorder
	Incidents
}

// Options are a server's settings. Backend and Logger are required.
type Options struct {
	Backend Backend
	Logger  *slog.Logger
	// OperatorGroup is the name of the group whose members may do what root
	// may; empty for none. A group that does not exist has no members.
	OperatorGroup string
	Limits        Limits
}

// Limits bound what peers can make the server hold. Zero fields have the
// defaults named.
type Limits struct {
	// Conns is the number of connections at one time (64). ReservedConns of
	// them (8) are kept for those who may give orders, and nobody else may have
	// more than ConnsPerUID (24).
	Conns, ReservedConns, ConnsPerUID int
	// Watchers is the number of streams at one time (16).
	Watchers int
	// HeaderBytes (8 KiB) and BodyBytes (64 KiB) bound a request.
	HeaderBytes int
	BodyBytes   int64
	// ReadTimeout bounds the time in which a request must have arrived (5 s),
	// WriteTimeout that in which an answer, or one line of a stream, must have
	// been taken (10 s), IdleTimeout that between two requests (30 s).
	ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	// ShutdownTimeout bounds the time that requests under way are given when
	// the server ends (2 s).
	ShutdownTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	set(&l.Conns, 64)
	set(&l.ReservedConns, 8)
	set(&l.ConnsPerUID, 24)
	set(&l.Watchers, 16)
	set(&l.HeaderBytes, 8<<10)
	set(&l.BodyBytes, 64<<10)
	set(&l.ReadTimeout, 5*time.Second)
	set(&l.WriteTimeout, 10*time.Second)
	set(&l.IdleTimeout, 30*time.Second)
	set(&l.ShutdownTimeout, 2*time.Second)
	return l
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server serves one socket. Make one with [Listen].
type Server struct {
	backend  Backend
	log      *slog.Logger
	limits   Limits
	socket   *socket
	listener *listener
	auth     auth
	watchers chan struct{} // a token for each stream
}

// Listen makes the socket at path, which then accepts connections that wait
// for [Server.Serve]. The socket appears with its final mode, 0666, and
// replaces one that a dead daemon left; where another daemon listens the error
// is an [InUseError]. A directory that is missing is made with mode 0755.
//
// Call Serve or Close to be rid of it.
func Listen(path string, opts Options) (*Server, error) {
	s := &Server{
		backend: opts.Backend,
		log:     opts.Logger,
		limits:  opts.Limits.withDefaults(),
		auth:    auth{uid: uint32(os.Geteuid())},
	}
	s.watchers = make(chan struct{}, s.limits.Watchers)
	if err := s.auth.setGroup(opts.OperatorGroup); err != nil {
		s.log.Info("no operator group, orders are taken from root alone", "group", opts.OperatorGroup, "reason", err)
	}
	sock, err := bind(path)
	if err != nil {
		return nil, err
	}
	s.socket = sock
	s.listener = &listener{UnixListener: sock.listener, limits: s.limits, auth: s.auth, log: s.log, byUID: make(map[uint32]int)}
	return s, nil
}

// setGroup resolves the operator group.
func (a *auth) setGroup(name string) error {
	if name == "" {
		return nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return fmt.Errorf("group %s: %w", name, err)
	}
	a.group, a.hasGroup = uint32(gid), true
	return nil
}

// Path is the socket's path.
func (s *Server) Path() string { return s.socket.path }

// Close removes the socket of a server that never served.
func (s *Server) Close() error { return s.socket.close() }

// Serve answers requests until ctx ends, then lets those under way finish
// within a bound, ends the streams, removes the socket and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout:            s.limits.ReadTimeout,
		ReadTimeout:                  s.limits.ReadTimeout,
		IdleTimeout:                  s.limits.IdleTimeout,
		MaxHeaderBytes:               s.limits.HeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:                  func(net.Listener) context.Context { return requests },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*conn).peer)
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(s.listener) }()
	select {
	case err := <-ended:
		cancel()
		_ = srv.Close()
		return errors.Join(fmt.Errorf("serve %s: %w", s.socket.path, err), s.socket.close())
	case <-ctx.Done():
	}
	removed := s.socket.remove()
	cancel() // ends the streams
	bounded, stop := context.WithTimeout(context.WithoutCancel(ctx), s.limits.ShutdownTimeout)
	defer stop()
	if err := srv.Shutdown(bounded); err != nil {
		s.log.Warn("requests did not end in time", "err", err)
		_ = srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		s.log.Warn("the listener ended early", "err", err)
	}
	return removed
}
