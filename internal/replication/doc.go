// Package replication is the shell around the consensus engine
// (go.etcd.io/raft/v3) and the storage engine that keeps its logs (Pebble, one
// per node for the logs of all its groups).
//
// It guarantees that a proposal which was answered is in the log of its group
// and survives the end of the process and of the power; that every committed
// entry is applied once per start, in order; that a checkpoint is saved as a
// whole or not at all, and never shortens the log by more than it covers; that
// damage in what it stored is found and named, a log that lost its end
// included; and that a disk which fails stops the store, without ever ending
// the process: nothing is acknowledged after a failed write or sync, and a
// store opened again afterwards has all that was acknowledged before.
//
// It must not know what the entries mean: they are sealed bytes to it. It is
// the only package that imports the engines. Shards call it, and offline
// verification.
//
// A group has one member, this node, needs no clock and opens no port. What a
// group of several lacks is the transport (see Group.pump, which is where
// messages to others leave, and responses in applier.tell), a ticker,
// snapshots, and changes of membership; the core runs with the same settings
// and under the same contract as it would then: entries are durable before
// anything that tells of them is sent, and applied after they are committed.
package replication
