package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/replication"
	"kimberlite/internal/shard"
)

// What other nodes ask of this one's replicas. Only nodes of a shard's region
// get anything of its tenants.

func (n *Node) handleShards() {
	answer(n, "members", n.serveMembers)
	answer(n, "transfer", n.serveTransfer)
	answer(n, "read-index", n.serveReadIndex)
	n.stream("checkpoint", n.serveCheckpoint)
	n.stream("log", n.serveLog)
}

func (n *Node) serveMembers(_ context.Context, _ peer.Peer, c membersCall) (membersAnswer, error) {
	h := n.host(c.Shard)
	if h == nil {
		return membersAnswer{}, fault.New("cluster", fault.NotFound, "there is no replica of shard %s here", c.Shard)
	}
	st := h.shard.Status()
	_, leads := h.shard.Lead()
	return membersAnswer{Leads: leads, Leader: n.other(st.Leader.Node), Term: st.Term, Members: st.Members}, nil
}

func (n *Node) serveTransfer(ctx context.Context, _ peer.Peer, c transferCall) (none, error) {
	h := n.host(c.Shard)
	if h == nil {
		return none{}, fault.New("cluster", fault.NotFound, "there is no replica of shard %s here", c.Shard)
	}
	for _, p := range h.shard.Status().Peers {
		if p.Node == c.To && p.Active && !p.Learner {
			return none{}, h.shard.TransferLead(ctx, p.ID)
		}
	}
	return none{}, fault.New("cluster", fault.Unavailable, "node %s cannot lead shard %s now", c.To, c.Shard)
}

type indexAnswer struct {
	Index uint64 `json:"index"`
}

func (n *Node) serveReadIndex(ctx context.Context, from peer.Peer, c membersCall) (indexAnswer, error) {
	h, err := n.replicaFor(from, c.Shard)
	if err != nil {
		return indexAnswer{}, err
	}
	index, err := h.shard.ServeReadIndex(ctx)
	return indexAnswer{index}, err
}

// replicaFor returns the replica here of a shard that a node may know of: one
// of the same region.
func (n *Node) replicaFor(from peer.Peer, id ident.ShardID) (*host, error) {
	if from.Region != n.identity.Region {
		return nil, fault.New("cluster", fault.Denied, "node %s is in region %s: nothing of a tenant in region %s goes there", from.Node, from.Region, n.identity.Region)
	}
	h := n.host(id)
	if h == nil {
		return nil, fault.New("cluster", fault.NotFound, "there is no replica of shard %s here", id)
	}
	return h, nil
}

// streamer answers one kind of call with a stream.
type streamer func(ctx context.Context, from peer.Peer, body []byte, w io.Writer) error

// stream makes f write the answer of calls by a name, of any length. An error
// before the first byte is answered as one; a later one cuts the answer.
func (n *Node) stream(name string, f streamer) {
	n.streamers[name] = f
	n.net.Handle("POST /cluster/"+name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, ok := peer.From(r.Context())
		if !ok {
			http.Error(w, "no peer", http.StatusForbidden)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
		if err != nil {
			http.Error(w, "the call is too long or was cut", http.StatusBadRequest)
			return
		}
		out := &firstWrite{w: w}
		if err := f(r.Context(), from, body, out); err != nil {
			if out.wrote {
				panic(http.ErrAbortHandler) // the other side sees a cut stream
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusConflict)
			text, _ := json.Marshal(toFailure(err)) //nolint:errchkjson // strings and numbers
			_, _ = w.Write(text)
		}
	}))
}

// firstWrite knows whether anything was written.
type firstWrite struct {
	w     io.Writer
	wrote bool
}

func (f *firstWrite) Write(b []byte) (int, error) {
	f.wrote = true
	return f.w.Write(b)
}

// open calls a node for a stream, or this one without the network: the leader
// of two shards may move a tenant from one to the other.
func (n *Node) open(ctx context.Context, to ident.NodeID, name string, in any) (io.ReadCloser, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fault.Wrap(name, fault.Internal, err, "the call cannot be encoded")
	}
	if to == n.identity.Node {
		r, w := io.Pipe()
		go func() { // ends with the stream, or when the reader closes it
			_ = w.CloseWithError(n.streamers[name](ctx, n.asPeer(), body, w)) // always nil
		}()
		return r, nil
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://node/cluster/"+name, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(name, fault.Internal, err, "no request")
	}
	rs, err := n.net.Client(to).Do(rq)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fault.OfContext(name, ctx)
		}
		return nil, fault.Wrap(name, fault.Unavailable, err, "node %s does not answer", to)
	}
	if rs.StatusCode == http.StatusOK {
		return rs.Body, nil
	}
	defer rs.Body.Close() //nolint:errcheck // its error is said below
	var f failure
	text, _ := io.ReadAll(io.LimitReader(rs.Body, maxCall))
	if rs.StatusCode == http.StatusConflict && json.Unmarshal(text, &f) == nil {
		return nil, f.err(name)
	}
	return nil, fault.New(name, fault.Unavailable, "node %s answered with HTTP status %d", to, rs.StatusCode)
}

