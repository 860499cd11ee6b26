package peer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Network is one node's connections with the others. All methods are safe for
// concurrent use.
type Network struct {
	o     Options
	ctx   context.Context // ends at Close
	stop  context.CancelFunc
	tasks sync.WaitGroup // every goroutine of the network but the handlers' own
	calls *served        // calls between nodes, and joins

	joining atomic.Int64 // connections to the join door

	mu       sync.RWMutex // guards all below
	remotes  map[ident.NodeID]*remote
	wires    map[*wire]*conn // every connection; nil until its peer is proven
	take     func(ctx context.Context, from ident.NodeID, p StreamPreface, c net.Conn)
	refusals map[string]uint64
	logged   map[string]time.Time // when a refusal was last logged
	closed   bool
}

// New returns a network that has no connections yet. Close it after use.
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
	n := &Network{
		o: o, remotes: map[ident.NodeID]*remote{}, wires: map[*wire]*conn{},
		refusals: map[string]uint64{}, logged: map[string]time.Time{},
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.calls = n.newServed()
	n.run(n.patrol)
	return n, nil
}

// run starts a goroutine that Close waits for, unless the network is closed.
func (n *Network) run(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Go(f)
	return true
}

// Close ends all connections, makes no more, and returns when none of the
// network's goroutines runs. Handlers see their connections and contexts end.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	wires := make([]*wire, 0, len(n.wires))
	for w := range n.wires {
		wires = append(wires, w)
	}
	n.mu.Unlock()
	n.stop()
	err := n.calls.close()
	for _, w := range wires {
		_ = w.Close()
	}
	n.tasks.Wait()
	return err
}

// remote returns what is known of a node, and begins to know it.
func (n *Network) remote(id ident.NodeID) *remote {
	n.mu.RLock()
	r := n.remotes[id]
	n.mu.RUnlock()
	if r != nil {
		return r
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if r = n.remotes[id]; r == nil {
		r = &remote{id: id}
		r.link = newLink(n, r)
		r.client = newCaller(n, r)
		n.remotes[id] = r
	}
	return r
}

// open registers a connection that was just made, so that Close finds it.
func (n *Network) open(raw net.Conn) *wire {
	w := &wire{Conn: raw}
	w.counts.Store(&w.own)
	w.onEnd = func() { n.forget(w) }
	n.mu.Lock()
	closed := n.closed
	if !closed {
		n.wires[w] = nil
	}
	n.mu.Unlock()
	if closed {
		_ = w.Close()
	}
	return w
}

// book registers whom a connection is with.
func (n *Network) book(c *conn) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, open := n.wires[c.wire]; !open {
		return net.ErrClosed
	}
	n.wires[c.wire] = c
	if c.protocol == Stream {
		c.remote.streams.Add(1)
	}
	return nil
}

func (n *Network) forget(w *wire) {
	n.mu.Lock()
	c := n.wires[w]
	delete(n.wires, w)
	n.mu.Unlock()
	if c != nil && c.protocol == Stream {
		c.remote.streams.Add(-1)
	}
}

// watchStreams ends the streams with nodes that do not answer: a stream on
// which nobody speaks does not notice by itself, nor does one that waits for an
// answer. It keeps a link for messages to each node that there are streams
// with, whose probes no stream can hold up.
func (n *Network) watchStreams() {
	dead := map[*remote]bool{}
	for _, r := range n.known() {
		dead[r] = r.link.watch(r.streams.Load() > 0) > n.o.Pace.Silence
	}
	n.mu.RLock()
	var lost []*conn
	for _, c := range n.wires {
		if c != nil && c.protocol == Stream && dead[c.remote] {
			lost = append(lost, c)
		}
	}
	n.mu.RUnlock()
	for _, c := range lost {
		n.o.Logger.Info("peer: a stream was ended: its node does not answer", "node", c.peer.Node)
		c.end()
	}
}

// patrol looks after the connections from time to time.
func (n *Network) patrol() {
	tick := time.NewTicker(n.o.Pace.Check)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
			n.Recheck()
			n.watchStreams()
		}
	}
}

// Recheck closes at once the connections whose peers Allowed, Roots or the
// time no longer admit; without it they are found within Pace.Check.
func (n *Network) Recheck() {
	n.mu.RLock()
	var conns []*conn
	for _, c := range n.wires {
		if c != nil {
			conns = append(conns, c)
		}
	}
	n.mu.RUnlock()
	for _, c := range conns {
		if err := n.readmit(c); err != nil {
			n.refused(c.peer.Node.String(), err)
			c.end()
		}
	}
}

