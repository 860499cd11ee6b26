package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/placement"
	"kimberlite/internal/replication"
)

// What operators ask for. Any node takes any of these calls, and asks those
// that have to do something itself.

// defaultReplicas is how many replicas a shard has unless somebody says.
const defaultReplicas = 3

// Status describes the deployment. What nodes that do not answer would say is
// missing, and said among the problems.
func (n *Node) Status(ctx context.Context) (Status, error) {
	if err := n.Ready(); err != nil {
		return Status{}, err
	}
	nodes := n.dir.Nodes()
	said := n.hear(ctx, nodes, true)
	d := n.dir.Deployment()
	s := Status{Deployment: d.ID, Created: d.Created, Self: n.identity.Node, Directory: groupStatus(n.dir.Group().Status())}
	s.Nodes, s.Problems = n.nodeStatus(nodes, said)
	lead := leaders(said)
	for _, sh := range n.dir.Shards() {
		one := n.shardStatus(sh, lead)
		if problem := one.problem(); problem != "" {
			s.Problems = append(s.Problems, problem)
		}
		s.Shards = append(s.Shards, one)
	}
	if s.Directory.Leader.IsZero() {
		s.Problems = append(s.Problems, "the directory has no leader: less than half of its voters are up")
	}
	if text, _ := n.dir.CA(); len(n.creds.bundle.Load().Fingerprints()) > 1 && len(text) > 0 {
		s.Problems = append(s.Problems, "the certificate authority is being rotated: the old one is believed until every node has a new certificate")
	}
	return s, nil
}

func groupStatus(st replication.Status) GroupStatus {
	return GroupStatus{Leader: st.Leader.Node, Term: st.Term, Applied: st.Applied, Members: memberStatus(st)}
}

func (n *Node) nodeStatus(nodes []directory.Node, said map[ident.NodeID]report) (all []NodeStatus, problems []string) {
	for _, o := range nodes {
		one := NodeStatus{Node: o, Self: o.ID == n.identity.Node}
		for _, l := range n.net.Links() {
			if l.Node == o.ID {
				one.Link = l
			}
		}
		r, ok := said[o.ID]
		one.Alive = ok
		one.Replicas = len(r.Shards)
		for _, s := range r.Shards {
			if s.Leads {
				one.Leads++
			}
			if s.Problem != "" {
				problems = append(problems, fmt.Sprintf("shard %s has stopped on node %s: %s", s.Shard, o.ID, s.Problem))
			}
		}
		switch {
		case o.State == directory.NodeRemoved:
		case !ok:
			problems = append(problems, fmt.Sprintf("node %s does not answer", o.ID))
		case time.Until(r.Expires) < 7*24*time.Hour:
			problems = append(problems, fmt.Sprintf("the certificate of node %s ends on %s", o.ID, r.Expires.Format(time.DateOnly)))
		case r.MasterKey != n.parts.MasterKey && o.Region == n.identity.Region:
			problems = append(problems, fmt.Sprintf("node %s has another master key than node %s: it cannot open tenants of this region", o.ID, n.identity.Node))
		}
		all = append(all, one)
	}
	return all, problems
}

func (n *Node) shardStatus(sh directory.Shard, lead map[ident.ShardID]shardReport) ShardStatus {
	one := ShardStatus{Shard: sh, Tenants: n.dir.TenantCount(sh.ID)}
	r, ok := lead[sh.ID]
	if !ok {
		for _, w := range sh.Want {
			one.Members = append(one.Members, MemberStatus{Replica: w})
		}
		return one
	}
	one.GroupStatus = GroupStatus{Leader: r.Replica.Node, Term: r.Term, Applied: r.Applied, Members: r.Members}
	one.Bytes, one.Load = r.Bytes, r.Load
	return one
}

// problem says what an operator should look at, or "".
func (s *ShardStatus) problem() string {
	if s.Leader.IsZero() {
		return fmt.Sprintf("shard %s has no leader: less than half of its replicas are up", s.ID)
	}
	away := 0
	for _, m := range s.Members {
		if !m.Active {
			away++
		}
	}
	if away > 0 {
		return fmt.Sprintf("shard %s misses %d of %d replicas", s.ID, away, len(s.Members))
	}
	return ""
}