type checkpointCall struct {
	Shard   ident.ShardID `json:"shard"`
	AtLeast uint64        `json:"at_least"`
}

func (n *Node) serveCheckpoint(ctx context.Context, from peer.Peer, body []byte, w io.Writer) error {
	var c checkpointCall
	if err := json.Unmarshal(body, &c); err != nil {
		return fault.Wrap("checkpoint", fault.Invalid, err, "a malformed call")
	}
	var p replication.Checkpoint
	var err error
	if c.Shard.IsDirectory() {
		g := n.dir.Group()
		if g == nil {
			return fault.New("checkpoint", fault.Unavailable, "the directory is not open yet")
		}
		p, err = n.directoryCheckpoint(g, c.AtLeast)
	} else {
		var h *host
		if h, err = n.replicaFor(from, c.Shard); err == nil {
			p, err = h.shard.ServeCheckpoint(ctx, c.AtLeast)
		}
	}
	if err != nil {
		return err
	}
	return replication.WriteCheckpoint(w, p)
}

// directoryCheckpoint returns the directory's last checkpoint, making one when
// it is older than what is asked for.
func (n *Node) directoryCheckpoint(g *replication.Group, atLeast uint64) (replication.Checkpoint, error) {
	p, err := g.LastCheckpoint()
	if err == nil && p.Index >= atLeast {
		return p, nil
	}
	if err := n.dir.Checkpoint(); err != nil {
		return p, err
	}
	return g.LastCheckpoint()
}

// fetch gets a checkpoint from a node.
func (n *Node) fetch(ctx context.Context, from ident.NodeID, id ident.ShardID, atLeast uint64) (p replication.Checkpoint, err error) {
	r, err := n.open(ctx, from, "checkpoint", checkpointCall{id, atLeast})
	if err != nil {
		return p, err
	}
	defer r.Close() //nolint:errcheck // read to its end or given up
	return replication.ReadCheckpoint(r)
}

// replicaPeer reaches the other replicas of a shard; it implements shard.Peer.
type replicaPeer struct{ n *Node }

// FetchCheckpoint implements shard.Peer.
func (p replicaPeer) FetchCheckpoint(ctx context.Context, from ident.NodeID, id ident.ShardID, atLeast uint64) (replication.Checkpoint, error) {
	return p.n.fetch(ctx, from, id, atLeast)
}

type logCall struct {
	Shard    ident.ShardID  `json:"shard"`
	Tenant   ident.TenantID `json:"tenant"`
	From, To ident.Offset
}

// FetchLog implements shard.Peer.
func (p replicaPeer) FetchLog(ctx context.Context, from ident.NodeID, id ident.ShardID, r shard.LogRange) (io.ReadCloser, error) {
	return p.n.open(ctx, from, "log", logCall{Shard: id, Tenant: r.Tenant, From: r.From, To: r.To})
}

// ReadIndex implements shard.Peer.
func (p replicaPeer) ReadIndex(ctx context.Context, leader ident.NodeID, id ident.ShardID) (uint64, error) {
	a, err := ask[indexAnswer](ctx, p.n, leader, "read-index", membersCall{id})
	return a.Index, err
}

func (n *Node) serveLog(ctx context.Context, from peer.Peer, body []byte, w io.Writer) error {
	var c logCall
	if err := json.Unmarshal(body, &c); err != nil {
		return fault.Wrap("log", fault.Invalid, err, "a malformed call")
	}
	h, err := n.replicaFor(from, c.Shard)
	if err != nil {
		return err
	}
	return h.shard.ServeLog(ctx, w, shard.LogRange{Tenant: c.Tenant, From: c.From, To: c.To})
}

// directoryFetcher implements directory.Fetcher.
type directoryFetcher struct{ n *Node }

// FetchCheckpoint implements directory.Fetcher.
func (f directoryFetcher) FetchCheckpoint(ctx context.Context, from ident.NodeID, id ident.ShardID) (replication.Checkpoint, error) {
	return f.n.fetch(ctx, from, id, 0)
}
