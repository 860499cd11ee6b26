package projection

import (
	"kimberlite/internal/fault"
)

// Savepoint begins a stretch of the transaction under way that
// RollbackToSavepoint can undo. Savepoints nest.
func (g *Group) Savepoint() (err error) {
	if err := g.inTxn(); err != nil {
		return err
	}
	defer g.w.c.protect("savepoint", &err)
	if err := g.w.c.exec(`SAVEPOINT client`); err != nil {
		return err
	}
	g.txn.savepoints = append(g.txn.savepoints, g.w.mark())
	g.txn.statements++ // a statement that fails must not go back to before it
	return nil
}

// ReleaseSavepoint ends the last savepoint and keeps what happened since.
func (g *Group) ReleaseSavepoint() (err error) {
	if _, err := g.lastSavepoint(); err != nil {
		return err
	}
	defer g.w.c.protect("savepoint", &err)
	if err := g.w.c.exec(`RELEASE client`); err != nil {
		return err
	}
	g.txn.savepoints = g.txn.savepoints[:len(g.txn.savepoints)-1]
	return nil
}

// RollbackToSavepoint undoes what happened since the last savepoint, and ends
// it. It fails when SQLite has given up the whole transaction meanwhile.
func (g *Group) RollbackToSavepoint() (err error) {
	m, err := g.lastSavepoint()
	if err != nil {
		return err
	}
	func() {
		defer g.w.c.protect("savepoint", &err)
		if err = g.w.c.backTo("client"); err == nil {
			err = g.w.verifySchema()
		}
	}()
	if err != nil {
		g.recover(err)
		return err
	}
	g.txn.savepoints = g.txn.savepoints[:len(g.txn.savepoints)-1]
	g.w.forget(m)
	return nil
}

func (g *Group) lastSavepoint() (mark, error) {
	if err := g.inTxn(); err != nil {
		return mark{}, err
	}
	if len(g.txn.savepoints) == 0 {
		return mark{}, fault.New("savepoint", fault.Internal, "there is no savepoint").ForTenant(g.d.tenant)
	}
	return g.txn.savepoints[len(g.txn.savepoints)-1], nil
}

// recover puts the group together again after SQLite has lost its
// transaction. The client's transaction under way is lost, the ended ones are
// carried out once more from their events.
func (g *Group) recover(cause error) {
	if g.txn != nil {
		g.txn.lost = cause
	}
	if err := g.rebuild(); err != nil {
		g.broken = fault.Wrap("write", fault.Unavailable, err, "the transaction group was lost and could not be put together again: nothing took effect").ForTenant(g.d.tenant)
	}
}

func (g *Group) rebuild() (err error) {
	g.d.rollback(g.w)
	w, err := g.d.writer()
	if err != nil {
		return err
	}
	g.w = w
	defer w.c.protect("write", &err)
	if err := w.follow(); err != nil {
		return err
	}
	if err := w.limitPages(0); err != nil {
		return err
	}
	if err := w.c.exec(`BEGIN`); err != nil {
		return err
	}
	for i := range g.payload.Txns {
		if err := w.replayEvents(g.payload.Txns[i].Events); err != nil {
			return err
		}
	}
	if err := w.lead(); err != nil {
		return err
	}
	w.capture = &capture{limit: g.d.limits.MaxTransactionBytes}
	return w.limitPages(g.d.maxPages())
}

// farPages is how far from its limit a projection is far: more than one
// transaction of rows can come to, indexes included.
const farPages = 1 << 30 / pageBytes

// liftLimit lets what belongs to the record be written although the projection
// is full. Far from the limit that is so anyway, and saves two statements a
// transaction: rows are bounded by the transaction's own limit, and an index is
// no larger than what it is made of.
func (g *Group) liftLimit() error {
	if g.w.pages == 0 || 3*g.d.src.store.Pages()+farPages < g.w.pages {
		return nil
	}
	return g.w.limitPages(0)
}

// Prepare writes everything that belongs to the group's record but the COMMIT:
// position, stream counters, sparse index and idempotency keys. at is where
// the projection will stand, with At.Time set when the group holds keys. After
// it only Commit and Rollback are possible. The quota does not hold for it.
func (g *Group) Prepare(at Applied) (err error) {
	if err := g.usable(); err != nil {
		return err
	}
	if g.txn != nil {
		return fault.New("write", fault.Internal, "a transaction is under way").ForTenant(g.d.tenant)
	}
	g.prepared = true
	g.w.capture = nil
	if len(g.payload.Txns) == 0 {
		return nil
	}
	defer g.w.c.protect("write", &err)
	if err := g.liftLimit(); err != nil {
		return err
	}
	return g.w.settle(&g.payload, at)
}

// Commit commits what was prepared. When it fails, the record stands in the
// log all the same and the projection is behind it: apply the record from the
// log.
func (g *Group) Commit() error {
	if g.broken != nil {
		return g.broken
	}
	if g.done || !g.prepared {
		return fault.New("write", fault.Closed, "the group has ended or was not prepared").ForTenant(g.d.tenant)
	}
	g.done = true
	var err error
	func() {
		defer g.w.c.protect("write", &err)
		err = g.w.commit()
	}()
	if err != nil {
		g.d.rollback(g.w)
		return err
	}
	if len(g.payload.Txns) > 0 {
		g.d.version.Add(1)
	}
	g.w.publish(g.d)
	g.d.retire(g.w)
	return nil
}

// Rollback ends the group without effect. It may be called after it ended.
func (g *Group) Rollback() error {
	if !g.done {
		g.done = true
		g.d.rollback(g.w)
	}
	return nil
}
