// Package cluster is what makes a node one of a deployment: its identity, the
// directory and the shards that it hosts, and the work that keeps them as the
// directory wants them.
//
// It guarantees that a group's replicas are where the directory says and
// nowhere else for long, that every step of joining, creating, moving and
// replacing can be interrupted and repeated, and that a tenant has one owner
// at any time. It must not know about doors, SQL, nor about records beyond
// their sealed bytes. Package node composes it; the doors reach it through
// node.Node.Cluster.
package cluster

import (
	"context"

	"kimberlite/internal/directory"
	"kimberlite/internal/disk"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
)

// Node is the cluster's part of a node. It is safe for concurrent use.
type Node struct {
	identity Identity
	dir      *directory.Directory
	net      *peer.Network
}

// Self returns the node's id, region and deployment.
func (n *Node) Self() peer.Self {
	return peer.Self{Node: n.identity.Node, Region: n.identity.Region, Deployment: n.identity.Deployment}
}

// Directory returns this node's copy of the directory.
func (n *Node) Directory() *directory.Directory { return n.dir }

// Network returns the node's connections with the others.
func (n *Node) Network() *peer.Network { return n.net }

// Addresses are where a node is reached, host and port.
type Addresses struct {
	// Listen is where the node listens for its peers; Peer is what it tells
	// them, Listen when it is "".
	Listen, Peer string
	// PG and RPC are where clients reach it.
	PG, RPC string
	Zone    string
	Version string
}

// InitConfig says how a deployment begins.
type InitConfig struct {
	FS     disk.FS
	Dir    string // the data directory, which holds no data yet
	Region ident.Region
	// Deployment is made up when it is "".
	Deployment string
	Addresses
}

// JoinConfig says how a node joins a deployment.
type JoinConfig struct {
	FS  disk.FS
	Dir string // the data directory, which holds no data yet
	// Secret is what CreateToken returned.
	Secret string
	// Contact, if not "", is asked in place of the nodes that the secret names.
	Contact string
	Addresses
}

// Init makes a deployment with a certificate authority, and in Dir the
// identity of its first node, which has to be started then. Repeated after a
// crash it does what is left.
func Init(ctx context.Context, c InitConfig) (Identity, error) { return Identity{}, errLater }

// Join makes a node of a deployment, and in Dir its identity; it has to be
// started then. Repeated after a crash it does what is left.
func Join(ctx context.Context, c JoinConfig) (Identity, error) { return Identity{}, errLater }
