package pgwire

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/peer"
)

// Router knows the other nodes of a cluster.
type Router interface {
	// Self is this node.
	Self() ident.NodeID
	// Nodes are all of them.
	Nodes() []ident.NodeID
	// Where says which node serves a tenant. It may wait for one until ctx ends.
	Where(ctx context.Context, id ident.TenantID) (node.Where, error)
	// OpenStream opens a stream that the other node's [Server.TakeStream] takes.
	OpenStream(ctx context.Context, to ident.NodeID, p peer.StreamPreface) (net.Conn, error)
}

// Kinds of streams between the doors of two nodes.
const (
	streamSession = "pg-session"
	streamCancel  = "pg-cancel"
)

// What the other node's door answers a session's stream with, one byte, before
// the first of the protocol.
const (
	verdictServed    = 'y'
	verdictElsewhere = 'n' // it does not serve the tenant; nothing was done
	verdictCrowded   = 'b' // it has too many connections
)

const (
	// routeWait is how long a node that serves the tenant is looked for, as
	// leaders change.
	routeWait = 5 * time.Second
	// verdictWait is how long the other node may take to answer, and arriveWait
	// how long it looks for itself.
	verdictWait = 3 * time.Second
	arriveWait  = time.Second
	// routePause is between two attempts.
	routePause = 50 * time.Millisecond
)

// passOn gives the connection to the node that serves its tenant, when that is
// another one, and returns when it has ended. false says that the tenant is
// served here, or is nobody's: who that is looks the same as a wrong password.
func (s *session) passOn(ctx context.Context, rq *startupRequest) (passed bool, err error) {
	router := s.srv.c.Router
	if router == nil || s.arrived != nil {
		return false, nil
	}
	if err := s.mayEnter(); err != nil {
		return false, err
	}
	id := s.srv.c.Authority.TenantOf(rq.params["user"])
	if id.IsZero() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, routeWait)
	defer cancel()
	for {
		where, err := router.Where(ctx, id)
		switch {
		case fault.Is(err, fault.NotFound), err == nil && where.Here:
			return false, nil
		case err == nil:
			var leader net.Conn
			if leader, err = s.reach(ctx, where.Leader, rq.packet); err == nil {
				cancel()
				s.splice(leader)
				return true, nil
			}
		}
		if fault.Is(err, fault.TooManyOps) {
			return false, errCrowded()
		}
		if !s.pauseRoute(ctx) {
			s.log.Debug("pgwire: no way to the tenant's node", "tenant", id.String(), "node", where.Leader.String(), "error", err)
			return false, fault.New("login", fault.Unavailable, "no node serves the tenant at the moment, or it cannot be reached from this one: connect again").ForTenant(id)
		}
	}
}

// pauseRoute waits between two attempts; false says that there is no time, or
// nobody, for another.
func (s *session) pauseRoute(ctx context.Context) bool {
	timer := time.NewTimer(routePause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return s.reason() == nil
	case <-ctx.Done():
	case <-s.srv.stopping:
	}
	return false
}

// reach opens a stream on which another node serves the session. The client
// has been told nothing yet, so every error can be followed by another attempt;
// TooManyOps is the other node's limit.
func (s *session) reach(ctx context.Context, to ident.NodeID, packet []byte) (net.Conn, error) {
	leader, err := s.srv.c.Router.OpenStream(ctx, to, peer.StreamPreface{
		Kind: streamSession, Remote: s.remote, TLS: s.secured, ServerEndPoint: s.binding, Startup: packet,
	})
	if err != nil {
		return nil, err
	}
	verdict := make([]byte, 1)
	err = leader.SetReadDeadline(time.Now().Add(verdictWait))
	if err == nil {
		_, err = leader.Read(verdict)
	}
	if err == nil {
		err = leader.SetReadDeadline(time.Time{})
	}
	switch {
	case err != nil:
	case verdict[0] == verdictServed:
		return leader, nil
	case verdict[0] == verdictCrowded:
		err = fault.New("login", fault.TooManyOps, "the tenant's node has as many connections as it may")
	default:
		err = fault.New("login", fault.Misrouted, "the node does not serve the tenant")
	}
	_ = leader.Close() // the error says why
	return nil, err
}

