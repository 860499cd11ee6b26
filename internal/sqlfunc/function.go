// Package sqlfunc is the SQL functions that PostgreSQL has, SQLite has not,
// and translated statements call.
//
// It guarantees that a function's answer depends on its arguments and its
// Context alone, and that its errors are *fault.Error with an SQLSTATE and
// without the arguments. It is pure: clock and chance come with the Context.
// The projection registers what is listed here on each of its connections;
// the dialect knows the names, the numbers of arguments and their types.
package sqlfunc

import (
	"io"
	"sync"
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

// Functions returns the scalar functions. The list is shared: it is not to be
// changed.
func Functions() []Function { return functions() }

// Aggregates returns the aggregate functions. The list is shared: it is not to
// be changed.
func Aggregates() []Aggregate { return aggregates() }

var functions = sync.OnceValue(func() []Function {
	var all []Function
	for _, list := range [][]Function{
		castFunctions(), numberFunctions(), numericFunctions(), mathFunctions(), textFunctions(), codingFunctions(),
		patternFunctions(), timeFunctions(), clockFunctions(), intervalFunctions(), timeTextFunctions(),
		arrayFunctions(), jsonFunctions(), jsonChangeFunctions(), jsonBuildFunctions(), otherFunctions(),
	} {
		all = append(all, list...)
	}
	return all
})

// call is a function's body when no argument is NULL.
type call func(args []any) (any, error)

// strict makes a deterministic function that answers NULL when any argument is
// NULL.
func strict(name string, args int, fn call) Function {
	return Function{Name: name, Args: args, Deterministic: true, Call: func(_ Context, args []any) (any, error) {
		for _, a := range args {
			if a == nil {
				return nil, nil //nolint:nilnil // NULL
			}
		}
		return fn(args)
	}}
}

// loose makes a deterministic function that sees NULLs.
func loose(name string, args int, fn call) Function {
	return Function{Name: name, Args: args, Deterministic: true, Call: func(_ Context, args []any) (any, error) { return fn(args) }}
}

// times makes one function for each number of arguments.
func times(f Function, counts ...int) []Function {
	list := make([]Function, len(counts))
	for i, n := range counts {
		f.Args = n
		list[i] = f
	}
	return list
}
