package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// NodeID names one node of a deployment.
type NodeID = ident.NodeID

// Region names where data stays.
type Region = ident.Region

// What a deployment consists of.
type (
	// ClusterStatus is a deployment as the asked node sees it.
	ClusterStatus = deployment.Status
	// Node is one node.
	Node = deployment.Node
	// Shard is one shard.
	Shard = deployment.Shard
	// JoinToken is what is known of a token that nodes join with.
	JoinToken = deployment.Token
	// NewJoinToken holds its secret, too, which cannot be had again.
	NewJoinToken = deployment.NewToken
	// Drain is what is left on a node that drains.
	Drain = deployment.Drain
	// Move is the move of one tenant.
	Move = deployment.Move
	// RebalancePlan is what a rebalance does.
	RebalancePlan = deployment.Plan
	// Placement is where a tenant is.
	Placement = deployment.Placement
	// Residency is where tenants' bytes are.
	Residency = deployment.Residency
	// Renewal is one node's new certificate.
	Renewal = deployment.Renewal
	// Authority is a certificate authority of the deployment.
	Authority = deployment.Authority
)

// Cluster administers the deployment that a server is a member of. It takes an
// operator. A server that is a member of none answers with Unsupported.
type Cluster struct{ c *Client }

// Cluster returns the deployment that the server is a member of.
func (c *Client) Cluster() Cluster { return Cluster{c} }

// Status describes the deployment.
func (k Cluster) Status(ctx context.Context) (*ClusterStatus, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.GetClusterStatus, &v1.GetClusterStatusRequest{})
	if err != nil {
		return nil, err
	}
	g := a.GetDirectory()
	return &ClusterStatus{
		Deployment: a.GetDeployment(), Created: timeOf(a.GetCreated()), Directory: deployment.Group{
			Leader: ident.NewNodeID(g.GetLeader()), Term: g.GetTerm(), Applied: g.GetApplied(),
			Voters: each(g.GetVoters(), ident.NewNodeID), Learners: each(g.GetLearners(), ident.NewNodeID),
		},
		Nodes: each(a.GetNodes(), toNode), Shards: each(a.GetShards(), toShard), Problems: a.GetProblems(),
	}, nil
}

func each[F, T any](from []F, to func(F) T) []T {
	out := make([]T, len(from))
	for i, f := range from {
		out[i] = to(f)
	}
	return out
}

// region reads a region of an answer; one that is none is zero.
func region(name string) Region {
	r, _ := ident.NewRegion(name) // of a removed or newer thing: shown as none
	return r
}

func toNode(n *v1.Node) Node {
	out := Node{
		ID: ident.NewNodeID(n.GetId()), Region: region(n.GetRegion()), Zone: n.GetZone(), State: n.GetState(), Version: n.GetVersion(),
		PeerAddr: n.GetPeerAddr(), PGAddr: n.GetPgAddr(), RPCAddr: n.GetRpcAddr(), Joined: timeOf(n.GetJoined()),
		HoldsCA: n.GetHoldsCa(), Self: n.GetSelf(), Alive: n.GetAlive(), Replicas: int(n.GetReplicas()), Leads: int(n.GetLeads()),
	}
	if l := n.GetLink(); l != nil {
		out.Link = &deployment.Link{
			Connected: l.GetConnected(), RoundTrip: l.GetRoundTrip().AsDuration(), Sent: l.GetSentBytes(), Received: l.GetReceivedBytes(),
			Proxied: l.GetProxiedBytes(), Queued: l.GetQueued(), Dropped: l.GetDropped(),
		}
	}
	return out
}

func toShard(s *v1.Shard) Shard {
	return Shard{
		ID: ident.NewShardID(s.GetId()), Region: region(s.GetRegion()), State: s.GetState(), Leader: ident.NewNodeID(s.GetLeader()), Term: s.GetTerm(),
		Tenants: int(s.GetTenants()), Bytes: s.GetBytes(), Load: s.GetLoad(), //nolint:gosec // a count
		Members: each(s.GetMembers(), func(m *v1.Shard_Member) deployment.Member {
			return deployment.Member{
				Replica: ident.NewReplicaID(m.GetReplica()), Node: ident.NewNodeID(m.GetNode()), Learner: m.GetLearner(), Lag: m.GetLag(),
				Active: m.GetActive(), CatchingUp: m.GetCatchingUp(),
			}
		}),
	}
}

