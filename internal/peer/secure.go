package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
)

// Names of the protocols in the handshake (ALPN).
const (
	alpnRaft   = "kimberlite-raft/1"
	alpnStream = "kimberlite-pg/1"
	alpnHTTP   = "h2"
	alpnJoin   = "kimberlite-join/1"
)

var alpns = [protocols]string{Raft: alpnRaft, Stream: alpnStream, HTTP: alpnHTTP, Join: alpnJoin}

func protocolOf(alpn string) (Protocol, bool) {
	i := slices.Index(alpns[:], alpn)
	return Protocol(max(i, 0)), i >= 0
}

// serverConfig is the accepting side of TLS. Sessions are not resumed: each
// connection proves who it is by the certificates of its own moment.
func (n *Network) serverConfig() *tls.Config {
	mutual := &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
		NextProtos:     []string{alpnRaft, alpnStream, alpnHTTP},
		ClientAuth:     tls.RequireAnyClientCert, // VerifyConnection believes it or not
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.o.Certificate() },
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := n.admit(s.PeerCertificates)
			return err
		},
	}
	join := &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: []string{alpnJoin},
		GetCertificate: mutual.GetCertificate,
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Equal(hello.SupportedProtos, []string{alpnJoin}) {
				return join, nil
			}
			return mutual, nil
		},
	}
}

// clientConfig is the connecting side, for one node and protocol.
func (n *Network) clientConfig(to ident.NodeID, region ident.Region, p Protocol) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpns[p]}, DynamicRecordSizingDisabled: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return n.o.Certificate() },
		// Certificates name nodes and no hosts: VerifyConnection does all that is
		// skipped here, and more.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := n.admit(s.PeerCertificates)
			switch {
			case err != nil:
				return err
			case id.Node != to:
				return refuse("another node", "node %s answered where node %s was called: look at their addresses", id.Node, to)
			case !region.IsZero() && id.Region != region:
				return refuse("another region", "node %s proves to be in region %s and not in %s, where it belongs", to, id.Region, region)
			}
			return nil
		},
	}
}

// refusal is a peer that was turned away; its reason is a label for counts.
type refusal struct {
	reason string
	cause  *fault.Error
}

func refuse(reason, format string, args ...any) error {
	return &refusal{reason, fault.New("peer", fault.Unauthenticated, format, args...)}
}

func (r *refusal) Error() string { return r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }

// admit says whom a chain proves, if it may talk to this node.
func (n *Network) admit(chain []*x509.Certificate) (pki.Identity, error) {
	id, err := pki.Verify(n.o.Roots(), chain, n.o.Clock.Now())
	if err != nil {
		return id, &refusal{"certificate", fault.Wrap("peer", fault.Unauthenticated, err, "the peer's certificate is not believed")}
	}
	return id, n.welcome(id)
}

// readmit says whether a connection that stands may go on. Its signatures are
// looked at again only when the authorities have changed.
func (n *Network) readmit(c *conn) error {
	roots := n.o.Roots()
	chain := c.ConnectionState().PeerCertificates
	if roots == nil || !roots.Equal(c.roots.Load()) || n.o.Clock.Now().After(chain[0].NotAfter) {
		if _, err := n.admit(chain); err != nil {
			return err
		}
		c.roots.Store(roots)
	}
	return n.welcome(c.peer)
}

// welcome says whether a node that has proven to be id may talk to this one.
func (n *Network) welcome(id pki.Identity) error {
	switch {
	case id.Deployment != n.o.Deployment:
		return refuse("another deployment", "the peer is a node of another deployment")
	case id.Node == n.o.Node:
		return refuse("own name", "the peer has the certificate of this very node")
	case n.o.Allowed != nil && !n.o.Allowed(id.Node):
		return refuse("not allowed", "node %s is no member of the deployment any more", id.Node)
	}
	return nil
}

// unreached marks an error of a connection that was never made: nothing of
// the call went out.
type unreached struct{ cause *fault.Error }

func (u *unreached) Error() string { return u.cause.Error() }
func (u *unreached) Unwrap() error { return u.cause }

// Unsent reports whether a call or a stream failed before anything of it
// reached the other node.
func Unsent(err error) bool {
	var u *unreached
	return errors.As(err, &u)
}

// dial makes a connection to a node for a protocol.
func (n *Network) dial(ctx context.Context, r *remote, p Protocol) (*conn, error) {
	c, err := n.connect(ctx, r, p)
	if err != nil {
		return nil, &unreached{fault.Wrap("reach node", fault.Unavailable, err, "node %s cannot be reached", r.id)}
	}
	return c, nil
}

func (n *Network) connect(ctx context.Context, r *remote, p Protocol) (*conn, error) {
	address, ok := n.o.Resolve(r.id)
	switch {
	case !ok:
		return nil, fault.New("reach node", fault.NotFound, "its address is not known")
	case n.o.Allowed != nil && !n.o.Allowed(r.id):
		return nil, refuse("not allowed", "it is no member of the deployment any more")
	case r.id == n.o.Node:
		return nil, fault.New("reach node", fault.Invalid, "a node does not call itself")
	}
	ctx, cancel := context.WithTimeout(ctx, n.o.Pace.Dial)
	defer cancel()
	raw, err := n.o.Dial(ctx, "tcp", address.Host)
	if err != nil {
		return nil, err
	}
	w := n.open(raw)
	c := &conn{Conn: tls.Client(w, n.clientConfig(r.id, address.Region, p)), wire: w}
	if err := n.establish(ctx, c); err != nil {
		c.end()
		return nil, err
	}
	if c.protocol != p {
		c.end()
		return nil, refuse("protocol", "the peer does not speak a protocol of this version")
	}
	return c, nil
}

// establish does the handshake and books the connection for its peer.
func (n *Network) establish(ctx context.Context, c *conn) error {
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	s := c.ConnectionState()
	var ok bool
	if c.protocol, ok = protocolOf(s.NegotiatedProtocol); !ok {
		return refuse("protocol", "the peer does not speak a protocol of this version")
	}
	if c.protocol == Join {
		return nil
	}
	id, err := n.admit(s.PeerCertificates)
	if err != nil {
		return err
	}
	c.peer = id
	c.roots.Store(n.o.Roots())
	c.remote = n.remote(id.Node)
	c.remote.region.Store(&id.Region)
	c.wire.countFor(&c.remote.traffic[c.protocol])
	return n.book(c)
}
