package cluster

import (
	"context"
	"slices"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

const (
	// leadEvery is how often a leader looks at its shard, unless it is woken.
	leadEvery = time.Second
	// memberTimeout bounds one change of members: a new one may have to copy
	// everything first.
	memberTimeout = 30 * time.Minute
)

// run does the work of the shard's leader, and of its followers, until ctx
// ends.
func (h *host) run(ctx context.Context) {
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	var settled, began uint64 // terms
	duties := newDuties(ctx, func(name string, err error) {
		h.n.log.Warn("work for a shard failed and will be tried again", "shard", h.id.String(), "work", name, "error", err.Error())
	})
	defer duties.wait()
	for {
		term, leads := h.shard.Lead()
		duties.once("keys", 5*time.Second, h.pullKeys)
		if leads {
			if began != term {
				began = term
				h.n.log.Info("this node leads a shard", "shard", h.id.String(), "term", term)
			}
			duties.once("members", 0, h.wantMembers)
			duties.once("tenants", 0, h.settleTenants)
			duties.once("moves", 0, h.moveTenants)
			if settled != term {
				settled = term
				duties.once("settle", 0, h.tenants.SettleKeys)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-h.poke:
			// A little later, so that a burst of changes is one.
			select {
			case <-ctx.Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		h.rate.sample(time.Now(), h.shard.Status().Applied)
	}
}

// duties are pieces of work of which each runs once at a time. Only one
// goroutine may use it.
type duties struct {
	ctx  context.Context
	fail func(name string, err error)
	busy map[string]chan struct{} // closed when the piece is done
	last map[string]time.Time     // when it began
}

func newDuties(ctx context.Context, fail func(name string, err error)) *duties {
	return &duties{ctx: ctx, fail: fail, busy: map[string]chan struct{}{}, last: map[string]time.Time{}}
}

// once runs f, unless its last run is still under way or began less than
// every ago.
func (d *duties) once(name string, every time.Duration, f func(context.Context) error) {
	if done, ok := d.busy[name]; ok {
		select {
		case <-done:
		default:
			return
		}
	}
	now := time.Now()
	if now.Sub(d.last[name]) < every {
		return
	}
	done := make(chan struct{})
	d.busy[name], d.last[name] = done, now
	go func() {
		defer close(done)
		if err := f(d.ctx); err != nil && d.ctx.Err() == nil && !fault.Is(err, fault.Misrouted) {
			d.fail(name, err)
		}
	}()
}

func (d *duties) wait() {
	for _, done := range d.busy {
		<-done
	}
}

func sameMembers(a, b []replication.Replica) bool {
	less := func(x, y replication.Replica) int {
		switch {
		case x.ID.Uint64() < y.ID.Uint64():
			return -1
		case x.ID.Uint64() > y.ID.Uint64():
			return 1
		}
		return 0
	}
	return slices.Equal(slices.SortedFunc(slices.Values(a), less), slices.SortedFunc(slices.Values(b), less))
}

// wantMembers changes the shard's members towards what the directory wants.
func (h *host) wantMembers(ctx context.Context) error {
	sh, ok := h.n.dir.Shard(h.id)
	if !ok {
		return nil
	}
	st := h.shard.Status()
	if sameMembers(st.Members, sh.Want) {
		return nil
	}
	i := slices.IndexFunc(sh.Want, func(r replication.Replica) bool { return r.ID == h.replica })
	if i < 0 || sh.Want[i].Learner {
		if to, ok := h.successor(sh.Want); ok {
			// The one that stays changes the members.
			return h.shard.TransferLead(ctx, to)
		}
		// None of those that stay votes yet: add them first.
		both := slices.Clone(sh.Want)
		for _, m := range st.Members {
			if !slices.ContainsFunc(both, func(r replication.Replica) bool { return r.ID == m.ID }) {
				both = append(both, m)
			}
		}
		if sameMembers(both, st.Members) {
			return nil
		}
		return h.changeMembers(ctx, both)
	}
	return h.changeMembers(ctx, sh.Want)
}

func (h *host) changeMembers(ctx context.Context, want []replication.Replica) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	h.n.log.Info("the members of a shard change", "shard", h.id.String(), "members", len(want))
	return h.shard.ChangeMembers(ctx, want)
}

// successor returns the voter among want that is up to date the most.
func (h *host) successor(want []replication.Replica) (ident.ReplicaID, bool) {
	var best replication.Peer
	for _, p := range h.shard.Status().Peers {
		wanted := slices.ContainsFunc(want, func(r replication.Replica) bool { return r.ID == p.ID && !r.Learner })
		if wanted && p.Active && !p.Learner && (best.ID.IsZero() || p.Match > best.Match) {
			best = p
		}
	}
	return best.ID, !best.ID.IsZero()
}

// stepDown hands over what this node leads, so that others do not have to
// wait for an election.
func (n *Node) stepDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for _, h := range n.hosted() {
		if _, leads := h.shard.Lead(); !leads {
			continue
		}
		to, ok := h.successor(h.shard.Status().Members)
		if !ok {
			continue
		}
		if err := h.shard.TransferLead(ctx, to); err != nil {
			n.log.Warn("a shard's lead could not be handed over", "shard", h.id.String(), "error", err.Error())
		}
	}
	if g := n.dir.Group(); g != nil {
		n.stepDownDirectory(ctx, g)
	}
}

func (n *Node) stepDownDirectory(ctx context.Context, g *replication.Group) {
	if _, leads := g.Lead(); !leads {
		return
	}
	for _, p := range g.Status().Peers {
		if p.Active && !p.Learner {
			if err := g.TransferLead(ctx, p.ID); err != nil {
				n.log.Warn("the directory's lead could not be handed over", "error", err.Error())
			}
			return
		}
	}
}

// loop follows the directory: it opens and closes replicas, keeps this node's
// entry and certificate, and does the work of the directory's leader.
func (n *Node) loop() {
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	duties := newDuties(n.ctx, func(name string, err error) {
		n.log.Warn("the node's own work failed and will be tried again", "work", name, "error", err.Error())
	})
	defer duties.wait()
	for {
		watch := n.dir.Watch()
		duties.once("replicas", 0, n.converge)
		duties.once("authorities", 0, n.followCA)
		duties.once("entry", leadEvery, n.updateEntry)
		duties.once("certificate", 10*time.Second, n.renewIfDue)
		duties.once("directory", 0, n.leadDirectory)
		duties.once("leaders", 5*time.Second, n.spreadLeaders)
		duties.once("authority", 5*time.Second, n.goOnRotating)
		duties.once("residency", 10*time.Minute, n.checkResidency)
		n.routes.changed()
		for _, h := range n.hosted() {
			select {
			case h.poke <- struct{}{}:
			default:
			}
		}
		select {
		case <-n.ctx.Done():
			return
		case <-watch:
		case <-n.poke:
		case <-tick.C:
		}
		// A burst of changes is one round.
		select {
		case <-n.ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// updateEntry tells the directory where this node is reached, when that has
// changed.
func (n *Node) updateEntry(ctx context.Context) error {
	entry, ok := n.dir.Node(n.identity.Node)
	if !ok || entry.State == directory.NodeRemoved {
		return nil
	}
	want := n.addresses.directory(n.holdsCA())
	have := directory.NodeAddresses{
		Zone: entry.Zone, PeerAddr: entry.PeerAddr, PGAddr: entry.PGAddr, RPCAddr: entry.RPCAddr,
		Version: entry.Version, HoldsCA: entry.HoldsCA,
	}
	if want == have {
		return nil
	}
	_, err := n.dir.Propose(ctx, directory.UpdateNode{Node: n.identity.Node, Region: n.identity.Region, NodeAddresses: want})
	return err
}

func (n *Node) renewIfDue(ctx context.Context) error {
	if !n.renewalDue(time.Now()) {
		return nil
	}
	_, err := n.renew(ctx)
	return err
}
