package shard

import (
	"context"
	"io"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Fetch implements replication.Follower.
func (s *Shard) Fetch(ctx context.Context, from ident.NodeID, atLeast uint64) (replication.Checkpoint, error) {
	return replication.Checkpoint{}, fault.New("fetch", fault.Unsupported, "this build does not copy shards")
}

// Restored implements replication.Follower.
func (s *Shard) Restored(c replication.Checkpoint) error {
	return fault.New("fetch", fault.Unsupported, "this build does not copy shards")
}

// ServeCheckpoint returns a checkpoint of at least index atLeast, for a replica
// that lags, making one when there is none yet.
func (s *Shard) ServeCheckpoint(ctx context.Context, atLeast uint64) (replication.Checkpoint, error) {
	return replication.Checkpoint{}, fault.New("fetch", fault.Unsupported, "this build does not copy shards")
}

// ServeLog writes the records of a range of a tenant's log, whole and one after
// the other, as they stand in the files. NotFound says that the tenant, or a
// record before r.To, is not here.
func (s *Shard) ServeLog(ctx context.Context, w io.Writer, r LogRange) error {
	return fault.New("fetch", fault.Unsupported, "this build does not copy shards")
}

// Status returns what this replica knows of its shard.
func (s *Shard) Status() Status {
	return Status{Status: s.group.Status(), LogBytes: s.group.LogBytes()}
}
