package pgwire

import (
	"context"
	"strings"
	"time"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
	"kimberlite/internal/tenant"
)

// outcome is what a statement came to: its tag, with a count unless that is
// negative.
type outcome struct {
	tag   string
	count int64
}

// rowWriter sends the rows of a result.
type rowWriter struct {
	s        *session
	columns  []column
	formats  []int16
	describe bool // the columns are to be sent before the rows
	rows     int64
	// spool, if not nil, takes the rows in the client's place.
	spool *[]byte
	// discard says that rows are only counted.
	discard bool
}

// buffer is what the next row is appended to.
func (w *rowWriter) buffer() []byte {
	if w.spool != nil {
		return *w.spool
	}
	return w.s.w.out()
}

// begin sends what comes before the rows.
func (w *rowWriter) begin() error {
	if !w.describe {
		return nil
	}
	w.describe = false
	if err := w.s.w.rowDescription(w.columns, w.formats); err != nil {
		return connection{err}
	}
	return nil
}

// row sends one row.
func (w *rowWriter) row(row *projection.Row) error {
	if w.discard {
		w.rows++
		return nil
	}
	if err := w.begin(); err != nil {
		return err
	}
	b, err := appendRow(w.buffer(), w.columns, w.formats, row)
	if err != nil {
		w.put(b)
		return err
	}
	w.rows++
	return w.keep(b)
}

// put stores the buffer.
func (w *rowWriter) put(b []byte) {
	if w.spool != nil {
		*w.spool = b
	} else {
		w.s.w.buf = b
	}
}

// keep stores the buffer and sends it once it is large.
func (w *rowWriter) keep(b []byte) error {
	w.put(b)
	if w.spool != nil {
		return w.s.checkSpool(len(b))
	}
	if len(b) < flushBytes {
		return nil
	}
	if err := w.s.flush(); err != nil {
		return connection{err}
	}
	return nil
}

// values sends a row of stored values.
func (w *rowWriter) values(values ...any) error {
	if err := w.begin(); err != nil {
		return err
	}
	b, err := appendValues(w.buffer(), w.columns, w.formats, values)
	if err != nil {
		w.put(b)
		return err
	}
	w.rows++
	return w.keep(b)
}

// timed runs a statement under its time limit, where CancelRequest finds it.
// *tag is what the observer calls it, once it is over.
func (s *session) timed(tag *string, run func(ctx context.Context) (outcome, error)) (out outcome, err error) {
	start := time.Now()
	ctx := s.begin()
	session := ctx // which the statement's own time limit does not end
	defer func() {
		took := time.Since(start)
		if err != nil {
			s.pause(session, err)
		}
		s.done()
		s.srv.c.Observer.StatementDone(s.tenantID, strings.TrimSuffix(*tag, " 0"), took, max(out.count, 0), err)
	}()
	if d := s.settings.statementTimeout(s.srv.limits.StatementTimeout); d > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, d, errStatementTimeout)
		defer stop()
	}
	out, err = run(ctx)
	return out, because(ctx, err)
}

// pause holds a refusal by the tenant's limits of operations back, lest a
// client that asks again at once keep the server busy. To cancel the
// statement, to revoke the credential and to stop the server each end it.
func (s *session) pause(ctx context.Context, err error) {
	d := s.tenant.PauseBeforeRefusal(err)
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.srv.stopping:
	}
}

// run runs a planned statement and sends its rows, not its tag.
func (s *session) run(ctx context.Context, p *plan, args []any, w *rowWriter) (outcome, error) {
	if s.tx.failed && !controls(p.st.Kind) {
		return outcome{}, errAborted()
	}
	if p.st.Notice != "" {
		if err := s.w.send(notice("NOTICE", "00000", p.st.Notice)); err != nil {
			return outcome{}, connection{err}
		}
	}
	if p.call != nil {
		return s.runCall(ctx, p.call, args, w)
	}
	switch p.st.Kind {
	case dialect.Query, dialect.Insert, dialect.Update, dialect.Delete, dialect.DDL:
		return s.runData(ctx, p, args, w)
	case dialect.Explain:
		return s.runExplain(ctx, p, args, w)
	case dialect.Copy:
		return s.runCopy(ctx, p)
	case dialect.Execute:
		return s.runExecute(ctx, p.st, w)
	case dialect.Declare:
		return s.runDeclare(ctx, p, args)
	case dialect.Fetch, dialect.Move:
		return s.runFetch(ctx, p.st, w)
	case dialect.Close:
		return s.runClose(p.st)
	}
	return s.runSession(ctx, p.st, w)
}

// mayWrite says why a statement that writes is refused here, if it is.
func (s *session) mayWrite(p *plan) error {
	if p.readOnly {
		return nil
	}
	readOnly := s.tx.readOnly
	if !s.tx.block {
		v, _ := s.settings.get("default_transaction_read_only")
		readOnly = v == "on"
	}
	if readOnly {
		return errReadOnly(p.st.Tag)
	}
	return nil
}

