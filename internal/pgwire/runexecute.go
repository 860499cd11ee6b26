package pgwire

import (
	"context"
	"strings"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/sqltype"
	"kimberlite/internal/tenant"
)

// runExplain shows how SQLite goes about a statement.
func (s *session) runExplain(ctx context.Context, p *plan, args []any, w *rowWriter) (outcome, error) {
	sql := p.st.SQL
	if !strings.HasPrefix(strings.ToUpper(sql), "EXPLAIN") {
		sql = "EXPLAIN QUERY PLAN " + sql
	}
	show := func(row *projection.Row) error { return w.values(row.Text(row.Len() - 1)) }
	if s.tx.open() {
		tx, err := s.enter(ctx)
		if err != nil {
			return outcome{}, err
		}
		if _, err := tx.Query(ctx, sql, args, show); err != nil {
			return outcome{}, err
		}
		return outcome{"EXPLAIN", -1}, w.begin()
	}
	rows, err := s.tenant.Query(ctx, sql, args)
	if err != nil {
		return outcome{}, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := show(&rows.Row); err != nil {
			return outcome{}, err
		}
	}
	if err := rows.Err(); err != nil {
		return outcome{}, err
	}
	return outcome{"EXPLAIN", -1}, w.begin()
}

// runExecute runs EXECUTE of a prepared statement.
func (s *session) runExecute(ctx context.Context, st *dialect.Statement, w *rowWriter) (outcome, error) {
	target, ok := s.plans.named[st.Name]
	if !ok {
		return outcome{}, errNoStatement(st.Name)
	}
	p, err := s.renewed(ctx, target)
	if err != nil {
		return outcome{}, err
	}
	args, err := s.executeArguments(ctx, st, p.params)
	if err != nil {
		return outcome{}, err
	}
	w.columns = p.columns
	return s.run(ctx, p, args, w)
}

// executeArguments computes the arguments of EXECUTE.
func (s *session) executeArguments(ctx context.Context, st *dialect.Statement, params []sqltype.Type) ([]any, error) {
	if st.Arguments == "" {
		if len(params) > 0 {
			return nil, fault.New("sql", fault.SQL, "wrong number of parameters for prepared statement %q: expected %d", st.Name, len(params)).WithState("42601")
		}
		return nil, nil
	}
	var values []any
	rows, err := s.tenant.Query(ctx, st.Arguments, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		values = tenant.Values(&rows.Row)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(values) != len(params) {
		return nil, fault.New("sql", fault.SQL, "wrong number of parameters for prepared statement %q: expected %d, got %d", st.Name, len(params), len(values)).WithState("42601")
	}
	for i, v := range values {
		if v == nil {
			continue
		}
		if values[i], err = params[i].Cast(v); err != nil {
			return nil, err
		}
	}
	return values, nil
}
