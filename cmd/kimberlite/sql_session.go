package main

import (
	"context"
	"errors"
	"strings"

	"kimberlite"
	"kimberlite/internal/fault"
)

// sqlTenant runs SQL for one tenant.
type sqlTenant interface {
	Exec(ctx context.Context, sql string, args ...any) (kimberlite.Result, error)
	ExecBatch(ctx context.Context, sql string, rows [][]any) (kimberlite.Result, error)
	query(ctx context.Context, sql string, args ...any) (resultRows, error)
	begin(ctx context.Context) (sqlTransaction, error)
}

// sqlTransaction is a transaction of one tenant.
type sqlTransaction interface {
	Exec(ctx context.Context, sql string, args ...any) (kimberlite.Result, error)
	query(ctx context.Context, sql string, args ...any) (resultRows, error)
	Commit(ctx context.Context) (kimberlite.Result, error)
	Rollback() error
}

// resultRows are the rows of a query. They are for one goroutine, and hold
// something of the database until Close, or until Next returned false.
type resultRows interface {
	Columns() []string
	Next() bool
	Values() []any
	Err() error
	Close() error
}

// shellTenant is what a session needs of a tenant.
type shellTenant interface {
	sqlTenant
	Streams(ctx context.Context) ([]kimberlite.StreamInfo, error)
	info(ctx context.Context) (kimberlite.TenantInfo, error)
}

// session runs statements for one tenant, one after another, inside a
// transaction when BEGIN has started one.
type session struct {
	t   shellTenant
	out printer
	tx  sqlTransaction
}

// run runs one statement and prints its result.
func (s *session) run(ctx context.Context, st statement) error {
	if st.text == "" {
		return errTooLong()
	}
	switch st.control() {
	case begin:
		return s.begin(ctx)
	case commit:
		return s.commit(ctx)
	case rollback:
		return s.rollback()
	}
	if st.returns {
		return s.query(ctx, st.text)
	}
	return s.exec(ctx, st)
}

func (s *session) begin(ctx context.Context) error {
	if s.tx != nil {
		return fault.New("sql", fault.SQL, "a transaction has begun already: COMMIT or ROLLBACK it first")
	}
	tx, err := s.t.begin(ctx)
	if err != nil {
		return err
	}
	s.tx = tx
	return s.out.done("BEGIN", nil)
}

func (s *session) commit(ctx context.Context) error {
	if s.tx == nil {
		return errNoTransaction("COMMIT")
	}
	_, err := s.tx.Commit(ctx)
	s.tx = nil
	if err != nil {
		return err
	}
	return s.out.done("COMMIT", nil)
}

func (s *session) rollback() error {
	if s.tx == nil {
		return errNoTransaction("ROLLBACK")
	}
	err := s.tx.Rollback()
	s.tx = nil
	if err != nil {
		return err
	}
	return s.out.done("ROLLBACK", nil)
}

func errNoTransaction(word string) error {
	return fault.New("sql", fault.SQL, "%s without a transaction: BEGIN starts one", word)
}

func (s *session) query(ctx context.Context, sql string) error {
	query := s.t.query
	if s.tx != nil {
		query = s.tx.query
	}
	rows, err := query(ctx, sql)
	if err != nil {
		return err
	}
	err = s.out.rows(rows)
	return errors.Join(err, rows.Close())
}

func (s *session) exec(ctx context.Context, st statement) error {
	exec := s.t.Exec
	if s.tx != nil {
		exec = s.tx.Exec
	}
	result, err := exec(ctx, st.text)
	if err != nil {
		return err
	}
	return s.out.done(st.words[0], &result)
}

// abandon rolls back what was begun and not committed. An error that was
// there before is told of it; without one it is an error of its own.
func (s *session) abandon(err error) error {
	if s.tx == nil {
		return err
	}
	back := s.tx.Rollback()
	s.tx = nil
	if fault.Is(back, fault.Closed) || fault.Is(back, fault.Timeout) {
		back = nil // it was rolled back before
	}
	if err == nil {
		err = fault.New("sql", fault.SQL, "the transaction was not committed: it was rolled back")
	} else {
		err = alsoSay(err, "the transaction was rolled back")
	}
	return errors.Join(err, back)
}

// alsoSay adds to an error's message and keeps all else of it.
func alsoSay(err error, format string) error {
	var e *fault.Error
	if !errors.As(err, &e) {
		return errors.Join(err, errors.New(format))
	}
	c := *e
	c.Message = strings.TrimRight(c.Message, ".") + "; " + format
	return &c
}
