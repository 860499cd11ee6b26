package rpc

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// defaultReplicas is how many a shard has unless it is said.
const defaultReplicas = 3

// CreateShard makes a shard.
func (s clusterService) CreateShard(ctx context.Context, r *v1.CreateShardRequest) (*v1.CreateShardResponse, error) {
	c, err := s.member()
	if err != nil {
		return nil, err
	}
	region, err := regionOf(r.GetRegion(), false)
	if err != nil {
		return nil, err
	}
	nodes := make([]ident.NodeID, len(r.GetNodes()))
	for i, n := range r.GetNodes() {
		if nodes[i], err = nodeOf(n); err != nil {
			return nil, err
		}
	}
	replicas := int(r.GetReplicas())
	switch {
	case replicas == 0 && len(nodes) > 0:
		replicas = len(nodes)
	case replicas == 0:
		replicas = defaultReplicas
	case len(nodes) > 0 && len(nodes) != replicas:
		return nil, fault.New("shard create", fault.Invalid, "%d replicas cannot be on %d nodes: leave one of the two out", replicas, len(nodes))
	}
	return once(ctx, s.door, r, func() (*v1.CreateShardResponse, error) {
		made, err := c.CreateShard(ctx, region, replicas, nodes)
		if err != nil {
			return nil, err
		}
		return &v1.CreateShardResponse{Shard: toShard(made)}, nil
	})
}

// RemoveShard removes a shard without tenants.
func (s clusterService) RemoveShard(ctx context.Context, r *v1.RemoveShardRequest) (*v1.RemoveShardResponse, error) {
	return inCluster(s, func(c Cluster) (struct{}, error) {
		if r.GetShard() == 0 {
			return struct{}{}, errNoShard("shard remove")
		}
		return struct{}{}, c.RemoveShard(ctx, ident.NewShardID(r.GetShard()))
	}, func(struct{}) *v1.RemoveShardResponse { return &v1.RemoveShardResponse{} })
}

func errNoShard(op string) *fault.Error {
	return fault.New(op, fault.Invalid, "the request names no shard: shard list shows their ids")
}

// ListShards describes the shards.
func (s clusterService) ListShards(ctx context.Context, _ *v1.ListShardsRequest) (*v1.ListShardsResponse, error) {
	return inCluster(s, func(c Cluster) ([]deployment.Shard, error) { return c.Shards(ctx) }, func(all []deployment.Shard) *v1.ListShardsResponse {
		return &v1.ListShardsResponse{Shards: toEach(all, toShard)}
	})
}

// PlanRebalance says which tenants would move where.
func (s clusterService) PlanRebalance(ctx context.Context, r *v1.PlanRebalanceRequest) (*v1.PlanRebalanceResponse, error) {
	return inCluster(s, func(c Cluster) (*deployment.Plan, error) { return planIn(ctx, c, r.GetRegion(), r.GetMaxMoves()) },
		func(p *deployment.Plan) *v1.PlanRebalanceResponse { return &v1.PlanRebalanceResponse{Plan: toPlan(p)} })
}

func planIn(ctx context.Context, c Cluster, name string, most uint32) (*deployment.Plan, error) {
	region, err := regionOf(name, true)
	if err != nil {
		return nil, err
	}
	return c.PlanRebalance(ctx, region, int(most))
}

func toPlan(p *deployment.Plan) *v1.Plan {
	return &v1.Plan{
		Moves: toEach(p.Moves, func(m *deployment.PlannedMove) *v1.Plan_PlannedMove {
			return &v1.Plan_PlannedMove{Tenant: m.Tenant.Uint64(), From: m.From.Uint64(), To: m.To.Uint64(), Bytes: m.Bytes, Reason: clean(m.Reason)}
		}),
		Loads: toEach(p.Loads, func(l *deployment.Load) *v1.Plan_Load {
			return &v1.Plan_Load{
				Shard: l.Shard.Uint64(), Region: l.Region.String(), TenantsBefore: count(l.TenantsBefore), TenantsAfter: count(l.TenantsAfter),
				BytesBefore: l.BytesBefore, BytesAfter: l.BytesAfter,
			}
		}),
	}
}

