// Package sqlfunc is the SQL functions that PostgreSQL has, SQLite has not,
// and translated statements call.
//
// It guarantees that a function's answer depends on its arguments and its
// Context alone, and that its errors are *fault.Error with an SQLSTATE and
// without the arguments. It is pure: clock and chance come with the Context.
// The projection registers what is listed here on each of its connections.
package sqlfunc

import (
	"io"
	"time"
)

// Context is what a function may know besides its arguments.
type Context struct {
	// Now is the time of the transaction.
	Now time.Time
	// Random yields random bytes that nobody can foresee.
	Random io.Reader
}

// Function is a scalar function.
type Function struct {
	Name string
	// Args is the number of arguments, -1 for any.
	Args int
	// Deterministic says that equal arguments give equal answers.
	Deterministic bool
	// Call answers. Arguments and answer are nil, int64, float64, string or
	// []byte; args are not kept.
	Call func(c Context, args []any) (any, error)
}

// Accumulator is an aggregate over the rows of one group.
type Accumulator interface {
	// Step takes one row's arguments.
	Step(args []any) error
	// Final answers.
	Final() (any, error)
}

// Aggregate is an aggregate function.
type Aggregate struct {
	Name string
	// Args is the number of arguments, -1 for any.
	Args int
	// New begins a group.
	New func() Accumulator
}

// Functions returns the scalar functions.
func Functions() []Function { return nil }

// Aggregates returns the aggregate functions.
func Aggregates() []Aggregate { return nil }
