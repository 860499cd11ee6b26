package projection

import (
	"context"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// ApplyRecord is one record of the log, opened.
type ApplyRecord struct {
	Payload *record.Payload
	// Time is the record's.
	Time time.Time
	// At is where the projection stands after it; At.Time is not looked at.
	At Applied
}

// Apply carries out one record that was made elsewhere or earlier. See
// [DB.ApplyAll].
func (d *DB) Apply(ctx context.Context, p *record.Payload, recTime time.Time, at Applied) error {
	return d.ApplyAll(ctx, []ApplyRecord{{Payload: p, Time: recTime, At: at}})
}

// ApplyAll carries out records in one SQLite transaction: all of them, or on
// error none. Each must follow the one before. It is the writer: no group may
// be open. Statement limits and the projection's quota do not hold here, since
// what the log says has happened. A record that does not fit the tables is a
// Corruption and puts the projection in doubt.
func (d *DB) ApplyAll(ctx context.Context, records []ApplyRecord) (err error) {
	w, err := d.writer()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.rollback(w)
		}
	}()
	defer w.c.protect("apply", &err)
	if err := w.follow(); err != nil {
		return err
	}
	if err := w.limitPages(0); err != nil {
		return err
	}
	if err := w.c.exec(`BEGIN`); err != nil {
		return err
	}
	for i := range records {
		if ctx.Err() != nil {
			return fault.OfContext("apply", ctx).ForTenant(d.tenant)
		}
		if err := w.applyOne(&records[i]); err != nil {
			return err
		}
	}
	if err := w.commit(); err != nil {
		return err
	}
	d.version.Add(1)
	w.publish(d)
	return nil
}

func (w *writer) applyOne(r *ApplyRecord) error {
	for i := range r.Payload.Txns {
		if err := w.replayEvents(r.Payload.Txns[i].Events); err != nil {
			return err
		}
	}
	at := r.At
	at.Time = r.Time
	return w.settle(r.Payload, at)
}

// rollback ends the open transaction without effect. A connection that cannot
// do it is closed, which has the same effect.
func (d *DB) rollback(w *writer) {
	if w != d.w {
		return // it was closed already
	}
	var err error
	func() {
		defer w.c.protect("rollback", &err)
		if w.stillOpen() {
			w.capture = nil
			err = w.c.exec(`ROLLBACK`)
		}
		if err == nil && !w.c.dead {
			err = w.verifySchema()
		}
	}()
	if err != nil || w.c.dead || w.c.worn {
		d.dropWriter()
		return
	}
	w.reset(d)
}

// isStatementError says whether an error tells of the statement rather than
// of the machine below it.
func isStatementError(err error) bool {
	switch fault.KindOf(err) {
	case fault.SQL, fault.Constraint, fault.Denied, fault.Unsupported, fault.Invalid, fault.TooLarge:
		return true
	}
	return false
}
