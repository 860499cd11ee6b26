package directory

import (
	"context"
	"log/slog"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Forwarder carries a command to the node that leads the directory.
type Forwarder interface {
	// Forward calls Serve on another node. An error says nothing of whether
	// the command arrived.
	Forward(ctx context.Context, to ident.NodeID, command []byte) (result []byte, err error)
}

// Fetcher brings another node's last checkpoint of a group, as
// Group.LastCheckpoint has it there.
type Fetcher interface {
	FetchCheckpoint(ctx context.Context, from ident.NodeID, shard ident.ShardID) (replication.Checkpoint, error)
}

// Options configure a directory.
type Options struct {
	// Node is this node.
	Node ident.NodeID
	// Forward and Fetch reach other nodes. Nil on a node that is alone.
	Forward Forwarder
	Fetch   Fetcher
	// OnChange hears of changes of the group; see replication.GroupOptions.
	OnChange func(replication.Status)
	// CheckpointBytes of replicated log, or CheckpointInterval with anything
	// changed, start a checkpoint. 0 are 4 MiB and 30 s; an interval below 0
	// starts none by itself.
	CheckpointBytes    int64
	CheckpointInterval time.Duration
	// Now stamps commands that this node proposes as leader; nil is time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// OpenOptions say how the group begins.
type OpenOptions struct {
	Store *replication.Store
	// Members are those of a new directory, the same on each of them.
	Members []replication.Replica
	// Join says that the directory exists elsewhere.
	Join bool
}

// Directory is one node's copy. It is safe for concurrent use.
type Directory struct {
	o Options
}

// New returns a directory that is empty until Open.
func New(o Options) *Directory { return &Directory{o: o} }

// ReplicaOf returns a node's member of the directory's group.
func ReplicaOf(node ident.NodeID) ident.ReplicaID { return ident.NewReplicaID(node.Uint64()) }

// Open loads the last checkpoint and opens the group.
func (d *Directory) Open(o OpenOptions) error {
	return fault.New("open directory", fault.Unavailable, "there is no directory yet")
}

// Close makes a last checkpoint and closes the group.
func (d *Directory) Close() error { return nil }

// Group returns the group, nil before Open: for its status, its members and
// its lead.
func (d *Directory) Group() *replication.Group { return nil }

// Checkpoint saves what changed since the last one.
func (d *Directory) Checkpoint() error { return nil }

// Apply implements replication.StateMachine.
func (d *Directory) Apply(entries []replication.Entry) error { return nil }

// Fetch implements replication.Follower.
func (d *Directory) Fetch(ctx context.Context, from ident.NodeID, atLeast uint64) (replication.Checkpoint, error) {
	return d.o.Fetch.FetchCheckpoint(ctx, from, ident.DirectoryShard)
}

// Restored implements replication.Follower.
func (d *Directory) Restored(c replication.Checkpoint) error { return nil }

// Propose has a command take effect, from whatever node, and returns once this
// node's copy shows it. It follows changes of leader and tries again until ctx
// ends, or for 15 s when ctx has no deadline. Errors: what the command is
// refused with; Unavailable, Timeout and Canceled, when it did not take effect;
// OutcomeUnknown.
func (d *Directory) Propose(ctx context.Context, c Command) (Result, error) {
	return Result{}, fault.New("directory", fault.Unavailable, "there is no directory yet")
}

// Serve takes a command that another node forwarded. Its answer holds refusals,
// too.
func (d *Directory) Serve(ctx context.Context, command []byte) []byte { return nil }