// TakeStream serves what a client of another node's door wants here: it is
// what takes the streams of [peer.Network.OnStream]. It returns when the
// session has ended; the caller closes conn.
func (s *Server) TakeStream(ctx context.Context, from ident.NodeID, p peer.StreamPreface, conn net.Conn) {
	switch p.Kind {
	case streamSession:
		s.takeSession(ctx, p, conn)
	case streamCancel:
		var m pgproto3.CancelRequest
		if len(p.Startup) > 4 && m.Decode(p.Startup[4:]) == nil {
			s.cancel(m.ProcessID, m.SecretKey)
		}
	default:
		s.log.Warn("pgwire: a stream of an unknown kind came from a node", "node", from.String())
	}
}

func (s *Server) takeSession(ctx context.Context, p peer.StreamPreface, conn net.Conn) {
	c := newSession(s, conn)
	c.remote, c.binding, c.secured, c.arrived = p.Remote.Unmap(), p.ServerEndPoint, p.TLS, &p
	verdict := byte(verdictServed)
	switch admitted := s.enter(c); {
	case !admitted && !s.stopped():
		verdict = verdictCrowded
	case !admitted, !s.servesHere(ctx, &p):
		verdict = verdictElsewhere
	}
	_ = conn.SetWriteDeadline(time.Now().Add(verdictWait)) // a dead connection shows at the write
	_, err := conn.Write([]byte{verdict})
	switch {
	case verdict == verdictServed && err == nil:
		defer context.AfterFunc(ctx, func() { c.end(errShutdown(), true) })()
		c.serve()
	case c.entered:
		_ = conn.Close() // the verdict was said
		s.forget(c)
	}
}

// servesHere says whether this node serves the tenant of a session that another
// one sent here. A name that is nobody's is refused as any is.
func (s *Server) servesHere(ctx context.Context, p *peer.StreamPreface) bool {
	if s.c.Router == nil {
		return true
	}
	rq, err := parseArrived(p.Startup)
	if err != nil {
		return true // the session says what is wrong
	}
	id := s.c.Authority.TenantOf(rq.params["user"])
	if id.IsZero() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, arriveWait)
	defer cancel()
	where, err := s.c.Router.Where(ctx, id)
	return err == nil && where.Here || fault.Is(err, fault.NotFound)
}

// parseArrived reads the startup packet, its length included, that another
// node has read from its client.
func parseArrived(packet []byte) (*startupRequest, error) {
	if len(packet) < 8 || len(packet) > maxLoginMessage || binary.BigEndian.Uint32(packet) != uint32(len(packet)) {
		return nil, protocolError("the startup packet that another node passed on is not well formed")
	}
	return parseStartup(bytes.Clone(packet[4:]))
}

func errCrowded() *fault.Error {
	return fault.New("login", fault.Unavailable, "the server has as many connections as it may: try again later").WithState("53300")
}

// maxCancels bounds the cancel requests that are under way to other nodes:
// whoever asks has proven nothing.
const maxCancels = 16

// cancelAnywhere carries out a CancelRequest where its session runs. It returns
// when that is done, as far as can be known.
func (s *Server) cancelAnywhere(ctx context.Context, packet []byte, pid uint32, key []byte) {
	router := s.c.Router
	if router == nil {
		s.cancel(pid, key)
		return
	}
	for _, id := range router.Nodes() {
		switch {
		case nodeTag(id) != pid>>pidRandomBits:
		case id == router.Self():
			s.cancel(pid, key)
		default:
			s.sendCancel(ctx, id, packet)
		}
	}
}

func (s *Server) sendCancel(ctx context.Context, to ident.NodeID, packet []byte) {
	select {
	case s.cancels <- struct{}{}:
		defer func() { <-s.cancels }()
	default:
		return
	}
	ctx, cancel := context.WithTimeout(ctx, verdictWait)
	defer cancel()
	c, err := s.c.Router.OpenStream(ctx, to, peer.StreamPreface{Kind: streamCancel, Startup: packet})
	if err != nil {
		s.log.Debug("pgwire: a cancel request did not reach its node", "node", to.String(), "error", err)
		return
	}
	defer c.Close() //nolint:errcheck // there is nothing to lose
	if c.SetReadDeadline(time.Now().Add(verdictWait)) == nil {
		_, _ = c.Read(make([]byte, 1)) // its end says that the request was carried out
	}
}
