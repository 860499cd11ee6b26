package projection

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// ExecBatch runs one statement with each of many sets of arguments in the
// transaction under way: all of them take effect, or none. The statement must
// not change the schema; its rows are not looked at. The result counts all of
// them.
func (g *Group) ExecBatch(ctx context.Context, sql string, rows [][]any) (res record.Result, err error) {
	if err := g.inTxn(); err != nil {
		return res, err
	}
	if ctx.Err() != nil {
		return res, fault.OfContext("sql", ctx).ForTenant(g.d.tenant)
	}
	if len(rows) == 0 {
		return res, nil
	}
	g.w.guard.start(ctx, g.d.limits.StatementTimeout)
	c := g.w.c
	p, tail, err := g.compile(sql)
	if err != nil {
		return res, err
	}
	if p == nil {
		return res, fault.New("sql", fault.SQL, "there is no statement in the text").ForTenant(g.d.tenant)
	}
	defer func() {
		c.release(p)
		c.wear(&g.w.guard, int64(g.w.captured()))
	}()
	if p.info.ddl {
		return res, fault.New("sql", fault.Invalid, "a statement that changes the schema takes no arguments: run it by itself").ForTenant(g.d.tenant)
	}
	if err := c.checkTail("sql", tail); err != nil {
		return res, err
	}
	before := g.w.mark()
	nested := !p.readOnly && g.txn.statements > 0
	if err = g.attemptBatch(p, rows, nested, &res); err != nil {
		g.undo(p, before, nested, err)
		return record.Result{}, err
	}
	g.txn.statements++
	g.txn.wrote = g.txn.wrote || !p.readOnly
	return res, nil
}

// attemptBatch runs a statement with each set of arguments, inside a savepoint
// if it is nested.
func (g *Group) attemptBatch(p *prepared, rows [][]any, nested bool, res *record.Result) (err error) {
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
	for _, args := range rows {
		if err := w.c.bind(p, args); err != nil {
			return err
		}
		if err := w.run(p, nil); err != nil {
			return err
		}
		if err := p.stmt.Reset(); err != nil {
			return w.c.fail("sql", "", err)
		}
		if w.capture.full() {
			return w.capture.err
		}
		g.outcome(p, res)
	}
	if nested {
		return w.c.exec(`RELEASE statement`)
	}
	return nil
}
