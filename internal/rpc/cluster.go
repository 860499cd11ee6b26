package rpc

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Cluster is the cluster that a server is a member of. Each call may be asked
// of any node.
type Cluster interface {
	ClusterMembers
	ClusterShards
	ClusterMoves
	// Status describes the deployment.
	Status(ctx context.Context) (*deployment.Status, error)
	// Placements returns at most limit tenants from an id on, by id.
	Placements(from ident.TenantID, limit int) []deployment.Placement
	// Residency asks every node what it holds of tenants; none is all.
	Residency(ctx context.Context, tenants []ident.TenantID) (*deployment.Residency, error)
	// RenewCertificates has a node, or all with zero, take new certificates.
	RenewCertificates(ctx context.Context, node ident.NodeID) ([]deployment.Renewal, error)
	// RotateAuthority makes a new certificate authority.
	RotateAuthority(ctx context.Context) (deployment.Authority, error)
}

// ClusterMembers lets nodes in and takes them out.
type ClusterMembers interface {
	CreateToken(ctx context.Context, region ident.Region, valid time.Duration) (*deployment.NewToken, error)
	Tokens(ctx context.Context) ([]deployment.Token, error)
	RevokeToken(ctx context.Context, id string) error
	// Nodes are all there ever were, by id.
	Nodes(ctx context.Context) ([]deployment.Node, error)
	// Drain has what a node has go elsewhere, or with undo not; it goes on
	// after the call. DrainStatus says what is left.
	Drain(ctx context.Context, node ident.NodeID, undo bool) (*deployment.Drain, error)
	DrainStatus(ctx context.Context, node ident.NodeID) (*deployment.Drain, error)
	// Remove takes a node out for good; it must be drained, or force given.
	Remove(ctx context.Context, node ident.NodeID, force bool) error
}

// ClusterShards makes and describes shards.
type ClusterShards interface {
	// CreateShard makes a shard of as many replicas, on nodes that it picks
	// unless they are named.
	CreateShard(ctx context.Context, region ident.Region, replicas int, nodes []ident.NodeID) (*deployment.Shard, error)
	// RemoveShard removes one without tenants.
	RemoveShard(ctx context.Context, shard ident.ShardID) error
	Shards(ctx context.Context) ([]deployment.Shard, error)
}

// ClusterMoves moves tenants between shards.
type ClusterMoves interface {
	// PlanRebalance plans moves within a region, or within each with zero; at
	// most as many, or its own bound with 0.
	PlanRebalance(ctx context.Context, region ident.Region, most int) (*deployment.Plan, error)
	// MoveTenant moves a tenant, or joins the same move that it is in, and
	// tells progress how it goes, from one goroutine. When ctx ends the move
	// goes on.
	MoveTenant(ctx context.Context, tenant ident.TenantID, to ident.ShardID, progress func(deployment.Move)) (*deployment.Move, error)
	// Move describes the move that a tenant is in, or was in last.
	Move(ctx context.Context, tenant ident.TenantID) (*deployment.Move, error)
}

type clusterService struct{ *door }

// member returns the cluster, or says that there is none.
func (s clusterService) member() (Cluster, error) {
	if s.cluster == nil {
		return nil, fault.New("cluster", fault.Unsupported, "this server is no member of a cluster: see `kimberlite cluster init`")
	}
	return s.cluster, nil
}

// inCluster asks the cluster and writes its answer as a message.
func inCluster[V, A any](s clusterService, ask func(c Cluster) (V, error), answer func(V) A) (out A, err error) {
	c, err := s.member()
	if err != nil {
		return out, err
	}
	v, err := ask(c)
	if err != nil {
		return out, err
	}
	return answer(v), nil
}

