package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	maxHeaderBytes  = 64 << 10
	maxCallStreams  = 1024 // calls at a time on one connection
	callIdle        = 2 * time.Minute
	callHeaderWait  = 10 * time.Second
	callFrame       = 256 << 10
	callStreamBytes = 1 << 20
)

// handed is a listener that is given its connections. It takes them while its
// server runs.
type handed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHanded() *handed { return &handed{conns: make(chan net.Conn), done: make(chan struct{})} }

// offer hands over c, or closes it when nobody accepts any more.
func (h *handed) offer(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done:
		_ = c.Close()
	}
}

// Accept is net.Listener's.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr is net.Listener's.
func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

// served is the HTTP that the network serves: between nodes, and to joiners.
type served struct {
	mux        *http.ServeMux
	http, join *handed
	servers    []*http.Server

	mu     sync.RWMutex // guards joiner
	joiner http.Handler
}

func (n *Network) newServed() *served {
	s := &served{mux: http.NewServeMux(), http: newHanded(), join: newHanded()}
	quiet := slog.NewLogLogger(n.o.Logger.Handler(), slog.LevelDebug)
	base := func(net.Listener) context.Context { return n.ctx }
	calls := &http.Server{
		Handler: s.mux, BaseContext: base, ConnContext: n.withPeer, ErrorLog: quiet,
		ReadHeaderTimeout: callHeaderWait, IdleTimeout: callIdle, MaxHeaderBytes: maxHeaderBytes,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{alpnHTTP}}, // says that h2 is spoken
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxCallStreams, MaxReadFrameSize: callFrame,
			MaxReceiveBufferPerStream: callStreamBytes, MaxReceiveBufferPerConnection: 8 * callStreamBytes,
			SendPingTimeout: 2 * n.o.Pace.Silence, PingTimeout: n.o.Pace.Silence, WriteByteTimeout: 2 * n.o.Pace.Silence,
		},
	}
	joins := &http.Server{
		Handler: limitJoin(s), BaseContext: base, ErrorLog: quiet,
		ReadTimeout: joinTimeout, WriteTimeout: joinTimeout, IdleTimeout: callHeaderWait, MaxHeaderBytes: maxHeaderBytes,
	}
	s.servers = []*http.Server{calls, joins}
	for i, l := range []*handed{s.http, s.join} {
		// No run: New has published nothing yet.
		n.tasks.Go(func() {
			if err := s.servers[i].Serve(l); !errors.Is(err, http.ErrServerClosed) {
				n.o.Logger.Error("peer: calls are not served any more", "error", err)
			}
		})
	}
	return s
}

// withPeer puts who calls into the context of a connection's calls.
func (n *Network) withPeer(ctx context.Context, c net.Conn) context.Context {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if t, ok := c.(*tls.Conn); ok {
		if w, ok := t.NetConn().(*wire); ok && n.wires[w] != nil {
			id := n.wires[w].peer
			return context.WithValue(ctx, peerKey{}, Peer{Node: id.Node, Region: id.Region})
		}
	}
	return ctx
}

func (s *served) close() error {
	var err error
	for _, server := range s.servers {
		err = errors.Join(err, server.Close())
	}
	return err
}

// caller is the client for calls to one node.
type caller struct {
	http http.Client
}

func newCaller(n *Network, r *remote) *caller {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := n.dial(ctx, r, HTTP)
			if err != nil {
				return nil, err
			}
			return c.Conn, nil // the transport wants to see that it is TLS
		},
		Protocols: protocols, ForceAttemptHTTP2: true, DisableCompression: true,
		IdleConnTimeout: callIdle, MaxResponseHeaderBytes: maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize: callFrame, MaxReceiveBufferPerStream: callStreamBytes, MaxReceiveBufferPerConnection: 8 * callStreamBytes,
			SendPingTimeout: n.o.Pace.Silence, PingTimeout: n.o.Pace.Silence, WriteByteTimeout: 2 * n.o.Pace.Silence,
		},
	}
	return &caller{http: http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}
