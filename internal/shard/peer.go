package shard

import (
	"context"
	"io"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Peer is how a shard reaches its other replicas. A shard of one replica has
// none.
type Peer interface {
	// FetchCheckpoint returns what ServeCheckpoint of the replica on a node
	// answers.
	FetchCheckpoint(ctx context.Context, from ident.NodeID, shard ident.ShardID, atLeast uint64) (replication.Checkpoint, error)
	// FetchLog returns what ServeLog of the replica on a node writes. The
	// caller closes it. A stream that was broken off just ends early, or fails:
	// what came is checked and kept.
	FetchLog(ctx context.Context, from ident.NodeID, shard ident.ShardID, r LogRange) (io.ReadCloser, error)
	// ReadIndex returns what ServeReadIndex of the replica on a node answers.
	ReadIndex(ctx context.Context, leader ident.NodeID, shard ident.ShardID) (uint64, error)
}

// LogRange is a part of a tenant's log: the records from From up to, and
// without, To.
type LogRange struct {
	Tenant   ident.TenantID
	From, To ident.Offset
}

// Status is what a replica knows of its shard.
type Status struct {
	replication.Status
	// LogBytes is the size of the replicated log after the last checkpoint.
	LogBytes int64
	// Fetch is the copy from another replica that is under way, or nil.
	Fetch *FetchProgress
	// Damaged are the tenants whose log on this replica is damaged and not
	// mended yet. Nothing of them is served here.
	Damaged []ident.TenantID
	// SetAside are the directories of damaged or diverging logs that were put
	// aside and fetched again since the shard was opened.
	SetAside []string
}

// FetchProgress is how far a copy from another replica is.
type FetchProgress struct {
	From ident.NodeID
	// Tenants is how many tenants the copy has, Done how many of them are
	// whole here.
	Tenants, Done int
	// Bytes were received so far, of WantBytes that were missing when it began.
	Bytes, WantBytes int64
}

// Lead returns the term in which this replica leads the shard; ok says that it
// does. It is cheap. A shard of one replica always leads.
func (s *Shard) Lead() (term uint64, ok bool) { return s.group.Lead() }

// Taking says that this replica was elected and does not lead yet: it still
// applies what earlier leaders left.
func (s *Shard) Taking() bool {
	_, leads := s.group.Lead()
	return !leads && s.group.Status().Role == replication.RoleLeader
}

// Leader returns the node that leads the shard, zero when it is not known.
func (s *Shard) Leader() ident.NodeID { return s.group.Status().Leader.Node }

// ErrMisrouted is the error for a call that only the shard's leader may serve.
func (s *Shard) ErrMisrouted(op string) error {
	return fault.New(op, fault.Misrouted, "another node leads shard %s: ask there", s.o.ID).WithLeader(s.Leader())
}

// TransferLead hands the lead to another replica.
func (s *Shard) TransferLead(ctx context.Context, to ident.ReplicaID) error {
	return s.group.TransferLead(ctx, to)
}

// ChangeMembers makes the shard's replicas those wanted. Only the leader can.
func (s *Shard) ChangeMembers(ctx context.Context, want []replication.Replica) error {
	return s.group.ChangeMembers(ctx, want)
}

// ServeReadIndex returns an index that covers all that was acknowledged before
// the call. Only the leader can.
func (s *Shard) ServeReadIndex(ctx context.Context) (uint64, error) {
	if err := s.group.ReadIndex(ctx); err != nil {
		return 0, err
	}
	return s.group.Applied(), nil
}
