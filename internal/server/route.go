package server

import (
	"context"
	"net"

	"kimberlite/internal/cluster"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/peer"
)

// router tells the PostgreSQL door of a cluster's node where tenants are.
type router struct {
	node   *node.Node
	member *cluster.Node
}

// Self implements pgwire.Router.
func (r router) Self() ident.NodeID { return r.member.Self().Node }

// Nodes implements pgwire.Router.
func (r router) Nodes() []ident.NodeID {
	nodes := r.member.Directory().Nodes()
	ids := make([]ident.NodeID, len(nodes))
	for i := range nodes {
		ids[i] = nodes[i].ID
	}
	return ids
}

// Where implements pgwire.Router.
func (r router) Where(ctx context.Context, id ident.TenantID) (node.Where, error) {
	return r.node.Where(ctx, id)
}

// OpenStream implements pgwire.Router.
func (r router) OpenStream(ctx context.Context, to ident.NodeID, p peer.StreamPreface) (net.Conn, error) {
	return r.member.Network().OpenStream(ctx, to, p)
}
