package client

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"connectrpc.com/connect"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/scan"
)

// Result is the outcome of a write.
type Result struct {
	RowsAffected int64
	LastInsertID int64
}

func toResult(r *v1.Result) Result {
	return Result{RowsAffected: r.GetRowsAffected(), LastInsertID: r.GetLastInsertId()}
}

// Exec runs SQL and returns once its effect is durable. Several statements
// may be given when there are no arguments; they are one transaction.
// Arguments are nil, bool, integers, floats, string, []byte, time.Time,
// driver.Valuer, or sql.NamedArg for :name; $1, ?1 and ? count from 1.
func (t *Tenant) Exec(ctx context.Context, sql string, args ...any) (Result, error) {
	return t.exec(ctx, does(ctx), "", sql, args)
}

func (t *Tenant) exec(ctx context.Context, e effect, tx, sql string, args []any) (Result, error) {
	places, named, err := toArguments(args)
	if err != nil {
		return Result{}, err
	}
	r := &v1.ExecRequest{Tenant: t.id.Uint64(), Sql: sql, Args: places, NamedArgs: named, Transaction: tx}
	if tx == "" {
		r.IdempotencyKey = keyOf(ctx)
	}
	answer, err := call(ctx, t.c, e, t.c.sql.Exec, r)
	return toResult(answer.GetResult()), err
}

// ExecBatch runs one statement with many sets of arguments as one transaction
// and returns the number of rows affected by all of them.
func (t *Tenant) ExecBatch(ctx context.Context, sql string, rows [][]any) (Result, error) {
	r := &v1.ExecBatchRequest{Tenant: t.id.Uint64(), Sql: sql, Rows: make([]*v1.Row, len(rows)), IdempotencyKey: keyOf(ctx)}
	for i, row := range rows {
		places, named, err := toArguments(row)
		if err != nil {
			return Result{}, err
		}
		if named != nil {
			return Result{}, fault.New("bind", fault.Unsupported, "a batch takes arguments by place, not by name")
		}
		r.Rows[i] = &v1.Row{Values: places}
	}
	answer, err := call(ctx, t.c, does(ctx), t.c.sql.ExecBatch, r)
	return toResult(answer.GetResult()), err
}

// Query runs one statement and returns its rows: from a snapshot as of the
// call when it only reads; of its RETURNING clause, after it is durable, when
// it writes. Rows stream: close them.
func (t *Tenant) Query(ctx context.Context, sql string, args ...any) (*Rows, error) {
	return t.query(ctx, does(ctx), "", sql, args)
}

