package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
	"kimberlite/internal/replication"
)

// Self is who this node is.
type Self struct {
	Node       ident.NodeID
	Region     ident.Region
	Deployment string
}

// Address is where a node listens for its peers.
type Address struct {
	Host   string // host:port
	Region ident.Region
}

// Options says who this node is and what it knows of the others. The
// functions are called from many goroutines and must not block.
type Options struct {
	Self
	// Certificate returns this node's certificate, its chain up to and
	// including its authority: a joiner pins that one.
	Certificate func() (*tls.Certificate, error)
	// Roots returns the authorities that are believed.
	Roots func() *x509.CertPool
	// Resolve returns where a node is; false when it is not known.
	Resolve func(ident.NodeID) (Address, bool)
	// Receive takes a message of the engine. m.Data is its own to keep. Blocking
	// holds up further messages of that node.
	Receive func(from ident.NodeID, m replication.Message)
	// Lost hears that messages to a node may have been lost: the link to it
	// ended or could not be made, or its queue was full. It may be called often.
	// nil is fine.
	Lost func(ident.NodeID)
	// Allowed reports whether a node may talk to this one. nil allows all that
	// prove to be of this deployment.
	Allowed func(ident.NodeID) bool
	// Logger hears of links made, lost and refused; nil discards it.
	Logger *slog.Logger
	// Dial makes connections; nil is a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Clock judges certificates; nil is the machine's.
	Clock clock.Clock
	// Pace is how patient the network is; zero fields have defaults.
	Pace Pace
}

// Pace is how patient the network is.
type Pace struct {
	// Ping is how often each link for messages is probed, and Silence how long
	// one may stay silent before it is given up.
	Ping, Silence time.Duration
	// Dial bounds making a connection, its handshake included.
	Dial time.Duration
	// Backoff is the first pause after a failure to connect; it doubles up to
	// MaxBackoff, with jitter.
	Backoff, MaxBackoff time.Duration
	// Check is how often the connections that stand are checked against Allowed,
	// Roots and the time.
	Check time.Duration
}

func (p Pace) withDefaults() Pace {
	for _, f := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&p.Ping, 500 * time.Millisecond},
		{&p.Silence, 4 * time.Second},
		{&p.Dial, 3 * time.Second},
		{&p.Backoff, 50 * time.Millisecond},
		{&p.MaxBackoff, time.Second},
		{&p.Check, time.Second},
	} {
		if *f.value <= 0 {
			*f.value = f.standard
		}
	}
	return p
}

// Validate refuses options that no network can be made of.
func (o Options) Validate() error {
	id := pki.Identity{Deployment: o.Deployment, Node: o.Node, Region: o.Region}
	if err := id.Validate(); err != nil {
		return err
	}
	if o.Certificate == nil || o.Roots == nil || o.Resolve == nil || o.Receive == nil {
		return fault.New("peer network", fault.Invalid, "Certificate, Roots, Resolve and Receive are all needed")
	}
	return nil
}

// Peer is a node that has proven who it is.
type Peer struct {
	Node   ident.NodeID
	Region ident.Region
}

type peerKey struct{}

// From returns which node a call came from, proven by its certificate; false
// when the context is none of a call between nodes.
func From(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// StreamPreface is what the entry node tells of a client whose session it
// passes on. It is believed since the entry node has proven to be one.
type StreamPreface struct {
	// Kind says what the stream is, such as "session" or "cancel".
	Kind string `json:"kind"`
	// Remote is the client's address.
	Remote netip.Addr `json:"remote"`
	// TLS says that the client came over TLS, and ServerEndPoint is that
	// connection's tls-server-end-point channel binding.
	TLS            bool   `json:"tls,omitempty"`
	ServerEndPoint []byte `json:"server_end_point,omitempty"`
	// Startup is the client's first packet.
	Startup []byte `json:"startup,omitempty"`
}

// Protocol is what a connection is for.
type Protocol uint8

// The protocols.
const (
	Raft   Protocol = iota // messages of the replication engine
	Stream                 // proxied sessions
	HTTP                   // calls between nodes
	Join                   // nodes that join
	protocols
)

// String returns the protocol's name, a label in metrics.
func (p Protocol) String() string {
	return [protocols]string{"raft", "stream", "http", "join"}[p]
}

// Protocols lists all protocols.
func Protocols() []Protocol { return []Protocol{Raft, Stream, HTTP, Join} }

// Traffic counts bytes on the wire, TLS and handshakes included.
type Traffic struct{ Sent, Received uint64 }

// Link is what this node knows of its connections with another.
type Link struct {
	Node   ident.NodeID
	Region ident.Region // zero when it is not known yet
	// Traffic counts by protocol, since the network was made.
	Traffic [protocols]Traffic
	// Queue is how many messages wait for the node, and Drops how many were
	// given up.
	Queue int
	Drops uint64
	// Connected says that messages can go to the node now, and RTT is how long
	// the last probe took, there and back; 0 when there was none.
	Connected bool
	RTT       time.Duration
	// Streams is how many proxied sessions run over the link, in both
	// directions.
	Streams int
}

// SentBytes returns the bytes sent, of all protocols.
func (l Link) SentBytes() (n uint64) {
	for _, t := range l.Traffic {
		n += t.Sent
	}
	return n
}

// ReceivedBytes returns the bytes received, of all protocols.
func (l Link) ReceivedBytes() (n uint64) {
	for _, t := range l.Traffic {
		n += t.Received
	}
	return n
}