// Rebalance plans, and moves tenants one after another.
func (s clusterService) Rebalance(ctx context.Context, r *v1.RebalanceRequest, stream *connect.ServerStream[v1.RebalanceResponse]) error {
	c, err := s.member()
	if err != nil {
		return err
	}
	plan, err := planIn(ctx, c, r.GetRegion(), r.GetMaxMoves())
	if err != nil {
		return err
	}
	if err := stream.Send(&v1.RebalanceResponse{Plan: toPlan(plan)}); err != nil {
		return err
	}
	for _, m := range plan.Moves {
		err := follow(ctx, c, m.Tenant, m.To, func(m *v1.Move) error { return stream.Send(&v1.RebalanceResponse{Move: m}) })
		if err != nil {
			return err
		}
	}
	return nil
}

// MoveTenant moves a tenant and tells how it goes.
func (s clusterService) MoveTenant(ctx context.Context, r *v1.MoveTenantRequest, stream *connect.ServerStream[v1.MoveTenantResponse]) error {
	c, err := s.member()
	if err != nil {
		return err
	}
	id, err := s.administered(ctx, r.GetTenant())
	if err != nil {
		return err
	}
	if r.GetShard() == 0 {
		return errNoShard("tenant move").ForTenant(id)
	}
	return follow(ctx, c, id, ident.NewShardID(r.GetShard()), func(m *v1.Move) error { return stream.Send(&v1.MoveTenantResponse{Move: m}) })
}

// tellAgain is how often a move is told of that does not change: a stream that
// is silent for long is given up on its way.
const tellAgain = 10 * time.Second

// follow moves a tenant and tells each change, to the move's end.
func follow(ctx context.Context, c ClusterMoves, id ident.TenantID, to ident.ShardID, tell func(*v1.Move) error) error {
	ctx, cancel := context.WithCancel(ctx)
	type ended struct {
		move *deployment.Move
		err  error
	}
	changes, end := make(chan deployment.Move), make(chan ended, 1)
	var mover sync.WaitGroup
	mover.Go(func() {
		m, err := c.MoveTenant(ctx, id, to, func(m deployment.Move) {
			select {
			case changes <- m:
			case <-ctx.Done(): // nobody listens
			}
		})
		end <- ended{m, err}
	})
	defer mover.Wait()
	defer cancel()
	ticker := time.NewTicker(tellAgain)
	defer ticker.Stop()
	var told deployment.Move
	for {
		select {
		case m := <-changes:
			if m == told {
				continue
			}
			told = m
		case <-ticker.C:
			if told.Tenant.IsZero() {
				told = deployment.Move{Tenant: id, To: to, Phase: deployment.Copying}
			}
		case e := <-end:
			if e.err != nil {
				return e.err
			}
			if *e.move != told {
				if err := tell(toMove(e.move)); err != nil {
					return err
				}
			}
			if e.move.Phase == deployment.Aborted {
				return fault.New("tenant move", fault.Unavailable, "the move was aborted and the tenant is where it was: %s", clean(e.move.Problem)).ForTenant(id)
			}
			return nil
		}
		if err := tell(toMove(&told)); err != nil {
			return err
		}
	}
}

// GetMove describes the move that a tenant is in, or was in last.
func (s clusterService) GetMove(ctx context.Context, r *v1.GetMoveRequest) (*v1.GetMoveResponse, error) {
	return inCluster(s, func(c Cluster) (*deployment.Move, error) {
		id, err := s.administered(ctx, r.GetTenant())
		if err != nil {
			return nil, err
		}
		return c.Move(ctx, id)
	}, func(m *deployment.Move) *v1.GetMoveResponse { return &v1.GetMoveResponse{Move: toMove(m)} })
}

func toMove(m *deployment.Move) *v1.Move {
	return &v1.Move{
		Tenant: m.Tenant.Uint64(), From: m.From.Uint64(), To: m.To.Uint64(), Phase: m.Phase, CopiedBytes: m.Copied, TotalBytes: m.Total,
		Began: stamp(m.Began), Ended: stamp(m.Ended), Fenced: durationpb.New(m.Fenced), Problem: clean(m.Problem),
	}
}
