package cluster

import (
	"context"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// What operators ask for. Any node takes any of these calls, and asks those
// that have to do something itself.

var errLater = fault.New("cluster", fault.Unavailable, "this part of the cluster is not there yet")

// Status describes the deployment.
func (n *Node) Status(ctx context.Context) (Status, error) { return Status{}, errLater }

// CreateToken makes a token that one node joins with, in a region. The secret
// names where to join and whom to trust, and cannot be had again.
func (n *Node) CreateToken(ctx context.Context, region ident.Region, valid time.Duration) (secret string, t directory.Token, err error) {
	return "", directory.Token{}, errLater
}

// Tokens returns the tokens that are kept.
func (n *Node) Tokens() []directory.Token { return nil }

// RevokeToken ends a token.
func (n *Node) RevokeToken(ctx context.Context, id string) error { return errLater }

// Drain has everything on a node go elsewhere; undo ends that. It goes on
// after the call.
func (n *Node) Drain(ctx context.Context, node ident.NodeID, undo bool) (Drain, error) {
	return Drain{}, errLater
}

// DrainStatus says what is left on a node.
func (n *Node) DrainStatus(ctx context.Context, node ident.NodeID) (Drain, error) {
	return Drain{}, errLater
}

// Remove takes a drained node out for good; with force one that was not
// drained and is dead.
func (n *Node) Remove(ctx context.Context, node ident.NodeID, force bool) error { return errLater }

// CreateShard makes a shard of so many replicas (0 is 3, or as many as there
// are nodes) in a region, on nodes if any are named.
func (n *Node) CreateShard(ctx context.Context, region ident.Region, replicas int, nodes []ident.NodeID) (ShardStatus, error) {
	return ShardStatus{}, errLater
}

// RemoveShard removes a shard that has no tenants.
func (n *Node) RemoveShard(ctx context.Context, shard ident.ShardID) error { return errLater }

// MoveTenant moves a tenant to another shard of its region and tells progress
// how it goes, which may be nil. When ctx ends the move goes on.
func (n *Node) MoveTenant(ctx context.Context, id ident.TenantID, to ident.ShardID, progress func(Move)) (Move, error) {
	return Move{}, errLater
}

// MoveStatus describes the move that a tenant is in, or was in last.
func (n *Node) MoveStatus(ctx context.Context, id ident.TenantID) (Move, error) {
	return Move{}, errLater
}

// Residency asks every node which tenants' bytes it holds. No ids are all
// tenants.
func (n *Node) Residency(ctx context.Context, ids []ident.TenantID) (Residency, error) {
	return Residency{}, errLater
}

// RenewCertificates has a node, or all for zero, get a new certificate.
func (n *Node) RenewCertificates(ctx context.Context, node ident.NodeID) ([]Renewal, error) {
	return nil, errLater
}

// RotateAuthority makes a new certificate authority, which signs from now on.
func (n *Node) RotateAuthority(ctx context.Context) (Authority, error) { return Authority{}, errLater }
