package projection

import (
	"context"
	"sync"
)

// Description is what SQLite's compiler says of one statement.
type Description struct {
	// ReadOnly says that it only reads; a statement that draws from a sequence
	// writes.
	ReadOnly bool
	// Params is how many arguments it takes.
	Params int
	// Columns are those of its result, none when it has no result. Not to be
	// changed.
	Columns []ColumnInfo
}

// ColumnInfo describes a column of a result.
type ColumnInfo struct {
	Name string
	// Declared is the declared type of the column that it comes from, and
	// Table and Column name it; all "" for an expression.
	Declared, Table, Column string
}

// maxDescriptions bounds how many descriptions are remembered.
const maxDescriptions = 256

// descriptionCache remembers descriptions for one state of the schema.
type descriptionCache struct {
	mu     sync.Mutex // guards all below
	schema uint64
	known  map[readOnlyKey]Description
}

func (dc *descriptionCache) get(key readOnlyKey, schema uint64) (Description, bool) {
	dc.mu.Lock()
	defer dc.mu.Unlock()
	if dc.schema != schema {
		return Description{}, false
	}
	desc, ok := dc.known[key]
	return desc, ok
}

func (dc *descriptionCache) set(key readOnlyKey, schema uint64, desc Description) {
	dc.mu.Lock()
	defer dc.mu.Unlock()
	if dc.known == nil || dc.schema != schema || len(dc.known) >= maxDescriptions {
		dc.known = map[readOnlyKey]Description{}
		dc.schema = schema
	}
	dc.known[key] = desc
}

// Describe compiles exactly one statement on the committed schema, on behalf
// of access, and says what it is. It runs nothing. It is safe for concurrent
// use; errors are those of compiling.
func (d *DB) Describe(ctx context.Context, access Access, sql string) (desc Description, err error) {
	version := d.schemaVersion.Load()
	key := readOnlyKey{sql, access}
	if desc, ok := d.descriptions.get(key, version); ok {
		return desc, nil
	}
	err = d.ownRead(func(c *conn) (err error) {
		if err := c.lookAgain(version); err != nil {
			return err
		}
		var g guard
		g.start(ctx, c.limits.StatementTimeout)
		c.begin(&g, access)
		desc, err = c.describeStatement(sql)
		return err
	})
	if err == nil && len(sql) <= maxCachedText {
		d.descriptions.set(key, version, desc)
	}
	return desc, err
}

// describeStatement compiles one statement; the caller has called begin.
func (c *conn) describeStatement(sql string) (Description, error) {
	p, err := c.prepareSingle("sql", sql)
	if err != nil {
		return Description{}, err
	}
	defer c.release(p)
	desc := Description{ReadOnly: p.readOnly, Params: p.params.count}
	if n := p.stmt.ColumnCount(); n > 0 {
		desc.Columns = make([]ColumnInfo, n)
	}
	for i := range desc.Columns {
		col := &desc.Columns[i]
		col.Name = notTooLong(p.stmt.ColumnName, i)
		col.Declared = notTooLong(p.stmt.ColumnDeclType, i)
		col.Column = notTooLong(p.stmt.ColumnOriginName, i)
		if col.Column != "" {
			col.Table = p.stmt.ColumnTableName(i)
			if schema := p.stmt.ColumnDatabaseName(i); schema != "main" {
				col.Table = schema + "." + col.Table
			}
		}
	}
	return desc, nil
}

// Describe is DB.Describe as of the transaction under way, its own changes of
// the schema included.
func (g *Group) Describe(ctx context.Context, sql string) (desc Description, err error) {
	if err := g.inTxn(); err != nil {
		return desc, err
	}
	g.w.guard.start(ctx, g.d.limits.StatementTimeout)
	func() {
		defer g.w.c.protect("sql", &err)
		g.w.c.begin(&g.w.guard, g.access)
		desc, err = g.w.c.describeStatement(sql)
	}()
	if err != nil && !g.w.stillOpen() {
		g.recover(err)
	}
	return desc, err
}
