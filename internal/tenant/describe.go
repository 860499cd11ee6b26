package tenant

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
	"kimberlite/internal/schema"
)

// What the PostgreSQL door asks of a tenant besides running statements. These
// calls count against no limit of operations: they run nothing.

// opened lends the open tenant to a function.
func (t *Tenant) opened(ctx context.Context, fn func(rt *Runtime) error) error {
	rt, err := t.slot.acquireCatalog(ctx, t.maxLag)
	if err != nil {
		return tenantError(err, t.slot.id)
	}
	defer t.slot.release()
	err = fn(rt)
	rt.suspect(err)
	return err
}

// Schema returns the tenant's tables as committed. It is a look-up as long as
// nothing changes. The result is not to be changed.
func (t *Tenant) Schema(ctx context.Context) (s *schema.Schema, err error) {
	if err := t.require(projection.RightCatalog); err != nil {
		return nil, err
	}
	err = t.opened(ctx, func(rt *Runtime) (err error) {
		s, err = rt.db.Schema(ctx)
		return err
	})
	return s, err
}

// Describe compiles one statement, on behalf of the handle's actor, and says
// what it is. It runs nothing.
func (t *Tenant) Describe(ctx context.Context, sql string) (d projection.Description, err error) {
	err = t.opened(ctx, func(rt *Runtime) (err error) {
		d, err = rt.db.Describe(ctx, t.access(), sql)
		return err
	})
	return d, t.refused(err)
}

// CreateSequence makes a sequence, as a transaction of its own.
func (t *Tenant) CreateSequence(ctx context.Context, q schema.Sequence) error {
	return t.changeSequence(ctx, func(g *projection.Group) error { return g.CreateSequence(q) })
}

// DropSequence drops a sequence, as a transaction of its own. NotFound says
// that there is none.
func (t *Tenant) DropSequence(ctx context.Context, name string) error {
	return t.changeSequence(ctx, func(g *projection.Group) error { return g.DropSequence(name) })
}

func (t *Tenant) changeSequence(ctx context.Context, change func(g *projection.Group) error) error {
	rt, err := t.enter(ctx)
	if err != nil {
		return err
	}
	defer t.leave()
	_, err = t.do(rt, &request{ctx: ctx, run: func(_ context.Context, g *projection.Group) (record.Result, error) {
		return record.Result{}, change(g)
	}})
	return err
}

// identity is what PostgreSQL's catalog says of the tenant. Credentials that
// nobody has asked for yet are not in it.
func (rt *Runtime) identity() projection.Identity {
	id := projection.Identity{Name: rt.id.String()}
	if st, err := rt.m.o.Shard.Tenant(rt.id); err == nil && st.Name != "" {
		id.Name = st.Name
	}
	if known := rt.credentials.known.Load(); known != nil {
		for _, r := range known.all() {
			id.Roles = append(id.Roles, r.Name)
		}
	}
	return id
}

// Describe is Tenant.Describe as of the transaction: its own changes of the
// schema are seen.
func (x *Tx) Describe(ctx context.Context, sql string) (d projection.Description, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return d, x.ended
	}
	if x.group == nil {
		d, err = x.rt.db.Describe(ctx, x.t.access(), sql)
		return d, x.t.refused(err)
	}
	x.timer.Stop()
	defer x.touch()
	d, err = x.group.Describe(ctx, sql)
	return d, x.t.refused(x.survives(err))
}

// Schema is Tenant.Schema as of the transaction: its own changes are seen.
func (x *Tx) Schema(ctx context.Context) (s *schema.Schema, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return nil, x.ended
	}
	if x.group == nil {
		return x.rt.db.Schema(ctx)
	}
	x.timer.Stop()
	defer x.touch()
	s, err = x.group.Schema(ctx)
	return s, x.survives(err)
}

// survives ends the transaction when an error has cost its group.
func (x *Tx) survives(err error) error {
	if err != nil && x.group != nil && x.group.Broken() != nil {
		return x.broke(err)
	}
	return err
}

// CreateSequence makes a sequence in the transaction.
func (x *Tx) CreateSequence(ctx context.Context, q schema.Sequence) error {
	return x.write(ctx, func() (record.Result, error) { return record.Result{}, x.group.CreateSequence(q) })
}

// DropSequence drops a sequence in the transaction. NotFound says that there
// is none.
func (x *Tx) DropSequence(ctx context.Context, name string) error {
	return x.write(ctx, func() (record.Result, error) { return record.Result{}, x.group.DropSequence(name) })
}

// ExecBatch runs one statement with each of many sets of arguments in the
// transaction: all of them take effect, or none.
func (x *Tx) ExecBatch(ctx context.Context, sql string, rows [][]any) (res record.Result, err error) {
	err = x.write(ctx, func() (record.Result, error) {
		var err error
		res, err = x.group.ExecBatch(x.context(ctx), sql, rows)
		return res, err
	})
	return res, err
}

// write runs something that writes as a statement of the transaction.
func (x *Tx) write(ctx context.Context, run func() (record.Result, error)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.hold(ctx); err != nil {
		return err
	}
	defer x.touch()
	_, err := x.statement(run)
	return err
}

// errReadOnly is the refusal of a write in a transaction that only reads.
func (x *Tx) errReadOnly() error {
	return fault.New("transaction", fault.Denied, "the transaction is read-only: begin another one to write").WithState("25006").ForTenant(x.rt.id)
}
