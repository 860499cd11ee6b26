package kimberlite

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/tenant"
)

// Tx is a transaction of one tenant. It reads from a snapshot until its first
// write, which takes the tenant's writer until Commit or Rollback; a write
// after something read has changed fails with Conflict. A transaction that
// holds the writer and stands idle for longer than Options.TransactionIdle is
// rolled back. A Tx may be used by one goroutine at a time.
type Tx struct{ x *tenant.Tx }

// Begin starts a transaction.
func (t *Tenant) Begin(ctx context.Context) (*Tx, error) {
	x, err := t.t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &Tx{x}, nil
}

// Exec runs SQL in the transaction. A statement that fails leaves the
// transaction as it was before it.
func (x *Tx) Exec(ctx context.Context, sql string, args ...any) (Result, error) {
	r, err := x.x.Exec(ctx, sql, args)
	return fromResult(r), err
}

// Query runs a statement in the transaction and returns its rows, read whole:
// they stay valid after the next statement.
func (x *Tx) Query(ctx context.Context, sql string, args ...any) (*Rows, error) {
	rows := &Rows{}
	if _, err := x.x.Query(ctx, sql, args, rows.add); err != nil {
		return nil, err
	}
	rows.at = -1
	return rows, nil
}

// QueryRow runs a query of which only the first row is wanted.
func (x *Tx) QueryRow(ctx context.Context, sql string, args ...any) *Row {
	rows, err := x.Query(ctx, sql, args...)
	return &Row{rows, err}
}

// Append appends messages to an event stream in the transaction.
func (x *Tx) Append(ctx context.Context, stream string, messages ...Message) (Offset, error) {
	return x.x.Append(ctx, stream, toMessages(messages))
}

// Commit makes the transaction durable: when it returns nil, it is.
func (x *Tx) Commit(ctx context.Context) (Result, error) {
	r, err := x.x.Commit(ctx)
	return fromResult(r), err
}

// Rollback undoes the transaction; after Commit it does nothing and returns
// Closed, so that it can be deferred.
func (x *Tx) Rollback() error { return x.x.Rollback() }

// QueryReadOnly is Query for a statement that must not write: one that does
// is refused with Denied.
func (x *Tx) QueryReadOnly(ctx context.Context, sql string, args ...any) (*Rows, error) {
	readOnly, err := x.x.ReadOnly(ctx, sql)
	if err != nil {
		return nil, err
	}
	if !readOnly {
		return nil, fault.New("query", Denied, "the statement writes, and the transaction may only read")
	}
	return x.Query(ctx, sql, args...)
}