// GetClusterStatus describes the deployment.
func (s clusterService) GetClusterStatus(ctx context.Context, _ *v1.GetClusterStatusRequest) (*v1.GetClusterStatusResponse, error) {
	return inCluster(s, func(c Cluster) (*deployment.Status, error) { return c.Status(ctx) }, func(st *deployment.Status) *v1.GetClusterStatusResponse {
		return &v1.GetClusterStatusResponse{
			Deployment: st.Deployment, Created: stamp(st.Created), Directory: toGroup(&st.Directory),
			Nodes: toEach(st.Nodes, toNode), Shards: toEach(st.Shards, toShard), Problems: toEach(st.Problems, func(p *string) string { return clean(*p) }),
		}
	})
}

// ListPlacements says where tenants are.
func (s clusterService) ListPlacements(_ context.Context, r *v1.ListPlacementsRequest) (*v1.ListPlacementsResponse, error) {
	size, err := bounded("page_size", r.GetPageSize(), 100, 1000)
	if err != nil {
		return nil, err
	}
	from := uint64(1)
	if token := r.GetPageToken(); token != "" {
		if from, err = strconv.ParseUint(token, 10, 64); err != nil || from == 0 {
			return nil, fault.New("rpc", fault.Invalid, "the page_token is not one of this server's")
		}
	}
	first, err := ident.NewTenantID(from)
	if err != nil {
		return nil, err
	}
	return inCluster(s, func(c Cluster) ([]deployment.Placement, error) { return c.Placements(first, size+1), nil },
		func(all []deployment.Placement) *v1.ListPlacementsResponse {
			out := &v1.ListPlacementsResponse{}
			if len(all) > size {
				out.NextPageToken, all = all[size].Tenant.String(), all[:size]
			}
			out.Placements = toEach(all, toPlacement)
			return out
		})
}

// GetResidency lists every place that holds bytes of tenants.
func (s clusterService) GetResidency(ctx context.Context, r *v1.GetResidencyRequest) (*v1.GetResidencyResponse, error) {
	var tenants []ident.TenantID
	for _, n := range r.GetTenants() {
		id, err := ident.NewTenantID(n)
		if err != nil {
			return nil, fault.New("rpc", fault.Invalid, "%s", err.Error())
		}
		tenants = append(tenants, id)
	}
	return inCluster(s, func(c Cluster) (*deployment.Residency, error) { return c.Residency(ctx, tenants) }, func(found *deployment.Residency) *v1.GetResidencyResponse {
		return &v1.GetResidencyResponse{
			Tenants: toEach(found.Tenants, toResidency), Unreached: nodeNumbers(found.Unreached), Outside: count(found.Outside()),
		}
	})
}

// RotateCertificates has nodes take new certificates.
func (s clusterService) RotateCertificates(ctx context.Context, r *v1.RotateCertificatesRequest) (*v1.RotateCertificatesResponse, error) {
	return inCluster(s, func(c Cluster) ([]deployment.Renewal, error) {
		return c.RenewCertificates(ctx, ident.NewNodeID(r.GetNode()))
	}, func(all []deployment.Renewal) *v1.RotateCertificatesResponse {
		return &v1.RotateCertificatesResponse{Renewals: toEach(all, func(one *deployment.Renewal) *v1.RotateCertificatesResponse_Renewal {
			return &v1.RotateCertificatesResponse_Renewal{Node: one.Node.Uint64(), Expires: stamp(one.Expires), Problem: clean(one.Problem)}
		})}
	})
}

// RotateAuthority makes a new certificate authority.
func (s clusterService) RotateAuthority(ctx context.Context, _ *v1.RotateAuthorityRequest) (*v1.RotateAuthorityResponse, error) {
	return inCluster(s, func(c Cluster) (deployment.Authority, error) { return c.RotateAuthority(ctx) }, func(a deployment.Authority) *v1.RotateAuthorityResponse {
		return &v1.RotateAuthorityResponse{Fingerprint: a.Fingerprint, Expires: stamp(a.Expires)}
	})
}

// regionOf reads a region of a request; "" is refused unless it may be all.
func regionOf(name string, mayBeAll bool) (ident.Region, error) {
	if name == "" && mayBeAll {
		return ident.Region{}, nil
	}
	region, err := ident.NewRegion(name)
	if err != nil {
		return region, fault.New("rpc", fault.Invalid, "%s", err.Error())
	}
	return region, nil
}

