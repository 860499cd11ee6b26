package projection

import (
	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

// Access is what a caller's statements may do. It is held in SQLite's
// authorizer, which the compiler asks about every table, also those that a
// view or a trigger reaches: these run with the rights of who uses them.
type Access uint8

// The accesses. The zero value is the owner's: who holds a DB without having
// named an access is the program itself.
const (
	AccessOwner Access = iota
	AccessWriter
	AccessReader
	AccessAuditor
	// AccessOperator manages a tenant from outside and sees nothing in it.
	AccessOperator
)

// String returns the role's name.
func (a Access) String() string {
	if int(a) >= len(accessNames) {
		return "none"
	}
	return accessNames[a]
}

var accessNames = [...]string{"owner", "writer", "reader", "auditor", "operator"}

// Right is a thing that a statement or call needs to be allowed; rights are
// combined by or.
type Right uint8

// The rights.
const (
	// RightDefine is to change the schema and to create streams.
	RightDefine Right = 1 << iota
	// RightWrite is to change rows and to append events.
	RightWrite
	// RightRows is to read rows and events.
	RightRows
	// RightAudit is to read the audit trail.
	RightAudit
	// RightManage is to rotate keys, to rebuild the tables and to see to
	// credentials.
	RightManage
	// RightCatalog is to see which tables and streams there are.
	RightCatalog
)

// accessRights are the rights of each access.
var accessRights = [...]Right{
	AccessOwner:    RightDefine | RightWrite | RightRows | RightAudit | RightManage | RightCatalog,
	AccessWriter:   RightWrite | RightRows | RightCatalog,
	AccessReader:   RightRows | RightCatalog,
	AccessAuditor:  RightAudit | RightCatalog,
	AccessOperator: RightManage,
}

// rightTexts say what is missing, from the right that matters most.
var rightTexts = []struct {
	right      Right
	act, takes string
}{
	{RightManage, "manage keys, tables and credentials", "the role owner"},
	{RightDefine, "change the schema", "the role owner"},
	{RightWrite, "write", "the role writer or owner"},
	{RightRows, "read rows and events", "the role reader, writer or owner"},
	{RightAudit, "read the audit trail", "the role auditor or owner"},
	{RightCatalog, "see tables and streams", "a credential of the tenant"},
}

// Require returns a Denied error that says what is missing, or nil.
func (a Access) Require(need Right) *fault.Error {
	missing := need
	if int(a) < len(accessRights) {
		missing &^= accessRights[a]
	}
	if missing == 0 {
		return nil
	}
	for _, t := range rightTexts {
		if missing&t.right != 0 {
			return fault.New("access", fault.Denied, "the role %s may not %s: this takes %s", a, t.act, t.takes)
		}
	}
	return fault.New("access", fault.Denied, "the role %s may not do this", a)
}

// catalogTables are what an auditor may read beside the system tables: they
// describe the schema, or compute from their arguments.
var catalogTables = func() map[string]bool {
	m := words(`sqlite_master sqlite_schema sqlite_temp_master sqlite_temp_schema json_each json_tree generate_series`)
	for name := range allowedPragmas {
		if name != "foreign_key_check" { // it tells of rows
			m["pragma_"+name] = true
		}
	}
	return m
}()

// writingFunctions are SQL functions that change what is stored. They ask for
// the right to write when they run, and prepare does when a statement names
// one; that the compiler meets one says little: it does in every statement that
// reads a column whose default calls it.
var writingFunctions = words(`nextval setval`)

// rightOf returns what an act of a statement needs.
func (a *authorizer) rightOf(action sqlite3.AuthorizerActionCode, third, fourth, schema string) Right {
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_RECURSIVE, sqlite3.AUTH_TRANSACTION, sqlite3.AUTH_SAVEPOINT,
		sqlite3.AUTH_ATTACH, sqlite3.AUTH_DETACH, sqlite3.AUTH_ANALYZE:
		return 0
	case sqlite3.AUTH_READ:
		return a.rightToRead(third, schema)
	case sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE:
		if third == "sqlite_master" || third == "sqlite_temp_master" {
			return 0 // of CREATE, ALTER and DROP, which ask for themselves
		}
		return RightWrite
	case sqlite3.AUTH_FUNCTION:
		a.info.draws = a.info.draws || writingFunctions[lower(fourth)]
		return 0
	case sqlite3.AUTH_PRAGMA:
		if lower(third) == "foreign_key_check" {
			return RightRows
		}
		return RightCatalog
	}
	return RightDefine
}

func (a *authorizer) rightToRead(table, schema string) Right {
	name := lower(table)
	switch {
	case schema == systemSchema && name == "audit":
		return RightAudit
	case schema == systemSchema && name != "events":
		return RightCatalog
	case schema != systemSchema && (catalogTables[name] || isCatalogTable(name)) && (a.isTable == nil || !a.isTable(name)):
		return RightCatalog
	}
	return RightRows
}

// changeNames are the acts that change the schema, for the audit trail.
var changeNames = map[sqlite3.AuthorizerActionCode]string{
	sqlite3.AUTH_CREATE_TABLE: "create table", sqlite3.AUTH_DROP_TABLE: "drop table", sqlite3.AUTH_ALTER_TABLE: "alter table",
	sqlite3.AUTH_CREATE_VIEW: "create view", sqlite3.AUTH_DROP_VIEW: "drop view",
	sqlite3.AUTH_CREATE_INDEX: "create index", sqlite3.AUTH_DROP_INDEX: "drop index",
	sqlite3.AUTH_CREATE_TRIGGER: "create trigger", sqlite3.AUTH_DROP_TRIGGER: "drop trigger",
}

// noteChange notes the first change of the schema that a statement makes.
func (a *authorizer) noteChange(action sqlite3.AuthorizerActionCode, third, fourth string) {
	if name := changeNames[action]; name != "" && a.info.change == "" {
		a.info.change, a.info.object = name, third
		if action == sqlite3.AUTH_ALTER_TABLE {
			a.info.object = fourth
		}
	}
}

// permit notes what an act needs and refuses it to who lacks that.
func (a *authorizer) permit(need Right) *fault.Error {
	a.info.needs |= need
	return a.access.Require(need)
}
