package kimberlite

import (
	"context"
	"database/sql"
	"errors"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
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
	if r.live != nil {
		return r.live.Next()
	}
	if r.at+1 >= len(r.rows) {
		r.at = len(r.rows)
		return false
	}
	r.at++
	return true
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

// Values returns a copy of the row: nil, int64, float64, string or []byte.
func (r *Rows) Values() []any {
	if r.live != nil {
		return tenant.Values(&r.live.Row)
	}
	return append([]any(nil), r.rows[r.at]...)
}

// Scan copies the row into what dest points to: integers, floats, bool,
// string, []byte, time.Time, any, pointers to these for NULL, or a
// sql.Scanner.
func (r *Rows) Scan(dest ...any) error {
	n := len(r.Columns())
	if len(dest) != n {
		return fault.New("scan", fault.Invalid, "the row has %d columns, %d places were given", n, len(dest))
	}
	for i, d := range dest {
		if r.live != nil && scanLive(r.live, i, d) {
			continue
		}
		if err := assign(d, r.value(i)); err != nil {
			return fault.Wrap("scan", fault.Invalid, err, "column %d (%s)", i+1, r.Columns()[i])
		}
	}
	return nil
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
	if !ok || rows.IsNull(i) {
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
