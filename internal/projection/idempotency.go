package projection

import (
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// keyLifetime is how long the answer to a request with an idempotency key is
// kept at least, counted in the log's own time.
const keyLifetime = 24 * time.Hour

// LookupIdempotent returns what a request with this key was answered, if it
// took effect before, in this group or earlier.
func (g *Group) LookupIdempotent(key string) (fingerprint [16]byte, res record.Result, found bool, err error) {
	if err := g.usable(); err != nil {
		return fingerprint, res, false, err
	}
	for i := range g.payload.Txns {
		if t := &g.payload.Txns[i]; t.IdempotencyKey == key && key != "" {
			return t.Fingerprint, t.Result, true, nil
		}
	}
	defer g.w.c.protect("idempotency", &err)
	err = g.w.c.each(`SELECT fingerprint, rows, last, first FROM _kimberlite_idempotency WHERE key=?1`, func(s *sqlite3.Stmt) error {
		found = true
		copy(fingerprint[:], s.ColumnRawBlob(0))
		res = record.Result{RowsAffected: s.ColumnInt64(1), LastInsertID: s.ColumnInt64(2), FirstOffset: uint64(s.ColumnInt64(3))} //nolint:gosec // written from one
		return nil
	}, key)
	return fingerprint, res, found, err
}

// keepKeys stores the answers of a record's transactions that carried keys,
// and lets those go that are older than keyLifetime.
func (w *writer) keepKeys(p *record.Payload, at Applied) error {
	any := false
	for i := range p.Txns {
		t := &p.Txns[i]
		if t.IdempotencyKey == "" {
			continue
		}
		if at.Time.IsZero() {
			return fault.New("projection", fault.Invalid, "a record with idempotency keys needs its time").ForTenant(w.c.tenant)
		}
		if !any {
			any = true
			if err := w.pruneKeys(at.Time); err != nil {
				return err
			}
		}
		r := t.Result
		err := w.c.exec(`INSERT OR REPLACE INTO _kimberlite_idempotency(key, fingerprint, rows, last, first, at) VALUES(?1,?2,?3,?4,?5,?6)`,
			t.IdempotencyKey, t.Fingerprint[:], r.RowsAffected, r.LastInsertID, int64(r.FirstOffset), at.Time.UnixNano()) //nolint:gosec // read back the same way
		if err != nil {
			return err
		}
	}
	return nil
}

// pruneKeys deletes the oldest keys. Records' times never go back, so that
// the rows stand in the order of their age.
func (w *writer) pruneKeys(now time.Time) error {
	cutoff := now.Add(-keyLifetime).UnixNano()
	last := int64(0)
	err := w.c.each(`SELECT id, at FROM _kimberlite_idempotency ORDER BY id`, func(s *sqlite3.Stmt) error {
		if s.ColumnInt64(1) >= cutoff {
			return errStop
		}
		last = s.ColumnInt64(0)
		return nil
	})
	if err != nil || last == 0 {
		return err
	}
	return w.c.exec(`DELETE FROM _kimberlite_idempotency WHERE id<=?1`, last)
}
