package kimberlite

import (
	"context"

	"kimberlite/internal/record"
	"kimberlite/internal/tenant"
)

// Tenant is a handle on one tenant. It is safe for concurrent use, needs no
// closing, and never sees another tenant's data.
//
// Every call that reads or writes counts as one operation of the tenant's
// quotas, a Query that writes as two. A refused one fails with QuotaExceeded,
// RateLimited or TooManyOps, and its error says which limit, its value, the
// usage and when to try again.
type Tenant struct {
	db *DB
	t  *tenant.Tenant
}

// ID returns the tenant's id.
func (t *Tenant) ID() TenantID { return t.t.ID() }

// Result is the outcome of a write.
type Result struct {
	RowsAffected int64
	LastInsertID int64
}

func fromResult(r record.Result) Result {
	return Result{RowsAffected: r.RowsAffected, LastInsertID: r.LastInsertID}
}

type idempotencyKey struct{}

// WithIdempotencyKey returns a context under which a write takes effect once:
// a retry of the same call with the same key is answered with the first
// outcome, and another call under that key fails with IdempotencyMismatch. A
// key has at most 255 bytes and is remembered for 24 hours. It does not apply
// to statements inside a [Tx].
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, key)
}

func request(ctx context.Context) tenant.Request {
	key, _ := ctx.Value(idempotencyKey{}).(string)
	return tenant.Request{IdempotencyKey: key}
}

// Exec runs SQL and returns once its effect is durable. Several statements
// may be given when there are no arguments; they are one transaction.
// Arguments are nil, bool, integers, floats, string, []byte, time.Time,
// driver.Valuer, or sql.NamedArg for :name; $1, ?1 and ? count from 1.
func (t *Tenant) Exec(ctx context.Context, sql string, args ...any) (Result, error) {
	r, err := t.t.Exec(ctx, request(ctx), sql, args)
	return fromResult(r), err
}

// ExecBatch runs one statement with many sets of arguments as one transaction
// and returns the number of rows affected by all of them.
func (t *Tenant) ExecBatch(ctx context.Context, sql string, rows [][]any) (Result, error) {
	r, err := t.t.ExecBatch(ctx, request(ctx), sql, rows)
	return fromResult(r), err
}

// Info describes the tenant.
func (t *Tenant) Info() (TenantInfo, error) { return t.db.TenantInfo(t.ID()) }

// Usage returns what the tenant uses of its quotas.
func (t *Tenant) Usage() (Usage, error) { return t.db.Usage(t.ID()) }

// TableHash returns a SHA-256 hash over the schema and every row of the
// tenant's tables. A projection rebuilt from the log has the same hash.
func (t *Tenant) TableHash(ctx context.Context) ([32]byte, error) { return t.t.TableHash(ctx) }

// RebuildProjection throws the tenant's tables away and derives them from the
// log again. Running reads end first; calls that come meanwhile wait.
func (t *Tenant) RebuildProjection(ctx context.Context) error { return t.t.Rebuild(ctx) }

// Check compiles one statement and runs nothing: it says what is wrong with
// it, or nothing.
func (t *Tenant) Check(ctx context.Context, sql string) error {
	_, err := t.t.ReadOnly(ctx, sql)
	return err
}

// ReadOnly says whether one statement only reads.
func (t *Tenant) ReadOnly(ctx context.Context, sql string) (bool, error) {
	return t.t.ReadOnly(ctx, sql)
}
