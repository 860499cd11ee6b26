// Package dialect turns PostgreSQL's SQL, as psql, drivers and ORMs send it,
// into SQLite's.
//
// It guarantees that what it accepts means in SQLite what it meant in
// PostgreSQL, with the types of parameters and result columns that PostgreSQL
// would tell; whatever it cannot translate so is refused with SQLSTATE 0A000,
// named, and with the place in the client's text. It is no security boundary:
// SQLite's compiler and authorizer are, and decide again over every text. It
// is pure: it knows nothing of connections and files, and never runs anything.
// It never hangs: texts, nesting and parameters are bounded.
//
// The PostgreSQL door calls it, once a statement.
//
// A statement is cut into tokens by PostgreSQL's rules (lexer.go), read into
// expressions and queries that know where they were written (parse_*.go), and
// translated with the schema at hand (expr.go and what it dispatches to): each
// expression becomes a value, which is SQLite's text and a type. A literal or a
// parameter has no type until what it is used with gives it one; the result
// columns of a query stay open for conversions until the query is written.
// Operators and functions that SQLite computes otherwise become calls of the
// functions in package sqlfunc.
package dialect
