package projection

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// opened counts the DBs of the process: it keeps the schema versions of one
// that was closed apart from those of the one opened after it.
var opened atomic.Uint64

// versionBits are the bits of a schema's version that count its commits; above
// them stands which DB it was.
const versionBits = 32

// uncommitted marks the version of a schema inside an open transaction.
const uncommitted = uint64(1) << 63

// schemaCache holds the schema of one version.
type schemaCache struct {
	current atomic.Pointer[schema.Schema]
	// serial counts the schemas of open transactions.
	serial atomic.Uint64
}

// Schema returns the committed schema. It is a look-up as long as nothing
// changes. It is safe for concurrent use, and the result is not to be changed.
func (d *DB) Schema(ctx context.Context) (*schema.Schema, error) {
	for {
		version := d.epoch + d.schemaVersion.Load()
		if s := d.schemas.current.Load(); s != nil && s.Version == version {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fault.OfContext("schema", ctx).ForTenant(d.tenant)
		}
		var s *schema.Schema
		err := d.ownRead(func(c *conn) (err error) {
			if err := c.lookAgain(version - d.epoch); err != nil {
				return err
			}
			s, err = buildSchema(c, version)
			return err
		})
		if err != nil {
			return nil, err
		}
		if d.epoch+d.schemaVersion.Load() == version {
			d.schemas.current.Store(s)
			return s, nil
		}
	}
}

// Schema returns the schema as of the transaction under way, its own changes
// included. The result is not to be changed.
func (g *Group) Schema(ctx context.Context) (s *schema.Schema, err error) {
	if err := g.inTxn(); err != nil {
		return nil, err
	}
	if g.w.changes == 0 {
		return g.d.Schema(ctx)
	}
	if g.schema != nil && g.schemaAt == g.w.changes {
		return g.schema, nil
	}
	defer g.w.c.protect("schema", &err)
	s, err = buildSchema(g.w.c, uncommitted|g.d.epoch|g.d.schemas.serial.Add(1))
	if err == nil {
		g.schema, g.schemaAt = s, g.w.changes
	}
	return s, err
}

// schemaBuilder collects a schema's parts by the name of their table.
type schemaBuilder struct {
	c      *conn
	tables map[string]*schema.Table
	all    []*schema.Table
}

// buildSchema reads the tenant's schema through a connection.
func buildSchema(c *conn, version uint64) (*schema.Schema, error) {
	objects, err := readSchema(c)
	if err != nil {
		return nil, err
	}
	b := &schemaBuilder{c: c, tables: map[string]*schema.Table{}}
	for _, o := range objects {
		if o.kind == "table" || o.kind == "view" {
			t := &schema.Table{Name: o.name, Kind: o.kind, SQL: o.sql}
			b.tables[o.name] = t
			b.all = append(b.all, t)
		}
	}
	for _, step := range []func() error{b.columns, b.kinds, b.indexes, b.foreignKeys} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	for _, o := range objects {
		if t := b.tables[o.table]; o.kind == "trigger" && t != nil {
			t.Triggers = append(t.Triggers, schema.Trigger{Name: o.name, SQL: o.sql})
		}
	}
	for _, t := range b.all {
		if t.Kind == schema.KindTable {
			named := scanConstraints(t.SQL)
			named.apply(t)
		}
	}
	system, err := systemSchemas(c)
	if err != nil {
		return nil, err
	}
	sequences, err := readSequenceRows(c)
	if err != nil {
		return nil, err
	}
	return schema.New(version, append(b.all, system...), b.sequences(sequences)), nil
}

// sequences describes the sequences and notes them at the columns they serve.
func (b *schemaBuilder) sequences(rows []*sequenceRow) []*schema.Sequence {
	all := make([]*schema.Sequence, 0, len(rows))
	for _, r := range rows {
		q := r.Sequence
		all = append(all, &q)
		t := b.tables[q.Table]
		if t == nil {
			continue
		}
		if col, _, ok := t.Column(q.Column); ok {
			col.Sequence = q.Name
			col.Identity = schema.IdentityOf(col.Default)
		}
	}
	return all
}

const columnsOf = `SELECT name, type, "notnull", coalesce(dflt_value,''), pk, hidden FROM pragma_table_xinfo(?1, ?2)`

// columns reads the columns of each table and view. A view that does not
// compile any more has none.
func (b *schemaBuilder) columns() error {
	for _, t := range b.all {
		var columns []schema.Column
		err := b.c.extending(func() (err error) {
			columns, err = readColumns(b.c, t.Name, "main")
			return err
		})
		if err != nil && (t.Kind != schema.KindView || b.c.dead || !isStatementError(err)) {
			return err
		}
		t.Columns = columns
		if types := schema.ViewTypes(t.SQL); t.Kind == schema.KindView && len(types) == len(columns) {
			for i := range columns {
				columns[i].Type, columns[i].Declared, columns[i].Enforced = types[i], types[i].Declared(), true
			}
		}
	}
	return nil
}

