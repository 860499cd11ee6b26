package shard

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/tenantlog"
)

// Phase is what a shard does for one of its tenants. It changes while the
// tenant moves from one shard to another:
//
//	source   Serving → Fenced → Retired → (released)
//	target   Incoming → Serving
type Phase uint8

// The phases of a tenant in a shard.
const (
	// Serving is the usual one: reads and writes.
	Serving Phase = iota
	// Fenced refuses writes and changes, and serves reads: the log's end and
	// the state stand still.
	Fenced
	// Retired serves nothing any more: another shard may serve from now on.
	Retired
	// Incoming serves nothing yet: the log is being copied here.
	Incoming
)

// String returns the phase in a word.
func (p Phase) String() string {
	switch p {
	case Serving:
		return "serving"
	case Fenced:
		return "fenced"
	case Retired:
		return "retired"
	case Incoming:
		return "incoming"
	}
	return "unknown"
}

// Import is a step of copying a tenant here from another shard.
type Import struct {
	// State is the tenant's in the other shard. Its log's position is not
	// looked at.
	State TenantState
	// Epoch is that of the move. A later one takes over what an earlier one
	// has copied; an earlier one is refused.
	Epoch uint64
	// Records are whole sealed records, one after the other, as they stand in
	// the other shard's log. Those that are here already are passed over.
	Records []byte
}

// Import makes an incoming tenant, or goes on with it, and returns how far its
// log reaches now. Every replica has the records when it returns.
func (s *Shard) Import(ctx context.Context, i Import) (tenantlog.Position, error) {
	return tenantlog.Position{}, errNoMoves()
}

// Fence makes the shard refuse writes and changes of a tenant, and returns the
// tenant's final state and position. Epoch is that of the move; fencing again
// under it does nothing, and an earlier one is refused as Conflict.
func (s *Shard) Fence(ctx context.Context, id ident.TenantID, epoch uint64) (TenantState, error) {
	return TenantState{}, errNoMoves()
}

// Retire makes the shard refuse reads of a fenced tenant, too. It comes before
// the other shard's Activate, so that no two serve at a time.
func (s *Shard) Retire(ctx context.Context, id ident.TenantID, epoch uint64) error {
	return errNoMoves()
}

// Unfence makes a fenced or retired tenant serve again: the move is given up.
// A tenant that is not fenced under this epoch stays as it is: Conflict.
func (s *Shard) Unfence(ctx context.Context, id ident.TenantID, epoch uint64) error {
	return errNoMoves()
}

// Activate makes an incoming tenant serve, with the state that Fence returned
// in the other shard: its log here must end exactly where that one's does, else
// it is refused as Conflict. Activating again does nothing.
func (s *Shard) Activate(ctx context.Context, final TenantState, epoch uint64) error {
	return errNoMoves()
}

// Release removes a tenant that is fenced, retired or incoming, with its files
// on every replica. The keys are the caller's. A tenant that is not here is no
// error; one that serves is refused as Conflict.
func (s *Shard) Release(ctx context.Context, id ident.TenantID, epoch uint64) error {
	return errNoMoves()
}

func errNoMoves() error {
	return fault.New("tenant move", fault.Unsupported, "this build does not move tenants")
}
