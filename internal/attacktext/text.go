package attacktext

import (
	"database/sql"
	"strings"

	"kimberlite/internal/fault"
)

// Text returns statements that try to smuggle a statement past the rules by its text: stacked,
// hidden, in odd bytes, as a transaction of its own, or by its parameters.
func Text() []Statement {
	denied, unsupported := Kinds(fault.Denied), Kinds(fault.Unsupported)
	invalid, malformed := Kinds(fault.Invalid), Kinds(fault.SQL)
	// A second statement is refused by a query for being a second one.
	stacked := Kinds(fault.Denied, fault.Invalid)
	return []Statement{
		{"stacked attach", `SELECT 1; ATTACH 'k2leak' AS x`, nil, stacked},
		{"stacked behind a comment", "SELECT 1 /* ; */ -- ;\n; PRAGMA writable_schema=1", nil, stacked},
		{"stacked behind a string", `SELECT ';'; DELETE FROM _kimberlite_meta`, nil, stacked},
		{"stacked behind a broken comment", "SELECT 1; /* ATTACH 'x' AS x", nil, AnyKind},
		{"stacked with arguments", `INSERT INTO own(secret) VALUES(?); DROP TABLE own`, []any{"x"}, invalid},
		{"stacked and half right", `INSERT INTO own(secret) VALUES('half'); SELECT * FROM nowhere`, nil, Kinds(fault.SQL, fault.Invalid)},
		{"stacked without a space", `SELECT 1;SELECT 2;DETACH main`, nil, stacked},
		{"a tail of nothing", "SELECT 1;;; -- nothing\n/* */ ;", nil, Succeeds},
		{"a tail that does not parse", `SELECT 1; '`, nil, Kinds(fault.SQL, fault.Invalid)},
		{"a NUL byte at the end", "SELECT 1\x00", nil, invalid},
		{"a NUL byte before a second statement", "SELECT 1;\x00 ATTACH 'x' AS y", nil, invalid},
		{"a NUL byte in a string", "SELECT 'a\x00b'", nil, invalid},
		{"a NUL byte in a name", "SELECT * FROM \"own\x00\"", nil, invalid},
		{"nothing but a NUL byte", "\x00", nil, invalid},
		{"invalid UTF-8 in a name", "SELECT * FROM \"\xff\xfe\"", nil, malformed},
		{"invalid UTF-8 in a string", "SELECT '\xc3\x28', hex('\xf0\x28\x8c\x28')", nil, Succeeds},
		{"invalid UTF-8 as a keyword", "\xc3\x28\xa0\xa1", nil, malformed},
		{"an overlong form of a quote", "SELECT '\xc0\xa7; ATTACH ''x'' AS y'", nil, Succeeds},
		{"a byte order mark in the middle", "SELECT\ufeff1", nil, AnyKind},
		{"a separator of lines in Unicode", "SELECT 1\u2028; ATTACH 'x' AS y", nil, Kinds(fault.SQL, fault.Denied, fault.Invalid)},
		{"text that turns around", "SELECT '\u202e' AS \"\u202e\"", nil, Succeeds},
		{"no statement", ``, nil, AnyKind},
		{"nothing but a comment", `/* nothing */`, nil, AnyKind},
		{"an open string", `SELECT 'x`, nil, malformed},
		{"an open comment", `SELECT 1 /* x`, nil, AnyKind},
		{"a backslash", `SELECT '\'; ATTACH 'x' AS y --'`, nil, stacked},
		{"a name in double quotes that is a string", `SELECT "secretly"`, nil, malformed},
		{"explain", `EXPLAIN SELECT * FROM own`, nil, Succeeds},
		{"explain of the plan", `EXPLAIN QUERY PLAN SELECT * FROM own, kimberlite.events`, nil, Succeeds},
		{"explain of a change", `EXPLAIN DELETE FROM own`, nil, Succeeds},

		{"begin", `BEGIN`, nil, unsupported},
		{"begin exclusive", `BEGIN EXCLUSIVE TRANSACTION`, nil, unsupported},
		{"begin concurrent", `BEGIN CONCURRENT`, nil, unsupported},
		{"commit", `COMMIT`, nil, unsupported},
		{"end", `END TRANSACTION`, nil, unsupported},
		{"rollback", `ROLLBACK`, nil, unsupported},
		{"savepoint", `SAVEPOINT x`, nil, unsupported},
		{"release of our savepoint", `RELEASE txn`, nil, unsupported},
		{"release of a statement's savepoint", `RELEASE SAVEPOINT "statement"`, nil, unsupported},
		{"rollback to our savepoint", `ROLLBACK TRANSACTION TO SAVEPOINT txn`, nil, unsupported},
		{"a commit in the middle", `INSERT INTO own(secret) VALUES('half'); COMMIT; INSERT INTO own(secret) VALUES('half')`, nil, Kinds(fault.Unsupported, fault.Invalid)},
		{"insert or rollback", `INSERT OR ROLLBACK INTO own(secret) SELECT secret FROM own`, nil, Kinds(fault.Constraint)},
		{"insert or fail", `INSERT OR FAIL INTO own(secret) SELECT secret FROM own`, nil, Kinds(fault.Constraint)},
		{"insert or abort", `INSERT INTO own(secret, n) SELECT secret || 'x', 1000 FROM own`, nil, Kinds(fault.Constraint)},
		{"an error in the middle of many rows", `INSERT INTO own(n) SELECT value FROM generate_series(990, 1010)`, nil, Kinds(fault.Constraint)},
		{"raise", `SELECT RAISE(ROLLBACK, 'x')`, nil, malformed},
		{"returning everything", `UPDATE own SET n = 1 RETURNING *, (SELECT group_concat(secret) FROM own)`, nil, Succeeds},
		{"returning our own", `UPDATE own SET n = 1 RETURNING (SELECT count(*) FROM _kimberlite_meta)`, nil, denied},
		{"returning from what is not changed", `DELETE FROM own WHERE 0 RETURNING *`, nil, Succeeds},
		{"returning a call", `UPDATE own SET n = 1 RETURNING load_extension('x')`, nil, Kinds(fault.Denied, fault.SQL)},
		{"update or replace", `UPDATE OR REPLACE own SET secret = secret, n = n`, nil, Succeeds},
		{"create table as everything", `CREATE TABLE copied AS SELECT * FROM own, sqlite_schema; DROP TABLE copied`, nil, AnyKind},

		{"too few arguments", `SELECT ?, ?`, []any{1}, invalid},
		{"too many arguments", `SELECT ?`, []any{1, 2}, invalid},
		{"arguments without parameters", `SELECT 1`, []any{1}, invalid},
		{"a parameter without arguments", `SELECT ?1`, nil, invalid},
		{"dollar parameters out of order", `SELECT $2, $1, $2`, []any{"a", "b"}, Succeeds},
		{"a dollar parameter left out", `SELECT $3`, []any{1}, invalid},
		{"mixed kinds of parameters", `SELECT $1, ?`, []any{1, 2}, invalid},
		{"mixed kinds of names", `SELECT $1, :a`, []any{1, sql.Named("a", 1)}, invalid},
		{"a parameter of zero", `SELECT ?0`, []any{1}, Kinds(fault.TooLarge, fault.SQL)},
		{"a parameter beyond all", `SELECT ?32767`, []any{1}, Kinds(fault.TooLarge)},
		{"a dollar parameter beyond all", `SELECT $99999999999999999999`, []any{1}, invalid},
		{"a named argument for a plain parameter", `SELECT ?`, []any{sql.Named("a", 1)}, invalid},
		{"a name that is not there", `SELECT :a`, []any{sql.Named("b", 1)}, invalid},
		{"a name too many", `SELECT :a`, []any{sql.Named("a", 1), sql.Named("b", 1)}, invalid},
		{"a TCL name", `SELECT $a::b(c)`, []any{sql.Named("a::b(c)", 1)}, AnyKind},
		{"SQL in an argument", `SELECT * FROM own WHERE secret = ?`, []any{"' OR 1=1; ATTACH 'x' AS y --"}, Succeeds},
		{"a NUL byte in an argument", `SELECT ?, length(?)`, []any{"a\x00b", "a\x00b"}, Succeeds},
		{"invalid UTF-8 in an argument", `SELECT ?, upper(?)`, []any{"\xff\xfe", "\xc3\x28"}, Succeeds},
		{"an argument that is no value", `SELECT ?`, []any{struct{ A int }{1}}, invalid},
		{"an argument that is a channel", `SELECT ?`, []any{make(chan int)}, invalid},
		{"an argument that is a pointer", `SELECT ?`, []any{new(int)}, invalid},
		{"an argument that is too large an integer", `SELECT ?`, []any{uint64(1 << 63)}, invalid},
		{"an argument that asks for itself", `SELECT ?`, []any{asksItself{}}, invalid},
		{"an argument that panics", `SELECT ?`, []any{(*panics)(nil)}, invalid},
		{"an argument that is no pointer to anything", `SELECT ?`, []any{(*asksItself)(nil)}, Succeeds},
		{"an argument that is too long", `SELECT length(?)`, []any{strings.Repeat("x", 17<<20)}, Kinds(fault.TooLarge)},
		{"a parameter for a table", `SELECT * FROM ?`, []any{"own"}, malformed},
	}
}