func (t *Tenant) query(ctx context.Context, e effect, tx, sql string, args []any) (*Rows, error) {
	places, named, err := toArguments(args)
	if err != nil {
		return nil, err
	}
	r := &v1.QueryRequest{Tenant: t.id.Uint64(), Sql: sql, Args: places, NamedArgs: named, Transaction: tx}
	if tx == "" {
		r.IdempotencyKey = keyOf(ctx)
	}
	var rows *Rows
	err = t.c.patiently(ctx, e, func() error {
		streaming, cancel := context.WithCancel(ctx)
		stream, err := t.c.sql.Query(streaming, r)
		if err != nil {
			cancel()
			return err
		}
		rows = &Rows{stream: stream, cancel: cancel}
		if err := rows.begin(); err != nil {
			return errors.Join(err, rows.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Rows are the rows of a query. They hold a reader of the server and one of
// the tenant's concurrency slots until Close, or until Next returned false.
// They are not safe for concurrent use.
type Rows struct {
	stream *connect.ServerStreamForClient[v1.QueryResponse]
	cancel context.CancelFunc
	names  []string
	types  []string
	batch  []*v1.Row
	row    []any // nil when there is none to look at
	err    error
	ended  bool
}

// begin takes the columns, which come before any row. Their coming says that
// a statement which writes has taken effect.
func (r *Rows) begin() error {
	if !r.stream.Receive() {
		if err := r.stream.Err(); err != nil {
			return err
		}
		return errAnswer("no columns")
	}
	header := r.stream.Msg().GetHeader()
	if header == nil {
		return errAnswer("rows before their columns")
	}
	for _, c := range header.GetColumns() {
		r.names = append(r.names, c.GetName())
		r.types = append(r.types, c.GetType())
	}
	return nil
}

// Next moves to the next row; it returns false at the end and on an error.
func (r *Rows) Next() bool {
	r.row = nil
	for len(r.batch) == 0 {
		if r.ended {
			return false
		}
		if !r.stream.Receive() {
			if raw := r.stream.Err(); raw != nil {
				r.err, _ = fromConnect(raw, reads)
			}
			r.end()
			return false
		}
		r.batch = r.stream.Msg().GetRows().GetRows()
	}
	r.row = fromRow(r.batch[0])
	r.batch = r.batch[1:]
	return true
}

// end lets go of the stream.
func (r *Rows) end() {
	if r.ended {
		return
	}
	r.ended = true
	r.cancel()
	_ = r.stream.Close() // what it says is that it was canceled
}

// Err returns what ended the rows early, or nil.
func (r *Rows) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Close lets go of the rows. It may be called more than once.
func (r *Rows) Close() error {
	r.row, r.batch = nil, nil
	r.end()
	return nil
}

// Columns returns the columns' names.
func (r *Rows) Columns() []string { return r.names }

// ColumnTypes returns the columns' declared types, "" where there is none.
func (r *Rows) ColumnTypes() []string { return r.types }

// Values returns a copy of the row: nil, int64, float64, string or []byte. It
// is nil when there is no row: before Next, and after Next returned false.
func (r *Rows) Values() []any {
	if r.row == nil {
		return nil
	}
	return append([]any{}, r.row...)
}

// Scan copies the row into what dest points to: integers, floats, bool,
// string, []byte, time.Time, any, pointers to these for NULL, or a
// sql.Scanner.
func (r *Rows) Scan(dest ...any) error {
	if r.row == nil {
		return fault.New("scan", fault.Invalid, "there is no row: call Next, and look at what it returns")
	}
	if len(dest) != len(r.row) {
		return fault.New("scan", fault.Invalid, "the row has %d columns, %d places were given", len(r.row), len(dest))
	}
	for i, d := range dest {
		if err := scan.Assign(d, r.row[i]); err != nil {
			return fault.Wrap("scan", fault.Invalid, err, "column %d", i+1)
		}
	}
	return nil
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
	defer r.rows.Close() //nolint:errcheck // it never fails
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	return r.rows.Scan(dest...)
}

// Tx is a transaction of one tenant on the server. One that stands idle for
// too long, or whose credential is revoked, is rolled back. It may be used by
// one goroutine at a time.
type Tx struct {
	t    *Tenant
	id   string
	done bool
}

// Begin starts a transaction.
func (t *Tenant) Begin(ctx context.Context) (*Tx, error) {
	// One that was begun and lost is rolled back when it has stood idle.
	answer, err := call(ctx, t.c, reads, t.c.transactions.Begin, &v1.BeginRequest{Tenant: t.id.Uint64()})
	if err != nil {
		return nil, err
	}
	return &Tx{t: t, id: answer.GetTransaction()}, nil
}

// Exec runs SQL in the transaction. A statement that fails leaves the
// transaction as it was before it.
func (x *Tx) Exec(ctx context.Context, sql string, args ...any) (Result, error) {
	return x.t.exec(ctx, writes, x.id, sql, args)
}

// Query runs a statement in the transaction and returns its rows.
func (x *Tx) Query(ctx context.Context, sql string, args ...any) (*Rows, error) {
	return x.t.query(ctx, writes, x.id, sql, args)
}

// QueryRow runs a query of which only the first row is wanted.
func (x *Tx) QueryRow(ctx context.Context, sql string, args ...any) *Row {
	rows, err := x.Query(ctx, sql, args...)
	return &Row{rows, err}
}

// Append appends messages to an event stream in the transaction.
func (x *Tx) Append(ctx context.Context, stream string, messages ...Message) (Offset, error) {
	return x.t.append(ctx, writes, x.id, stream, messages)
}

// Commit makes the transaction durable: when it returns nil, it is. When the
// connection is lost the server is asked again what it came to.
func (x *Tx) Commit(ctx context.Context) (Result, error) {
	x.done = true
	answer, err := call(ctx, x.t.c, once, x.t.c.transactions.Commit, &v1.CommitRequest{Transaction: x.id})
	return toResult(answer.GetResult()), err
}

// rollbackTimeout bounds a rollback, which asks for no context.
const rollbackTimeout = 10 * time.Second

// Rollback undoes the transaction; after Commit it does nothing and returns
// Closed, so that it can be deferred.
func (x *Tx) Rollback() error {
	if x.done {
		return fault.New("transaction", fault.Closed, "the transaction has been committed or rolled back already")
	}
	x.done = true
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := call(ctx, x.t.c, reads, x.t.c.transactions.Rollback, &v1.RollbackRequest{Transaction: x.id})
	return err
}
