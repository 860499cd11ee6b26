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
// A group of one member, this node, needs no clock and opens no port. A group
// of several (see team) has a transport, which may lose, delay, repeat and
// reorder what it carries, and shares a clock with the others of its store. Of
// it the package guarantees that at most one member leads in a term; that a
// proposal that was answered is on the disks of a majority; that one that was
// refused as Misrouted never takes effect; that ReadIndex vouches for what
// everybody acknowledged before; that members are exchanged without a moment in
// which two majorities could decide; and that a member whose disk failed says
// nothing any more.
//
// One contract holds for both: an entry is durable on a member before that
// member says that it has it, and applied after it is committed. A leader sends
// entries to the others while its own disk writes them, and does not count
// itself before.
//
// A member that is too far behind for the log is not sent the state: its state
// machine brings its own files up (see Follower), and raft is then started anew
// from the checkpoint that came with them, as it would be by a restart.
package replication
