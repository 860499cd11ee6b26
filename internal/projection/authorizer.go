package projection

import (
	"strings"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

// authMode says whose statements are being compiled.
type authMode uint8

const (
	// client statements keep to the allow-list.
	client authMode = iota
	// replay is the schema text of our log: a client's rules, but for the
	// counters of AUTOINCREMENT, which events set.
	replay
	// ourselves are the constants of this package.
	ourselves
)

// systemSchema is the attached schema that holds the system tables.
const systemSchema = "kimberlite"

// authorizer is SQLite's authorizer of one connection: an allow-list of what
// a statement may do, asked by SQLite's compiler for each act. It also notes
// what the statement is going to do.
type authorizer struct {
	mode authMode
	info stmtInfo
	// access is that of the client whose statement is compiled or runs:
	// SQLite may compile a statement anew while it runs.
	access Access
	// isTable says whether the tenant has a table of a name.
	isTable func(name string) bool
}

// stmtInfo is what the compiler said of a statement.
type stmtInfo struct {
	// ddl says that the statement changes the schema.
	ddl bool
	// alter and index say that it is ALTER TABLE or CREATE INDEX, which make
	// SQLite act on its own in ways that a client may not.
	alter, index bool
	// made is the last name that was defined.
	made string
	// change and object say what the first change of the schema is, such as
	// "create table", and of what.
	change, object string
	// schemaWrite says that a schema table is written.
	schemaWrite bool
	// inserts says that rows are inserted.
	inserts bool
	// once says that the statement is not worth keeping.
	once bool
	// writes are the tables whose rows change, those of triggers and foreign
	// keys included.
	writes []string
	// draws says that one of writingFunctions was met.
	draws bool
	// needs are the rights that the statement takes.
	needs  Right
	denied *fault.Error
}

// begin starts notes on a new statement.
func (a *authorizer) begin() { a.info = stmtInfo{} }

// takeDenied returns the refusal that made SQLite fail, and forgets it.
func (a *authorizer) takeDenied() *fault.Error {
	d := a.info.denied
	a.info.denied = nil
	return d
}

// check looks at the statement as a whole, once it is compiled.
func (i *stmtInfo) check() *fault.Error {
	if i.denied != nil {
		return i.denied
	}
	if i.schemaWrite && !i.ddl {
		return fault.New("sql", fault.Denied, "the schema's own tables cannot be written: use CREATE, ALTER and DROP")
	}
	return nil
}

// deny refuses an act with a reason.
func (a *authorizer) deny(kind fault.Kind, format string, args ...any) sqlite3.AuthorizerReturnCode {
	if a.info.denied == nil {
		a.info.denied = fault.New("sql", kind, format, args...)
	}
	return sqlite3.AUTH_DENY
}

// authorize is SQLite's callback. third, fourth, schema and inner are as
// SQLite documents them for each action.
func (a *authorizer) authorize(action sqlite3.AuthorizerActionCode, third, fourth, schema, inner string) sqlite3.AuthorizerReturnCode {
	if a.mode == ourselves {
		return sqlite3.AUTH_OK
	}
	if a.mode == client {
		if refused := a.permit(a.rightOf(action, third, fourth, schema)); refused != nil {
			if a.info.denied == nil {
				a.info.denied = refused
			}
			return sqlite3.AUTH_DENY
		}
	}
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_RECURSIVE:
		return sqlite3.AUTH_OK
	case sqlite3.AUTH_READ:
		return a.read(third)
	case sqlite3.AUTH_FUNCTION:
		return a.function(fourth)
	case sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE:
		a.info.inserts = a.info.inserts || action == sqlite3.AUTH_INSERT
		return a.write(third, schema)
	case sqlite3.AUTH_PRAGMA:
		return a.pragma(third, fourth)
	case sqlite3.AUTH_TRANSACTION, sqlite3.AUTH_SAVEPOINT:
		return a.deny(fault.Unsupported, "%s is not run as a statement: use Begin, Commit and Rollback of the client", transactionWord(action, third))
	case sqlite3.AUTH_ATTACH, sqlite3.AUTH_DETACH:
		return a.deny(fault.Denied, "ATTACH, DETACH and VACUUM are not allowed: a connection has one tenant's tables and no others")
	case sqlite3.AUTH_ANALYZE:
		return a.deny(fault.Unsupported, "ANALYZE is not offered: the planner works without statistics")
	case sqlite3.AUTH_REINDEX:
		if a.info.index {
			return sqlite3.AUTH_OK // part of CREATE INDEX
		}
		return a.deny(fault.Unsupported, "REINDEX is not offered: indexes are always in step with their tables")
	}
	return a.define(action, third, fourth, schema)
}

func transactionWord(action sqlite3.AuthorizerActionCode, operation string) string {
	if action == sqlite3.AUTH_SAVEPOINT {
		return "SAVEPOINT"
	}
	return operation
}

