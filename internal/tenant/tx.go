package tenant

import (
	"context"
	"sync"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// Tx is an interactive transaction. It reads from one snapshot until its
// first write; from then on it holds the tenant's writer, and its reads see
// its own writes. When another write came between its snapshot and its first
// write, that write fails with Conflict: so transactions are serialisable.
//
// A Tx holds one of the tenant's concurrency slots. It is safe for concurrent
// use, one call at a time; idle for longer than the limit while it holds the
// writer, it is rolled back.
type Tx struct {
	t *Tenant

	mu     sync.Mutex // guards all below
	rt     *Runtime
	reader *projection.Reader
	// seen is the version that the snapshot of reader has.
	seen    uint64
	group   *projection.Group
	release func() // hands the writer on
	timer   *time.Timer
	ended   error // why no further call is possible, or nil
	closed  bool  // its user committed it or rolled it back
	total   record.Result
	options TxOptions
	// savepoints are the names of those that are set, in their order.
	savepoints []string
}

// Begin starts an interactive transaction.
func (t *Tenant) Begin(ctx context.Context) (*Tx, error) {
	if err := t.require(projection.RightCatalog); err != nil {
		return nil, err
	}
	rt, err := t.admit(ctx, func(ctx context.Context) (*Runtime, error) { return t.slot.acquireCatalog(ctx, t.maxLag) })
	if err != nil {
		return nil, err
	}
	x := &Tx{t: t, rt: rt, options: TxOptions{Now: t.m.o.Clock.Now()}}
	rt.txs.add(x)
	return x, nil
}

func errTxDone() error {
	return fault.New("transaction", fault.Closed, "the transaction has been committed or rolled back already")
}

// Exec runs one statement, or several without arguments, in the transaction.
func (x *Tx) Exec(ctx context.Context, sql string, args []any) (record.Result, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.hold(ctx); err != nil {
		return record.Result{}, err
	}
	defer x.touch()
	return x.statement(func() (record.Result, error) { return x.group.Exec(x.context(ctx), sql, args) })
}

// Append appends messages to an event stream in the transaction.
func (x *Tx) Append(ctx context.Context, stream string, msgs []projection.Message) (ident.Offset, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.hold(ctx); err != nil {
		return ident.Offset{}, err
	}
	defer x.touch()
	var first ident.Offset
	_, err := x.statement(func() (record.Result, error) {
		var err error
		first, err = x.group.Append(stream, msgs)
		return record.Result{}, err
	})
	return first, err
}

// Query runs a statement that returns rows and gives fn each of them.
func (x *Tx) Query(ctx context.Context, sql string, args []any, fn func(*projection.Row) error) (record.Result, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return record.Result{}, x.ended
	}
	if x.group == nil {
		readOnly, err := x.rt.db.ReadOnly(ctx, x.t.access(), sql)
		if err != nil {
			return record.Result{}, x.t.refused(err)
		}
		if readOnly {
			return record.Result{}, x.read(ctx, sql, args, fn)
		}
	}
	if err := x.hold(ctx); err != nil {
		return record.Result{}, err
	}
	defer x.touch()
	return x.statement(func() (record.Result, error) { return x.group.Query(x.context(ctx), sql, args, fn) })
}

// statement runs one statement of the group inside a savepoint, so that a
// failed one leaves the transaction as it was, unless the connection is gone.
func (x *Tx) statement(run func() (record.Result, error)) (record.Result, error) {
	if err := x.group.Savepoint(); err != nil {
		return record.Result{}, x.broke(err)
	}
	res, err := run()
	if err == nil {
		err = x.group.ReleaseSavepoint()
		x.total.RowsAffected += res.RowsAffected
		if res.LastInsertID != 0 {
			x.total.LastInsertID = res.LastInsertID
		}
	}
	if err == nil {
		return res, nil
	}
	err = x.t.refused(err)
	if x.group.Broken() != nil {
		return res, x.broke(err)
	}
	if x.group.RollbackToSavepoint() != nil {
		// SQLite gave up the whole transaction. The caller is told why, and
		// from the next call on that it is over.
		return res, x.broke(err)
	}
	x.rt.suspect(err)
	return res, err
}

// broke ends the transaction for good.
func (x *Tx) broke(err error) error {
	x.finish(fault.Wrap("transaction", fault.Closed, err, "the transaction was rolled back"))
	return err
}

// read runs a reading statement on the transaction's snapshot.
func (x *Tx) read(ctx context.Context, sql string, args []any, fn func(*projection.Row) error) error {
	if x.reader == nil {
		if err := x.snapshot(ctx); err != nil {
			return err
		}
	}
	return x.t.refused(x.reader.Each(x.context(ctx), sql, args, fn))
}

