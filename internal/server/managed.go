package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"kimberlite/internal/cluster"
	"kimberlite/internal/deployment"
	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/placement"
	"kimberlite/internal/replication"
)

// managed is a cluster as the RPC shows it to operators.
type managed struct{ *cluster.Node }

// Status implements [rpc.Cluster].
func (o managed) Status(ctx context.Context) (*deployment.Status, error) {
	st, err := o.Node.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := &deployment.Status{
		Deployment: st.Deployment, Created: st.Created, Problems: st.Problems,
		Directory: deployment.Group{Leader: st.Directory.Leader, Term: st.Directory.Term, Applied: st.Directory.Applied},
		Shards:    each(st.Shards, showShard),
	}
	for i := range st.Nodes {
		if st.Nodes[i].State != directory.NodeRemoved {
			out.Nodes = append(out.Nodes, showNode(&st.Nodes[i]))
		}
	}
	for _, m := range st.Directory.Members {
		if m.Learner {
			out.Directory.Learners = append(out.Directory.Learners, m.Node)
		} else {
			out.Directory.Voters = append(out.Directory.Voters, m.Node)
		}
	}
	return out, nil
}

func each[F, T any](from []F, to func(*F) T) []T {
	out := make([]T, len(from))
	for i := range from {
		out[i] = to(&from[i])
	}
	return out
}

// The states of nodes, shards and tenants, as operators read them.
var (
	nodeStates  = map[directory.NodeState]string{directory.NodeActive: "active", directory.NodeDraining: "draining", directory.NodeRemoved: "removed"}
	shardStates = map[directory.ShardState]string{directory.ShardActive: "active", directory.ShardClosed: "closed"}

	tenantStates = map[directory.TenantState]string{
		directory.TenantCreating: "creating", directory.TenantActive: "active", directory.TenantMoving: "moving",
		directory.TenantReleasing: "releasing", directory.TenantErased: "erased",
	}
)

func showNode(n *cluster.NodeStatus) deployment.Node {
	out := deployment.Node{
		ID: n.ID, Region: n.Region, Zone: n.Zone, State: nodeStates[n.State], Version: n.Version, PeerAddr: n.PeerAddr, PGAddr: n.PGAddr,
		RPCAddr: n.RPCAddr, Joined: n.Joined, HoldsCA: n.HoldsCA, Self: n.Self, Alive: n.Alive || n.Self, Replicas: n.Replicas, Leads: n.Leads,
	}
	if !n.Self {
		out.Link = showLink(&n.Link)
	}
	return out
}

func showLink(l *peer.Link) *deployment.Link {
	proxied := l.Traffic[peer.Stream]
	return &deployment.Link{
		Connected: l.Connected, RoundTrip: l.RTT, Sent: l.SentBytes(), Received: l.ReceivedBytes(), Proxied: proxied.Sent + proxied.Received,
		Queued: uint64(max(l.Queue, 0)), Dropped: l.Drops, //nolint:gosec // not negative
	}
}

func showShard(s *cluster.ShardStatus) deployment.Shard {
	return deployment.Shard{
		ID: s.ID, Region: s.Region, State: shardStates[s.State], Leader: s.Leader, Term: s.Term, Tenants: s.Tenants, Bytes: s.Bytes, Load: s.Load,
		Members: each(s.Members, func(m *cluster.MemberStatus) deployment.Member {
			return deployment.Member{Replica: m.ID, Node: m.Node, Learner: m.Learner, Lag: m.Lag, Active: m.Active, CatchingUp: m.Snapshotting}
		}),
	}
}

// Nodes implements [rpc.Cluster]. Those that were removed are not in a status.
func (o managed) Nodes(ctx context.Context) ([]deployment.Node, error) {
	st, err := o.Status(ctx)
	if err != nil {
		return nil, err
	}
	have := map[ident.NodeID]bool{}
	for i := range st.Nodes {
		have[st.Nodes[i].ID] = true
	}
	for _, n := range o.Directory().Nodes() {
		if !have[n.ID] {
			st.Nodes = append(st.Nodes, showNode(&cluster.NodeStatus{Node: n, Self: n.ID == o.Self().Node}))
		}
	}
	slices.SortFunc(st.Nodes, func(a, b deployment.Node) int { return cmp.Compare(a.ID.Uint64(), b.ID.Uint64()) })
	return st.Nodes, nil
}

