package rpc

import (
	"connectrpc.com/connect"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/record"
)

// A message of rows holds so many at most, of about so many bytes.
const (
	messageRows  = 512
	messageBytes = 256 << 10
	// pageBytes bounds a QueryAll: it is held in memory whole.
	pageBytes = 8 << 20
)

// rowStream sends rows as they come, some at a time.
type rowStream struct {
	c      *call
	stream *connect.ServerStream[v1.QueryResponse]
	batch  []*v1.Row
	size   int
}

func (s *rowStream) header(columns []*v1.Column) error {
	return s.stream.Send(&v1.QueryResponse{Part: &v1.QueryResponse_Header_{Header: &v1.QueryResponse_Header{Columns: columns}}})
}

func (s *rowStream) row(values []any) (bool, error) {
	row, size := toRow(values)
	s.batch = append(s.batch, row)
	s.size += size
	if len(s.batch) < messageRows && s.size < messageBytes {
		return true, nil
	}
	return true, s.flush()
}

func (s *rowStream) flush() error {
	if len(s.batch) == 0 {
		return nil
	}
	err := s.stream.Send(&v1.QueryResponse{Part: &v1.QueryResponse_Rows_{Rows: &v1.QueryResponse_Rows{Rows: s.batch}}})
	s.c.rows += int64(len(s.batch))
	s.batch, s.size = nil, 0
	return err
}

// end sends what is left.
func (s *rowStream) end(result *record.Result) error {
	if err := s.flush(); err != nil || result == nil {
		return err
	}
	return s.stream.Send(&v1.QueryResponse{Part: &v1.QueryResponse_Result{Result: toResult(*result)}})
}

// rowPage keeps rows up to a number, and says that there were more.
type rowPage struct {
	most   int
	size   int
	answer *v1.QueryAllResponse
}

func (p *rowPage) header(columns []*v1.Column) error {
	p.answer.Columns = columns
	return nil
}

func (p *rowPage) row(values []any) (bool, error) {
	if len(p.answer.Rows) == p.most || p.size >= pageBytes {
		p.answer.Truncated = true
		return false, nil
	}
	row, size := toRow(values)
	p.answer.Rows = append(p.answer.Rows, row)
	p.size += size
	return true, nil
}
