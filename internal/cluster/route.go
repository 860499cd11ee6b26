package cluster

import (
	"context"
	"sync"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Route says which node serves a tenant.
type Route struct {
	// Here says that it is this one.
	Here bool
	// Leader is the node.
	Leader ident.NodeID
	// Region is the tenant's.
	Region ident.Region
	// Epoch counts the tenant's changes of owner.
	Epoch uint64
}

const (
	// whereWait is how long Where waits for a leader at most.
	whereWait = 5 * time.Second
	// routeFresh is how long a leader of a shard that is not on this node is
	// believed without asking.
	routeFresh = 300 * time.Millisecond
	routePoll  = 50 * time.Millisecond
)

// routes remembers who leads the shards that are not on this node, and wakes
// who waits for a leader.
type routes struct {
	mu    sync.Mutex // guards the fields below
	at    map[ident.ShardID]known
	news  chan struct{} // closed at the next change
	asked map[ident.ShardID]*asking
}

type known struct {
	leader ident.NodeID
	since  time.Time
}

// asking is one question about a shard that several wait for.
type asking struct {
	done   chan struct{}
	leader ident.NodeID
	err    error
}

// changed wakes who waits.
func (r *routes) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
}

func (r *routes) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.news == nil {
		r.news = make(chan struct{})
	}
	return r.news
}

// forgetNode forgets what a node leads: the link to it was lost.
func (r *routes) forgetNode(id ident.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, k := range r.at {
		if k.leader == id {
			delete(r.at, s)
		}
	}
}

func (r *routes) get(id ident.ShardID) (ident.NodeID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.at[id]
	return k.leader, ok && time.Since(k.since) < routeFresh
}

// one runs f for a shard, or waits for whoever does already.
func (r *routes) one(ctx context.Context, id ident.ShardID, f func() (ident.NodeID, error)) (ident.NodeID, error) {
	r.mu.Lock()
	if a := r.asked[id]; a != nil {
		r.mu.Unlock()
		select {
		case <-a.done:
			return a.leader, a.err
		case <-ctx.Done():
			return ident.NodeID{}, fault.OfContext("route", ctx)
		}
	}
	if r.asked == nil {
		r.asked, r.at = map[ident.ShardID]*asking{}, map[ident.ShardID]known{}
	}
	a := &asking{done: make(chan struct{})}
	r.asked[id] = a
	r.mu.Unlock()
	a.leader, a.err = f()
	r.mu.Lock()
	delete(r.asked, id)
	if a.err == nil {
		r.at[id] = known{a.leader, time.Now()}
	} else {
		delete(r.at, id)
	}
	r.mu.Unlock()
	close(a.done)
	return a.leader, a.err
}

// here returns the leading replica on this node that serves a tenant.
// Misrouted names the node that leads, if that is known.
func (n *Node) here(op string, id ident.TenantID) (*host, directory.Tenant, error) {
	t, err := n.placed(op, id)
	if err != nil {
		return nil, t, err
	}
	h := n.host(t.Shard)
	if h == nil {
		// Zero when nobody is known to lead now.
		leader, _ := n.peekLeader(n.ctx, t.Shard)
		return nil, t, fault.New(op, fault.Misrouted, "tenant %s is served by another node", id).WithLeader(leader).ForTenant(id)
	}
	if _, leads := h.shard.Lead(); !leads {
		return nil, t, fault.New(op, fault.Misrouted, "another node leads the shard of tenant %s", id).WithLeader(n.other(h.shard.Leader())).ForTenant(id)
	}
	return h, t, nil
}

// other returns a node unless it is this one, which leads and is not ready to
// serve yet.
func (n *Node) other(id ident.NodeID) ident.NodeID {
	if id == n.identity.Node {
		return ident.NodeID{}
	}
	return id
}

// placed returns where a tenant is that can be used.
func (n *Node) placed(op string, id ident.TenantID) (directory.Tenant, error) {
	t, ok := n.dir.Tenant(id)
	switch {
	case !ok && !n.ready.Load():
		return t, n.Ready()
	case !ok, t.State == directory.TenantErased, t.State == directory.TenantCreating:
		return t, fault.New(op, fault.NotFound, "there is no tenant %s", id).ForTenant(id)
	}
	return t, nil
}

// Where says which node serves a tenant. While its shard has no leader it
// waits until ctx ends, five seconds at most.
func (n *Node) Where(ctx context.Context, id ident.TenantID) (Route, error) {
	t, err := n.placed("route", id)
	if err != nil {
		return Route{}, err
	}
	leader, err := n.leaderOf(ctx, t.Shard)
	if err != nil {
		return Route{}, err
	}
	return Route{Here: leader == n.identity.Node, Leader: leader, Region: t.Region, Epoch: t.Epoch}, nil
}

// leaderOf returns the node that leads a shard, waiting for one.
func (n *Node) leaderOf(ctx context.Context, id ident.ShardID) (ident.NodeID, error) {
	ctx, cancel := context.WithTimeout(ctx, whereWait)
	defer cancel()
	for {
		news := n.routes.watch()
		leader, err := n.peekLeader(ctx, id)
		if err == nil {
			return leader, nil
		}
		select {
		case <-ctx.Done():
			return ident.NodeID{}, fault.New("route", fault.Unavailable, "shard %s has no leader now: less than half of its replicas may be up; try again", id)
		case <-news:
		case <-time.After(routePoll):
		}
	}
}

// peekLeader returns the node that leads a shard, if one does now.
func (n *Node) peekLeader(ctx context.Context, id ident.ShardID) (ident.NodeID, error) {
	none := fault.New("route", fault.Unavailable, "shard %s has no leader now", id)
	if h := n.host(id); h != nil {
		if _, leads := h.shard.Lead(); leads {
			return n.identity.Node, nil
		}
		if leader := h.shard.Leader(); !leader.IsZero() && leader != n.identity.Node {
			return leader, nil
		}
		return ident.NodeID{}, none
	}
	if leader, ok := n.routes.get(id); ok {
		return leader, nil
	}
	return n.routes.one(ctx, id, func() (ident.NodeID, error) { return n.askForLeader(id) })
}

// askForLeader asks the nodes of a shard that is not on this one, all at a
// time, and takes the first that leads, or the word of the others for it.
func (n *Node) askForLeader(id ident.ShardID) (ident.NodeID, error) {
	sh, ok := n.dir.Shard(id)
	if !ok {
		return ident.NodeID{}, fault.New("route", fault.NotFound, "there is no shard %s", id)
	}
	// Not under the context of whoever asked first: others wait, too.
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	answers := make(chan membersAnswer, len(sh.Want))
	for _, r := range sh.Want {
		go func() {
			a, err := ask[membersAnswer](ctx, n, r.Node, "members", membersCall{id})
			if err != nil {
				a = membersAnswer{}
			}
			if a.Leads {
				a.Leader = r.Node
			}
			answers <- a
		}()
	}
	var best membersAnswer
	for range sh.Want {
		a := <-answers
		if a.Leads {
			return a.Leader, nil
		}
		if !a.Leader.IsZero() && (best.Leader.IsZero() || a.Term > best.Term) {
			best = a
		}
	}
	if best.Leader.IsZero() {
		return best.Leader, fault.New("route", fault.Unavailable, "shard %s has no leader now", id)
	}
	return best.Leader, nil
}
