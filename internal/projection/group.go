package projection

import (
	"context"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
	"kimberlite/internal/schema"
)

// Group is one open SQLite transaction that holds the transactions of several
// clients, one after another. It ends with Commit or Rollback. It is used by
// one goroutine at a time.
//
// A statement that fails leaves no trace. When SQLite gives up the whole
// transaction (out of time, room or memory), the group is put together again
// from the events of its ended transactions, and only the one that was under
// way is lost; should even that fail, the group is Broken.
type Group struct {
	d       *DB
	w       *writer
	payload record.Payload
	// broken is why the group cannot go on.
	broken   error
	prepared bool
	done     bool
	// schema is that of Schema, as of schemaAt changes.
	schema   *schema.Schema
	schemaAt int
	// txn is the transaction under way, nil between transactions.
	txn *transaction
	// access and note are those of Act.
	access Access
	note   func(change, object string) []byte
}

// transaction is one client's transaction within a group.
type transaction struct {
	start mark
	// alone says that nothing stands in the group before it: it needs no
	// savepoint, since going back to its start is a ROLLBACK.
	alone bool
	// statements counts those that ran.
	statements int
	// lost is why SQLite has rolled it back.
	lost error
	// savepoints are those of Savepoint.
	savepoints []mark
	wrote      bool
}

// BeginGroup opens the transaction. The caller is the only writer until
// Commit or Rollback.
func (d *DB) BeginGroup(ctx context.Context) (g *Group, err error) {
	if ctx.Err() != nil {
		return nil, fault.OfContext("write", ctx).ForTenant(d.tenant)
	}
	w, err := d.writer()
	if err != nil {
		return nil, err
	}
	if err := d.start(w); err != nil {
		d.rollback(w)
		return nil, err
	}
	return &Group{d: d, w: w}, nil
}

// start begins a transaction of statements on a writer.
func (d *DB) start(w *writer) (err error) {
	defer w.c.protect("write", &err)
	if err := w.lead(); err != nil {
		return err
	}
	if err := w.limitPages(d.maxPages()); err != nil {
		return err
	}
	w.capture = &capture{limit: d.limits.MaxTransactionBytes}
	return w.c.exec(`BEGIN`)
}

// maxPages is the limit of the projection in pages; 0 is none.
func (d *DB) maxPages() int64 {
	limit := d.limitBytes.Load()
	if limit <= 0 {
		return 0
	}
	return max(1, limit/pageBytes)
}

// Broken returns why the group has lost its transaction, or nil. A broken
// group can only be rolled back.
func (g *Group) Broken() error { return g.broken }

func (g *Group) usable() error {
	switch {
	case g.broken != nil:
		return g.broken
	case g.done:
		return fault.New("write", fault.Closed, "the group has ended").ForTenant(g.d.tenant)
	case g.prepared:
		return fault.New("write", fault.Closed, "the group is being committed").ForTenant(g.d.tenant)
	}
	return g.d.src.err()
}

// inTxn says whether a transaction is under way and intact.
func (g *Group) inTxn() error {
	if err := g.usable(); err != nil {
		return err
	}
	if g.txn == nil {
		return fault.New("write", fault.Internal, "no transaction has begun").ForTenant(g.d.tenant)
	}
	if g.txn.lost != nil {
		return fault.Wrap("write", fault.Closed, g.txn.lost, "the transaction was rolled back").ForTenant(g.d.tenant)
	}
	return nil
}

// BeginTxn begins one client's transaction.
func (g *Group) BeginTxn() (err error) {
	if err := g.usable(); err != nil {
		return err
	}
	if g.txn != nil {
		return fault.New("write", fault.Internal, "a transaction is under way").ForTenant(g.d.tenant)
	}
	defer g.w.c.protect("write", &err)
	if err := g.w.loadSequences(); err != nil {
		return err
	}
	g.w.c.db.SetLastInsertRowID(0)
	alone := len(g.payload.Txns) == 0
	if !alone {
		if err := g.w.c.exec(`SAVEPOINT txn`); err != nil {
			return err
		}
	}
	g.txn = &transaction{start: g.w.mark(), alone: alone}
	return nil
}

// backToStart undoes all of a transaction and ends its savepoint, or keeps
// the savepoint for more statements.
func (g *Group) backToStart(t *transaction, keep bool) error {
	c := g.w.c
	switch {
	case t.alone:
		if err := c.exec(`ROLLBACK`); err != nil {
			return err
		}
		c.file.discard()
		return c.exec(`BEGIN`)
	case keep:
		return c.exec(`ROLLBACK TO txn`)
	}
	return c.backTo("txn")
}

