package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"strings"
	"time"

	"kimberlite"
)

// conn is a database/sql connection: a handle on the tenant, and the
// transaction that is open on it, if any. database/sql uses it from one
// goroutine at a time.
type conn struct {
	t       *kimberlite.Tenant
	opening *opening // nil once closed
	tx      *kimberlite.Tx
	txOnly  bool // the open transaction may only read
}

var (
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
)

// Close implements driver.Conn.
func (c *conn) Close() error {
	if c.tx != nil {
		_ = c.tx.Rollback()
		c.tx = nil
	}
	if c.opening == nil {
		return nil
	}
	o := c.opening
	c.opening = nil
	return o.release()
}

// IsValid implements driver.Validator: after the disk failed a connection is
// thrown away, so that the directory is opened again once all of them are.
func (c *conn) IsValid() bool { return c.opening != nil && !c.opening.hasStopped() }

// failed looks at an error on its way to the caller.
func (c *conn) failed(err error) error {
	if kimberlite.IsKind(err, kimberlite.Stopped) && c.opening != nil {
		c.opening.stop()
	}
	return err
}

// CheckNamedValue implements driver.NamedValueChecker: what database/sql
// converts by itself (pointers, named types, driver.Valuer), with an error of
// our kind for the rest.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	plain, err := driver.DefaultParameterConverter.ConvertValue(v.Value)
	if err != nil {
		return &kimberlite.Error{Op: "bind", Kind: kimberlite.Invalid, Message: "the argument has no value that a database can hold", Err: err}
	}
	v.Value = plain
	return nil
}

// Begin implements driver.Conn.
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx implements driver.ConnBeginTx. Every level is served as
// serialisable, which keeps what each of them promises.
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if sql.IsolationLevel(o.Isolation) > sql.LevelLinearizable || o.Isolation < 0 {
		return nil, invalid("unknown isolation level")
	}
	tx, err := c.t.Begin(ctx)
	if err != nil {
		return nil, c.failed(err)
	}
	c.tx, c.txOnly = tx, o.ReadOnly
	return &transaction{c}, nil
}

type transaction struct{ c *conn }

// Commit implements driver.Tx. It takes no context: database/sql looks at that
// of BeginTx before, and a commit on its way is better waited for than left
// with its outcome unknown.
func (t *transaction) Commit() error {
	tx := t.c.tx
	t.c.tx = nil
	_, err := tx.Commit(context.Background())
	return t.c.failed(err)
}

// Rollback implements driver.Tx.
func (t *transaction) Rollback() error {
	tx := t.c.tx
	t.c.tx = nil
	return tx.Rollback()
}

func arguments(named []driver.NamedValue) []any {
	args := make([]any, len(named))
	for i, n := range named {
		args[i] = n.Value
		if n.Name != "" {
			args[i] = sql.Named(n.Name, n.Value)
		}
	}
	return args
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Result, error) {
	var (
		r   kimberlite.Result
		err error
	)
	switch {
	case c.tx == nil:
		r, err = c.t.Exec(ctx, query, arguments(named)...)
	case c.txOnly:
		return nil, errReadOnly()
	default:
		r, err = c.tx.Exec(ctx, query, arguments(named)...)
	}
	if err != nil {
		return nil, c.failed(err)
	}
	return result{r}, nil
}

func errReadOnly() error {
	return &kimberlite.Error{Op: "write", Kind: kimberlite.Denied, Message: "the transaction was begun as read-only"}
}

type result struct{ r kimberlite.Result }

func (r result) LastInsertId() (int64, error) { return r.r.LastInsertID, nil }
func (r result) RowsAffected() (int64, error) { return r.r.RowsAffected, nil }

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Rows, error) {
	var (
		r   *kimberlite.Rows
		err error
	)
	switch {
	case c.tx == nil:
		r, err = c.t.Query(ctx, query, arguments(named)...)
	case c.txOnly:
		r, err = c.tx.QueryReadOnly(ctx, query, arguments(named)...)
	default:
		r, err = c.tx.Query(ctx, query, arguments(named)...)
	}
	if err != nil {
		return nil, c.failed(err)
	}
	return &rows{r: r}, nil
}

// rows are the rows of a query.
type rows struct {
	r *kimberlite.Rows
	// times says of each column whether it is declared to hold times; nil
	// until the first row.
	times []bool
}

var _ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)

func (r *rows) Columns() []string { return r.r.Columns() }
func (r *rows) Close() error      { return r.r.Close() }

// ColumnTypeDatabaseTypeName returns the declared type in upper case.
func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	types := r.r.ColumnTypes()
	if i >= len(types) {
		return ""
	}
	return strings.ToUpper(types[i])
}

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	if !r.r.Next() {
		if err := r.r.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	if r.times == nil {
		r.times = make([]bool, len(dest))
		for i := range dest {
			r.times[i] = declaresTime(r.ColumnTypeDatabaseTypeName(i))
		}
	}
	for i, v := range r.r.Values() {
		dest[i] = v
		if r.times[i] {
			dest[i] = asTime(v)
		}
	}
	return r.r.Err() // a value that could not be read is no NULL
}

func declaresTime(declared string) bool {
	switch declared {
	case "DATE", "DATETIME", "TIMESTAMP":
		return true
	}
	return false
}

// asTime turns text that a time.Time was written as into that time. Any other
// text stays as it is, and so does this one for whoever scans it into a
// string: database/sql writes times in the same form.
func asTime(v any) any {
	text, ok := v.(string)
	if !ok {
		return v
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.UTC().Format(time.RFC3339Nano) != text {
		return v
	}
	return t.UTC()
}

// Prepare implements driver.Conn.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext implements driver.ConnPrepareContext. Statements are
// compiled, and kept compiled, where they run: here they are only checked, and
// not in a transaction, which may have made the tables that they name.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.tx == nil {
		if err := c.t.Check(ctx, query); err != nil {
			return nil, c.failed(err)
		}
	}
	return &statement{c, query}, nil
}

type statement struct {
	c     *conn
	query string
}

var (
	_ driver.StmtExecContext  = (*statement)(nil)
	_ driver.StmtQueryContext = (*statement)(nil)
)

func (s *statement) Close() error  { return nil }
func (s *statement) NumInput() int { return -1 }

func (s *statement) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), positional(args))
}

func (s *statement) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), positional(args))
}

func positional(args []driver.Value) []driver.NamedValue {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return named
}

func (s *statement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.query, args)
}

func (s *statement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.QueryContext(ctx, s.query, args)
}