// define rules on CREATE, DROP and ALTER.
func (a *authorizer) define(action sqlite3.AuthorizerActionCode, third, fourth, schema string) sqlite3.AuthorizerReturnCode {
	a.noteChange(action, third, fourth)
	switch action {
	case sqlite3.AUTH_CREATE_TABLE, sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_CREATE_VIEW, sqlite3.AUTH_DROP_VIEW:
		return a.defineNamed(schema, third)
	case sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_DROP_INDEX, sqlite3.AUTH_CREATE_TRIGGER, sqlite3.AUTH_DROP_TRIGGER:
		a.info.index = action == sqlite3.AUTH_CREATE_INDEX
		if strings.HasPrefix(third, "sqlite_autoindex_") { // of a UNIQUE or PRIMARY KEY in CREATE TABLE
			third = ""
		}
		return a.defineNamed(schema, third, fourth)
	case sqlite3.AUTH_ALTER_TABLE:
		a.info.alter = true
		return a.defineNamed(third, fourth)
	case sqlite3.AUTH_CREATE_TEMP_INDEX, sqlite3.AUTH_CREATE_TEMP_TABLE, sqlite3.AUTH_CREATE_TEMP_TRIGGER, sqlite3.AUTH_CREATE_TEMP_VIEW,
		sqlite3.AUTH_DROP_TEMP_INDEX, sqlite3.AUTH_DROP_TEMP_TABLE, sqlite3.AUTH_DROP_TEMP_TRIGGER, sqlite3.AUTH_DROP_TEMP_VIEW:
		return a.deny(fault.Unsupported, "temporary tables, views, indexes and triggers are not offered: use WITH")
	case sqlite3.AUTH_CREATE_VTABLE, sqlite3.AUTH_DROP_VTABLE:
		return a.deny(fault.Unsupported, "virtual tables are not offered")
	}
	return a.deny(fault.Denied, "the statement does what is not on the list of allowed acts")
}

func (a *authorizer) defineNamed(schema string, names ...string) sqlite3.AuthorizerReturnCode {
	a.info.ddl = true
	if schema != "main" {
		return a.deny(fault.Denied, "schema %q cannot be changed", schema)
	}
	for _, name := range names {
		if name == "sqlite_sequence" && a.info.made != "" {
			continue // comes into being with the first AUTOINCREMENT table
		}
		a.info.made = name
		if err := checkName(name); err != nil {
			a.info.denied = err
			return sqlite3.AUTH_DENY
		}
	}
	return sqlite3.AUTH_OK
}

// write rules on changing rows.
func (a *authorizer) write(table, schema string) sqlite3.AuthorizerReturnCode {
	switch {
	case table == "sqlite_master" || table == "sqlite_temp_master":
		// SQLite itself refuses a client's own statement on these, and check
		// refuses it once more; in CREATE, ALTER and DROP they are written.
		a.info.schemaWrite = true
		return sqlite3.AUTH_OK
	case table == "sqlite_sequence" && a.mode == replay:
		return sqlite3.AUTH_OK
	case table == "sqlite_sequence" && a.info.ddl:
		return sqlite3.AUTH_OK // DROP TABLE and ALTER TABLE keep it in step
	case schema != "main":
		return a.deny(fault.Denied, "tables of schema %q are read only", schema)
	}
	if err := checkName(table); err != nil {
		return a.deny(fault.Denied, "table %q is written by Kimberlite only", table)
	}
	a.info.writes = appendNew(a.info.writes, table)
	return sqlite3.AUTH_OK
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// readableSystemTables are the tables of SQLite that a client may read.
var readableSystemTables = map[string]bool{
	"sqlite_master": true, "sqlite_schema": true, "sqlite_sequence": true,
	"sqlite_temp_master": true, "sqlite_temp_schema": true,
}

func (a *authorizer) read(table string) sqlite3.AuthorizerReturnCode {
	if hasPrefixFold(table, internalPrefix) {
		return a.deny(fault.Denied, "table %q is Kimberlite's own: see kimberlite.streams and kimberlite.events", table)
	}
	if hasPrefixFold(table, "sqlite_") && !readableSystemTables[lower(table)] {
		return a.deny(fault.Denied, "table %q is not readable", table)
	}
	return sqlite3.AUTH_OK
}

func (a *authorizer) function(name string) sqlite3.AuthorizerReturnCode {
	if name = lower(name); allowedFunctions[name] || isExtension(name) || a.info.alter && alterFunctions[name] {
		return sqlite3.AUTH_OK
	}
	return a.deny(fault.Denied, "function %q is not on the list of allowed functions", name)
}

func (a *authorizer) pragma(name, arg string) sqlite3.AuthorizerReturnCode {
	name = lower(name)
	a.info.once = true
	switch rule := allowedPragmas[name]; {
	case rule == pragmaWithArgument, rule == pragmaWithout && arg == "":
		return sqlite3.AUTH_OK
	case name == "quick_check" && a.info.alter:
		return sqlite3.AUTH_OK // how ALTER TABLE ADD checks the rows there are
	case rule == pragmaWithout:
		return a.deny(fault.Denied, "PRAGMA %s can be read but not set", name)
	}
	return a.deny(fault.Denied, "PRAGMA %s is not on the list of allowed pragmas", name)
}
