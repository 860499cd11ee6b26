package replication

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// ChangeMembers makes want the members of the group, and returns when they
// are. Members that are new as voters learn the log first. Asked for what is
// there already it does nothing. Errors: Misrouted when this replica does not
// lead, Unavailable while another change is under way or a new member does
// not catch up before ctx ends, Invalid, Closed, Stopped.
func (g *Group) ChangeMembers(ctx context.Context, want []Replica) error {
	return fault.New("change members", fault.Invalid, "shard %s has one member for ever", g.opts.Shard)
}

// TransferLead hands the lead to another voter, and returns when this replica
// has let go of it. Errors: Misrouted when this replica does not lead, Invalid
// when to is no voter, Unavailable when to did not take over in time.
func (g *Group) TransferLead(ctx context.Context, to ident.ReplicaID) error {
	return fault.New("transfer lead", fault.Invalid, "shard %s has one member for ever", g.opts.Shard)
}

// Destroy removes the log, the saved state and the lower bound of a group that
// is not open. It is idempotent. Errors: InUse when the group is open, Closed,
// Stopped, DiskFull.
func (s *Store) Destroy(shard ident.ShardID) error {
	const op = "destroy shard"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	return fault.New(op, fault.Invalid, "shard %s is the only one of its store", shard)
}