// CreateToken implements [rpc.Cluster].
func (o managed) CreateToken(ctx context.Context, region ident.Region, valid time.Duration) (*deployment.NewToken, error) {
	secret, t, err := o.Node.CreateToken(ctx, region, valid)
	if err != nil {
		return nil, err
	}
	return &deployment.NewToken{Token: showToken(&t), Secret: secret}, nil
}

func showToken(t *directory.Token) deployment.Token {
	return deployment.Token{ID: t.ID, Region: t.Region, Created: t.Created, Expires: t.Expires, Used: t.Used}
}

// Tokens implements [rpc.Cluster].
func (o managed) Tokens(context.Context) ([]deployment.Token, error) {
	return each(o.Node.Tokens(), showToken), nil
}

// Drain implements [rpc.Cluster].
func (o managed) Drain(ctx context.Context, node ident.NodeID, undo bool) (*deployment.Drain, error) {
	return showDrain(o.Node.Drain(ctx, node, undo))
}

// DrainStatus implements [rpc.Cluster].
func (o managed) DrainStatus(ctx context.Context, node ident.NodeID) (*deployment.Drain, error) {
	return showDrain(o.Node.DrainStatus(ctx, node))
}

func showDrain(d cluster.Drain, err error) (*deployment.Drain, error) {
	if err != nil {
		return nil, err
	}
	out := deployment.Drain(d)
	return &out, nil
}

// CreateShard implements [rpc.Cluster].
func (o managed) CreateShard(ctx context.Context, region ident.Region, replicas int, nodes []ident.NodeID) (*deployment.Shard, error) {
	s, err := o.Node.CreateShard(ctx, region, replicas, nodes)
	if err != nil {
		return nil, err
	}
	out := showShard(&s)
	if len(out.Members) == 0 { // it has only just begun
		out.Members = each(s.Want, func(r *replication.Replica) deployment.Member {
			return deployment.Member{Replica: r.ID, Node: r.Node, Learner: r.Learner}
		})
	}
	return &out, nil
}

// Shards implements [rpc.Cluster].
func (o managed) Shards(ctx context.Context) ([]deployment.Shard, error) {
	st, err := o.Status(ctx)
	if err != nil {
		return nil, err
	}
	return st.Shards, nil
}

// Placements implements [rpc.Cluster].
func (o managed) Placements(from ident.TenantID, limit int) []deployment.Placement {
	return each(o.Directory().Tenants(from, limit), func(t *directory.Tenant) deployment.Placement {
		return deployment.Placement{
			Tenant: t.ID, Name: t.Name, Region: t.Region, Shard: t.Shard, Epoch: t.Epoch, State: tenantStates[t.State], Target: t.Target,
		}
	})
}

// Residency implements [rpc.Cluster].
func (o managed) Residency(ctx context.Context, tenants []ident.TenantID) (*deployment.Residency, error) {
	r, err := o.Node.Residency(ctx, tenants)
	if err != nil {
		return nil, err
	}
	return &deployment.Residency{Unreached: r.Unreached, Tenants: each(r.Tenants, func(t *cluster.TenantPlaces) deployment.TenantResidency {
		return deployment.TenantResidency{Tenant: t.ID, Name: t.Name, Region: t.Region, Places: each(t.Places, func(p *cluster.Place) deployment.Place {
			return deployment.Place{Node: p.Node, Region: p.Region, Shard: p.Shard, Bytes: p.Bytes, Key: p.Key}
		})}
	})}, nil
}

// RenewCertificates implements [rpc.Cluster].
func (o managed) RenewCertificates(ctx context.Context, node ident.NodeID) ([]deployment.Renewal, error) {
	all, err := o.Node.RenewCertificates(ctx, node)
	return each(all, func(r *cluster.Renewal) deployment.Renewal { return deployment.Renewal(*r) }), err
}

// RotateAuthority implements [rpc.Cluster].
func (o managed) RotateAuthority(ctx context.Context) (deployment.Authority, error) {
	a, err := o.Node.RotateAuthority(ctx)
	return deployment.Authority(a), err
}

func showMove(m *cluster.Move) deployment.Move {
	return deployment.Move{
		Tenant: m.Tenant, From: m.From, To: m.To, Phase: string(m.Phase), Copied: m.Copied, Total: m.Total,
		Began: m.Began, Ended: m.Ended, Fenced: m.Fenced, Problem: m.Problem,
	}
}