// snapshot pins what is committed now and notes how far that is.
func (x *Tx) snapshot(ctx context.Context) error {
	if x.t.maxLag == 0 {
		if err := x.rt.confirm(ctx); err != nil {
			return x.broke(err)
		}
	}
	r, err := x.rt.db.Read(ctx)
	if err != nil {
		return err
	}
	r.As(x.t.access())
	for {
		before := x.rt.db.Version()
		if err := r.BeginSnapshot(ctx); err != nil {
			r.Release()
			return err
		}
		if x.rt.db.Version() == before {
			x.reader, x.seen = r, before
			return nil
		}
		r.EndSnapshot()
	}
}

// hold takes the tenant's writer, if the transaction has not got it yet.
func (x *Tx) hold(ctx context.Context) error {
	if x.ended != nil {
		return x.ended
	}
	if x.group != nil {
		x.timer.Stop()
		return nil
	}
	if x.options.ReadOnly {
		return x.errReadOnly()
	}
	if err := x.t.slot.awaitServing(ctx); err != nil {
		return err
	}
	if err := x.t.require(projection.RightWrite); err != nil {
		return err // whoever may not write must not hold the writer
	}
	release, err := x.rt.writer.acquire(ctx)
	if err != nil {
		return err
	}
	if err := x.begin(ctx); err != nil {
		release()
		return err
	}
	x.release = release
	x.timer = time.AfterFunc(x.rt.m.o.TransactionIdle, x.expire)
	x.timer.Stop()
	x.rt.writer.idle.Store(x)
	return x.setSavepoints()
}

func (x *Tx) begin(ctx context.Context) error {
	if err := x.rt.writer.usable(); err != nil {
		return err
	}
	if x.reader != nil {
		moved := x.rt.db.Version() != x.seen
		x.endSnapshot()
		if moved {
			err := fault.New("transaction", fault.Conflict, "what the transaction has read was changed by another one: roll back and try again").ForTenant(x.rt.id)
			x.finish(err)
			return err
		}
	}
	// The group outlives this call, so it takes no deadline from it.
	g, err := x.rt.db.BeginGroup(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if err := g.BeginTxn(); err != nil {
		x.rt.writer.abort(g)
		return err
	}
	x.t.act(g)
	x.group = g
	return nil
}

func (x *Tx) endSnapshot() {
	if x.reader != nil {
		x.reader.EndSnapshot()
		x.reader.Release()
		x.reader = nil
	}
}

// touch starts the idle limit anew after a statement.
func (x *Tx) touch() {
	if x.ended == nil && x.timer != nil {
		x.timer.Reset(x.rt.m.o.TransactionIdle)
	}
}

// expire rolls the transaction back when it holds the writer and no call runs.
func (x *Tx) expire() {
	if !x.mu.TryLock() {
		return // a call runs: it is not idle
	}
	defer x.mu.Unlock()
	if x.ended == nil && x.group != nil {
		x.finish(fault.New("transaction", fault.Timeout, "the transaction was rolled back: it held the writer of tenant %s without a statement for too long", x.rt.id).ForTenant(x.rt.id).WithState("25P03"))
	}
}

// Commit makes the transaction durable. With a key, a retry of the same
// transaction is answered without effect.
func (x *Tx) Commit(ctx context.Context) (record.Result, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return record.Result{}, x.ended
	}
	if x.group == nil {
		x.closed = true
		x.finish(errTxDone())
		return record.Result{}, nil
	}
	if ctx.Err() != nil {
		return record.Result{}, fault.OfContext("commit", ctx).ForTenant(x.rt.id)
	}
	g, res := x.group, x.total
	err := g.EndTxn("", [16]byte{}, res)
	if err == nil {
		x.group = nil // commit ends the group, whatever comes of it
		err = x.rt.writer.commit(g)
	}
	x.closed = true
	x.finish(errTxDone())
	return res, err
}

// Rollback undoes the transaction. After Commit or Rollback it does nothing
// and says so; one that was rolled back for another reason it just ends.
func (x *Tx) Rollback() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return x.ended
	case x.ended != nil:
		x.ended, x.closed = errTxDone(), true
		return nil
	}
	x.closed = true
	x.finish(errTxDone())
	return nil
}

// finish rolls back what is open, hands the writer on and lets go of the
// tenant. The caller holds mu.
func (x *Tx) finish(why error) {
	x.ended = why
	x.rt.txs.remove(x)
	if x.timer != nil {
		x.timer.Stop()
	}
	x.endSnapshot()
	if x.group != nil {
		x.rt.writer.abort(x.group)
		x.group = nil
	}
	if x.release != nil {
		x.rt.writer.idle.CompareAndSwap(x, nil)
		x.rt.maybeFlush()
		x.release()
		x.release = nil
	}
	x.t.leave()
}

// ReadOnly says whether one statement only reads.
func (x *Tx) ReadOnly(ctx context.Context, sql string) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return false, x.ended
	}
	return x.rt.db.ReadOnly(ctx, x.t.access(), sql)
}