// Drain has everything on a node go elsewhere; undo ends that. It goes on
// after the call.
func (n *Node) Drain(ctx context.Context, node ident.NodeID, undo bool) (Drain, error) {
	state := directory.NodeDraining
	if undo {
		state = directory.NodeActive
	}
	if o, ok := n.dir.Node(node); ok && o.State == directory.NodeRemoved {
		return Drain{}, fault.New("node drain", fault.Conflict, "node %s was removed", node)
	}
	if _, err := n.dir.Propose(ctx, directory.SetNodeState{Node: node, State: state}); err != nil {
		return Drain{}, err
	}
	return n.DrainStatus(ctx, node)
}

// DrainStatus says what is left on a node.
func (n *Node) DrainStatus(ctx context.Context, node ident.NodeID) (Drain, error) {
	o, ok := n.dir.Node(node)
	if !ok {
		return Drain{}, fault.New("node drain", fault.NotFound, "there is no node %s", node)
	}
	d := Drain{Node: node, State: o.State.String()}
	said := n.hear(ctx, n.nodesOf(o.Region), false)
	lead := leaders(said)
	for _, sh := range n.dir.Shards() {
		_, wanted := sh.On(node)
		r, ok := lead[sh.ID]
		member := slices.ContainsFunc(r.Members, func(m MemberStatus) bool { return m.Node == node })
		if wanted || member {
			d.Shards = append(d.Shards, sh.ID)
		}
		if ok && r.Replica.Node == node {
			d.Leads = append(d.Leads, sh.ID)
		}
	}
	for _, m := range n.dir.Group().Status().Members {
		if m.Node == node && !m.Learner {
			d.DirectoryVoter = true
		}
	}
	d.Done = o.State != directory.NodeActive && len(d.Shards) == 0 && !d.DirectoryVoter
	if o.State == directory.NodeDraining && len(d.Shards) > 0 {
		nodes, groups := n.load()
		if _, refused := placement.PlanReplacement(node, nodes, groups); len(refused) > 0 {
			d.Blocked = refused[0].Reason
		}
	}
	return d, nil
}

