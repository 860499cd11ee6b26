package kimberlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/scan"
	"kimberlite/internal/tenant"
)

// Rows are the rows of a query. They hold a reader and one of the tenant's
// concurrency slots until Close, or until Next returned false. They are not
// safe for concurrent use.
type Rows struct {
	live *tenant.Rows // rows that stream from a snapshot, or nil
	// buffered rows of a statement that wrote, or of a transaction
	columns []string
	types   []string
	rows    [][]any
	at      int
	// on says that Next moved to a row, so that there is one to look at.
	on bool
}

// Query runs one statement and returns its rows: from a snapshot as of the
// call when it only reads; of its RETURNING clause, after it is durable, when
// it writes.
func (t *Tenant) Query(ctx context.Context, sql string, args ...any) (*Rows, error) {
	live, err := t.t.Query(ctx, sql, args)
	if err == nil {
		return &Rows{live: live}, nil
	}
	if !IsKind(err, Unsupported) {
		return nil, err
	}
	if readOnly, checkErr := t.t.ReadOnly(ctx, sql); readOnly || checkErr != nil {
		return nil, err
	}
	rows := &Rows{}
	_, err = t.t.QueryWrite(ctx, request(ctx), sql, args, rows.reset, rows.add)
	if err != nil {
		return nil, err
	}
	rows.at = -1
	return rows, nil
}

func (r *Rows) reset() { r.rows, r.columns, r.types = nil, nil, nil }

// add copies a row that streams by.
func (r *Rows) add(row *projection.Row) error {
	if r.columns == nil {
		r.columns, r.types = row.Columns(), row.DeclTypes()
	}
	r.rows = append(r.rows, tenant.Values(row))
	return nil
}

// Next moves to the next row; it returns false at the end and on an error.
func (r *Rows) Next() bool {
	switch {
	case r.live != nil:
		r.on = r.live.Next()
	case r.at+1 >= len(r.rows):
		r.at, r.on = len(r.rows), false
	default:
		r.at++
		r.on = true
	}
	return r.on
}

// Err returns what ended the rows early, or nil.
func (r *Rows) Err() error {
	if r.live != nil {
		return r.live.Err()
	}
	return nil
}

// Close lets go of the rows. It may be called more than once.
func (r *Rows) Close() error {
	r.on, r.rows = false, nil
	if r.live != nil {
		r.live.Close()
	}
	return nil
}

// Columns returns the columns' names.
func (r *Rows) Columns() []string {
	if r.live != nil {
		return r.live.Columns()
	}
	return r.columns
}

// ColumnTypes returns the columns' declared types, "" where there is none.
func (r *Rows) ColumnTypes() []string {
	if r.live != nil {
		return r.live.DeclTypes()
	}
	return r.types
}

// Values returns a copy of the row: nil, int64, float64, string or []byte. It
// is nil when there is no row: before Next, and after Next returned false. A
// value that cannot be read, for want of memory, is nil, and Err says so.
func (r *Rows) Values() []any {
	if !r.on {
		return nil
	}
	if r.live != nil {
		return tenant.Values(&r.live.Row)
	}
	return append([]any(nil), r.rows[r.at]...)
}

// Scan copies the row into what dest points to: integers, floats, bool,
// string, []byte, time.Time, any, pointers to these for NULL, or a
// sql.Scanner.
func (r *Rows) Scan(dest ...any) error {
	if !r.on {
		return fault.New("scan", fault.Invalid, "there is no row: call Next, and look at what it returns")
	}
	n := len(r.Columns())
	if len(dest) != n {
		return fault.New("scan", fault.Invalid, "the row has %d columns, %d places were given", n, len(dest))
	}
	for i, d := range dest {
		if r.live != nil && scanLive(r.live, i, d) {
			continue
		}
		if err := scan.Assign(d, r.value(i)); err != nil {
			return errors.Join(r.Err(), fault.Wrap("scan", fault.Invalid, err, "column %d (%s)", i+1, clip(r.Columns()[i])))
		}
	}
	return r.Err()
}

// clip shortens a name for a message.
func clip(name string) string {
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:64], "") + "…"
	}
	return name
}

func (r *Rows) value(i int) any {
	if r.live != nil {
		return r.live.Value(i)
	}
	return r.rows[r.at][i]
}

// scanLive takes the short way for the commonest case.
func scanLive(rows *tenant.Rows, i int, dest any) bool {
	d, ok := dest.(*string)
	if !ok || d == nil || rows.IsNull(i) {
		return false
	}
	*d = rows.Text(i)
	return true
}

// Row is the result of [Tenant.QueryRow].
type Row struct {
	rows *Rows
	err  error
}

// QueryRow runs a query of which only the first row is wanted; its error is
// kept for Scan.
func (t *Tenant) QueryRow(ctx context.Context, sql string, args ...any) *Row {
	rows, err := t.Query(ctx, sql, args...)
	return &Row{rows, err}
}

// Scan copies the first row as [Rows.Scan] does; sql.ErrNoRows says that
// there is none.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	err := r.rows.Scan(dest...)
	return errors.Join(err, r.rows.Close())
}
