package replication

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Checkpoint is a consistent copy of a group's saved state.
type Checkpoint struct {
	// Index and Term are those of the last entry that the state covers.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// Members are those of the group at Index.
	Members []Replica `json:"members"`
	// Joint is not empty when the group was between two sets of members at
	// Index; it is for this package alone and must be carried along.
	Joint []byte `json:"joint,omitempty"`
	// KVs are all keys that the state machine has saved.
	KVs []KV `json:"kvs"`
}

// Follower is implemented by the state machine of a group with several
// members: a replica that is too far behind for the log gets a copy.
type Follower interface {
	// Fetch is called on a goroutine of its own when this replica needs a
	// copy: bring the files up from node to a checkpoint of at least index
	// atLeast, durably, and return that checkpoint. It may run long, and is
	// resumed by being called again; ctx ends when the group closes.
	Fetch(ctx context.Context, from ident.NodeID, atLeast uint64) (Checkpoint, error)
	// Restored is called by the goroutine that applies, once the checkpoint is
	// the store's: reload from its keys; the entries after its index follow.
	Restored(c Checkpoint) error
}

// LastCheckpoint returns a consistent copy of what the last checkpoint saved.
// Errors: NotFound when none was saved yet, Closed, Stopped, Corruption.
func (g *Group) LastCheckpoint() (Checkpoint, error) {
	return Checkpoint{}, fault.New("load checkpoint", fault.NotFound, "shard %s has no checkpoint yet", g.opts.Shard)
}
