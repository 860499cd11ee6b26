// Package server makes a running server of a configuration: the node, the
// authority over credentials, the doors with their listeners and certificates,
// metrics and traces, and the port for operators of this machine.
//
// It guarantees that nothing listens beyond loopback without TLS, that a
// configuration which cannot work is refused with the key and the fix, that
// readiness is said only while requests are served, and that Run ends only
// when what was accepted has finished or been refused and the node is closed.
// It must not know what requests mean: the doors do. cmd/kimberlite calls it.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/access"
	"kimberlite/internal/clock"
	"kimberlite/internal/node"
	"kimberlite/internal/rpc"
	"kimberlite/internal/telemetry"
)

// Options are what a server is given beside its configuration.
type Options struct {
	// Version is the program's.
	Version string
	// Logger is told what happens; nil is silence.
	Logger *slog.Logger
	// Clock is the time; nil is the system's.
	Clock clock.Clock
	// Prepare, if not nil, is called once the node is open and before
	// certificates are read and requests are taken.
	Prepare func(ctx context.Context, a *access.Authority, at Addresses) error
	// Reload, if not nil, makes the certificates be read again at each receive.
	Reload <-chan struct{}
}

// Addresses are where a server listens; "" is off.
type Addresses struct {
	PG       string `json:"pg"`
	RPC      string `json:"rpc"`
	Operator string `json:"operator"`
}

// door is a door with a protocol of its own.
type door interface {
	Serve(ctx context.Context, l net.Listener) error
	Shutdown(ctx context.Context) error
}

// Server is one server, from New to the end of Run.
type Server struct {
	c   *Config
	o   Options
	log *slog.Logger

	pgListener, rpcListener, operatorListener net.Listener // nil when off

	telemetry    *telemetry.Telemetry
	node         *node.Node
	authority    *access.Authority
	pg           door         // nil when off
	rpc          *http.Server // nil when off
	services     *rpc.Handler // of rpc
	operator     *http.Server // nil when off
	certificates []*certificate

	ready atomic.Bool
	// draining is closed when the shutdown begins, so that what would never
	// end by itself ends.
	draining chan struct{}
	closing  sync.Once
}

// New opens everything that a configuration names, and listens; nothing is
// served before Run. The error says what to do. After an error nothing is left
// open.
func New(ctx context.Context, c *Config, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Server{c: c, o: o, log: o.Logger, draining: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// open goes from what fails soonest to what takes longest. What Prepare makes
// the certificates of can be read only after it.
func (s *Server) open(ctx context.Context) error {
	steps := []func(context.Context) error{s.listen, s.openCertificates, s.openTelemetry, s.openNode, s.openDoors}
	if s.o.Prepare != nil {
		steps = []func(context.Context) error{s.listen, s.openTelemetry, s.openNode, s.prepare, s.openCertificates, s.openDoors}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) prepare(ctx context.Context) error {
	return s.o.Prepare(ctx, s.authority, s.Addresses())
}

// Addresses returns where the server listens.
func (s *Server) Addresses() Addresses {
	of := func(l net.Listener) string {
		if l == nil {
			return ""
		}
		return l.Addr().String()
	}
	return Addresses{PG: of(s.pgListener), RPC: of(s.rpcListener), Operator: of(s.operatorListener)}
}

// Run serves until ctx ends or a door fails, then shuts down and returns. It
// calls onReady once requests are taken. It is called once.
func (s *Server) Run(ctx context.Context, onReady func()) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, 3) // of the doors; each sends at most one
	var doors sync.WaitGroup
	serve := func(fn func() error) {
		doors.Go(func() {
			if err := fn(); err != nil {
				failed <- err
			}
		})
	}
	if s.pg != nil {
		serve(func() error { return s.pg.Serve(serving, s.pgListener) })
	}
	if s.rpc != nil {
		serve(func() error { return serveHTTP(s.rpc, s.rpcListener) })
	}
	if s.operator != nil {
		serve(func() error { return serveHTTP(s.operator, s.operatorListener) })
	}
	doors.Go(func() { s.watchCertificates(serving) })
	following, unfollow := context.WithCancel(serving)
	defer unfollow()
	followed := make(chan struct{})
	go func() { // ends before the node is closed: see below
		defer close(followed)
		if err := s.authority.Follow(following); err != nil {
			s.log.Error("server: the operators are not followed", "error", err)
		}
	}()
	s.ready.Store(true)
	at := s.Addresses()
	s.log.Info("server: ready", "pg", at.PG, "rpc", at.RPC, "operator", at.Operator)
	onReady()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		s.log.Error("server: a door failed", "error", err)
	}
	unfollow()
	<-followed
	err = errors.Join(err, s.shutdown(ctx))
	stop()
	doors.Wait()
	return err
}

// shutdown lets go of clients, then of the node. The operator's port goes
// last: it says how it goes.
func (s *Server) shutdown(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	s.ready.Store(false)
	s.log.Info("server: shutting down", "timeout", s.c.Server.ShutdownTimeout)
	if d := s.c.Server.DrainDelay; d > 0 {
		time.Sleep(d)
	}
	s.closing.Do(func() { close(s.draining) })
	patient, cancel := context.WithTimeout(ctx, s.c.Server.ShutdownTimeout)
	defer cancel()
	var doors sync.WaitGroup
	if s.pg != nil {
		doors.Go(func() {
			if err := s.pg.Shutdown(patient); err != nil {
				s.log.Warn("server: sessions were ended before they had finished", "door", "pg", "error", err)
			}
		})
	}
	if s.rpc != nil {
		doors.Go(func() {
			if err := s.rpc.Shutdown(patient); err != nil {
				s.log.Warn("server: requests were ended before they had finished", "door", "rpc", "error", err)
				_ = s.rpc.Close() // the connections go, whatever it says
			}
		})
	}
	doors.Wait()
	err := s.close(ctx)
	if err == nil {
		s.log.Info("server: closed")
	}
	return err
}

// closePatience bounds what is waited for after the doors are shut.
const closePatience = 30 * time.Second

// close closes what was opened, whatever that is.
func (s *Server) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	var err error
	if s.services != nil {
		s.services.Close() // the node waits for its transactions
	}
	if s.node != nil {
		err = s.node.Close(ctx)
	}
	if s.telemetry != nil {
		s.telemetry.Close(ctx)
	}
	if s.operator != nil {
		_ = s.operator.Close() // the connections go, whatever it says
	}
	for _, l := range []net.Listener{s.pgListener, s.rpcListener, s.operatorListener} {
		if l != nil {
			_ = l.Close() // closed already, or never served
		}
	}
	return err
}

func serveHTTP(s *http.Server, l net.Listener) error {
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// watchEvery is how often it is looked whether a certificate has changed.
const watchEvery = 10 * time.Second

// watchCertificates reads the certificates again when they change, or when it
// is told to, until ctx ends.
func (s *Server) watchCertificates(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.o.Reload:
			s.log.Info("server: reading the certificates again")
		}
		for _, c := range s.certificates {
			c.reload()
		}
	}
}
