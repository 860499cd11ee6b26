package peer

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
	"kimberlite/internal/replication"
)

// Network is one node's connections with the others. All methods are safe for
// concurrent use.
type Network struct {
	o Options
}

// New returns a network that has no connections yet.
func New(o Options) (*Network, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	o.Pace = o.Pace.withDefaults()
	return &Network{o: o}, nil
}

// Serve accepts connections until ctx ends or the listener fails, and closes
// the listener.
func (n *Network) Serve(ctx context.Context, l net.Listener) error {
	<-ctx.Done()
	return l.Close()
}

// Close ends all connections and refuses new ones.
func (n *Network) Close() error { return nil }

// Send queues a message of the engine for a node. It never blocks; the message
// is dropped when the link is down or its queue is full. m.Data must not
// change after.
func (n *Network) Send(to ident.NodeID, m replication.Message) {}

// Handle serves calls between nodes at a pattern of [http.ServeMux]. [From]
// tells the handler who calls. Call it before Serve.
func (n *Network) Handle(pattern string, h http.Handler) {}

// HandleJoin serves nodes that have no certificate yet. Call it before Serve.
func (n *Network) HandleJoin(h http.Handler) {}

// Client returns a client for calls to a node, at "https://node/…".
func (n *Network) Client(to ident.NodeID) *http.Client { return &http.Client{} }

// OpenStream opens a stream of bytes to a node, which has taken it when the
// call returns without an error. An error says that nothing reached the other
// node's handler, or that the stream ended before it could do anything.
func (n *Network) OpenStream(ctx context.Context, to ident.NodeID, p StreamPreface) (net.Conn, error) {
	return nil, fault.New("open stream", fault.Unavailable, "node %s cannot be reached", to)
}

// OnStream says who takes streams; each call owns its connection. Call it
// before Serve.
func (n *Network) OnStream(take func(ctx context.Context, from ident.NodeID, p StreamPreface, c net.Conn)) {
}

// Links returns what is known of the links with other nodes.
func (n *Network) Links() []Link { return nil }

// Recheck closes at once the connections that Allowed or Roots no longer
// admit; without it they are found within Pace.Check.
func (n *Network) Recheck() {}

// JoinClient returns a client for the join door of the node at addr
// (host:port): it believes a server whose chain ends in the authority with
// that fingerprint, and shows no certificate. Call it at "https://node/…".
func JoinClient(addr string, authority pki.Fingerprint) *http.Client { return &http.Client{} }
