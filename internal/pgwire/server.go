package pgwire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Server serves PostgreSQL clients. It is safe for concurrent use.
type Server struct {
	c      Config
	limits Limits
	tls    *tls.Config
	log    *slog.Logger
	locks  *lockTable
	memory *messageMemory
	eager  eagerness

	// stopping is closed when Shutdown begins.
	stopping chan struct{}
	stopOnce sync.Once
	nextConn atomic.Uint64
	cancels  chan struct{} // a value for each cancel request under way to another node

	mu        sync.Mutex // guards all below
	listeners map[net.Listener]struct{}
	conns     map[*session]struct{}
	sessions  map[uint32]*session // those that have logged in, by process id
	perTenant map[ident.TenantID]int
	// idle is closed when the last connection has ended; nil while nobody
	// waits for that.
	idle chan struct{}
}

// New returns a server. It listens to nothing until Serve.
func New(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	limits := c.Limits.withDefaults()
	return &Server{
		c: c, limits: limits, tls: serverTLS(c.TLS), log: c.Logger,
		locks: newLockTable(), memory: newMessageMemory(limits.MaxMessageBytes), stopping: make(chan struct{}),
		cancels:   make(chan struct{}, maxCancels),
		listeners: map[net.Listener]struct{}{}, conns: map[*session]struct{}{},
		sessions: map[uint32]*session{}, perTenant: map[ident.TenantID]int{},
	}, nil
}

// Serve accepts connections until ctx ends, the listener fails or Shutdown is
// called; the last returns nil. It closes the listener. Sessions go on when it
// has returned: Shutdown ends them.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.mu.Lock()
	if s.stopped() {
		s.mu.Unlock()
		_ = l.Close() // never served
		return fault.New("pgwire", fault.Closed, "the server is shutting down")
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	unwatch := context.AfterFunc(ctx, func() { _ = l.Close() }) // Accept reports it
	defer func() {
		unwatch()
		_ = l.Close() // closed already, or of no further use
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			s.accept(conn)
			continue
		}
		if s.stopped() || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fault.Wrap("pgwire", fault.Unavailable, err, "the listener was closed")
		}
		// Such as too many open files: it may pass.
		s.log.Warn("pgwire: accept failed", "error", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-ctx.Done():
			return nil
		case <-s.stopping:
			return nil
		}
	}
}

func (s *Server) stopped() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// accept starts a connection's goroutine, which ends when the connection does.
func (s *Server) accept(conn net.Conn) {
	c := newSession(s, conn)
	if !s.enter(c) {
		_ = conn.Close() // nothing was said yet
		return
	}
	go c.serve()
}

// enter counts a connection among the server's; forget ends that. false says
// that there is no room, or that the server stops: not even a refusal is worth
// the memory.
func (s *Server) enter(c *session) bool {
	s.mu.Lock()
	if s.stopped() || len(s.conns) >= s.limits.MaxConnections+s.limits.MaxConnections/4+16 {
		s.mu.Unlock()
		return false
	}
	c.tooMany = len(s.conns) >= s.limits.MaxConnections
	c.entered = true
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.c.Observer.ConnectionOpened()
	return true
}

// forget removes a connection that has ended.
func (s *Server) forget(c *session) {
	s.mu.Lock()
	delete(s.conns, c)
	if c.registered {
		delete(s.sessions, c.pid)
		if s.perTenant[c.tenantID]--; s.perTenant[c.tenantID] == 0 {
			delete(s.perTenant, c.tenantID)
		}
	}
	if len(s.conns) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	s.mu.Unlock()
	s.c.Observer.ConnectionClosed()
}

// register gives a session that has logged in its process id.
func (s *Server) register(c *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perTenant[c.tenantID] >= s.limits.MaxConnectionsPerTenant {
		return fault.New("login", fault.Unavailable, "the tenant has %d connections already, which is the limit: close some", s.perTenant[c.tenantID]).
			ForTenant(c.tenantID).WithState("53300")
	}
	pid, err := newProcessID(s.c.Router, func(pid uint32) bool { _, taken := s.sessions[pid]; return taken })
	if err != nil {
		return err
	}
	c.pid, c.registered = pid, true
	s.sessions[pid] = c
	s.perTenant[c.tenantID]++
	return nil
}

// session returns the session of a process id, or nil.
func (s *Server) session(pid uint32) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[pid]
}

// Shutdown stops accepting, ends idle sessions and those that end their
// statement until ctx ends, and the others then. It returns when no connection
// is left; ctx's error says that some statement had to be cancelled.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopOnce.Do(func() { close(s.stopping) })
	for l := range s.listeners {
		_ = l.Close() // Serve sees that
	}
	if len(s.conns) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	for c := range s.conns {
		c.end(errShutdown(), false)
	}
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.end(errShutdown(), true)
	}
	s.mu.Unlock()
	grace := time.NewTimer(5 * time.Second)
	defer grace.Stop()
	select {
	case <-idle:
	case <-grace.C:
		s.mu.Lock()
		for c := range s.conns {
			_ = c.conn.Close() // it had its time
		}
		s.mu.Unlock()
		<-idle
	}
	return fault.Wrap("pgwire", fault.Timeout, context.Cause(ctx), "statements were cancelled to shut down")
}

func errShutdown() *fault.Error {
	return fault.New("session", fault.Closed, "the server is shutting down: connect again later").WithState("57P01")
}

// remoteEnded says whether an error of reading or writing just means that the
// other side, or we, have closed the connection.
func remoteEnded(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}
