package client

import (
	"context"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// PlanRebalance says which tenants would move where, in a region or with zero
// in each; most bounds the moves, and 0 leaves it to the server.
func (k Cluster) PlanRebalance(ctx context.Context, in Region, most int) (*RebalancePlan, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.PlanRebalance, &v1.PlanRebalanceRequest{Region: in.String(), MaxMoves: uint32(max(most, 0))}) //nolint:gosec // the server bounds it
	if err != nil {
		return nil, err
	}
	return toPlan(a.GetPlan())
}

func toPlan(p *v1.Plan) (*RebalancePlan, error) {
	out := &RebalancePlan{Loads: each(p.GetLoads(), func(l *v1.Plan_Load) deployment.Load {
		return deployment.Load{
			Shard: ident.NewShardID(l.GetShard()), Region: region(l.GetRegion()),
			TenantsBefore: int(l.GetTenantsBefore()), TenantsAfter: int(l.GetTenantsAfter()), //nolint:gosec // counts
			BytesBefore: l.GetBytesBefore(), BytesAfter: l.GetBytesAfter(),
		}
	})}
	for _, m := range p.GetMoves() {
		id, err := ident.NewTenantID(m.GetTenant())
		if err != nil {
			return nil, errAnswer("a tenant without an id")
		}
		out.Moves = append(out.Moves, deployment.PlannedMove{
			Tenant: id, From: ident.NewShardID(m.GetFrom()), To: ident.NewShardID(m.GetTo()), Bytes: m.GetBytes(), Reason: m.GetReason(),
		})
	}
	return out, nil
}

func toMove(m *v1.Move) (Move, error) {
	id, err := ident.NewTenantID(m.GetTenant())
	if err != nil {
		return Move{}, errAnswer("a tenant without an id")
	}
	return Move{
		Tenant: id, From: ident.NewShardID(m.GetFrom()), To: ident.NewShardID(m.GetTo()), Phase: m.GetPhase(),
		Copied: m.GetCopiedBytes(), Total: m.GetTotalBytes(), Began: timeOf(m.GetBegan()), Ended: timeOf(m.GetEnded()),
		Fenced: m.GetFenced().AsDuration(), Problem: m.GetProblem(),
	}, nil
}

// Move describes the move that a tenant is in, or was in last.
func (k Cluster) Move(ctx context.Context, id TenantID) (Move, error) {
	a, err := call(ctx, k.c, reads, k.c.cluster.GetMove, &v1.GetMoveRequest{Tenant: id.Uint64()})
	if err != nil {
		return Move{}, err
	}
	return toMove(a.GetMove())
}

// MoveTenant moves a tenant to another shard of its region and returns when it
// is there; progress is told how it goes. The move goes on when the call is
// given up or its connection is lost, and asking again joins it.
func (k Cluster) MoveTenant(ctx context.Context, id TenantID, to ShardID, progress func(Move)) (Move, error) {
	var last Move
	err := k.c.follow(ctx, func(streaming context.Context) (bool, error) {
		s, err := k.c.cluster.MoveTenant(streaming, &v1.MoveTenantRequest{Tenant: id.Uint64(), Shard: to.Uint64()})
		if err != nil {
			return false, err
		}
		defer s.Close() //nolint:errcheck // it says that it was canceled
		heard := false
		for s.Receive() {
			if last, err = toMove(s.Msg().GetMove()); err != nil {
				return heard, &stopped{err}
			}
			heard = true
			progress(last)
		}
		if err := s.Err(); err != nil || last.Phase != deployment.Done {
			return heard, err
		}
		return heard, &stopped{nil} // told to its end
	})
	return last, movesOp(err, "tenant move")
}

// Rebalance has the server plan and make its moves one after another. plan is
// told what will be done, progress how it goes. Giving the call up ends it
// after the move that runs.
func (k Cluster) Rebalance(ctx context.Context, in Region, most int, plan func(*RebalancePlan), progress func(Move)) error {
	s, err := k.c.cluster.Rebalance(ctx, &v1.RebalanceRequest{Region: in.String(), MaxMoves: uint32(max(most, 0))}) //nolint:gosec // the server bounds it
	if err != nil {
		err, _ := fromConnect(err, writes)
		return err
	}
	defer s.Close() //nolint:errcheck // it says that it was canceled
	left := -1      // of the planned moves, once there is a plan
	for s.Receive() {
		if p := s.Msg().GetPlan(); p != nil {
			planned, err := toPlan(p)
			if err != nil {
				return err
			}
			left = len(planned.Moves)
			plan(planned)
		}
		if m := s.Msg().GetMove(); m != nil {
			move, err := toMove(m)
			if err != nil {
				return err
			}
			if move.Phase == deployment.Done {
				left--
			}
			progress(move)
		}
	}
	switch {
	case ctx.Err() != nil:
		return fault.OfContext("shard rebalance", ctx)
	case s.Err() != nil:
		err, _ := fromConnect(s.Err(), writes)
		return err
	case left != 0:
		return errStreamEnded("shard rebalance")
	}
	return nil
}

// movesOp names what was done in errors of a stream that was followed.
func movesOp(err error, op string) error {
	if e, ok := err.(*fault.Error); ok && e.Op == "tail" { //nolint:errorlint // follow makes it
		own := *e
		own.Op = op
		return &own
	}
	return err
}
