package pgwire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"kimberlite/internal/access"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/projection"
	"kimberlite/internal/tenant"
)

// session is one connection, from its first byte to its last. Its goroutine
// (serve) owns all fields but those of control, and reads and writes alone.
type session struct {
	control

	srv    *Server
	id     uint64 // in the log
	log    *slog.Logger
	remote netip.Addr
	conn   net.Conn // raw, or TLS over it
	tls    *tls.Conn
	// secured says that the client came over TLS, here or to the node that
	// passed the session on; arrived is what that node said, or nil.
	secured bool
	arrived *peer.StreamPreface
	// binding is the channel binding's data of the TLS connection, or nil.
	binding []byte
	r       *reader
	w       writer
	tooMany bool // refuse it once it can be told
	entered bool // it is among the server's connections

	// Since the login.
	proof      *access.Session
	tenantID   ident.TenantID
	tenant     *tenant.Tenant
	user       string // as given
	database   string
	pid        uint32
	key        []byte
	registered bool
	watched    chan struct{} // closed when the session ends: the watcher goes

	settings settings
	drawn    projection.Session // what currval and lastval tell
	tx       transaction
	plans    plans
	portals  map[string]*portal
	// heldGranted is what settleHeld was granted of what plans holds.
	heldGranted int
	// skipping says that a message of the extended protocol failed: nothing
	// is done until Sync.
	skipping bool
	// idempotencyKey names the next write.
	idempotencyKey string
}

func newSession(srv *Server, conn net.Conn) *session {
	s := &session{
		srv: srv, id: srv.nextConn.Add(1), remote: remoteAddress(conn), conn: conn,
		portals: map[string]*portal{}, watched: make(chan struct{}),
	}
	s.raw = conn
	s.log = srv.log.With("conn", s.id)
	s.use(conn)
	return s
}

// use makes conn what is read from and written to.
func (s *session) use(conn net.Conn) {
	s.conn = conn
	s.r = newReader(conn, maxLoginMessage, nil)
	s.w.dst = conn
}

// serve is the connection's goroutine.
func (s *session) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	s.parent = projection.WithSession(ctx, &s.drawn)
	defer s.srv.forget(s)
	defer func() {
		cancel()
		if s.tls != nil {
			_ = s.tls.Close() // says goodbye, to whoever is still there
		}
		_ = s.raw.Close() // what was to be said was said
	}()
	defer s.recoverPanic()
	defer s.release()
	if s.login(ctx) {
		s.loop()
	}
}

// recoverPanic keeps a bug in one session from ending the others.
func (s *session) recoverPanic() {
	if p := recover(); p != nil {
		// The value of a panic may quote data; the place does not.
		s.log.Error("pgwire: a session panicked", "stack", string(debug.Stack()))
		s.fatal(fault.New("session", fault.Internal, "internal error: the session ends"))
	}
}

// release gives back all that a session holds.
func (s *session) release() {
	close(s.watched)
	_ = s.r.ask(0) // giving back is not refused
	s.plans.held = 0
	_ = s.settleHeld() // likewise
	s.dropPortals()
	s.tx.abandon()
	s.srv.locks.releaseAll(s)
	if s.proof != nil {
		s.proof.Close()
	}
}

// watch ends the session when its credential is revoked or the server stops.
// It ends with the session.
func (s *session) watch() {
	select {
	case <-s.watched:
	case <-s.proof.Done():
		s.end(revoked(s.proof.Err()), true)
	case <-s.srv.stopping:
		s.end(errShutdown(), false)
		select { // it may be revoked all the same
		case <-s.watched:
		case <-s.proof.Done():
			s.end(errShutdown(), true)
		}
	}
}

// revoked is what a client is told whose credential is no longer good.
func revoked(cause error) error {
	e := fault.New("session", fault.Unauthenticated, "the session ends: its credential was revoked or has expired").WithState("57P01")
	if cause != nil && fault.KindOf(cause) == fault.Unauthenticated {
		e.State = "28000"
	}
	return e
}

// loop handles messages until the client leaves or has to.
func (s *session) loop() {
	s.r.max = s.srv.limits.MaxMessageBytes
	s.r.beforeRead = s.beforeRead
	s.srv.eager.working.Add(1)
	defer s.srv.eager.working.Add(-1)
	s.r.waits = &waiting{shared: &s.srv.eager}
	if c, ok := s.raw.(syscall.Conn); ok {
		s.r.waits.socket, _ = c.SyscallConn() // nil where there is none
	}
	s.r.grant = func(n int) error { return s.srv.memory.take(s.tenantID, n) }
	for {
		if err := s.reason(); err != nil && !s.mustSync() {
			s.fatal(err)
			return
		}
		kind, body, err := s.r.next()
		if err == nil {
			var more bool
			if more, err = s.message(kind, body); !more && err == nil {
				return
			}
		}
		if err != nil && s.expired(err) {
			continue
		}
		if err != nil {
			s.broken(err)
			return
		}
	}
}

// mustSync says that a Sync is next which ends what has been carried out, or
// has failed: drivers take what ends the session before it for the outcome of
// their statement, which then seems not to have taken effect.
func (s *session) mustSync() bool { return !s.tx.implicit && s.r.syncNext() }

// beforeRead is called before the session waits for its client: what it has to
// say is sent, and the time that it waits is bounded.
func (s *session) beforeRead() error {
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.settleHeld(); err != nil {
		return err
	}
	var wait time.Duration
	switch limits := &s.srv.limits; {
	case s.tx.open():
		wait = s.settings.idleInTransaction(limits.IdleInTransaction)
	default:
		wait = s.settings.idleSession(limits.IdleTimeout)
	}
	if s.holdsPortal() && (wait == 0 || wait > s.srv.limits.PortalLife) {
		wait = s.srv.limits.PortalLife
	}
	s.waitAtMost(wait)
	return nil
}

