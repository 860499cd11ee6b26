package tenant

import (
	"context"
	"slices"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
)

// TxOptions says what an interactive transaction is like.
type TxOptions struct {
	// ReadOnly refuses everything that writes, with SQLSTATE 25006.
	ReadOnly bool
	// Now is the time that SQL functions are told throughout the transaction;
	// zero is the clock's at BeginTx.
	Now time.Time
	// Session remembers what the client drew from sequences; nil for none.
	Session *projection.Session
}

// BeginTx starts an interactive transaction.
func (t *Tenant) BeginTx(ctx context.Context, o TxOptions) (*Tx, error) {
	x, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	if o.Now.IsZero() {
		o.Now = x.options.Now
	}
	x.options = o
	return x, nil
}

// context adds to a call's context what the transaction's statements share.
func (x *Tx) context(ctx context.Context) context.Context {
	ctx = projection.WithNow(ctx, x.options.Now)
	if x.options.Session != nil {
		ctx = projection.WithSession(ctx, x.options.Session)
	}
	return ctx
}

// maxSavepoints bounds the savepoints of a transaction.
const maxSavepoints = 10_000

// Savepoint sets a savepoint, as PostgreSQL does: one of the same name is
// hidden until this one is released.
func (x *Tx) Savepoint(_ context.Context, name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return x.ended
	}
	if len(x.savepoints) >= maxSavepoints {
		return fault.New("transaction", fault.TooLarge, "a transaction has at most %d savepoints: release some", maxSavepoints).ForTenant(x.rt.id)
	}
	if x.group != nil {
		x.timer.Stop()
		defer x.touch()
		if err := x.group.Savepoint(); err != nil {
			return x.broke(err)
		}
	}
	x.savepoints = append(x.savepoints, name)
	return nil
}

// RollbackTo undoes what happened since the last savepoint of a name, which
// stays; those set after it are gone. SQLSTATE 3B001 says that there is none.
func (x *Tx) RollbackTo(_ context.Context, name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, err := x.find(name)
	if err != nil {
		return err
	}
	if x.group == nil {
		x.savepoints = x.savepoints[:at+1] // nothing but reads happened since
		return nil
	}
	x.timer.Stop()
	defer x.touch()
	for len(x.savepoints) > at {
		if err := x.group.RollbackToSavepoint(); err != nil {
			return x.broke(err)
		}
		x.savepoints = x.savepoints[:len(x.savepoints)-1]
	}
	if err := x.group.Savepoint(); err != nil {
		return x.broke(err)
	}
	x.savepoints = append(x.savepoints, name)
	return nil
}

// Release ends the last savepoint of a name and those set after it, and keeps
// what happened since. SQLSTATE 3B001 says that there is none.
func (x *Tx) Release(_ context.Context, name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, err := x.find(name)
	if err != nil {
		return err
	}
	if x.group != nil {
		x.timer.Stop()
		defer x.touch()
		for range len(x.savepoints) - at {
			if err := x.group.ReleaseSavepoint(); err != nil {
				return x.broke(err)
			}
		}
	}
	x.savepoints = x.savepoints[:at]
	return nil
}

// find returns the place of the last savepoint of a name.
func (x *Tx) find(name string) (int, error) {
	if x.ended != nil {
		return 0, x.ended
	}
	for i, have := range slices.Backward(x.savepoints) {
		if have == name {
			return i, nil
		}
	}
	return 0, fault.New("transaction", fault.SQL, "savepoint %q does not exist", name).WithState("3B001").ForTenant(x.rt.id)
}

// setSavepoints sets in a new group the savepoints that were set while the
// transaction only read.
func (x *Tx) setSavepoints() error {
	for range x.savepoints {
		if err := x.group.Savepoint(); err != nil {
			return x.broke(err)
		}
	}
	return nil
}
