package rpc

import (
	"context"

	"connectrpc.com/connect"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
	"kimberlite/internal/tenant"
)

type sqlService struct{ *door }

// Exec runs SQL.
func (s sqlService) Exec(ctx context.Context, r *v1.ExecRequest) (*v1.ExecResponse, error) {
	args := arguments(r.GetArgs(), r.GetNamedArgs())
	if r.GetTransaction() != "" {
		var result record.Result
		err := s.inTransaction(ctx, r.GetTenant(), r.GetTransaction(), func(x *tenant.Tx) (err error) {
			result, err = x.Exec(ctx, r.GetSql(), args)
			return err
		})
		return &v1.ExecResponse{Result: toResult(result)}, err
	}
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	rq, err := writeRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	result, err := t.Exec(ctx, rq, r.GetSql(), args)
	return &v1.ExecResponse{Result: toResult(result)}, err
}

// ExecBatch runs one statement with many sets of arguments.
func (s sqlService) ExecBatch(ctx context.Context, r *v1.ExecBatchRequest) (*v1.ExecBatchResponse, error) {
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	rq, err := writeRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	rows := make([][]any, len(r.GetRows()))
	for i, row := range r.GetRows() {
		rows[i] = fromRow(row.GetValues())
	}
	result, err := t.ExecBatch(ctx, rq, r.GetSql(), rows)
	return &v1.ExecBatchResponse{Result: toResult(result)}, err
}

// Query streams a statement's rows.
func (s sqlService) Query(ctx context.Context, r *v1.QueryRequest, stream *connect.ServerStream[v1.QueryResponse]) error {
	out := &rowStream{c: callOf(ctx), stream: stream}
	result, err := s.rows(ctx, r, out)
	if err != nil {
		return err
	}
	return out.end(result)
}

// QueryAll returns a statement's rows, up to a number.
func (s sqlService) QueryAll(ctx context.Context, r *v1.QueryAllRequest) (*v1.QueryAllResponse, error) {
	most, err := bounded("max_rows", r.GetMaxRows(), 1000, 10_000)
	if err != nil {
		return nil, err
	}
	out := &rowPage{most: most, answer: &v1.QueryAllResponse{}}
	result, err := s.rows(ctx, r, out)
	if err != nil {
		return nil, err
	}
	if result != nil {
		out.answer.Result = toResult(*result)
	}
	callOf(ctx).rows = int64(len(out.answer.GetRows()))
	return out.answer, nil
}

// queryRequest is what Query and QueryAll are asked with.
type queryRequest interface {
	keyed
	GetTenant() uint64
	GetSql() string
	GetArgs() []*v1.Value
	GetNamedArgs() map[string]*v1.Value
	GetTransaction() string
}

// rowSink takes the rows of a statement.
type rowSink interface {
	header(columns []*v1.Column) error
	// row takes one row; more says whether it wants another.
	row(values []any) (more bool, err error)
}

// rows gives the rows of a statement to a sink: from a snapshot when it only
// reads, once they are durable when it writes. The result is of a statement
// that wrote, or nil.
func (d *door) rows(ctx context.Context, r queryRequest, to rowSink) (*record.Result, error) {
	args := arguments(r.GetArgs(), r.GetNamedArgs())
	if r.GetTransaction() != "" {
		return nil, d.rowsInTransaction(ctx, r, args, to)
	}
	t, err := d.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	rq, err := writeRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	rows, err := t.Query(ctx, r.GetSql(), args)
	if err == nil {
		return nil, copyRows(rows, to)
	}
	if !fault.Is(err, fault.Unsupported) {
		return nil, err
	}
	if readOnly, checkErr := t.ReadOnly(ctx, r.GetSql()); readOnly || checkErr != nil {
		return nil, err
	}
	var held buffer
	result, err := t.QueryWrite(ctx, rq, r.GetSql(), args, held.reset, held.add)
	if err != nil {
		return nil, err
	}
	return &result, held.giveTo(to)
}

func (d *door) rowsInTransaction(ctx context.Context, r queryRequest, args []any, to rowSink) error {
	// The rows are held until the statement has ended, so that a slow reader
	// does not keep the transaction, nor a failed statement half its rows.
	var held buffer
	err := d.inTransaction(ctx, r.GetTenant(), r.GetTransaction(), func(x *tenant.Tx) error {
		_, err := x.Query(ctx, r.GetSql(), args, held.add)
		return err
	})
	if err != nil {
		return err
	}
	return held.giveTo(to)
}

func copyRows(rows *tenant.Rows, to rowSink) error {
	defer rows.Close()
	if err := to.header(toColumns(rows.Columns(), rows.DeclTypes())); err != nil {
		return err
	}
	for rows.Next() {
		more, err := to.row(tenant.Values(&rows.Row))
		if err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// buffer holds the rows of a statement that is not certain yet. Its size is
// bounded by the limits of a result and of a transaction.
type buffer struct {
	columns []*v1.Column
	rows    [][]any
}

func (b *buffer) reset() { *b = buffer{} }

func (b *buffer) add(row *projection.Row) error {
	if b.columns == nil {
		b.columns = toColumns(row.Columns(), row.DeclTypes())
	}
	b.rows = append(b.rows, tenant.Values(row))
	return nil
}

func (b *buffer) giveTo(to rowSink) error {
	if err := to.header(b.columns); err != nil {
		return err
	}
	for _, row := range b.rows {
		more, err := to.row(row)
		if err != nil || !more {
			return err
		}
	}
	return nil
}