// known returns all nodes that there was contact with.
func (n *Network) known() []*remote {
	n.mu.RLock()
	defer n.mu.RUnlock()
	remotes := make([]*remote, 0, len(n.remotes))
	for _, r := range n.remotes {
		remotes = append(remotes, r)
	}
	return remotes
}

// Links returns what is known of the links with other nodes, by node.
func (n *Network) Links() []Link {
	remotes := n.known()
	links := make([]Link, 0, len(remotes))
	for _, r := range remotes {
		l := Link{Node: r.id, Streams: int(r.streams.Load())}
		if region := r.region.Load(); region != nil {
			l.Region = *region
		}
		for p := range r.traffic {
			l.Traffic[p] = Traffic{r.traffic[p].sent.Load(), r.traffic[p].received.Load()}
		}
		r.link.describe(&l)
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Node.Uint64(), b.Node.Uint64()) })
	return links
}

// Refusals counts the connections that were turned away, or ended by a check,
// by reason: "certificate", "another deployment", "not allowed", "own name",
// "another node", "another region", "protocol", "preface", "busy" and
// "handshake".
func (n *Network) Refusals() map[string]uint64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	counts := make(map[string]uint64, len(n.refusals))
	for reason, count := range n.refusals {
		counts[reason] = count
	}
	return counts
}

// logEvery is how often a refusal for one reason, by one peer, is logged.
const logEvery = time.Minute

// maxLogged bounds what is remembered of it.
const maxLogged = 1024

// refused counts and logs a peer that was turned away. from is its node where
// it is proven, its host where not.
func (n *Network) refused(from string, err error) {
	reason := "handshake"
	var r *refusal
	if errors.As(err, &r) {
		reason = r.reason
	}
	now := time.Now()
	key := reason + " " + from
	n.mu.Lock()
	n.refusals[reason]++
	last, known := n.logged[key]
	quiet := n.closed || known && now.Sub(last) < logEvery
	if !quiet {
		if len(n.logged) >= maxLogged {
			clear(n.logged)
		}
		n.logged[key] = now
	}
	n.mu.Unlock()
	if !quiet {
		n.o.Logger.Warn("peer: a connection was refused", "peer", from, "reason", reason, "error", err)
	}
}

// Handle serves calls between nodes at a pattern of [http.ServeMux]. [From]
// tells the handler who calls.
func (n *Network) Handle(pattern string, h http.Handler) { n.calls.mux.Handle(pattern, h) }

// Client returns a client for calls to a node, at "https://node/…". An error
// for which [Unsent] holds says that nothing of the call went out. Bound
// calls by their contexts.
func (n *Network) Client(to ident.NodeID) *http.Client { return &n.remote(to).client.http }

// Send queues a message of the engine for a node. It never blocks; the message
// is dropped when the node cannot be reached now, or its queue is full. m.Data
// must not change after.
func (n *Network) Send(to ident.NodeID, m replication.Message) {
	if to == n.o.Node || to.IsZero() {
		return
	}
	n.remote(to).link.send(m)
}

// OnStream says who takes streams: each call, on its own goroutine, owns its
// connection until it returns. ctx ends with the network.
func (n *Network) OnStream(take func(ctx context.Context, from ident.NodeID, p StreamPreface, c net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.take = take
}

// OpenStream opens a stream of bytes to a node, which has taken it when the
// call returns without an error. [Unsent] holds for errors before the preface
// went out; after others the node's handler may have seen the preface, and
// that the stream ended at once.
func (n *Network) OpenStream(ctx context.Context, to ident.NodeID, p StreamPreface) (net.Conn, error) {
	preface, err := encodePreface(p)
	if err != nil {
		return nil, err
	}
	c, err := n.dial(ctx, n.remote(to), Stream)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(n.o.Pace.Dial)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := errors.Join(c.SetDeadline(deadline), askStream(c, preface), c.SetDeadline(time.Time{})); err != nil {
		c.end()
		return nil, fault.Wrap("open stream", fault.Unavailable, err, "node %s did not take the stream", to)
	}
	return c, nil
}

func askStream(c net.Conn, preface []byte) error {
	if _, err := c.Write(preface); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := c.Read(answer[:]); err != nil {
		return err
	}
	if answer[0] != streamTaken {
		return fault.New("open stream", fault.Invalid, "it answered with byte %d", answer[0])
	}
	return nil
}