// Remove takes a drained node out for good. With force it takes out one that
// is dead: its replicas go to other nodes of the region, or where there are
// none, the shards go on with fewer.
func (n *Node) Remove(ctx context.Context, node ident.NodeID, force bool) error {
	o, ok := n.dir.Node(node)
	switch {
	case !ok:
		return fault.New("node remove", fault.NotFound, "there is no node %s", node)
	case o.State == directory.NodeRemoved:
		return nil
	case o.State == directory.NodeActive && !force:
		return fault.New("node remove", fault.Conflict, "node %s is not drained: drain it first, or force its removal if it is dead", node)
	case force && n.alive()[node] && node != n.identity.Node && o.State == directory.NodeActive:
		return fault.New("node remove", fault.Conflict, "node %s is alive: drain it, or stop it before its removal is forced", node)
	}
	if o.HoldsCA && !slices.ContainsFunc(n.dir.Nodes(), func(other directory.Node) bool {
		return other.ID != node && other.HoldsCA && other.State != directory.NodeRemoved
	}) {
		return fault.New("node remove", fault.Conflict, "node %s alone holds the deployment's certificate authority: copy ca.crt and ca.key from its data directory's %s to that of another node first", node, DirName)
	}
	d, err := n.Drain(ctx, node, false)
	if err != nil {
		return err
	}
	if !d.Done && !force {
		return fault.New("node remove", fault.Conflict, "node %s is not drained yet: %d shards are left on it%s", node, len(d.Shards), because(d.Blocked))
	}
	if err := n.forceOut(ctx, node); err != nil {
		return err
	}
	_, err = n.dir.Propose(ctx, directory.SetNodeState{Node: node, State: directory.NodeRemoved})
	return err
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// forceOut waits until a node's replicas are elsewhere; those that cannot go
// anywhere are taken from their shards.
func (n *Node) forceOut(ctx context.Context, node ident.NodeID) error {
	for {
		d, err := n.DrainStatus(ctx, node)
		if err != nil || d.Done {
			return err
		}
		if d.Blocked != "" {
			for _, id := range d.Shards {
				if n.replaceable(id) {
					continue
				}
				if err := n.replace(ctx, id, node, ident.NodeID{}); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return fault.New("node remove", fault.Timeout, "node %s still has %d shards, and goes on being drained: remove it again later", node, len(d.Shards))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// CreateShard makes a shard of so many replicas (0 is 3, or as many as there
// are nodes) in a region, on nodes if any are named. It returns when the shard
// has a leader, or ctx ends.
func (n *Node) CreateShard(ctx context.Context, region ident.Region, replicas int, nodes []ident.NodeID) (ShardStatus, error) {
	if len(nodes) == 0 {
		all, _ := n.load()
		want := replicas
		if want == 0 {
			want = defaultReplicas
		}
		picked, err := placement.PickReplicas(all, region, nil, want)
		if err != nil {
			return ShardStatus{}, err
		}
		if len(picked) < replicas {
			return ShardStatus{}, fault.New("shard create", fault.Unavailable, "region %s has %d nodes that take replicas, and not %d", region, len(picked), replicas)
		}
		nodes = picked
	} else if replicas != 0 && replicas != len(nodes) {
		return ShardStatus{}, fault.New("shard create", fault.Invalid, "%d nodes are named for %d replicas", len(nodes), replicas)
	}
	r, err := n.dir.Propose(ctx, directory.CreateShard{Region: region, Nodes: nodes})
	if err != nil {
		return ShardStatus{}, err
	}
	sh, ok := n.dir.Shard(r.Shard)
	if !ok {
		return ShardStatus{}, fault.New("shard create", fault.Conflict, "shard %s was removed meanwhile", r.Shard)
	}
	one := ShardStatus{Shard: sh}
	// It is made, whether or not it has a leader in time.
	if leader, err := n.leaderOf(ctx, r.Shard); err == nil {
		one.Leader = leader
	}
	for _, w := range sh.Want {
		one.Members = append(one.Members, MemberStatus{Replica: w})
	}
	return one, nil
}

// RemoveShard removes a shard that has no tenants.
func (n *Node) RemoveShard(ctx context.Context, id ident.ShardID) error {
	sh, ok := n.dir.Shard(id)
	if !ok {
		return fault.New("shard remove", fault.NotFound, "there is no shard %s", id)
	}
	_, err := n.dir.Propose(ctx, directory.RemoveShard{Shard: id, Generation: sh.Generation})
	return err
}

// PlanRebalance says which tenants would move; the zero region is all of them.
// before are the shards' loads now.
func (n *Node) PlanRebalance(ctx context.Context, region ident.Region, maxMoves int) (plan placement.Plan, before []placement.Shard, err error) {
	before = n.shardLoads(ctx, region, true)
	var tenants []placement.Tenant
	for _, s := range before {
		leader, err := n.leaderOf(ctx, s.ID)
		if err != nil {
			return plan, before, err
		}
		held, err := n.holdings(ctx, leader)
		if err != nil {
			return plan, before, err
		}
		bytes := map[ident.TenantID]int64{}
		for _, h := range held {
			if h.Shard == s.ID {
				bytes[h.Tenant] = h.Log
			}
		}
		n.dir.TenantsOf(s.ID, func(t directory.Tenant) bool {
			tenants = append(tenants, placement.Tenant{
				ID: t.ID, Shard: s.ID, Stays: t.State != directory.TenantActive, Bytes: uint64(max(bytes[t.ID], 0)),
			})
			return true
		})
	}
	for i := range before {
		before[i].Load = 0 // not known of single tenants, so that nothing can be planned by it
	}
	return placement.PlanRebalance(before, tenants, placement.Limits{Moves: maxMoves, SlackBytes: 1 << 20}), before, nil
}
