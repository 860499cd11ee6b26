package projection

import (
	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// Row is the current row of a result. Its columns count from 0. What its
// methods return is a copy.
type Row struct {
	stmt *sqlite3.Stmt
	// rows is the result that the row belongs to; nil inside a group, which
	// looks after breakdowns itself.
	rows *Rows
	// left is how many more bytes of result may be taken.
	left          int64
	names, types  []string
	width         int
	widthComputed bool
}

// Len returns the number of columns.
func (r *Row) Len() int {
	if !r.widthComputed {
		r.width, r.widthComputed = r.stmt.ColumnCount(), true
	}
	return r.width
}

// protect is deferred where reading a row can make SQLite allocate memory, or
// meet a name that is too long: what breaks down then is the result, not the
// process. Next returns false from now on, and Err says why.
func (r *Row) protect() {
	if r.rows == nil {
		return
	}
	if p := recover(); p != nil {
		r.rows.err, r.rows.done = r.rows.r.c.brokeDown("sql", p), true
	}
}

// notTooLong reads a column's name or type; one of over a million bytes, such
// as the text of a long expression, is "".
func notTooLong(read func(int) string, i int) (name string) {
	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(error); !ok || e.Error() != noEnd {
				panic(p)
			}
		}
	}()
	return read(i)
}

// Columns returns the columns' names, "" for one of over a million bytes. Not
// to be changed.
func (r *Row) Columns() (names []string) {
	if r.names == nil && r.stmt != nil {
		r.names = make([]string, r.Len())
		names = r.names //nolint:wastedassign // what is returned when protect ends a panic
		defer r.protect()
		for i := range r.names {
			r.names[i] = notTooLong(r.stmt.ColumnName, i)
		}
	}
	return r.names
}

// DeclTypes returns the declared types of the columns: "" for one that is not
// simply a column of a table. Not to be changed.
func (r *Row) DeclTypes() (types []string) {
	if r.types == nil && r.stmt != nil {
		r.types = make([]string, r.Len())
		types = r.types //nolint:wastedassign // as in Columns
		defer r.protect()
		for i := range r.types {
			r.types[i] = notTooLong(r.stmt.ColumnDeclType, i)
		}
	}
	return r.types
}

// Value returns a column as nil, int64, float64, string or []byte.
func (r *Row) Value(column int) (v record.Value) {
	defer r.protect()
	v, size := columnValue(r.stmt, column)
	r.left -= int64(size) + valueBytes
	return v
}

// Int64 returns a column as an integer, converted as SQLite does.
func (r *Row) Int64(column int) int64 { return r.stmt.ColumnInt64(column) }

// Float64 returns a column as a number, converted as SQLite does.
func (r *Row) Float64(column int) float64 { return r.stmt.ColumnFloat(column) }

// Text returns a column as text, converted as SQLite does.
func (r *Row) Text(column int) (s string) {
	defer r.protect()
	s = r.stmt.ColumnText(column)
	r.left -= int64(len(s))
	return s
}

// Bytes appends a column to buf, converted to a blob as SQLite does.
func (r *Row) Bytes(column int, buf []byte) (b []byte) {
	defer r.protect()
	b = r.stmt.ColumnBlob(column, buf)
	r.left -= int64(len(b) - len(buf))
	return b
}

// IsNull says whether a column is NULL.
func (r *Row) IsNull(column int) bool { return r.stmt.ColumnType(column) == sqlite3.NULL }

// limitErr is the error of a result that became too large, or nil.
func (r *Row) limitErr(l *Limits) error {
	if r.left >= 0 {
		return nil
	}
	return fault.New("sql", fault.TooLarge, "the result has more than %d bytes: ask for less at a time", l.MaxResultBytes)
}

func tooManyRows(l *Limits) error {
	return fault.New("sql", fault.TooLarge, "the result has more than %d rows: ask for less at a time", l.MaxResultRows)
}

// Rows is a result, one row at a time. The methods of Row are about the row
// that Next moved to. Close it, before its reader is released.
type Rows struct {
	Row
	r     *Reader
	p     *prepared
	guard guard
	count int64
	// first says that the first row has been reached, and Next was not called.
	first bool
	done  bool
	// halted says that SQLite has ended the statement.
	halted bool
	closed bool
	err    error
}

// start compiles and binds the statement and looks for the first row.
func (rows *Rows) start(sql string, args []any) (err error) {
	c := rows.r.c
	defer c.protect("sql", &err)
	c.begin(&rows.guard, rows.r.access)
	p, err := c.prepareSingle("sql", sql)
	if err != nil {
		return err
	}
	if !p.readOnly {
		c.release(p)
		return fault.New("sql", fault.Unsupported, "the statement writes: use Exec").ForTenant(c.tenant)
	}
	if err := c.bind(p, args); err != nil {
		c.release(p)
		return err
	}
	rows.p, rows.stmt, rows.rows = p, p.stmt, rows
	rows.r.open = append(rows.r.open, rows)
	if rows.step() {
		rows.first = true
		return nil
	}
	if rows.err != nil {
		err = rows.err
		rows.Close()
		return err
	}
	rows.done = true
	return nil
}

// step moves SQLite to the next row.
func (rows *Rows) step() (ok bool) {
	c := rows.r.c
	defer c.protect("sql", &rows.err)
	c.db.SetInterrupt(&rows.guard)
	if rows.stmt.Step() {
		return true
	}
	rows.err = c.fail("sql", "", rows.stmt.Err())
	rows.halted = true
	rows.r.rest()
	return false
}

// Next moves to the next row. It returns false at the end and on an error,
// which Err returns.
func (rows *Rows) Next() bool {
	if rows.done || rows.closed {
		return false
	}
	limits := &rows.r.d.limits
	if rows.err = rows.limitErr(limits); rows.err != nil {
		rows.done = true
		return false
	}
	if rows.count++; rows.count > limits.MaxResultRows {
		rows.err, rows.done = tooManyRows(limits), true
		return false
	}
	if rows.first {
		rows.first = false
		return true
	}
	if !rows.step() {
		rows.done = true
		return false
	}
	return true
}

// Err returns the error that ended the rows, if one did.
func (rows *Rows) Err() error { return rows.err }

// Close ends the rows. The names and types of columns stay, if they were
// asked for before. Closing twice does nothing.
func (rows *Rows) Close() {
	if rows.closed {
		return
	}
	rows.closed = true
	rows.r.forget(rows)
	rows.r.c.wear(&rows.guard, rows.r.d.limits.MaxResultBytes-rows.left)
	var err error
	func() {
		defer rows.r.c.protect("sql", &err)
		rows.r.c.release(rows.p)
	}()
	rows.stmt = nil
	rows.r.rest()
}