func readColumns(c *conn, table, from string) (columns []schema.Column, err error) {
	err = c.each(columnsOf, func(s *sqlite3.Stmt) error {
		col := schema.Column{
			Name: s.ColumnText(0), Declared: s.ColumnText(1), NotNull: s.ColumnInt64(2) != 0,
			Default: s.ColumnText(3), PrimaryKey: int(s.ColumnInt64(4)),
			Hidden: s.ColumnInt64(5) == 1, Generated: s.ColumnInt64(5) > 1,
		}
		col.Type, col.Enforced = sqltype.FromDeclared(col.Declared)
		columns = append(columns, col)
		return nil
	}, table, from)
	return columns, err
}

// kinds notes which tables are WITHOUT ROWID.
func (b *schemaBuilder) kinds() error {
	return b.c.each(`SELECT name, wr FROM pragma_table_list WHERE schema='main'`, func(s *sqlite3.Stmt) error {
		if t := b.tables[s.ColumnText(0)]; t != nil {
			t.WithoutRowID = s.ColumnInt64(1) != 0
		}
		return nil
	})
}

// indexes reads the indexes, those that SQLite makes for constraints included.
func (b *schemaBuilder) indexes() error {
	err := b.c.each(`SELECT m.name, l.name, l."unique", l.origin, coalesce(i.name,''), coalesce(s.sql,'')
		FROM sqlite_schema m JOIN pragma_index_list(m.name, 'main') l JOIN pragma_index_info(l.name, 'main') i
		LEFT JOIN sqlite_schema s ON s.type='index' AND s.name=l.name
		WHERE m.type='table' ORDER BY m.name, l.seq DESC, i.seqno`, func(s *sqlite3.Stmt) error {
		t := b.tables[s.ColumnText(0)]
		if t == nil {
			return nil
		}
		name := s.ColumnText(1)
		if n := len(t.Indexes); n == 0 || t.Indexes[n-1].Name != name {
			origin := s.ColumnText(3)
			t.Indexes = append(t.Indexes, schema.Index{
				Name: name, Unique: s.ColumnInt64(2) != 0, Primary: origin == "pk", Constraint: origin != "c",
				SQL: s.ColumnText(5), Where: whereOf(s.ColumnText(5)),
			})
		}
		at := &t.Indexes[len(t.Indexes)-1]
		at.Columns = append(at.Columns, s.ColumnText(4))
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range b.all {
		addRowidKey(t)
	}
	return nil
}

// addRowidKey describes the rowid that serves as a primary key as the index
// that PostgreSQL's clients look for.
func addRowidKey(t *schema.Table) {
	if t.Kind != schema.KindTable || slices.ContainsFunc(t.Indexes, func(i schema.Index) bool { return i.Primary }) {
		return
	}
	for i := range t.Columns {
		if t.Columns[i].PrimaryKey == 1 {
			t.Columns[i].Identity = "d" // a rowid is drawn when none is given
			t.Columns[i].NotNull = true
			t.Indexes = append(t.Indexes, schema.Index{Primary: true, Unique: true, Constraint: true, Columns: []string{t.Columns[i].Name}})
		}
	}
}

// foreignKeys reads the references of each table.
func (b *schemaBuilder) foreignKeys() error {
	last := ""
	return b.c.each(`SELECT m.name, f.id, f."table", f."from", coalesce(f."to",''), f.on_update, f.on_delete
		FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name, 'main') f
		WHERE m.type='table' ORDER BY m.name, f.id DESC, f.seq`, func(s *sqlite3.Stmt) error {
		t := b.tables[s.ColumnText(0)]
		if t == nil {
			return nil
		}
		key := t.Name + "\x00" + strconv.FormatInt(s.ColumnInt64(1), 10)
		if key != last {
			last = key
			t.ForeignKeys = append(t.ForeignKeys, schema.ForeignKey{
				RefTable: s.ColumnText(2), OnUpdate: s.ColumnText(5), OnDelete: s.ColumnText(6),
			})
		}
		f := &t.ForeignKeys[len(t.ForeignKeys)-1]
		f.Columns = append(f.Columns, s.ColumnText(3))
		if to := s.ColumnText(4); to != "" {
			f.RefColumns = append(f.RefColumns, to)
		} else {
			f.RefColumns = b.keyOf(f.RefTable)
		}
		return nil
	})
}

// keyOf returns the columns of a table's primary key.
func (b *schemaBuilder) keyOf(table string) []string {
	for _, t := range b.all {
		if lower(t.Name) != lower(table) {
			continue
		}
		for i := range t.Indexes {
			if t.Indexes[i].Primary {
				return slices.Clone(t.Indexes[i].Columns)
			}
		}
	}
	return nil
}

// systemSchemas describes the tables of schema kimberlite.
func systemSchemas(c *conn) ([]*schema.Table, error) {
	all := make([]*schema.Table, 0, len(systemTables))
	for i := range systemTables {
		columns, err := readColumns(c, systemTables[i].name, systemSchema)
		if err != nil {
			return nil, err
		}
		all = append(all, &schema.Table{Name: systemSchema + "." + systemTables[i].name, Kind: schema.KindSystem, Columns: columns})
	}
	return all, nil
}

// whereOf returns the condition of a partial index.
func whereOf(sql string) string {
	depth := 0
	for _, tok := range scanTokens(sql) {
		switch {
		case tok.text == "(":
			depth++
		case tok.text == ")":
			depth--
		case depth == 0 && strings.EqualFold(tok.text, "where"):
			return strings.TrimSpace(sql[tok.end:])
		}
	}
	return ""
}
