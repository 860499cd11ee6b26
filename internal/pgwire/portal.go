package pgwire

import (
	"context"
	"errors"
	"iter"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// portalOverhead is what a portal holds besides its arguments, roughly.
const portalOverhead = 256

// portal is a statement with its arguments, ready to run.
type portal struct {
	name     string
	plan     *plan
	args     []any
	formats  []int16
	held     int // bytes
	finished bool
	out      outcome
	cursor   *cursor // of rows that were not asked for yet
	// declared says that it is a cursor of DECLARE, level how many savepoints
	// there were then.
	declared bool
	level    int
}

// cursor gives the rows of a suspended portal. It holds a reader of the
// tenant, or the transaction's statement, until it is spooled or closed.
type cursor struct {
	next func() (*projection.Row, bool)
	stop func() // may be called twice
	// cancel ends the statement, whatever it is at.
	cancel context.CancelCauseFunc
	err    func() error
	// result is the statement's outcome after the last row.
	result record.Result
	// spool are rows that were fetched ahead, as messages, or as values for
	// asValues; after them comes nothing.
	spool    []byte
	spooled  bool
	asValues bool
	rows     int64
	pending  *projection.Row // fetched to see whether there is one more
}

func errNoPortal(name string) error {
	return fault.New("sql", fault.NotFound, "portal %q does not exist", name).WithState("34000")
}

// keepPortal stores a portal under its name.
func (s *session) keepPortal(p *portal) error {
	if old := s.portals[p.name]; old != nil {
		if p.name != "" {
			return fault.New("sql", fault.AlreadyExists, "portal %q already exists", p.name).WithState("42P03")
		}
		s.dropPortal("")
	}
	if len(s.portals) >= s.srv.limits.MaxStatements {
		return fault.New("sql", fault.TooLarge, "a connection has at most %d portals: close some", s.srv.limits.MaxStatements)
	}
	if s.plans.held+p.held > s.srv.limits.MaxHeldBytes {
		return fault.New("sql", fault.TooLarge, "the connection's prepared statements and portals are over %d bytes: close some", s.srv.limits.MaxHeldBytes)
	}
	s.plans.held += p.held
	s.portals[p.name] = p
	return nil
}

func (s *session) dropPortal(name string) {
	p := s.portals[name]
	if p == nil {
		return
	}
	if p.cursor != nil {
		p.cursor.stop()
		p.cursor = nil
	}
	s.plans.held -= p.held
	delete(s.portals, name)
}

// dropPortals closes all portals: they live no longer than their transaction.
func (s *session) dropPortals() {
	for name := range s.portals {
		s.dropPortal(name)
	}
}

// holdsPortal says whether a portal holds a reader or a statement.
func (s *session) holdsPortal() bool {
	for _, p := range s.portals {
		if p.cursor != nil && !p.cursor.spooled {
			return true
		}
	}
	return false
}

// letPortalsGo fetches what suspended portals have left, so that they hold
// nothing of the tenant; it says whether any did. One whose rest is too large
// is failed by that.
func (s *session) letPortalsGo() bool {
	held := false
	for _, p := range s.portals {
		if p.cursor != nil && !p.cursor.spooled {
			held = true
			_ = s.spoolPortal(p) // the portal remembers
		}
	}
	return held
}

// spoolPortals frees the transaction for another statement.
func (s *session) spoolPortals() error {
	for _, p := range s.portals {
		if p.cursor != nil && !p.cursor.spooled {
			if err := s.spoolPortal(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// spoolPortal fetches what a portal has left.
func (s *session) spoolPortal(p *portal) error {
	c := p.cursor
	var err error
	for err == nil {
		row, ok := c.row()
		if !ok {
			err = c.err()
			break
		}
		if c.asValues {
			c.spool = appendHeld(c.spool, row, len(p.plan.columns))
		} else {
			c.spool, err = appendRow(c.spool, p.plan.columns, p.formats, row)
		}
		if err == nil {
			err = s.checkSpool(len(c.spool) + s.plans.held)
		}
	}
	c.stop()
	c.spooled = true
	s.plans.held += len(c.spool)
	p.held += len(c.spool)
	c.err = func() error { return err }
	return err
}

// row returns the next row.
func (c *cursor) row() (*projection.Row, bool) {
	if row := c.pending; row != nil {
		c.pending = nil
		return row, true
	}
	return c.next()
}

// more says whether there is another row.
func (c *cursor) more() bool {
	if c.spooled {
		return len(c.spool) > 0 || c.err() != nil
	}
	if c.pending == nil {
		c.pending, _ = c.next()
	}
	return c.pending != nil
}

// runPortal sends at most limit rows of a portal, 0 for all, and says whether
// there may be more.
func (s *session) runPortal(ctx context.Context, p *portal, limit int64) (out outcome, suspended bool, err error) {
	if p.plan.st.Kind != dialect.Query || p.plan.call != nil {
		return s.runWhole(ctx, p, limit)
	}
	return s.readPortal(ctx, p, limit, &rowWriter{s: s, columns: p.plan.columns, formats: p.formats})
}

// readPortal is runPortal for a query, whose rows w takes.
func (s *session) readPortal(ctx context.Context, p *portal, limit int64, w *rowWriter) (out outcome, suspended bool, err error) {
	if p.cursor == nil {
		if p.cursor, err = s.openCursor(ctx, p); err != nil {
			return outcome{}, false, err
		}
	}
	c := p.cursor
	unwatch := context.AfterFunc(ctx, func() { c.cancel(context.Cause(ctx)) })
	defer unwatch()
	for limit == 0 || w.rows < limit {
		if c.spooled {
			if err := s.sendSpooled(c, w, limit); err != nil {
				return outcome{}, false, err
			}
			break
		}
		row, ok := c.row()
		if !ok {
			break
		}
		if err := w.row(row); err != nil {
			return outcome{}, false, err
		}
	}
	c.rows += w.rows
	if limit > 0 && w.rows == limit && c.more() {
		return outcome{}, true, nil
	}
	if err := c.err(); err != nil {
		return outcome{}, false, err
	}
	c.stop()
	p.cursor, p.finished = nil, true
	return outcome{p.plan.st.Tag, w.rows}, false, nil
}

// sendSpooled sends rows that were fetched ahead.
func (s *session) sendSpooled(c *cursor, w *rowWriter, limit int64) error {
	for len(c.spool) > 0 && (limit == 0 || w.rows < limit) {
		n := 1 + int(uint32(c.spool[1])<<24|uint32(c.spool[2])<<16|uint32(c.spool[3])<<8|uint32(c.spool[4]))
		var err error
		switch {
		case w.discard:
			w.rows++
		case c.asValues:
			err = w.values(heldValues(c.spool[:n], len(w.columns))...)
		default:
			err = w.keep(append(s.w.out(), c.spool[:n]...))
			w.rows++
		}
		if err != nil {
			return err
		}
		c.spool = c.spool[n:]
	}
	if len(c.spool) == 0 {
		return c.err()
	}
	return nil
}

// runWhole runs a statement that is not read step by step, such as one with
// RETURNING: as in PostgreSQL it runs to its end before the first row is sent.
func (s *session) runWhole(ctx context.Context, p *portal, limit int64) (outcome, bool, error) {
	if p.cursor == nil {
		c := &cursor{stop: func() {}, err: func() error { return nil }, spooled: true}
		out, err := s.run(ctx, p.plan, p.args, &rowWriter{s: s, columns: p.plan.columns, formats: p.formats, spool: &c.spool})
		if err != nil {
			return outcome{}, false, err
		}
		p.cursor, p.out = c, out
	}
	w := &rowWriter{s: s}
	if err := s.sendSpooled(p.cursor, w, limit); err != nil {
		return outcome{}, false, err
	}
	if p.cursor.more() {
		return p.out, true, nil
	}
	p.cursor, p.finished = nil, true
	return p.out, false, nil
}

// openCursor starts a query whose rows are asked for in portions. Its context
// is the session's: it outlives the message that began it, whose own is that
// for waiting.
func (s *session) openCursor(wait context.Context, p *portal) (*cursor, error) {
	if err := s.mayWrite(p.plan); err != nil {
		return nil, err
	}
	if s.tx.failed {
		return nil, errAborted()
	}
	ctx, cancel := context.WithCancelCause(s.parent)
	if !s.tx.open() && p.plan.readOnly {
		rows, err := s.tenant.Query(ctx, p.plan.st.SQL, p.args)
		if err != nil {
			cancel(nil)
			return nil, err
		}
		c := &cursor{err: rows.Err, cancel: cancel, stop: func() { rows.Close(); cancel(nil) }}
		c.next = func() (*projection.Row, bool) {
			if !rows.Next() {
				return nil, false
			}
			return &rows.Row, true
		}
		return c, nil
	}
	tx, err := s.enter(ctx)
	if err == nil {
		err = s.lockRows(wait, tx, p.plan.st)
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	c := &cursor{}
	var failed error
	next, stop := iter.Pull(func(yield func(*projection.Row) bool) {
		c.result, failed = tx.Query(ctx, p.plan.st.SQL, p.args, func(row *projection.Row) error {
			if !yield(row) {
				return errPortalClosed
			}
			return nil
		})
	})
	c.next, c.cancel, c.stop = next, cancel, func() { stop(); cancel(nil) }
	c.err = func() error {
		if errors.Is(failed, errPortalClosed) {
			return nil
		}
		return failed
	}
	return c, nil
}

// errPortalClosed ends a query whose rows nobody wants any more.
var errPortalClosed = fault.New("portal", fault.Canceled, "the portal was closed")
