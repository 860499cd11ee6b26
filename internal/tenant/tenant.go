package tenant

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"reflect"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// Tenant is a handle on one tenant. It is safe for concurrent use, holds no
// resources while no call runs, and never sees another tenant.
type Tenant struct {
	m    *Manager
	slot *slot
	// actor is who the calls are made for; nil for the program itself.
	actor *Actor
	// maxLag is how old what a read sees may be; 0 for a linearisable one.
	maxLag time.Duration
}

// Tenant returns a handle on a tenant that exists.
func (m *Manager) Tenant(id ident.TenantID) (*Tenant, error) {
	s, err := m.slot(id)
	if err != nil {
		return nil, err
	}
	return &Tenant{m: m, slot: s}, nil
}

// ID returns the tenant's id.
func (t *Tenant) ID() ident.TenantID { return t.slot.id }

// enter admits one operation that reads, and opens the tenant; leave must
// follow.
func (t *Tenant) enter(ctx context.Context) (*Runtime, error) {
	return t.admit(ctx, func(ctx context.Context) (*Runtime, error) { return t.slot.acquireRead(ctx, t.maxLag) })
}

// admit admits one operation and opens the tenant; leave must follow.
func (t *Tenant) admit(ctx context.Context, acquire func(context.Context) (*Runtime, error)) (*Runtime, error) {
	var now time.Time // only a rate asks for it, and asking costs
	if t.slot.admission.Limits().MaxOpsPerSec > 0 {
		now = t.m.o.Clock.Now()
	}
	if err := t.slot.admission.Enter(now); err != nil {
		return nil, tenantError(err, t.slot.id)
	}
	rt, err := acquire(ctx)
	if err != nil {
		t.slot.admission.Leave()
		return nil, tenantError(err, t.slot.id)
	}
	return rt, nil
}

// PauseBeforeRefusal returns how long a door holds err back before it tells a
// client of it: 0 unless err is a refusal of an operation by the tenant's
// limits of operations. A client that is refused may ask again at once, and
// many of them would take the processor from other tenants. No slot and no
// lock is held meanwhile. Ask once for each refusal.
func (t *Tenant) PauseBeforeRefusal(err error) time.Duration {
	if k := fault.KindOf(err); k != fault.RateLimited && k != fault.TooManyOps {
		return 0
	}
	return t.slot.admission.Pause(t.m.o.Clock.Now())
}

func (t *Tenant) leave() {
	t.slot.release()
	t.slot.admission.Leave()
}

// Request names a write so that a retry takes effect once.
type Request struct {
	// IdempotencyKey is at most record.MaxIdempotencyKey bytes, or "". A key
	// is remembered for 24 hours of the log's time.
	IdempotencyKey string
}

func (r Request) check() error {
	if len(r.IdempotencyKey) > record.MaxIdempotencyKey {
		return fault.New("write", fault.Invalid, "an idempotency key has at most %d bytes", record.MaxIdempotencyKey)
	}
	return nil
}

// Exec runs one statement, or several without arguments, as one transaction,
// and returns once it is durable.
func (t *Tenant) Exec(ctx context.Context, rq Request, sql string, args []any) (record.Result, error) {
	rt, err := t.enterWrite(ctx, rq)
	if err != nil {
		return record.Result{}, err
	}
	defer t.leave()
	return t.do(rt, &request{
		ctx: ctx, key: rq.IdempotencyKey, fingerprint: fingerprint(rq, "exec", sql, args),
		run: func(ctx context.Context, g *projection.Group) (record.Result, error) { return g.Exec(ctx, sql, args) },
	})
}

func (t *Tenant) enterWrite(ctx context.Context, rq Request) (*Runtime, error) {
	if err := t.require(projection.RightWrite); err != nil {
		return nil, err // before it takes the writer
	}
	if err := rq.check(); err != nil {
		return nil, tenantError(err, t.slot.id)
	}
	return t.admit(ctx, t.slot.acquireWrite)
}

// ExecBatch runs one statement with many sets of arguments as one
// transaction: all of them take effect, or none.
func (t *Tenant) ExecBatch(ctx context.Context, rq Request, sql string, rows [][]any) (record.Result, error) {
	rt, err := t.enterWrite(ctx, rq)
	if err != nil {
		return record.Result{}, err
	}
	defer t.leave()
	fp := [16]byte{}
	if rq.IdempotencyKey != "" {
		flat := make([]any, 0, len(rows))
		for _, r := range rows {
			flat = append(flat, r...)
		}
		fp = fingerprint(rq, "batch", sql, flat)
	}
	return t.do(rt, &request{
		ctx: ctx, key: rq.IdempotencyKey, fingerprint: fp,
		run: func(ctx context.Context, g *projection.Group) (record.Result, error) {
			return g.ExecBatch(ctx, sql, rows)
		},
	})
}

