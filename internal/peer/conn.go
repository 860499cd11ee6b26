package peer

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"

	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
)

// traffic counts the bytes of one protocol with one node.
type traffic struct{ sent, received atomic.Uint64 }

// wire is a connection below TLS. It counts bytes: its own until the peer has
// proven who it is, that peer's from then on.
type wire struct {
	net.Conn
	own    traffic
	counts atomic.Pointer[traffic]
	closed sync.Once
	onEnd  func()
}

// countFor moves the counts so far, and all to come, to t. Called between the
// handshake and the first use.
func (w *wire) countFor(t *traffic) {
	w.counts.Store(t)
	t.sent.Add(w.own.sent.Load())
	t.received.Add(w.own.received.Load())
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.counts.Load().received.Add(uint64(n))
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.counts.Load().sent.Add(uint64(n))
	return n, err
}

func (w *wire) Close() error {
	err := w.Conn.Close()
	w.closed.Do(w.onEnd)
	return err
}

// conn is a connection with a peer that has proven who it is.
type conn struct {
	*tls.Conn
	wire     *wire
	protocol Protocol
	peer     pki.Identity
	remote   *remote
	roots    atomic.Pointer[x509.CertPool] // that the peer was last proven by
}

// end closes the connection at once, without a farewell that could block.
func (c *conn) end() { _ = c.wire.Close() }

// remote is what the network knows of one other node. It is made at the first
// contact and kept.
type remote struct {
	id      ident.NodeID
	traffic [protocols]traffic
	streams atomic.Int64
	region  atomic.Pointer[ident.Region]
	link    *link
	client  *caller

	mu      sync.Mutex // guards inbound
	inbound *conn      // the newest link for messages from there
}

// supersede makes c the one link for messages from the node, and ends the one
// before, so that an old one delivers nothing late.
func (r *remote) supersede(c *conn) {
	r.mu.Lock()
	old := r.inbound
	r.inbound = c
	r.mu.Unlock()
	if old != nil {
		old.end()
	}
}
