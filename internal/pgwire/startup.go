package pgwire

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
)

// What the first four bytes of a startup packet ask for.
const (
	codeCancel = 80877102
	codeTLS    = 80877103
	codeGSS    = 80877104
	// major is the version of the protocol that is spoken, newestMinor its
	// newest revision: 3.2 has longer keys for cancelling.
	major       = 3
	newestMinor = 2
	// recordHandshake is the first byte of TLS.
	recordHandshake = 0x16
)

// startupRequest is what a client wants that has not been refused.
type startupRequest struct {
	packet []byte // as it came, its length included
	minor  uint32 // spoken from now on
	params map[string]string
	// negotiate says that the client asked for more than there is; unknown
	// are the protocol's options that it asked for.
	negotiate bool
	unknown   []string
}

// startup reads packets until the client says who it wants to be. A nil
// request without an error says that the connection has done what it was for.
func (s *session) startup(ctx context.Context) (*startupRequest, error) {
	if s.arrived != nil {
		return parseArrived(s.arrived.Startup)
	}
	if first, err := s.r.peek(); err != nil {
		return nil, err
	} else if first == recordHandshake && s.srv.tls != nil {
		if err := s.upgrade(); err != nil {
			return nil, err
		}
		if s.tls.ConnectionState().NegotiatedProtocol != protocolALPN {
			return nil, protocolError("a connection that begins with TLS has to name the protocol %q by ALPN", protocolALPN)
		}
	}
	askedTLS, askedGSS := false, false
	for {
		body, err := s.r.startup()
		if err != nil {
			return nil, err
		}
		switch code := binary.BigEndian.Uint32(body); code {
		case codeTLS:
			if askedTLS || s.tls != nil {
				return nil, protocolError("TLS was asked for twice")
			}
			askedTLS = true
			if err := s.answerTLS(); err != nil {
				return nil, err
			}
		case codeGSS:
			if askedGSS || s.tls != nil {
				return nil, protocolError("GSSAPI encryption was asked for twice")
			}
			askedGSS = true
			if err := s.say('N'); err != nil {
				return nil, err
			}
		case codeCancel:
			var m pgproto3.CancelRequest
			if m.Decode(body) == nil {
				s.srv.cancelAnywhere(ctx, packetOf(body), m.ProcessID, m.SecretKey)
			}
			return nil, nil
		default:
			return parseStartup(body)
		}
	}
}

// answerTLS answers a client that asks whether there is TLS. Nothing may have
// been sent after the question: it would have been sent in the clear, by
// whoever sits in between, and be taken for the encrypted client's.
func (s *session) answerTLS() error {
	if s.r.buffered() > 0 {
		return protocolError("the client sent data in the clear after it asked for TLS")
	}
	if s.srv.tls == nil {
		return s.say('N')
	}
	if err := s.say('S'); err != nil {
		return err
	}
	return s.upgrade()
}

// say writes one byte outside any message.
func (s *session) say(b byte) error {
	_, err := s.conn.Write([]byte{b})
	return err
}

// upgrade goes over to TLS.
func (s *session) upgrade() error {
	raw := s.conn
	if n := s.r.buffered(); n > 0 { // only the start of direct TLS
		raw = &prefixed{Conn: raw, prefix: bytes.Clone(s.r.take(n))}
	}
	secured, served, err := s.srv.secure(raw)
	if err != nil {
		return err
	}
	s.use(secured)
	s.tls, s.secured, s.binding = secured, true, endPoint(served)
	return nil
}

// prefixed is a connection some of whose bytes were read already.
type prefixed struct {
	net.Conn
	prefix []byte
}

