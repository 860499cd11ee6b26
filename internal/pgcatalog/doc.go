// Package pgcatalog is what PostgreSQL's own tables and functions say of a
// tenant's schema: pg_catalog and information_schema, as psql, drivers, ORMs
// and administration tools read them.
//
// It guarantees that an answer is made of the Env that is passed in and of
// PostgreSQL's published facts (the numbers of its types, say), and of nothing
// else: no other tenant's name, count or role can appear, and no secret does,
// since Env holds none. What Kimberlite has not got (tablespaces, policies,
// publications, …) is an empty table with the right columns. It is pure: no
// clock, no I/O.
//
// The projection registers Tables as virtual tables and Functions as SQL
// functions on its connections; the dialect writes pg_catalog.pg_class as
// pg_class and information_schema.tables as information_schema_tables.
//
// Values are sqltype's stored forms: booleans are int64 0 and 1, OIDs int64,
// arrays JSON arrays; int2vector and oidvector are PostgreSQL's own text.
package pgcatalog

import (
	"kimberlite/internal/ident"
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// Env is all that an answer can be made of. It keeps what it has worked out,
// so one Env serves the statements of one connection under one schema, and
// only one goroutine at a time. Dropping it gives the memory back.
type Env struct {
	// Tenant is whom the connection belongs to.
	Tenant ident.TenantID
	// Name is the tenant's name, which clients see as the database's.
	Name string
	// Roles are the names of the tenant's credentials.
	Roles []string
	// Schema is the tenant's schema; nil is an empty one.
	Schema *schema.Schema

	built      *catalog           // of Schema
	scanned    map[*Table]*memory // rows that were made, of Schema
	attributes map[uint32][][]any // those of pg_attribute that were asked for, by relation
}

// Forget drops what the Env has worked out, which can be megabytes for a large
// schema. What was returned stays as it is.
func (e *Env) Forget() { e.built, e.scanned, e.attributes = nil, nil, nil }

// Table is a table or a view of PostgreSQL's.
type Table struct {
	// Name is what SQLite calls it: "pg_class", "information_schema_tables".
	Name    string
	Columns []Column
	// Rows returns all rows, each with a value for each column. The caller
	// does not change them. The rows are made once for an Env.
	Rows func(*Env) [][]any

	oid  uint32
	view bool
	name string // PostgreSQL's
	byID map[string]int
	zero []any // the values of a row that says nothing
	make func(*Env, *Table) [][]any
}

// Column is a column of a Table.
type Column struct {
	Name string
	Type sqltype.Type

	notNull bool
}

// Function is a function of pg_catalog.
type Function struct {
	Name string
	// Args is the number of arguments, -1 for any. A function that takes
	// several numbers of arguments is listed once for each.
	Args   int
	Result sqltype.Type
	// Call answers. Arguments are SQLite's values, in no particular type. An
	// error is a *fault.Error with its SQLSTATE.
	Call func(e *Env, args []any) (any, error)
}

// memory is what an Env keeps of a table.
type memory struct {
	rows    [][]any
	indexes map[int]map[any][][]any // by column, then by value
}

// scan returns a table's rows, making them the first time.
func (e *Env) scan(t *Table) *memory {
	if e.catalog(); e.scanned == nil {
		e.scanned = map[*Table]*memory{}
	}
	m := e.scanned[t]
	if m == nil {
		m = &memory{}
		if t.make != nil {
			m.rows = t.make(e, t)
		}
		e.scanned[t] = m
	}
	return m
}

// Find returns the rows whose column, counted from 0, may equal value: all
// that do, and perhaps others, so the caller compares again. It is what keeps
// the joins of clients' queries from being products.
func (t *Table) Find(e *Env, column int, value any) [][]any {
	if column < 0 || column >= len(t.Columns) || value == nil {
		return nil
	}
	if column == 0 && t.Name == "pg_attribute" {
		return e.attributesOf(t, asOID(value))
	}
	m := e.scan(t)
	index := m.indexes[column]
	if index == nil {
		index = make(map[any][][]any, len(m.rows))
		for _, row := range m.rows {
			if k, ok := lookupKey(row[column]); ok {
				index[k] = append(index[k], row)
			}
		}
		if m.indexes == nil {
			m.indexes = map[int]map[any][][]any{}
		}
		m.indexes[column] = index
	}
	k, ok := lookupKey(value)
	if !ok {
		return m.rows
	}
	return index[k]
}