// CreateJoinToken makes a token that one node can join a region with.
func (k Cluster) CreateJoinToken(ctx context.Context, in Region, valid time.Duration) (*NewJoinToken, error) {
	a, err := call(ctx, k.c, does(ctx), k.c.cluster.CreateJoinToken, &v1.CreateJoinTokenRequest{
		Region: in.String(), Valid: durationpb.New(valid), IdempotencyKey: keyOf(ctx),
	})
	if err != nil {
		return nil, err
	}
	return &NewJoinToken{Token: toJoinToken(a.GetToken()), Secret: a.GetSecret()}, nil
}

func toJoinToken(t *v1.JoinToken) JoinToken {
	return JoinToken{
		ID: t.GetId(), Region: region(t.GetRegion()), Created: timeOf(t.GetCreated()), Expires: timeOf(t.GetExpires()), Used: ident.NewNodeID(t.GetUsed()),
	}
}

// JoinTokens describes the tokens that are kept.
func (k Cluster) JoinTokens(ctx context.Context) ([]JoinToken, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.ListJoinTokens, &v1.ListJoinTokensRequest{})
	if err != nil {
		return nil, err
	}
	return each(a.GetTokens(), toJoinToken), nil
}

// RevokeJoinToken ends a token.
func (k Cluster) RevokeJoinToken(ctx context.Context, id string) error {
	_, err := call(ctx, k.c, does(ctx), k.c.cluster.RevokeJoinToken, &v1.RevokeJoinTokenRequest{TokenId: id, IdempotencyKey: keyOf(ctx)})
	return err
}

// Nodes describes the nodes, by id; removed includes those taken out.
func (k Cluster) Nodes(ctx context.Context, removed bool) ([]Node, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.ListNodes, &v1.ListNodesRequest{Removed: removed})
	if err != nil {
		return nil, err
	}
	return each(a.GetNodes(), toNode), nil
}

// DrainNode has what a node has go elsewhere, or with undo not. It goes on
// after the call; [Cluster.DrainStatus] says what is left.
func (k Cluster) DrainNode(ctx context.Context, node NodeID, undo bool) (*Drain, error) {
	a, err := call(ctx, k.c, once, k.c.cluster.DrainNode, &v1.DrainNodeRequest{Node: node.Uint64(), Undo: undo})
	return toDrain(a.GetDrain()), err
}

// DrainStatus says what is left on a node.
func (k Cluster) DrainStatus(ctx context.Context, node NodeID) (*Drain, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.GetDrain, &v1.GetDrainRequest{Node: node.Uint64()})
	return toDrain(a.GetDrain()), err
}

func toDrain(d *v1.Drain) *Drain {
	return &Drain{
		Node: ident.NewNodeID(d.GetNode()), State: d.GetState(), Shards: each(d.GetShards(), ident.NewShardID), Leads: each(d.GetLeads(), ident.NewShardID),
		DirectoryVoter: d.GetDirectoryVoter(), Done: d.GetDone(), Blocked: d.GetBlocked(),
	}
}

// RemoveNode takes a node out for good; it must be drained, or force given.
func (k Cluster) RemoveNode(ctx context.Context, node NodeID, force bool) error {
	_, err := call(ctx, k.c, once, k.c.cluster.RemoveNode, &v1.RemoveNodeRequest{Node: node.Uint64(), Force: force})
	return err
}

// CreateShard makes a shard of as many replicas (0 is 3) in a region, on nodes
// that the cluster picks unless they are named.
func (k Cluster) CreateShard(ctx context.Context, in Region, replicas int, nodes []NodeID) (Shard, error) {
	a, err := call(ctx, k.c, does(ctx), k.c.cluster.CreateShard, &v1.CreateShardRequest{
		Region: in.String(), Replicas: uint32(max(replicas, 0)), Nodes: each(nodes, NodeID.Uint64), IdempotencyKey: keyOf(ctx), //nolint:gosec // the server bounds it
	})
	return toShard(a.GetShard()), err
}

