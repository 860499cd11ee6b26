package tenant

import (
	"context"
	"time"

	"kimberlite/internal/fault"
)

// lockGrace is how long Lock waits without waiting: short writes of others,
// which hold the writer for a moment, are no lock.
const lockGrace = 250 * time.Millisecond

// Lock takes the tenant's writer for the transaction now, as its first write
// would: what it reads from here on nobody else changes. It is what FOR UPDATE
// asks for, of the whole tenant. While another transaction has the writer it
// waits for that; with noWait it fails with SQLSTATE 55P03 instead. A
// transaction that has read before fails with Conflict when another write came
// since.
func (x *Tx) Lock(ctx context.Context, noWait bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended == nil && x.group == nil && noWait {
		if x.rt.writer.idle.Load() != nil {
			return errLocked()
		}
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, lockGrace, errLocked())
		defer stop()
	}
	if err := x.hold(ctx); err != nil {
		if noWait && context.Cause(ctx) != nil && fault.StateOf(context.Cause(ctx)) == stateLocked {
			return errLocked()
		}
		return x.t.refused(err)
	}
	x.touch()
	return nil
}

const stateLocked = "55P03"

func errLocked() error {
	return fault.New("transaction", fault.Conflict, "could not obtain lock: another transaction holds the tenant's writer").WithState(stateLocked)
}
