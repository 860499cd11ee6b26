package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
)

// Peers are the other nodes of a cluster; *peer.Network is some.
type Peers interface {
	// Client calls a node, at "https://node/…".
	Client(to ident.NodeID) *http.Client
}

// PeerPrefix is what stands before the path of a call that a node passes on.
// The network between nodes serves [Handler.ForPeers] there.
const PeerPrefix = "/rpc"

// Headers between two nodes. Those that a client sends are never looked at,
// and never passed on.
const (
	// headerRemote is the client's address.
	headerRemote = "Kimberlite-Remote"
	// headerServedBy marks an answer as one of this door.
	headerServedBy = "Kimberlite-Served-By"
)

const (
	// routeWait is how long a node that serves a call is looked for, as leaders
	// change.
	routeWait  = 5 * time.Second
	routePause = 50 * time.Millisecond
	// maxEnvelope is what a request may be longer than its message.
	maxEnvelope = 64 << 10
	copyBytes   = 32 << 10
)

// withRoute has a call that another node's shard is needed for carried out
// there. It runs here first, which finds out at the gate, before anything of
// the request is read; and again elsewhere if it ended Misrouted, which says
// that nothing was done, before a byte was answered.
func (d *door) withRoute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isRPC(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		c := callOf(r.Context())
		body := newReplay(r.Body, d.limits.MessageBytes+maxEnvelope)
		until := time.Now().Add(routeWait)
		for {
			if d.runHere(next, w, r, body, c) {
				return
			}
			misrouted := c.err
			served, err := d.runThere(w, r, body, c)
			if served {
				return
			}
			if err == nil && (time.Now().After(until) || !body.whole() || !pause(r.Context())) {
				err = misrouted
			}
			if err != nil {
				d.refuse(w, r, c, err)
				return
			}
		}
	})
}

func pause(ctx context.Context) bool {
	timer := time.NewTimer(routePause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// runHere runs a call. false says that it ended Misrouted and nothing was
// answered.
func (d *door) runHere(next http.Handler, w http.ResponseWriter, r *http.Request, body *replay, c *call) bool {
	c.again()
	before := w.Header().Clone()
	held := &heldWriter{ResponseWriter: w, call: c}
	again := r.Clone(r.Context())
	again.Body = body.again()
	next.ServeHTTP(held, again)
	if !held.swallowed {
		return true
	}
	clear(w.Header())
	for name, values := range before {
		w.Header()[name] = values
	}
	return false
}

// runThere sends a call that ended Misrouted to the node that leads. served
// says that it was answered; else an error is to be answered, and nil says that
// nothing was done, so that it can be tried again.
func (d *door) runThere(w http.ResponseWriter, r *http.Request, body *replay, c *call) (served bool, err error) {
	var e *fault.Error
	if !errors.As(c.err, &e) || e.Leader.IsZero() || e.Leader == d.self {
		return false, nil
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, "https://node"+PeerPrefix+r.URL.RequestURI(), body.again())
	if err != nil {
		return false, fault.Wrap("rpc", fault.Invalid, err, "the request cannot be passed on")
	}
	request.ContentLength = r.ContentLength
	request.GetBody = func() (io.ReadCloser, error) { return body.again(), nil }
	passHeader(request.Header, r.Header)
	request.Header.Set(headerRequestID, c.id)
	request.Header.Set(headerRemote, c.remote.String())
	answer, err := d.peers.Client(e.Leader).Do(request)
	switch {
	case err == nil:
	case r.Context().Err() != nil:
		return false, fault.OfContext("rpc", r.Context())
	case !body.whole():
		return false, body.tooLong()
	case peer.Unsent(err), c.free, !body.ended(): // half a request does nothing
		return false, nil
	default:
		d.log.DebugContext(r.Context(), "rpc: a node was lost during a call", "request", c.id, "node", e.Leader.String(), "error", err)
		return false, errLost()
	}
	defer answer.Body.Close() //nolint:errcheck // it was read, or is of no use
	if answer.Header.Get(headerServedBy) == "" || answer.StatusCode == http.StatusMisdirectedRequest {
		return false, nil // a door that is not open yet, or no leader any more
	}
	d.log.DebugContext(r.Context(), "rpc: passed on", "request", c.id, "method", c.method, "node", e.Leader.String())
	c.again()
	c.method = "" // the other node has counted it
	d.passAnswer(w, answer, c)
	return true, nil
}

func errLost() *fault.Error {
	e := fault.New("rpc", fault.OutcomeUnknown, "the node that carried the call out was lost before it answered: whether it took effect is not known")
	e.Hint = "Repeat it with the same idempotency key if it had one: it then takes effect once. Without one, look first."
	return e
}

// hopByHop are the headers of one connection.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", headerRemote, headerServedBy,
}

func passHeader(to, from http.Header) {
	for name, values := range from {
		to[name] = values
	}
	for _, name := range hopByHop {
		to.Del(name)
	}
	if strings.HasPrefix(from.Get("Content-Type"), "application/grpc") {
		to.Set("Te", "trailers")
	}
}

// passAnswer copies an answer as it comes in.
func (d *door) passAnswer(w http.ResponseWriter, answer *http.Response, c *call) {
	_ = c.control.SetReadDeadline(time.Time{}) // the request is there
	passHeader(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	buf := make([]byte, copyBytes)
	for {
		n, err := answer.Body.Read(buf)
		_ = c.control.SetWriteDeadline(time.Now().Add(d.limits.RequestTimeout)) // not every server can
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return // the client is gone
			}
			_ = c.control.Flush() // shows at the next write
		}
		switch {
		case errors.Is(err, io.EOF):
			for name, values := range answer.Trailer {
				w.Header()[http.TrailerPrefix+name] = values
			}
			return
		case err != nil:
			// The client must not take what it has for all.
			panic(http.ErrAbortHandler)
		}
	}
}

// refuse answers a call that no handler has answered.
func (d *door) refuse(w http.ResponseWriter, r *http.Request, c *call, err error) {
	_ = d.errors.Write(w, r, d.failure(r.Context(), c, err)) // the client may be gone
}

// ForPeers serves calls that other nodes pass on, at paths without
// [PeerPrefix]. A call that this node cannot serve either is answered with 421,
// and nothing was done.
func (h *Handler) ForPeers() http.Handler {
	d, routes := h.d, h.routes
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerServedBy, d.self.String())
		held := &heldWriter{ResponseWriter: w, call: callOf(r.Context())}
		routes.ServeHTTP(held, r)
		if held.swallowed {
			held.call.method = "" // it was none of this node's calls
			clear(w.Header())
			w.Header().Set(headerServedBy, d.self.String())
			w.WriteHeader(http.StatusMisdirectedRequest)
		}
	})
	outer := d.withCall(inner, func(r *http.Request) netip.Addr {
		addr, _ := netip.ParseAddr(r.Header.Get(headerRemote)) // of the zero address, if it is none
		return addr
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := peer.From(r.Context()); !ok || !isRPC(r.URL.Path) {
			http.Error(w, "only nodes of the deployment pass calls on, and only calls", http.StatusForbidden)
			return
		}
		outer.ServeHTTP(w, r)
	})
}