// MoveTenant implements [rpc.Cluster].
func (o managed) MoveTenant(ctx context.Context, id ident.TenantID, to ident.ShardID, progress func(deployment.Move)) (*deployment.Move, error) {
	m, err := o.Node.MoveTenant(ctx, id, to, func(m cluster.Move) { progress(showMove(&m)) })
	if err != nil {
		return nil, err
	}
	out := showMove(&m)
	return &out, nil
}

// Move implements [rpc.Cluster].
func (o managed) Move(ctx context.Context, id ident.TenantID) (*deployment.Move, error) {
	m, err := o.MoveStatus(ctx, id)
	if err != nil {
		return nil, err
	}
	out := showMove(&m)
	return &out, nil
}

// Bounds of a rebalance that names none, and differences that are too small
// to move anything for.
const (
	rebalanceMoves = 100
	slackBytes     = 16 << 20
	slackLoad      = 10
)

// PlanRebalance implements [rpc.Cluster]. What tenants hold is asked of every
// node: it is for an operator who waits, not for every minute.
func (o managed) PlanRebalance(ctx context.Context, region ident.Region, most int) (*deployment.Plan, error) {
	st, err := o.Status(ctx)
	if err != nil {
		return nil, err
	}
	r, err := o.Residency(ctx, nil)
	if err != nil {
		return nil, err
	}
	bytes := map[ident.TenantID]int64{}
	for i := range r.Tenants {
		for _, p := range r.Tenants[i].Places {
			bytes[r.Tenants[i].Tenant] = max(bytes[r.Tenants[i].Tenant], p.Bytes)
		}
	}
	return planOf(st.Shards, o.allTenants(), bytes, region, most)
}

// allTenants are those of the directory, but erased ones.
func (o managed) allTenants() []directory.Tenant {
	const page = 10_000
	var all []directory.Tenant
	from, err := ident.NewTenantID(1)
	for err == nil {
		next := o.Directory().Tenants(from, page)
		all = append(all, next...)
		if len(next) < page || next[page-1].ID.Uint64() == ^uint64(0) {
			break
		}
		from, err = ident.NewTenantID(next[page-1].ID.Uint64() + 1)
	}
	return all
}

// planOf plans within one region, or with zero within each.
func planOf(shards []deployment.Shard, all []directory.Tenant, bytes map[ident.TenantID]int64, region ident.Region, most int) (*deployment.Plan, error) {
	in := func(r ident.Region) bool { return region.IsZero() || r == region }
	var places []placement.Shard
	loads := map[ident.ShardID]*deployment.Load{}
	out := &deployment.Plan{}
	for i := range shards {
		if s := &shards[i]; in(s.Region) {
			places = append(places, placement.Shard{
				ID: s.ID, Region: s.Region, Out: s.State != shardStates[directory.ShardActive] || s.Leader.IsZero(), Load: s.Load,
			})
			out.Loads = append(out.Loads, deployment.Load{Shard: s.ID, Region: s.Region})
		}
	}
	if len(places) == 0 {
		return nil, fault.New("shard rebalance", fault.NotFound, "there is no shard in %s: shard create makes one", cmp.Or(region.String(), "the deployment"))
	}
	for i := range out.Loads {
		loads[out.Loads[i].Shard] = &out.Loads[i]
	}
	var tenants []placement.Tenant
	for _, t := range all {
		l := loads[t.Shard]
		if l == nil {
			continue
		}
		n := bytes[t.ID]
		l.TenantsBefore++
		l.BytesBefore += n
		tenants = append(tenants, placement.Tenant{ID: t.ID, Shard: t.Shard, Stays: t.State != directory.TenantActive, Bytes: uint64(max(n, 0))}) //nolint:gosec // not negative
	}
	for i := range places {
		l := loads[places[i].ID]
		places[i].Tenants, places[i].Bytes = l.TenantsBefore, uint64(max(l.BytesBefore, 0)) //nolint:gosec // not negative
		l.TenantsAfter, l.BytesAfter = l.TenantsBefore, l.BytesBefore
	}
	if most <= 0 {
		most = rebalanceMoves
	}
	plan := placement.PlanRebalance(places, tenants, placement.Limits{Moves: most, SlackBytes: slackBytes, SlackLoad: slackLoad})
	for _, m := range plan.Moves {
		n := bytes[m.Tenant]
		out.Moves = append(out.Moves, deployment.PlannedMove{Tenant: m.Tenant, From: m.From, To: m.To, Bytes: n, Reason: m.Reason})
		loads[m.From].TenantsAfter--
		loads[m.From].BytesAfter -= n
		loads[m.To].TenantsAfter++
		loads[m.To].BytesAfter += n
	}
	return out, nil
}