// Read implements [net.Conn].
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// parseStartup reads a startup message: a version, then names and values.
func parseStartup(body []byte) (*startupRequest, error) {
	version := binary.BigEndian.Uint32(body)
	if version>>16 != major {
		return nil, fault.New("startup", fault.Unsupported, "version %d.%d of the protocol is not spoken here: use %d.%d", version>>16, version&0xffff, major, newestMinor)
	}
	rq := &startupRequest{packet: packetOf(body), minor: version & 0xffff, params: map[string]string{}}
	rest := body[4:]
	for {
		name, after, ok := cutString(rest)
		if !ok {
			return nil, protocolError("the startup packet is not well formed")
		}
		if name == "" {
			if len(after) != 0 {
				return nil, protocolError("the startup packet is not well formed: it goes on after its end")
			}
			break
		}
		value, after, ok := cutString(after)
		if !ok {
			return nil, protocolError("the startup packet is not well formed")
		}
		if strings.HasPrefix(name, "_pq_.") {
			rq.unknown = append(rq.unknown, name)
		} else {
			rq.params[name] = value
		}
		rest = after
	}
	if rq.minor > newestMinor {
		rq.minor, rq.negotiate = newestMinor, true
	}
	rq.negotiate = rq.negotiate || len(rq.unknown) > 0
	return rq, nil
}

// packetOf returns a startup packet as it came, given what follows its length.
func packetOf(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...) //nolint:gosec // bounded by maxLoginMessage
}

// cutString cuts a string that ends with a zero byte off b.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, false
	}
	return string(b[:i]), b[i+1:], true
}

// login brings a connection from its first byte to a proven credential. It
// returns false when the connection is over, since it was refused, for which the
// client has been told why, or another node has served it.
func (s *session) login(ctx context.Context) bool {
	_ = s.conn.SetDeadline(time.Now().Add(s.srv.limits.LoginTimeout)) // a dead connection shows at the next read
	rq, err := s.startup(ctx)
	if err == nil && rq == nil {
		return false
	}
	if err == nil {
		var passed bool
		if passed, err = s.passOn(ctx, rq); passed {
			return false
		}
	}
	if err == nil {
		err = s.admit(ctx, rq)
	}
	if err != nil {
		s.refuse(err)
		return false
	}
	s.loginDone()
	return true
}

// admit checks a startup request, authenticates and greets.
func (s *session) admit(ctx context.Context, rq *startupRequest) error {
	if err := s.mayEnter(); err != nil {
		return err
	}
	if rq.negotiate {
		err := s.w.send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: major<<16 | newestMinor, UnrecognizedOptions: rq.unknown})
		if err != nil {
			return err
		}
	}
	if rq.params["replication"] != "" && !isFalse(rq.params["replication"]) {
		return fault.New("login", fault.Unsupported, "the replication protocol is not offered: read kimberlite.events instead")
	}
	if rq.params["user"] == "" {
		return fault.New("login", fault.Unauthenticated, "no user is given: connect as name@tenant").WithState("28000")
	}
	err := s.authenticate(ctx, rq.params["user"])
	s.srv.c.Observer.Login(s.tenantID, err)
	if err != nil {
		return err
	}
	return s.greet(ctx, rq)
}

// mayEnter checks what goes for every client, whoever it is.
func (s *session) mayEnter() error {
	if s.tooMany {
		return errCrowded()
	}
	if !s.secured && !s.mayBePlain() {
		return fault.New("login", fault.Denied, "a connection without TLS is refused: use sslmode=require or stricter").WithState("28000")
	}
	return nil
}

func isFalse(v string) bool {
	switch strings.ToLower(v) {
	case "0", "f", "false", "off", "no", "n":
		return true
	}
	return false
}

// mayBePlain says whether the peer may go without TLS.
func (s *session) mayBePlain() bool {
	return s.srv.c.PlaintextOnLoopback && s.remote.IsValid() && s.remote.IsLoopback()
}

// remoteAddress returns the peer's address, or none where it has no such.
func remoteAddress(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// refuse tells a client why its connection ends, unless it is gone.
func (s *session) refuse(err error) {
	if reason := s.reason(); reason != nil {
		err = reason
	}
	if remoteEnded(err) {
		return
	}
	s.fatal(err)
}
