package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/placement"
	"kimberlite/internal/replication"
)

// What the directory's leader does for the deployment. A leader that was
// replaced meanwhile does no harm: the directory takes each command for the
// generation only that it was decided for.

// leadDirectory is one round of it; it does a few things at most.
func (n *Node) leadDirectory(ctx context.Context) error {
	if !n.directs() {
		return nil
	}
	if err := n.wantVoters(ctx, n.dir.Group()); err != nil {
		return err
	}
	if err := n.replaceReplicas(ctx); err != nil {
		return err
	}
	return n.completeReplicas(ctx)
}

// directs says whether this node leads the directory.
func (n *Node) directs() bool {
	g := n.dir.Group()
	if g == nil || n.dir.Deployment().ID == "" {
		return false
	}
	_, leads := g.Lead()
	return leads
}

// wantVoters keeps every node a member of the directory: voters spread over
// regions, and learners.
func (n *Node) wantVoters(ctx context.Context, g *replication.Group) error {
	st := g.Status()
	var votes []ident.NodeID
	for _, m := range st.Members {
		if !m.Learner {
			votes = append(votes, m.Node)
		}
	}
	voters := n.pickVoters(votes)
	if len(voters) == 0 {
		return nil
	}
	var want []replication.Replica
	for _, o := range n.dir.Nodes() {
		if o.State == directory.NodeRemoved {
			continue
		}
		want = append(want, replication.Replica{
			ID: directory.ReplicaOf(o.ID), Node: o.ID, Learner: !slices.Contains(voters, o.ID),
		})
	}
	if sameMembers(want, st.Members) {
		return nil
	}
	self := directory.ReplicaOf(n.identity.Node)
	if i := slices.IndexFunc(want, func(r replication.Replica) bool { return r.ID == self }); i < 0 || want[i].Learner {
		for _, p := range st.Peers {
			if p.Active && !p.Learner && slices.Contains(voters, p.Node) {
				return g.TransferLead(ctx, p.ID)
			}
		}
		// Nobody to hand the lead to yet: this node votes on, for now.
		if i >= 0 {
			want[i].Learner = false
		}
	}
	// New nodes first, one round for all of them; voters change only towards
	// members that answer, since the change waits for them.
	want = n.possible(want, st)
	if sameMembers(want, st.Members) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	return g.ChangeMembers(ctx, want)
}

// pickVoters decides who should vote. A node that is not connected is not
// given a vote, and keeps the one that it has.
func (n *Node) pickVoters(now []ident.NodeID) []ident.NodeID {
	alive := n.alive()
	var candidates []placement.Node
	for _, o := range n.dir.Nodes() {
		if o.State == directory.NodeRemoved {
			continue
		}
		out := o.State == directory.NodeDraining || !alive[o.ID] && !slices.Contains(now, o.ID)
		candidates = append(candidates, placement.Node{ID: o.ID, Region: o.Region, Zone: o.Zone, Out: out})
	}
	return placement.PickDirectoryVoters(candidates, now)
}

// possible leaves out promotions of members that the leader does not hear
// from.
func (n *Node) possible(want []replication.Replica, st replication.Status) []replication.Replica {
	want = slices.Clone(want)
	for i, w := range want {
		if w.Learner || w.ID == st.Self.ID {
			continue
		}
		j := slices.IndexFunc(st.Members, func(m replication.Replica) bool { return m.ID == w.ID })
		k := slices.IndexFunc(st.Peers, func(p replication.Peer) bool { return p.ID == w.ID })
		votes := j >= 0 && !st.Members[j].Learner
		if !votes && (k < 0 || !st.Peers[k].Active) {
			want[i].Learner = true
		}
	}
	return want
}

// alive returns the nodes that this one has a link with, and itself.
func (n *Node) alive() map[ident.NodeID]bool {
	all := map[ident.NodeID]bool{n.identity.Node: true}
	for _, l := range n.net.Links() {
		if l.Connected {
			all[l.Node] = true
		}
	}
	return all
}

// load returns nodes and groups as placement sees them.
func (n *Node) load() ([]placement.Node, []placement.Group) {
	carried := map[ident.NodeID]int{}
	var groups []placement.Group
	for _, sh := range n.dir.Shards() {
		g := placement.Group{Shard: sh.ID, Region: sh.Region}
		for _, r := range sh.Want {
			carried[r.Node]++
			g.Replicas = append(g.Replicas, r.Node)
		}
		groups = append(groups, g)
	}
	alive := n.alive()
	var nodes []placement.Node
	for _, o := range n.dir.Nodes() {
		nodes = append(nodes, placement.Node{
			ID: o.ID, Region: o.Region, Zone: o.Zone, Out: o.State != directory.NodeActive || !alive[o.ID], Replicas: carried[o.ID],
		})
	}
	return nodes, groups
}

// replaceReplicas gives the replicas of draining nodes to others, one change
// of a shard at a time.
func (n *Node) replaceReplicas(ctx context.Context) error {
	for _, o := range n.dir.Nodes() {
		if o.State != directory.NodeDraining {
			continue
		}
		nodes, groups := n.load()
		plan, _ := placement.PlanReplacement(o.ID, nodes, groups)
		for _, p := range plan[:min(len(plan), 2)] {
			if err := n.replace(ctx, p.Shard, p.From, p.To); err != nil {
				return err
			}
		}
	}
	return nil
}