// fingerprint tells one request from another under the same idempotency key.
func fingerprint(rq Request, what, text string, args []any) [16]byte {
	var fp [16]byte
	if rq.IdempotencyKey == "" {
		return fp
	}
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	part(what)
	part(text)
	for _, a := range args {
		a = plain(a)
		part(fmt.Sprintf("%T", a))
		part(fmt.Sprint(a))
	}
	copy(fp[:], h.Sum(nil))
	return fp
}

// plain returns what an argument stands for, so that the same request has the
// same fingerprint whatever the addresses in it.
func plain(a any) any {
	if n, ok := a.(sql.NamedArg); ok {
		return fmt.Sprintf("%s=%T=%v", n.Name, plain(n.Value), plain(n.Value))
	}
	v := reflect.ValueOf(a)
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	if valuer, ok := a.(driver.Valuer); ok {
		if value, err := valuer.Value(); err == nil {
			return value
		}
	}
	if v.Kind() == reflect.Pointer {
		return plain(v.Elem().Interface())
	}
	return a
}

// Rows are the rows of a query, one at a time. They hold a reader and one of
// the tenant's concurrency slots until Close, or until Next returns false.
// They are not safe for concurrent use.
type Rows struct {
	*projection.Rows
	t      *Tenant
	rt     *Runtime
	reader *projection.Reader
	open   bool
	seen   bool // a row was given
}

// Query runs a statement that only reads. Unsupported says that it writes.
func (t *Tenant) Query(ctx context.Context, sql string, args []any) (*Rows, error) {
	rt, err := t.enter(ctx)
	if err != nil {
		return nil, err
	}
	reader, err := rt.db.Read(ctx)
	if err != nil {
		rt.suspect(err)
		t.leave()
		return nil, err
	}
	rows, err := reader.As(t.access()).Query(ctx, sql, args)
	if err != nil {
		rt.suspect(err)
		reader.Release()
		t.leave()
		return nil, t.refused(err)
	}
	return &Rows{Rows: rows, t: t, rt: rt, reader: reader, open: true}, nil
}

// Next moves to the next row. It returns false, and closes the rows, at the
// end and on an error, which Err then returns.
func (r *Rows) Next() bool {
	if r.Rows.Next() {
		r.seen = true
		return true
	}
	if !r.seen && r.open {
		// Whoever shows an empty result still wants its header.
		r.Columns()
		r.DeclTypes()
	}
	r.Close()
	return false
}

// Values returns a copy of the row.
func Values(r *projection.Row) []any {
	values := make([]any, r.Len())
	for i := range values {
		values[i] = r.Value(i)
	}
	return values
}

// Close lets go of the rows. It may be called more than once.
func (r *Rows) Close() {
	if !r.open {
		return
	}
	r.open = false
	r.Rows.Close()
	if err := r.Rows.Err(); err != nil {
		r.rt.suspect(err)
	}
	r.reader.Release()
	r.t.leave()
}

// ReadOnly says whether a single statement only reads.
func (t *Tenant) ReadOnly(ctx context.Context, sql string) (bool, error) {
	rt, err := t.slot.acquireCatalog(ctx, t.maxLag)
	if err != nil {
		return false, tenantError(err, t.slot.id)
	}
	defer t.slot.release()
	readOnly, err := rt.db.ReadOnly(ctx, t.access(), sql)
	rt.suspect(err)
	return readOnly, t.refused(err)
}

// QueryWrite runs a statement that writes and returns rows (RETURNING): fn is
// given every row before the write is durable and must not act on it before
// QueryWrite returned nil. fn may be given the rows twice, from the first
// again, when reset is called in between.
func (t *Tenant) QueryWrite(ctx context.Context, rq Request, sql string, args []any, reset func(), fn func(*projection.Row) error) (record.Result, error) {
	rt, err := t.enterWrite(ctx, rq)
	if err != nil {
		return record.Result{}, err
	}
	defer t.leave()
	return t.do(rt, &request{
		ctx: ctx, key: rq.IdempotencyKey, fingerprint: fingerprint(rq, "query", sql, args),
		run: func(ctx context.Context, g *projection.Group) (record.Result, error) {
			reset()
			return g.Query(ctx, sql, args, fn)
		},
	})
}

// TableHash returns a hash over the schema and all rows of the projection.
func (t *Tenant) TableHash(ctx context.Context) ([32]byte, error) {
	if err := t.require(projection.RightRows); err != nil {
		return [32]byte{}, err
	}
	rt, err := t.slot.acquireRead(ctx, t.maxLag)
	if err != nil {
		return [32]byte{}, tenantError(err, t.slot.id)
	}
	defer t.slot.release()
	sum, err := rt.db.TableHash(ctx)
	rt.suspect(err)
	return sum, err
}

// Rebuild throws the projection away and derives it from the log again.
func (t *Tenant) Rebuild(ctx context.Context) error {
	if err := t.require(projection.RightManage); err != nil {
		return err
	}
	err := t.withWriter(ctx, func(rt *Runtime) error {
		rt.broken.Store(true)
		rt.discard.Store(true)
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := t.slot.acquire(ctx); err != nil {
		return tenantError(err, t.slot.id)
	}
	t.slot.release()
	return nil
}
