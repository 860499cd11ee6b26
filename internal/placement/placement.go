// Package placement decides where things stand in a deployment: which shard a
// new tenant gets, which nodes hold a shard, who votes in the directory, who
// leads, and which tenants move when shards have grown apart.
//
// It guarantees that nothing is ever placed outside its region, that the same
// input gives the same answer whatever its order, and that every plan is
// bounded. It holds no clock, does no I/O and knows nothing of the directory
// or of consensus: its callers (internal/cluster, sim) hand it plain numbers
// and carry out what it decides. What it decides is a wish; the directory
// checks the rule of regions again when it is told.
package placement

import (
	"cmp"
	"slices"

	"kimberlite/internal/ident"
)

// Node is what placement knows of a node.
type Node struct {
	ID     ident.NodeID
	Region ident.Region
	Zone   string
	// Out says that nothing new is put on it: it drains, is gone or was
	// removed.
	Out bool
	// Replicas is how many groups it holds, Bytes what they take on its disk,
	// Load the operations per second that it serves.
	Replicas int
	Bytes    uint64
	Load     float64
}

// Shard is what placement knows of a shard.
type Shard struct {
	ID     ident.ShardID
	Region ident.Region
	// Out says that it takes no tenants: it is being emptied or has no
	// majority.
	Out bool
	// Tenants is how many the directory lists for it, moves on their way to it
	// included. Bytes and Load are as its leader last reported them.
	Tenants int
	Bytes   uint64
	Load    float64
}

// Group is a shard and the nodes that hold it.
type Group struct {
	Shard    ident.ShardID
	Region   ident.Region
	Replicas []ident.NodeID
	// Leader is zero while nobody leads.
	Leader ident.NodeID
}

func compareNodes(a, b ident.NodeID) int   { return cmp.Compare(a.Uint64(), b.Uint64()) }
func compareShards(a, b ident.ShardID) int { return cmp.Compare(a.Uint64(), b.Uint64()) }

// nodesByID returns a copy of nodes in the order of their ids: no answer
// depends on the order of the input.
func nodesByID(nodes []Node) []Node {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return compareNodes(a.ID, b.ID) })
	return nodes
}

func groupsByShard(groups []Group) []Group {
	groups = slices.Clone(groups)
	slices.SortFunc(groups, func(a, b Group) int { return compareShards(a.Shard, b.Shard) })
	return groups
}

// compareLoad orders nodes by what they carry: groups, then bytes, then load,
// then their ids.
func compareLoad(a, b Node) int {
	return cmp.Or(cmp.Compare(a.Replicas, b.Replicas), cmp.Compare(a.Bytes, b.Bytes),
		cmp.Compare(a.Load, b.Load), compareNodes(a.ID, b.ID))
}
