package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/pki"
)

const (
	joinTimeout  = 30 * time.Second
	maxJoinBytes = 64 << 10
)

// plain hides that a connection is TLS: its protocol is none that net/http
// knows by name, and HTTP/1.1 is spoken on it.
type plain struct {
	net.Conn
	once    sync.Once
	release func() // at its end; nil for none
}

// Close is net.Conn's.
func (p *plain) Close() error {
	if p.release != nil {
		p.once.Do(p.release)
	}
	return p.Conn.Close()
}

// HandleJoin serves nodes that have no certificate yet, whatever they ask for.
// The handler must believe nothing but a token: anybody can call it.
func (n *Network) HandleJoin(h http.Handler) {
	n.calls.mu.Lock()
	defer n.calls.mu.Unlock()
	n.calls.joiner = h
}

// limitJoin bounds what strangers can have of the join door.
func limitJoin(s *served) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.RLock()
		h := s.joiner
		s.mu.RUnlock()
		if h == nil {
			http.Error(w, "this node takes no joins", http.StatusServiceUnavailable)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxJoinBytes)
		w.Header().Set("Connection", "close") // a stranger keeps nothing open
		h.ServeHTTP(w, r)
	})
}

// JoinClient returns a client for the join door of the node at addr
// (host:port): it believes a server whose chain ends in the authority with
// that fingerprint, and shows no certificate. Call it at "https://node/…".
func JoinClient(addr string, authority pki.Fingerprint) *http.Client {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpnJoin},
		// VerifyConnection believes the authority that the token pins, and no name.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyPinned(s, authority)
		},
	}
	return &http.Client{
		Timeout:       joinTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaderBytes,
			DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				c, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, addr)
				if err != nil {
					return nil, fault.Wrap("join", fault.Unavailable, err, "cannot reach a node at %s that the token's deployment vouches for", addr)
				}
				return &plain{Conn: c}, nil
			},
		},
	}
}

func verifyPinned(s tls.ConnectionState, authority pki.Fingerprint) error {
	if s.NegotiatedProtocol != alpnJoin {
		return fault.New("join", fault.Unauthenticated, "the server has no door for joining: is that the address for peers?")
	}
	for _, c := range s.PeerCertificates[1:] {
		if pki.FingerprintOf(c) == authority {
			roots := x509.NewCertPool()
			roots.AddCert(c)
			_, err := pki.Verify(roots, s.PeerCertificates, time.Now())
			return err
		}
	}
	return fault.New("join", fault.Unauthenticated, "the server is not of the deployment that made the token")
}
