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

// Node is the cluster's part of a node. It is safe for concurrent use.
type Node struct{}