// Exec runs one statement, or without arguments several, in the transaction
// under way. Each that fails leaves no trace; those before it stay until
// AbortTxn. Rows are not looked at.
func (g *Group) Exec(ctx context.Context, sql string, args []any) (record.Result, error) {
	return g.statements(ctx, sql, args, nil)
}

// Query runs one statement in the transaction under way and gives fn each row;
// an error of fn undoes the statement and is returned. The row is valid until
// fn returns.
func (g *Group) Query(ctx context.Context, sql string, args []any, fn func(*Row) error) (record.Result, error) {
	return g.statements(ctx, sql, args, fn)
}

func (g *Group) statements(ctx context.Context, sql string, args []any, fn func(*Row) error) (res record.Result, err error) {
	if err := g.inTxn(); err != nil {
		return res, err
	}
	if ctx.Err() != nil {
		return res, fault.OfContext("sql", ctx).ForTenant(g.d.tenant)
	}
	if err := g.w.c.checkText("sql", sql); err != nil {
		return res, err
	}
	g.w.guard.start(ctx, g.d.limits.StatementTimeout)
	for first := true; sql != ""; first = false {
		c := g.w.c // a statement may cost the connection, and the group gets another
		p, tail, err := g.compile(sql)
		if err != nil {
			return res, err
		}
		if p == nil {
			sql = tail
			continue
		}
		err = g.single(tail, first, args, fn)
		if err == nil {
			err = g.statement(p, sql[:len(sql)-len(tail)], args, fn, &res)
		}
		c.release(p)
		c.wear(&g.w.guard, int64(g.w.captured()))
		if err != nil {
			return res, err
		}
		sql = tail
	}
	return res, nil
}

// single refuses several statements where only one may be.
func (g *Group) single(tail string, first bool, args []any, fn func(*Row) error) error {
	if len(args) == 0 && fn == nil {
		return nil
	}
	if !first {
		return fault.New("sql", fault.Invalid, "more than one statement: give them one at a time, or without arguments").ForTenant(g.d.tenant)
	}
	return g.w.c.checkTail("sql", tail)
}

// compile prepares the next statement. A breakdown of the connection while it
// does is dealt with.
func (g *Group) compile(sql string) (p *prepared, tail string, err error) {
	func() {
		defer g.w.c.protect("sql", &err)
		g.w.c.begin(&g.w.guard, g.access)
		p, tail, err = g.w.c.prepare("sql", sql)
	}()
	if err != nil && !g.w.stillOpen() {
		g.recover(err)
	}
	return p, tail, err
}

// statement runs one prepared statement; when it fails, everything is as it
// was before.
func (g *Group) statement(p *prepared, text string, args []any, fn func(*Row) error, res *record.Result) error {
	before := g.w.mark()
	nested := !p.readOnly && g.txn.statements > 0
	err := g.attempt(p, text, args, fn, nested)
	if err == nil {
		g.txn.statements++
		g.txn.wrote = g.txn.wrote || !p.readOnly
		g.outcome(p, res)
		return nil
	}
	g.undo(p, before, nested, err)
	return err
}

// attempt runs a statement, inside a savepoint of its own if it is nested.
func (g *Group) attempt(p *prepared, text string, args []any, fn func(*Row) error, nested bool) (err error) {
	w := g.w
	defer w.c.protect("sql", &err)
	if nested {
		if err := w.c.exec(`SAVEPOINT statement`); err != nil {
			return err
		}
	}
	for _, name := range p.info.writes {
		if err := w.foresee(name); err != nil {
			return err
		}
	}
	if err := w.loadDrawn(); err != nil {
		return err
	}
	var before objects
	if p.info.ddl {
		if err := w.c.extendForText(text); err != nil {
			return err
		}
		w.defined = true
		if before, err = readSchema(w.c); err != nil {
			return err
		}
	}
	if err := w.c.bind(p, args); err != nil {
		return err
	}
	if err := w.run(p, g.rowFunc(p, fn)); err != nil {
		return err
	}
	if err := p.stmt.Reset(); err != nil {
		return w.c.fail("sql", "", err)
	}
	if w.capture.full() {
		return w.capture.err
	}
	if p.info.ddl {
		events := len(w.capture.events)
		if err := w.noteSchema(before, text); err != nil {
			return err
		}
		if len(w.capture.events) > events {
			if err := g.noteChange(p.info.change, p.info.object); err != nil {
				return err
			}
		}
	}
	if nested {
		return w.c.exec(`RELEASE statement`)
	}
	return nil
}

