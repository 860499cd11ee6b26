package dialect

import (
	"strings"
	"sync"

	"kimberlite/internal/pgcatalog"
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// relation is a table, view or subquery that names can refer to.
type relation struct {
	// name is what the client calls it, sql what SQLite does.
	name, sql string
	cols      []relColumn
	// open says that it has columns that are not known.
	open bool
	// nullable says that an outer join can make its columns NULL.
	nullable bool
	table    *schema.Table
	// scalar says that it is a function's result of one column, which its name
	// refers to as well.
	scalar bool
}

// relColumn is a column of a relation. Its sql is SQLite's name of it.
type relColumn struct {
	name, sql string
	typ       sqltype.Type
	notNull   bool
	enforced  bool
	hidden    bool
	rel       *relation
	// counted says that it is one more than the SQLite column: a count of rows
	// from 1.
	counted bool
}

// reference is a use of a column outside of aggregates.
type reference struct {
	col *relColumn
	at  int
}

// scope is what names can refer to in a part of a statement.
type scope struct {
	parent *scope
	rels   []*relation
	// bare says that columns are written without their table: in DDL and
	// RETURNING.
	bare bool
	// merged are the columns that USING made one.
	merged map[string]*relColumn
	// refs are the columns used outside of aggregates, groups the texts of
	// what is grouped by.
	refs    []reference
	groups  map[string]bool
	hasAgg  bool
	inAgg   bool
	noAgg   string // why there may be no aggregates here
	noWin   string
	windows map[string]bool
}

// lookup finds a column of unqualified name.
func (s *scope) lookup(name string) (found []*relColumn, open bool) {
	if c := s.merged[name]; c != nil {
		return []*relColumn{c}, false
	}
	for _, r := range s.rels {
		open = open || r.open
		if c := r.column(name); c != nil {
			found = append(found, c)
		}
	}
	return found, open
}

func (s *scope) relation(name string) *relation {
	for _, r := range s.rels {
		if r.name == name {
			return r
		}
	}
	for _, r := range s.rels {
		if fold(r.name) == fold(name) {
			return r
		}
	}
	return nil
}

// column finds a column by its exact name, or else in any case.
func (r *relation) column(name string) *relColumn {
	var other *relColumn
	for i := range r.cols {
		c := &r.cols[i]
		if c.name == name {
			return c
		}
		if other == nil && len(c.name) == len(name) && strings.EqualFold(c.name, name) {
			other = c
		}
	}
	return other
}

// tableRelation makes the relation of a table of the schema.
func tableRelation(alias string, table *schema.Table) *relation {
	r := &relation{name: alias, sql: alias, table: table, cols: make([]relColumn, len(table.Columns))}
	for i := range table.Columns {
		c := &table.Columns[i]
		r.cols[i] = relColumn{name: c.Name, sql: c.Name, typ: c.Type, enforced: c.Enforced, hidden: c.Hidden,
			notNull: c.NotNull || c.PrimaryKey > 0 && table.WithoutRowID, rel: r}
		if !c.Enforced && (table.Kind == schema.KindView && c.Declared == "" || loose(c)) {
			r.cols[i].typ = sqltype.Type{}
		}
	}
	return r
}

// loose says that a column may hold values of any type: one of SQLite's own
// dialect whose declaration does not say text.
func loose(c *schema.Column) bool {
	d := strings.ToLower(c.Declared)
	return c.Type.OID == sqltype.Text.OID && !strings.Contains(d, "char") && !strings.Contains(d, "text") && !strings.Contains(d, "clob")
}

// catalogTables are the tables of pg_catalog and information_schema.
var catalogTables = sync.OnceValue(func() map[string]*pgcatalog.Table {
	m := map[string]*pgcatalog.Table{}
	for _, t := range pgcatalog.Tables() {
		m[t.Name] = t
	}
	return m
})

// lookupTable makes the relation of a name in FROM, and its text.
func (t *translator) lookupTable(r *tableRef) (*relation, string, error) {
	alias := r.alias
	if alias == "" {
		alias = r.name
	}
	schemaName := r.schema
	if schemaName == "" {
		if q := t.findCTE(r.name); q != nil {
			return q.relation(alias), quoteName(q.sql), nil
		}
	}
	table, sql, err := t.resolveTable(r)
	if err != nil {
		return nil, "", err
	}
	if table != nil {
		return tableRelation(alias, table), sql, nil
	}
	if c := catalogTables()[strings.Trim(sql, `"`)]; c != nil {
		rel := &relation{name: alias, sql: alias}
		for _, col := range c.Columns {
			rel.cols = append(rel.cols, relColumn{name: col.Name, sql: col.Name, typ: col.Type, rel: rel})
		}
		t.catalog = true
		return rel, sql, nil
	}
	if t.env.Schema != nil && schemaName != "kimberlite" {
		return nil, "", t.fail(r.at(), stateNoTable, "relation %q does not exist", r.name)
	}
	return &relation{name: alias, sql: alias, open: true}, sql, nil
}

// resolveTable finds what a table's name means: the table of the schema if it
// is one, and SQLite's name.
func (t *translator) resolveTable(r *tableRef) (*schema.Table, string, error) {
	switch r.schema {
	case "", "public", "main":
		if table, ok := t.env.Schema.Table(r.name); ok {
			return table, quoteName(table.Name), nil
		}
		return nil, quoteName(r.name), nil
	case "pg_catalog":
		return nil, quoteName(r.name), nil
	case "information_schema":
		return nil, quoteName("information_schema_" + r.name), nil
	case "kimberlite":
		for _, name := range []string{"kimberlite." + r.name, r.name} {
			if table, ok := t.env.Schema.Table(name); ok && table.Kind == schema.KindSystem {
				return table, "kimberlite." + quoteName(r.name), nil
			}
		}
		return nil, "kimberlite." + quoteName(r.name), nil
	}
	return nil, "", t.fail(r.at(), stateNoTable, "relation \"%s.%s\" does not exist: a tenant has the schema public", r.schema, r.name)
}

// commonTable is a query of WITH.
type commonTable struct {
	name, sql string
	cols      []relColumn
}

func (table *commonTable) relation(alias string) *relation {
	r := &relation{name: alias, sql: alias, cols: append([]relColumn(nil), table.cols...)}
	for i := range r.cols {
		r.cols[i].rel = r
	}
	return r
}

func (t *translator) findCTE(name string) *commonTable {
	for i := len(t.ctes) - 1; i >= 0; i-- {
		if t.ctes[i].name == name {
			return t.ctes[i]
		}
	}
	return nil
}

// resolveColumn translates a column's name.
func (t *translator) resolveColumn(c *columnRef) (value, error) {
	parts := c.parts
	name := parts[len(parts)-1]
	for s := t.scope; s != nil; s = s.parent {
		if len(parts) == 1 {
			found, open := s.lookup(name)
			switch {
			case len(found) > 1:
				return value{}, t.fail(c.at(), stateAmbiguous, "column reference %q is ambiguous", name)
			case len(found) == 1:
				return t.columnValue(s, found[0], c.at()), nil
			case open:
				return value{sql: quoteName(name), atom: true, name: name, at: c.at()}, nil
			}
			if r := s.relation(name); r != nil {
				return t.wholeRow(s, r, c.at())
			}
			continue
		}
		r := s.relation(parts[len(parts)-2])
		if r == nil {
			continue
		}
		if col := r.column(name); col != nil {
			return t.columnValue(s, col, c.at()), nil
		}
		if r.open {
			return value{sql: quoteName(r.sql) + "." + quoteName(name), atom: true, name: name, at: c.at()}, nil
		}
		return value{}, t.fail(c.at(), stateNoColumn, "column %s.%s does not exist", parts[len(parts)-2], name)
	}
	if len(parts) > 1 {
		return value{}, t.fail(c.at(), stateNoTable, "missing FROM-clause entry for table %q", parts[len(parts)-2])
	}
	if t.scope == nil || t.scope.noColumns() {
		if t.constantWords {
			return atomOf(sqltype.Text, quoteText(name)), nil
		}
	}
	return value{}, t.fail(c.at(), stateNoColumn, "column %q does not exist", name)
}

func (s *scope) noColumns() bool { return len(s.rels) == 0 && s.parent == nil }

// columnValue is the value of a column, whose use is noted.
func (t *translator) columnValue(s *scope, col *relColumn, at int) value {
	if !s.inAgg {
		s.refs = append(s.refs, reference{col, at})
	}
	sql := quoteName(col.sql)
	if !s.bare && !(s.merged[col.name] == col) && col.rel.sql != "" {
		sql = quoteName(col.rel.sql) + "." + sql
	}
	if col.counted {
		sql = "(" + sql + " + 1)"
	}
	return value{typ: col.typ, sql: sql, atom: true, notNull: col.notNull && !col.rel.nullable, column: col, name: col.name, at: at}
}

// wholeRow is a table's name in the place of a value.
func (t *translator) wholeRow(s *scope, r *relation, at int) (value, error) {
	if r.scalar && len(r.cols) == 1 {
		return t.columnValue(s, &r.cols[0], at), nil
	}
	if r.open {
		return value{}, t.fail(at, stateUnsupported, "a whole row as a value is not supported here: name its columns")
	}
	v := value{typ: sqltype.Record, row: true, name: r.name, at: at}
	for i := range r.cols {
		if !r.cols[i].hidden {
			v.list = append(v.list, t.columnValue(s, &r.cols[i], at))
		}
	}
	return v, nil
}
