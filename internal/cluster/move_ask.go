package cluster

import (
	"context"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
)

// MoveTenant moves a tenant to another shard of its region and tells progress
// how it goes, which may be nil. When ctx ends the move goes on.
func (n *Node) MoveTenant(ctx context.Context, id ident.TenantID, to ident.ShardID, progress func(Move)) (Move, error) {
	t, err := n.placed("tenant move", id)
	if err != nil {
		return Move{}, err
	}
	switch {
	case t.Shard == to && t.State == directory.TenantActive:
		return Move{Tenant: id, From: to, To: to, Phase: MoveDone}, nil
	case t.State == directory.TenantMoving && t.Target == to, t.State == directory.TenantReleasing && t.Shard == to:
		// under way: watch it
	default:
		if _, err := n.dir.Propose(ctx, directory.BeginMove{Tenant: id, Epoch: t.Epoch, Target: to}); err != nil {
			return Move{}, err
		}
		t.Target, t.State = to, directory.TenantMoving
	}
	return n.watchMove(ctx, t, to, progress)
}

// watchMove waits until a move has ended.
func (n *Node) watchMove(ctx context.Context, t directory.Tenant, to ident.ShardID, progress func(Move)) (Move, error) {
	begun := t
	var last Move
	for {
		watch := n.dir.Watch()
		m, err := n.MoveStatus(ctx, t.ID)
		if err == nil {
			last = m
			if progress != nil {
				progress(m)
			}
		}
		now, ok := n.dir.Tenant(t.ID)
		switch {
		case !ok:
			return last, fault.New("tenant move", fault.NotFound, "there is no tenant %s any more", t.ID).ForTenant(t.ID)
		case now.State == directory.TenantActive && now.Shard == to:
			if m, err := n.MoveStatus(ctx, t.ID); err == nil && m.Phase == MoveDone {
				return m, nil
			}
			last.Tenant, last.To, last.Phase = t.ID, to, MoveDone
			return last, nil
		case now.State == directory.TenantActive && now.Epoch > begun.Epoch:
			if last.Problem == "" {
				last.Problem = "the move was broken off"
			}
			return last, fault.New("tenant move", fault.Conflict, "the tenant stays where it was: %s", last.Problem).ForTenant(t.ID)
		}
		select {
		case <-ctx.Done():
			return last, fault.OfContext("tenant move", ctx)
		case <-watch:
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// MoveStatus describes the move that a tenant is in, or was in last as far as
// its shard's leader knows.
func (n *Node) MoveStatus(ctx context.Context, id ident.TenantID) (Move, error) {
	t, err := n.placed("tenant move", id)
	if err != nil {
		return Move{}, err
	}
	driver := t.Shard
	if t.State == directory.TenantMoving {
		driver = t.Target
	}
	leader, err := n.leaderOf(ctx, driver)
	if err != nil {
		return Move{}, err
	}
	m, err := ask[Move](ctx, n, leader, "move-status", tenantCall{Tenant: id})
	if err == nil {
		return m, nil
	}
	m = Move{Tenant: id, From: t.Shard, To: t.Target, Phase: MoveCopying}
	switch t.State {
	case directory.TenantMoving:
		return m, nil
	case directory.TenantReleasing:
		m.From, m.To, m.Phase = t.Source, t.Shard, MoveReleasing
		return m, nil
	}
	return Move{}, err
}

func (n *Node) serveMoveStatus(_ context.Context, _ peer.Peer, c tenantCall) (Move, error) {
	m, ok := n.moves.get(c.Tenant)
	if !ok {
		return m, fault.New("tenant move", fault.NotFound, "tenant %s was not moved, as far as is remembered", c.Tenant).ForTenant(c.Tenant)
	}
	return m, nil
}
