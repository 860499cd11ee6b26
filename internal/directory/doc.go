// Package directory is what a deployment knows of itself: its regions, nodes,
// shards and operators, and where each tenant is.
//
// It guarantees that every node's copy is the same after the same commands;
// that nothing gets into it which would put a tenant's data outside of the
// tenant's region; that a tenant has one owner, whose epoch rises with every
// change of owner; that ids of nodes, replicas, shards and erased tenants are
// not used again; that a command proposed again, since its outcome was not
// known, takes effect once; and that a look-up is answered from memory, about
// 100 bytes a tenant, without waiting for the network or the disk.
//
// It must not know anything of a tenant but id, name and placement, nor open a
// connection: what carries commands and checkpoints between nodes is passed in
// (Forwarder, Fetcher). Package cluster hosts it; doors ask the node.
//
// It is a state machine of package replication. Clock and randomness are in
// the commands, so that applying them is deterministic.
package directory