// flush sends what is collected.
func (s *session) flush() error {
	if s.w.pending() == 0 {
		return s.w.failed
	}
	s.writeAtMost(s.srv.limits.WriteTimeout)
	return s.w.flush()
}

// expired deals with a read that waited too long. It says whether the session
// goes on.
func (s *session) expired(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || s.reason() != nil {
		return false
	}
	// Either a suspended portal's time is up, or the session's.
	if !s.letPortalsGo() {
		return false
	}
	s.mu.Lock()
	s.relaxed++
	s.mu.Unlock()
	return true
}

// broken ends a session whose connection failed, or that waited too long, or
// whose client does not keep to the protocol.
func (s *session) broken(err error) {
	if why := s.reason(); why != nil {
		s.fatal(why)
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && s.w.failed == nil {
		if s.tx.open() {
			err = fault.New("session", fault.Timeout, "the session ends: it was idle in a transaction for too long").WithState("25P03")
		} else {
			err = fault.New("session", fault.Timeout, "the session ends: it was idle for too long").WithState("57P05")
		}
		s.fatal(err)
		return
	}
	if remoteEnded(err) || s.w.failed != nil {
		s.log.Debug("pgwire: the client is gone")
		return
	}
	s.fatal(err)
}

// fatal tells the client why its session ends.
func (s *session) fatal(err error) {
	if fault.KindOf(err) == fault.Internal {
		s.log.Error("pgwire: a session failed", "kind", fault.KindOf(err).Code(), "error", errorText(err))
	}
	if s.w.failed != nil {
		return
	}
	_ = s.w.send(response("FATAL", err))                        // the client may be gone
	_ = s.raw.SetWriteDeadline(time.Now().Add(time.Second * 5)) // likewise
	_ = s.w.flush()                                             // likewise
	if state := fault.StateOf(err); state == "08P01" || state == "54000" {
		s.drain()
	}
}

// drain reads what a client still sends that does not keep to the protocol:
// closing on it would take the answer back before the client has read it.
func (s *session) drain() {
	if c, ok := s.raw.(interface {
		net.Conn
		CloseWrite() error
	}); ok {
		_ = c.CloseWrite()                                            // the client may be gone
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // likewise
		_, _ = io.CopyN(io.Discard, c, 1<<20)                         // likewise
	}
}

// errorText is an error's text if it is one of ours, which hold no row data.
func errorText(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Op + ": " + message(e)
	}
	return "unclassified"
}

// message handles one message. false says that the client has left; an error
// that the connection cannot go on.
func (s *session) message(kind byte, body []byte) (more bool, err error) {
	if kind == 'X' {
		return false, nil
	}
	if s.skipping && kind != 'S' {
		return true, nil
	}
	switch kind {
	case 'Q':
		return true, s.simpleQuery(body)
	case 'P':
		err = s.parse(body)
	case 'B':
		err = s.bind(body)
	case 'D':
		err = s.describe(body)
	case 'E':
		err = s.execute(body)
	case 'C':
		err = s.close(body)
	case 'H':
		return true, s.flush()
	case 'S':
		return true, s.sync()
	case 'F':
		// Its answer is followed by ReadyForQuery, as a query's is.
		if err := s.fail(fault.New("protocol", fault.Unsupported, "function calls are not offered: use SELECT")); err != nil {
			return true, err
		}
		return true, s.ready()
	case 'd', 'c', 'f':
		return true, nil // the rest of a COPY that failed
	default:
		return true, protocolError("the message type 0x%02x is out of place", kind)
	}
	if err != nil {
		s.skipping = true
		return true, s.fail(err)
	}
	return true, nil
}

// connection is an error that no answer can mend: the connection is over.
type connection struct{ err error }

// Error implements error.
func (c connection) Error() string { return c.err.Error() }

// Unwrap returns the cause.
func (c connection) Unwrap() error { return c.err }

// fail tells the client that a statement failed, and fails its transaction. It
// returns an error when the connection is over.
func (s *session) fail(err error) error {
	var over connection
	if errors.As(err, &over) {
		return over.err
	}
	if fault.Is(err, fault.Misrouted) {
		return errMoved(err)
	}
	if fault.KindOf(err) == fault.Internal {
		s.log.Error("pgwire: a statement failed", "error", errorText(err))
	}
	if fault.KindOf(err) == fault.Closed && s.reason() == nil {
		// The tenant gave its transaction up. The kind's own state would tell
		// drivers that the connection is over.
		err = fault.Wrap("sql", fault.Closed, err, "").WithState("25P02")
	}
	err = s.inPostgreSQLsWords(context.Background(), err)
	s.failTransaction()
	if err := s.w.send(response("ERROR", err)); err != nil {
		return err
	}
	return nil
}

// errMoved ends a session whose tenant another node serves now. A new one is
// passed on to that node.
func errMoved(cause error) *fault.Error {
	return fault.Wrap("session", fault.Misrouted, cause, "another node serves the tenant now, and the statement did not take effect: connect again and repeat the transaction")
}

// ready says that the session waits for the next query.
func (s *session) ready() error {
	if err := s.reportSettings(); err != nil {
		return err
	}
	s.r.rest()
	return s.w.readyForQuery(s.tx.status())
}