// completeReplicas gives shards the replicas that they lack of what they began
// with: a node was taken out when its region had none to take its place.
func (n *Node) completeReplicas(ctx context.Context) error {
	for _, sh := range n.dir.Shards() {
		if len(sh.Want) >= len(sh.Initial) {
			continue
		}
		nodes, _ := n.load()
		var have []ident.NodeID
		for i := range nodes {
			if _, on := sh.On(nodes[i].ID); on {
				nodes[i].Out = false // it stays, connected or not
				have = append(have, nodes[i].ID)
			}
		}
		picked, err := placement.PickReplicas(nodes, sh.Region, have, len(have)+1)
		if err != nil {
			return err
		}
		for _, id := range picked {
			if slices.Contains(have, id) {
				continue
			}
			if err := n.replace(ctx, sh.ID, ident.NodeID{}, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// replaceable says whether a shard's region has an active node besides those
// that the shard is on: one that is not connected now may be in a moment.
func (n *Node) replaceable(id ident.ShardID) bool {
	sh, ok := n.dir.Shard(id)
	return ok && slices.ContainsFunc(n.dir.Nodes(), func(o directory.Node) bool {
		_, on := sh.On(o.ID)
		return !on && o.Region == sh.Region && o.State == directory.NodeActive
	})
}

// replace wants one replica of a shard on another node; zero for none.
func (n *Node) replace(ctx context.Context, id ident.ShardID, from, to ident.NodeID) error {
	sh, ok := n.dir.Shard(id)
	if !ok {
		return nil
	}
	// What was wanted before has to be in force first.
	members, _, err := n.membersOf(ctx, &sh)
	if err != nil || !sameMembers(members, sh.Want) {
		return err
	}
	var want []replication.Replica
	for _, r := range sh.Want {
		if r.Node != from {
			want = append(want, r)
		}
	}
	if !to.IsZero() {
		want = append(want, replication.Replica{Node: to})
	}
	_, err = n.dir.Propose(ctx, directory.SetReplicas{Shard: id, Generation: sh.Generation, Want: want})
	if err == nil {
		n.log.Info("a replica is replaced", "shard", id.String(), "from", from.String(), "to", to.String())
	}
	return err
}

// membersOf asks a shard's leader for its members.
func (n *Node) membersOf(ctx context.Context, sh *directory.Shard) ([]replication.Replica, ident.NodeID, error) {
	leader, err := n.leaderOf(ctx, sh.ID)
	if err != nil {
		return nil, ident.NodeID{}, err
	}
	a, err := ask[membersAnswer](ctx, n, leader, "members", membersCall{sh.ID})
	if err == nil && !a.Leads {
		err = fault.New("cluster", fault.Unavailable, "shard %s has no leader now", sh.ID)
	}
	return a.Members, leader, err
}

// spreadLeaders has shards be led by nodes that lead fewer, one at a time.
func (n *Node) spreadLeaders(ctx context.Context) error {
	if !n.directs() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	nodes, groups := n.load()
	if len(groups) < 2 {
		drains := slices.ContainsFunc(nodes, func(o placement.Node) bool { return o.Out })
		if !drains {
			return nil
		}
	}
	now := map[ident.ShardID]ident.NodeID{}
	for i := range groups {
		// A shard without a leader elects one first.
		groups[i].Leader, _ = n.peekLeader(ctx, groups[i].Shard)
		now[groups[i].Shard] = groups[i].Leader
	}
	if !maps.Equal(now, n.ledBy) {
		n.ledBy, n.ledSince = now, time.Now()
	}
	for _, t := range placement.SpreadLeaders(nodes, groups, 1) {
		if o, ok := n.dir.Node(t.From); ok && o.State == directory.NodeActive && time.Since(n.ledSince) < spreadAfter {
			continue
		}
		_, err := ask[none](ctx, n, t.From, "transfer", transferCall{t.Shard, t.To})
		if err != nil {
			return err
		}
		n.log.Info("a shard's lead goes to another node", "shard", t.Shard.String(), "from", t.From.String(), "to", t.To.String())
	}
	return nil
}

// spreadAfter is how long nothing has changed before leaders are spread: each
// transfer costs the shard's clients their connections.
const spreadAfter = 30 * time.Second

type transferCall struct {
	Shard ident.ShardID `json:"shard"`
	To    ident.NodeID  `json:"to"`
}

// maxAwaited bounds the nodes that awaitCopies asks, and copyWait how long it
// waits for them.
const (
	maxAwaited = 64
	copyWait   = time.Second
)

type appliedCall struct {
	Index uint64 `json:"index"`
}

// awaitCopies waits until the other nodes' copies of the directory show an
// entry, so that who asks any of them next finds what was just made. It is a
// courtesy: a node that is slow, or one of very many, learns of it later.
func (n *Node) awaitCopies(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, copyWait)
	defer cancel()
	var wg sync.WaitGroup
	asked := 0
	for id := range n.alive() {
		if asked++; asked > maxAwaited {
			break
		}
		wg.Go(func() {
			_, _ = ask[none](ctx, n, id, "applied", appliedCall{index}) // see above
		})
	}
	wg.Wait()
}

func (n *Node) serveApplied(ctx context.Context, _ peer.Peer, c appliedCall) (none, error) {
	ctx, cancel := context.WithTimeout(ctx, copyWait)
	defer cancel()
	return none{}, n.dir.WaitApplied(ctx, c.Index)
}