// rowFunc turns the caller's function into one of SQLite's statement, with
// the limits of a result.
func (g *Group) rowFunc(p *prepared, fn func(*Row) error) func(*sqlite3.Stmt) error {
	if fn == nil {
		return nil
	}
	row := &Row{stmt: p.stmt, left: g.d.limits.MaxResultBytes}
	rows := int64(0)
	return func(*sqlite3.Stmt) error {
		if rows++; rows > g.d.limits.MaxResultRows {
			return tooManyRows(&g.d.limits)
		}
		if err := fn(row); err != nil {
			return err
		}
		return row.limitErr(&g.d.limits)
	}
}

// outcome adds what a statement did to the result.
func (g *Group) outcome(p *prepared, res *record.Result) {
	if p.readOnly || p.info.ddl || p.info.writes == nil {
		return // SQLite still counts the rows of the statement before
	}
	res.RowsAffected += g.w.c.db.Changes()
	if p.info.inserts {
		res.LastInsertID = g.w.c.db.LastInsertRowID()
	}
}

// undo goes back to before a statement that failed. A reading statement has
// nothing to undo unless SQLite has given up the transaction.
func (g *Group) undo(p *prepared, before mark, nested bool, cause error) {
	w := g.w
	if !w.stillOpen() {
		g.recover(cause)
		return
	}
	if p.readOnly {
		return
	}
	var err error
	func() {
		defer w.c.protect("sql", &err)
		_ = p.stmt.Reset() // reports cause once more
		if nested {
			err = w.c.backTo("statement")
		} else {
			err = g.backToStart(g.txn, true)
		}
		if err == nil {
			err = w.verifySchema()
		}
	}()
	if err != nil || !w.stillOpen() {
		g.recover(cause)
		return
	}
	w.forget(before)
}

// AbortTxn undoes the transaction under way; it leaves no trace.
func (g *Group) AbortTxn() (err error) {
	if err := g.usable(); err != nil {
		return err
	}
	if g.txn == nil {
		return fault.New("write", fault.Internal, "no transaction has begun").ForTenant(g.d.tenant)
	}
	txn := g.txn
	g.txn = nil
	if txn.lost != nil {
		return nil // it is gone already
	}
	func() {
		defer g.w.c.protect("rollback", &err)
		if err = g.backToStart(txn, false); err == nil {
			err = g.w.verifySchema()
		}
	}()
	if err != nil {
		g.recover(err)
		return g.broken
	}
	g.w.forget(txn.start)
	return nil
}

// EndTxn ends the transaction under way: its events become part of the group.
// key is the client's idempotency key or "". When it fails, as with a deferred
// foreign key that is not satisfied, abort the transaction.
func (g *Group) EndTxn(key string, fingerprint [16]byte, res record.Result) (err error) {
	if err := g.inTxn(); err != nil {
		return err
	}
	w := g.w
	defer w.c.protect("write", &err)
	if len(key) > record.MaxIdempotencyKey {
		return fault.New("write", fault.Invalid, "an idempotency key has at most %d bytes", record.MaxIdempotencyKey).ForTenant(g.d.tenant)
	}
	if g.txn.wrote {
		open, _, err := w.c.db.Status(sqlite3.DBSTATUS_DEFERRED_FKS, false)
		if err != nil {
			return w.c.fail("write", "", err)
		}
		if open != 0 {
			return fault.New("write", fault.Constraint, "FOREIGN KEY constraint failed at the end of the transaction").WithState(stateForeignKey).ForTenant(g.d.tenant)
		}
		if err := w.noteSequences(w.changes != g.txn.start.changes); err != nil {
			return err
		}
		if err := w.noteDrawn(); err != nil {
			return err
		}
	}
	if !g.txn.alone {
		if err := w.c.exec(`RELEASE txn`); err != nil {
			return err
		}
	}
	g.txn = nil
	events := w.capture.take()
	if len(events) > 0 || key != "" {
		g.payload.Txns = append(g.payload.Txns, record.Txn{IdempotencyKey: key, Fingerprint: fingerprint, Result: res, Events: events})
	}
	return nil
}

// Payload returns what the ended transactions have changed. No transactions
// in it mean that there is nothing to log. It is not to be changed.
func (g *Group) Payload() *record.Payload { return &g.payload }
