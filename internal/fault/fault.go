// Package fault is the one error type of Kimberlite: an operation, a kind from
// a closed list, the tenant it happened to, a message and a cause.
//
// It guarantees one table from kinds to exit statuses, SQLSTATEs and RPC
// codes, and that errors.Is and errors.As see through it. It must not know
// about any other part of Kimberlite but identifiers. A message says what was
// wrong and what to do; it never holds row data, key material or a secret:
// whoever builds the error answers for that.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kimberlite/internal/ident"
)

// Error is a failure of Kimberlite.
type Error struct {
	// Op is what was being done, in a word or two, such as "tenant create".
	Op string
	// Kind is the sort of failure.
	Kind Kind
	// Tenant is whom it happened to; zero when it is nobody's.
	Tenant ident.TenantID
	// Message says what was wrong and what to do.
	Message string
	// Err is the cause, or nil.
	Err error
	// Quota holds the numbers of a refused quota, or nil.
	Quota *Quota
	// File and Position name the place of a Corruption, Position being the
	// byte in File. Without a File, Position is the 1-based character in the
	// client's text that the error is about; 0 says that it is not known.
	File     string
	Position int64
	// State is a more specific SQLSTATE than the kind's, or "".
	State string
	// Hint says what the client could do instead, or "".
	Hint string
	// Table, Column and Constraint name what a refused row broke, where it is
	// known; "" otherwise. They are names of the tenant's schema, never data.
	Table, Column, Constraint string
	// Leader is the node to ask instead when the error is Misrouted, zero when
	// it is not known.
	Leader ident.NodeID
}

// Quota is what a refused quota says of itself.
type Quota struct {
	// Limit names the limit: max_log_size, max_projections, max_ops_per_sec
	// or max_concurrent_ops.
	Limit string
	// Value is the limit in force and Usage what is used, in the limit's unit
	// (bytes, operations per second, operations).
	Value, Usage int64
	// RetryAfter is when trying again can succeed; 0 says that waiting does
	// not help.
	RetryAfter time.Duration
}

// New returns an error of a kind; format and args make its message.
func New(op string, kind Kind, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of a kind that carries a cause. The cause's text is
// part of the error's text.
func Wrap(op string, kind Kind, err error, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// Corrupt returns a Corruption that names the file and the byte position.
func Corrupt(op, file string, position int64, format string, args ...any) *Error {
	return &Error{Op: op, Kind: Corruption, Message: fmt.Sprintf(format, args...), File: file, Position: position}
}

// ForTenant returns e with its tenant set.
func (e *Error) ForTenant(id ident.TenantID) *Error {
	c := *e
	c.Tenant = id
	return &c
}

// Error returns operation, message, place and cause in one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteString(": ")
	}
	if e.Message != "" {
		b.WriteString(e.Message)
	} else {
		b.WriteString(e.Kind.String())
	}
	if e.File != "" {
		fmt.Fprintf(&b, " (file %s, offset %d)", e.File, e.Position)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same kind with no other
// field set, so that errors.Is(err, &fault.Error{Kind: fault.NotFound}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Op == "" && t.Message == "" && t.Err == nil && t.Tenant.IsZero()
}

// KindOf returns the kind of the first *Error in err's chain. A context's end
// counts as Canceled or Timeout, anything else as Internal. It panics on nil.
func KindOf(err error) Kind {
	if err == nil {
		panic("fault: KindOf(nil)")
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}

// Is reports whether err is, or wraps, an *Error of kind.
func Is(err error, kind Kind) bool {
	return err != nil && KindOf(err) == kind
}

// OfContext returns the error for a context that ended before anything took
// effect: Canceled or Timeout.
func OfContext(op string, ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Wrap(op, Timeout, ctx.Err(), "the deadline passed before it took effect")
	}
	return Wrap(op, Canceled, ctx.Err(), "canceled before it took effect")
}
