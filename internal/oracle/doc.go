// Package oracle runs SQL statements on a real PostgreSQL 15 and on Kimberlite,
// both over the wire, and compares what a client sees: rows in text form,
// names and type numbers of columns, types of parameters, command tags, the
// transaction's status, and the SQLSTATE of errors.
//
// The statements stand in testdata/*.slt with what PostgreSQL answers; how
// those files read is described in testdata/README.md. Where Kimberlite
// answers otherwise, the file says why, and docs/compatibility.md is made of
// that. A difference that nobody wrote down fails the test, and so does one
// that is gone. It is nothing but tests.
//
//	go test ./internal/oracle           # compare
//	go test ./internal/oracle -update   # record PostgreSQL's answers, write the page
package oracle