// nodeOf reads a node's id of a request.
func nodeOf(n uint64) (ident.NodeID, error) {
	if n == 0 {
		return ident.NodeID{}, fault.New("rpc", fault.Invalid, "the request names no node: node list shows their ids")
	}
	return ident.NewNodeID(n), nil
}

// stamp is a time in a message; zero is none.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func toEach[F, T any](from []F, to func(*F) T) []T {
	out := make([]T, len(from))
	for i := range from {
		out[i] = to(&from[i])
	}
	return out
}

// count is a number of things, which is not negative.
func count(n int) uint64 { return uint64(max(n, 0)) } //nolint:gosec // not negative

func nodeNumbers(all []ident.NodeID) []uint64 {
	return toEach(all, func(n *ident.NodeID) uint64 { return n.Uint64() })
}

func shardNumbers(all []ident.ShardID) []uint64 {
	return toEach(all, func(n *ident.ShardID) uint64 { return n.Uint64() })
}

func toGroup(g *deployment.Group) *v1.Group {
	return &v1.Group{
		Leader: g.Leader.Uint64(), Term: g.Term, Applied: g.Applied, Voters: nodeNumbers(g.Voters), Learners: nodeNumbers(g.Learners),
	}
}

func toNode(n *deployment.Node) *v1.Node {
	out := &v1.Node{
		Id: n.ID.Uint64(), Region: n.Region.String(), Zone: clean(n.Zone), State: n.State, Version: clean(n.Version),
		PeerAddr: clean(n.PeerAddr), PgAddr: clean(n.PGAddr), RpcAddr: clean(n.RPCAddr), Joined: stamp(n.Joined),
		HoldsCa: n.HoldsCA, Self: n.Self, Alive: n.Alive, Replicas: uint32(count(n.Replicas)), Leads: uint32(count(n.Leads)), //nolint:gosec // few
	}
	if l := n.Link; l != nil {
		out.Link = &v1.Link{
			Connected: l.Connected, RoundTrip: durationpb.New(l.RoundTrip), SentBytes: l.Sent, ReceivedBytes: l.Received,
			ProxiedBytes: l.Proxied, Queued: l.Queued, Dropped: l.Dropped,
		}
	}
	return out
}

func toShard(s *deployment.Shard) *v1.Shard {
	return &v1.Shard{
		Id: s.ID.Uint64(), Region: s.Region.String(), State: s.State, Leader: s.Leader.Uint64(), Term: s.Term,
		Tenants: count(s.Tenants), Bytes: s.Bytes, Load: s.Load, Members: toEach(s.Members, func(m *deployment.Member) *v1.Shard_Member {
			return &v1.Shard_Member{
				Replica: m.Replica.Uint64(), Node: m.Node.Uint64(), Learner: m.Learner, Lag: m.Lag, Active: m.Active, CatchingUp: m.CatchingUp,
			}
		}),
	}
}

func toPlacement(p *deployment.Placement) *v1.Placement {
	return &v1.Placement{
		Tenant: p.Tenant.Uint64(), Name: clean(p.Name), Region: p.Region.String(), Shard: p.Shard.Uint64(),
		Epoch: p.Epoch, State: p.State, Target: p.Target.Uint64(),
	}
}

func toResidency(t *deployment.TenantResidency) *v1.Residency {
	return &v1.Residency{
		Tenant: t.Tenant.Uint64(), Name: clean(t.Name), Region: t.Region.String(), Places: toEach(t.Places, func(p *deployment.Place) *v1.Residency_Place {
			return &v1.Residency_Place{
				Node: p.Node.Uint64(), Region: p.Region.String(), Shard: p.Shard.Uint64(), Bytes: p.Bytes, Key: p.Key, Outside: p.Region != t.Region,
			}
		}),
	}
}
