package pgwire

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
)

// Why a statement's context was cancelled: causes that end in an answer of
// their own.
var (
	errUserCancel       = fault.New("statement", fault.Canceled, "canceling statement due to user request")
	errStatementTimeout = fault.New("statement", fault.Timeout, "canceling statement due to statement timeout")
)

// response returns the message for an error. err is never nil.
func response(severity string, err error) *pgproto3.ErrorResponse {
	m := &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity,
		Code: fault.StateOf(err), Routine: fault.KindOf(err).Code(),
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		// An error that nobody has classified may quote anything.
		m.Message = "internal error: see the server's log"
		return m
	}
	m.Message = message(e)
	m.Hint = e.Hint
	m.TableName, m.ColumnName, m.ConstraintName = e.Table, e.Column, e.Constraint
	if e.Table != "" {
		m.SchemaName = "public"
	}
	if p := position(e); p > 0 {
		m.Position = int32(min(p, 1<<31-1)) //nolint:gosec // bounded
	}
	if q := quotaOf(err); q != nil && m.Hint == "" {
		m.Hint = quotaHint(q)
	}
	return m
}

// message is the text of an error and its causes, without the operation: what
// PostgreSQL clients show after "ERROR:".
func message(e *fault.Error) string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.File != "" {
		fmt.Fprintf(&b, " (%s at byte %d)", e.File, e.Position)
	}
	var cause *fault.Error
	if errors.As(e.Err, &cause) && cause.Message != "" {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(message(cause))
	}
	if b.Len() == 0 {
		return e.Kind.String()
	}
	return b.String()
}

// position returns the place in the client's text that the error or one of
// its causes names, or 0.
func position(e *fault.Error) int64 {
	for e != nil {
		if e.File == "" && e.Position > 0 {
			return e.Position
		}
		var cause *fault.Error
		if !errors.As(e.Err, &cause) {
			return 0
		}
		e = cause
	}
	return 0
}

func quotaOf(err error) *fault.Quota {
	var e *fault.Error
	for errors.As(err, &e) {
		if e.Quota != nil {
			return e.Quota
		}
		err = e.Err
	}
	return nil
}

// quotaHint says in words what a refused quota's numbers are.
func quotaHint(q *fault.Quota) string {
	s := fmt.Sprintf("%s is %d, in use %d.", q.Limit, q.Value, q.Usage)
	if q.RetryAfter > 0 {
		return s + fmt.Sprintf(" Try again in %s.", q.RetryAfter)
	}
	return s + " Waiting does not help: free some, or have the limit raised."
}

// notice returns a NOTICE or WARNING.
func notice(severity, state, text string) *pgproto3.NoticeResponse {
	return &pgproto3.NoticeResponse{Severity: severity, SeverityUnlocalized: severity, Code: state, Message: text}
}

// because replaces the error of a statement whose context ended by the reason
// why it ended, if that is one of ours.
func because(ctx context.Context, err error) error {
	if ctx.Err() == nil || err == nil {
		return err
	}
	if k := fault.KindOf(err); k != fault.Canceled && k != fault.Timeout {
		return err
	}
	var cause *fault.Error
	if errors.As(context.Cause(ctx), &cause) {
		return cause
	}
	return err
}