// runData runs a statement that SQLite runs.
func (s *session) runData(ctx context.Context, p *plan, args []any, w *rowWriter) (outcome, error) {
	if err := s.mayWrite(p); err != nil {
		return outcome{}, err
	}
	st := p.st
	composite := st.NoWait || len(st.Before)+len(st.After)+len(st.NewSequences)+len(st.DropSequences) > 0
	switch {
	case s.tx.open():
		return s.runInTransaction(ctx, p, args, w)
	case composite:
		s.tx.implicit = true
		out, err := s.runInTransaction(ctx, p, args, w)
		if err != nil {
			s.endTransaction(false)
			return out, err
		}
		return out, s.commit(ctx)
	case p.readOnly && p.returns():
		return s.runRead(ctx, p, args, w)
	}
	return s.runWrite(ctx, p, args, w)
}

// runRead runs a query by itself.
func (s *session) runRead(ctx context.Context, p *plan, args []any, w *rowWriter) (outcome, error) {
	rows, err := s.tenant.Query(ctx, p.st.SQL, args)
	if err != nil {
		return outcome{}, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := w.row(&rows.Row); err != nil {
			return outcome{}, err
		}
	}
	if err := rows.Err(); err != nil {
		return outcome{}, err
	}
	return outcome{p.st.Tag, w.rows}, w.begin()
}

// runWrite runs a statement that writes by itself.
func (s *session) runWrite(ctx context.Context, p *plan, args []any, w *rowWriter) (outcome, error) {
	rq := tenant.Request{IdempotencyKey: s.takeKey()}
	if !p.returns() {
		res, err := s.tenant.Exec(ctx, rq, p.st.SQL, args)
		if err == nil && p.st.Kind == dialect.DDL {
			s.plans.simple = nil
		}
		return s.changed(p, res, 0), err
	}
	// The rows may be the client's only once they are durable.
	var spool []byte
	var n int64
	res, err := s.tenant.QueryWrite(ctx, rq, p.st.SQL, args, func() { spool, n = spool[:0], 0 }, func(row *projection.Row) error {
		var err error
		if spool, err = appendRow(spool, w.columns, w.formats, row); err != nil {
			return err
		}
		n++
		return s.checkSpool(len(spool))
	})
	if err != nil {
		return outcome{}, err
	}
	if err := w.begin(); err != nil {
		return outcome{}, err
	}
	w.rows += n
	return s.changed(p, res, n), w.keep(append(w.buffer(), spool...))
}

// checkSpool refuses a result that has to be held and is too large for that.
func (s *session) checkSpool(bytes int) error {
	if bytes > s.srv.limits.MaxHeldBytes {
		return fault.New("sql", fault.TooLarge, "the rows to be held are over %d bytes: ask for less at a time", s.srv.limits.MaxHeldBytes)
	}
	return nil
}

// changed returns the outcome of a statement that writes.
func (s *session) changed(p *plan, res record.Result, rows int64) outcome {
	switch p.st.Kind {
	case dialect.DDL:
		return outcome{p.st.Tag, -1}
	case dialect.Query:
		return outcome{p.st.Tag, rows}
	}
	return outcome{p.st.Tag, res.RowsAffected}
}

// runInTransaction runs a statement in the open transaction.
func (s *session) runInTransaction(ctx context.Context, p *plan, args []any, w *rowWriter) (_ outcome, err error) {
	defer func() { err = s.doneBefore(err) }()
	tx, err := s.enter(ctx)
	if err != nil {
		return outcome{}, err
	}
	st := p.st
	if st.Kind == dialect.DDL {
		s.tx.ddl = true
	}
	if !p.readOnly {
		s.tx.wrote = true
		if s.idempotencyKey != "" {
			s.tx.work.add(st.SQL, args)
		}
	}
	for i := range st.NewSequences {
		if err := tx.CreateSequence(ctx, st.NewSequences[i]); err != nil {
			return outcome{}, err
		}
	}
	for _, sql := range st.Before {
		if _, err := tx.Exec(ctx, sql, nil); err != nil {
			return outcome{}, err
		}
	}
	if err := s.lockRows(ctx, tx, st); err != nil {
		return outcome{}, err
	}
	var res record.Result
	switch {
	case st.SQL == "":
	case p.returns():
		res, err = tx.Query(ctx, st.SQL, args, w.row)
	default:
		res, err = tx.Exec(ctx, st.SQL, args)
	}
	if err != nil {
		return outcome{}, err
	}
	for _, sql := range st.After {
		if _, err := tx.Exec(ctx, sql, nil); err != nil {
			return outcome{}, err
		}
	}
	for i := range st.DropSequences {
		if err := tx.DropSequence(ctx, st.DropSequences[i].Name); err != nil {
			return outcome{}, err
		}
	}
	out := s.changed(p, res, w.rows)
	if !p.returns() {
		return out, nil
	}
	return out, w.begin()
}

// lockRows takes the tenant's writer for a query FOR UPDATE or its like: no
// row is changed by others before the transaction ends.
func (s *session) lockRows(ctx context.Context, tx *tenant.Tx, st *dialect.Statement) error {
	if !st.Locks {
		return nil
	}
	if d := s.settings.lockWait; d > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, d, fault.New("sql", fault.Timeout, "canceling statement due to lock timeout").WithState("55P03"))
		defer stop()
	}
	if err := tx.Lock(ctx, st.NoWait); err != nil {
		return because(ctx, err)
	}
	return nil
}