// RemoveShard removes a shard that has no tenants.
func (k Cluster) RemoveShard(ctx context.Context, id ShardID) error {
	_, err := call(ctx, k.c, once, k.c.cluster.RemoveShard, &v1.RemoveShardRequest{Shard: id.Uint64()})
	return err
}

// Shards describes the shards, by id.
func (k Cluster) Shards(ctx context.Context) ([]Shard, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.ListShards, &v1.ListShardsRequest{})
	if err != nil {
		return nil, err
	}
	return each(a.GetShards(), toShard), nil
}

// Placements says where all tenants are, by id.
func (k Cluster) Placements(ctx context.Context) ([]Placement, error) {
	var all []Placement
	for page := ""; ; {
		a, err := call(ctx, k.c, reads, k.c.cluster.ListPlacements, &v1.ListPlacementsRequest{PageSize: 1000, PageToken: page})
		if err != nil {
			return nil, err
		}
		for _, p := range a.GetPlacements() {
			id, err := ident.NewTenantID(p.GetTenant())
			if err != nil {
				return nil, errAnswer("a tenant without an id")
			}
			all = append(all, Placement{
				Tenant: id, Name: p.GetName(), Region: region(p.GetRegion()), Shard: ident.NewShardID(p.GetShard()),
				Epoch: p.GetEpoch(), State: p.GetState(), Target: ident.NewShardID(p.GetTarget()),
			})
		}
		if page = a.GetNextPageToken(); page == "" {
			return all, nil
		}
	}
}

// Residency asks every node what it holds of tenants; none is all.
func (k Cluster) Residency(ctx context.Context, tenants ...TenantID) (*Residency, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.GetResidency, &v1.GetResidencyRequest{Tenants: each(tenants, TenantID.Uint64)})
	if err != nil {
		return nil, err
	}
	out := &Residency{Unreached: each(a.GetUnreached(), ident.NewNodeID)}
	for _, t := range a.GetTenants() {
		id, err := ident.NewTenantID(t.GetTenant())
		if err != nil {
			return nil, errAnswer("a tenant without an id")
		}
		out.Tenants = append(out.Tenants, deployment.TenantResidency{
			Tenant: id, Name: t.GetName(), Region: region(t.GetRegion()), Places: each(t.GetPlaces(), func(p *v1.Residency_Place) deployment.Place {
				return deployment.Place{
					Node: ident.NewNodeID(p.GetNode()), Region: region(p.GetRegion()), Shard: ident.NewShardID(p.GetShard()), Bytes: p.GetBytes(), Key: p.GetKey(),
				}
			}),
		})
	}
	return out, nil
}

// RenewCertificates has a node, or all with zero, take new certificates.
func (k Cluster) RenewCertificates(ctx context.Context, node NodeID) ([]Renewal, error) {
	a, err := call(ctx, k.c, once, k.c.cluster.RotateCertificates, &v1.RotateCertificatesRequest{Node: node.Uint64()})
	if err != nil {
		return nil, err
	}
	return each(a.GetRenewals(), func(r *v1.RotateCertificatesResponse_Renewal) Renewal {
		return Renewal{Node: ident.NewNodeID(r.GetNode()), Expires: timeOf(r.GetExpires()), Problem: r.GetProblem()}
	}), nil
}

// RotateAuthority makes a new certificate authority; the old one is trusted
// until its certificates are replaced.
func (k Cluster) RotateAuthority(ctx context.Context) (Authority, error) {
	a, err := call(ctx, k.c, writes, k.c.cluster.RotateAuthority, &v1.RotateAuthorityRequest{})
	return Authority{Fingerprint: a.GetFingerprint(), Expires: timeOf(a.GetExpires())}, err
}

// errStreamEnded is for streams that end before what they tell of has.
func errStreamEnded(op string) error {
	return fault.New(op, fault.Unavailable, "the server ended the stream: the move that was told of last goes on")
}
