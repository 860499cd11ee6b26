package fault

import (
	"errors"

	"kimberlite/internal/ident"
)

// WithState returns e with a more specific SQLSTATE than its kind's.
func (e *Error) WithState(state string) *Error {
	c := *e
	c.State = state
	return &c
}

// WithPosition returns e with the 1-based character in the client's text that
// it is about. It is for errors without a File.
func (e *Error) WithPosition(character int) *Error {
	c := *e
	c.Position = int64(character)
	return &c
}

// WithHint returns e with a hint of what to do instead.
func (e *Error) WithHint(hint string) *Error {
	c := *e
	c.Hint = hint
	return &c
}

// WithLeader returns e with the node to ask instead.
func (e *Error) WithLeader(node ident.NodeID) *Error {
	c := *e
	c.Leader = node
	return &c
}

// WithConstraint returns e with the names of what a row broke, each "" when
// it is not known.
func (e *Error) WithConstraint(table, column, constraint string) *Error {
	c := *e
	c.Table, c.Column, c.Constraint = table, column, constraint
	return &c
}

// StateOf returns the SQLSTATE that a PostgreSQL client is told: the most
// specific one in err's chain, or else that of KindOf(err). It panics on nil.
func StateOf(err error) string {
	kind := KindOf(err)
	for next := err; next != nil; {
		var e *Error
		if !errors.As(next, &e) {
			break
		}
		if e.State != "" {
			return e.State
		}
		next = e.Err
	}
	return kind.SQLState()
}
