package dialect

import (
	"strings"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// tableDef is a table as CREATE TABLE declares it.
type tableDef struct {
	name    string
	at      int
	columns []*columnDef
	// constraints are the texts of the table's constraints.
	constraints []string
	primary     []string
	primaryName string
	names       map[string]bool
	sequences   []schema.Sequence
	// references are the foreign keys, whose tables are checked at the end.
	references []foreignKey
	rel        *relation
}

// foreignKey is a foreign key as declared.
type foreignKey struct {
	at      int
	table   string
	columns []string
}

// columnDef is a column as CREATE TABLE or ADD COLUMN declares it.
type columnDef struct {
	name     string
	at       int
	typ      typeName
	notNull  bool
	identity string // "a", "d" or ""
	sequence *schema.Sequence
	fallback expr
	stored   expr
	// checks are read with the column and translated when all are known.
	checks []checkDef
	// texts are the constraints that need nothing more.
	texts      []string
	references []foreignKey
	primary    bool
}

type checkDef struct {
	at   int
	name string
	x    expr
}

// createTable reads CREATE TABLE.
func (t *translator) createTable(p *parser) (*Statement, error) {
	t.noParams = "CREATE TABLE"
	exists := p.words("if", "not", "exists")
	at := p.peek().start
	name, err := p.newName()
	if err != nil {
		return nil, err
	}
	s := &Statement{Kind: DDL, Tag: "CREATE TABLE"}
	if _, there := t.env.Schema.Table(name); there {
		if !exists {
			return nil, t.fail(at, "42P07", "relation %q already exists", name)
		}
		s.Kind, s.Notice = Nothing, "relation \""+name+"\" already exists, skipping"
	}
	if p.peek().is("as") || p.peek().punct("(") && p.tableAs() {
		return t.createTableAs(p, s, name)
	}
	for _, word := range []string{"of", "partition"} {
		if n := p.peek(); n.is(word) {
			return nil, p.unsupported(n.start, "CREATE TABLE … %s is not supported", strings.ToUpper(word))
		}
	}
	d := &tableDef{name: name, at: at, names: map[string]bool{}}
	if err := t.tableElements(p, d); err != nil {
		return nil, err
	}
	if err := t.tableOptions(p); err != nil {
		return nil, err
	}
	text, err := t.tableText(d)
	if err != nil || s.Kind == Nothing {
		return s, err
	}
	s.SQL, s.NewSequences = text, d.sequences
	return s, nil
}

// newName reads the name of what is to be made.
func (p *parser) newName() (string, error) {
	at := p.peek().start
	schemaName, name, err := p.qualified()
	if err != nil {
		return "", err
	}
	switch schemaName {
	case "", "public", "main":
		return name, nil
	case "pg_temp":
		return "", p.unsupported(at, "temporary tables are not supported: use a table, or WITH in the query")
	}
	return "", failAt(p.text, at, stateNoSchema, "schema %q does not exist: a tenant has the schema public", schemaName)
}

// tableAs reports whether the parentheses that are next name the columns of
// CREATE TABLE … AS.
func (p *parser) tableAs() bool {
	depth := 0
	for i := 0; ; i++ {
		switch n := p.ahead(i); {
		case n.kind == tokEnd:
			return false
		case n.punct("("):
			depth++
		case n.punct(")"):
			if depth--; depth == 0 {
				return p.ahead(i + 1).is("as")
			}
		}
	}
}

// tableElements reads (column, constraint, …).
func (t *translator) tableElements(p *parser, d *tableDef) error {
	if err := p.expectPunct("("); err != nil {
		return err
	}
	d.rel = &relation{name: d.name, sql: d.name}
	if p.punct(")") {
		return t.fail(d.at, stateUnsupported, "a table without columns is not supported")
	}
	var later []func() error
	for {
		switch n := p.peek(); {
		case n.is("constraint"), n.is("primary"), n.is("unique"), n.is("check"), n.is("foreign"), n.is("exclude"):
			run, err := t.tableConstraint(p, d)
			if err != nil {
				return err
			}
			later = append(later, run)
		case n.is("like"):
			return p.unsupported(n.start, "CREATE TABLE (LIKE …) is not supported: name the columns")
		default:
			c, err := t.columnDef(p, d.name)
			if err != nil {
				return err
			}
			for _, other := range d.columns {
				if fold(other.name) == fold(c.name) {
					return t.fail(c.at, stateDuplicate, "column %q specified more than once", c.name)
				}
			}
			d.columns = append(d.columns, c)
		}
		if !p.punct(",") {
			break
		}
	}
	if err := p.expectPunct(")"); err != nil {
		return err
	}
	d.rel.cols = make([]relColumn, len(d.columns))
	for i, c := range d.columns {
		d.rel.cols[i] = relColumn{name: c.name, sql: c.name, typ: c.typ.typ, enforced: true, notNull: c.notNull, rel: d.rel}
	}
	for _, run := range later {
		if err := run(); err != nil {
			return err
		}
	}
	return nil
}

// tableOptions reads what may follow the elements.
func (t *translator) tableOptions(p *parser) error {
	for {
		switch n := p.peek(); {
		case n.is("inherits"), n.is("partition"), n.is("tablespace"):
			return p.unsupported(n.start, "CREATE TABLE … %s is not supported", strings.ToUpper(n.value))
		case n.is("using"):
			p.next()
			if m := p.next(); m.value != "heap" {
				return p.unsupported(n.start, "table access method %q is not supported", m.value)
			}
		case n.is("with") && p.ahead(1).punct("("):
			// Storage parameters say how PostgreSQL keeps its pages.
			p.next()
			for p.next(); !p.punct(")"); p.next() {
				if p.peek().kind == tokEnd {
					return p.unexpected()
				}
			}
		default:
			return nil
		}
	}
}

// tableText writes CREATE TABLE.
func (t *translator) tableText(d *tableDef) (string, error) {
	for _, c := range d.columns {
		if c.primary {
			if d.primary != nil {
				return "", t.fail(c.at, stateBadDefinition, "multiple primary keys for table %q are not allowed", d.name)
			}
			d.primary = []string{c.name}
		}
	}
	for _, name := range d.primary {
		c := d.column(name)
		if c == nil {
			return "", t.fail(d.at, stateNoColumn, "column %q named in key does not exist", name)
		}
		c.notNull = true
	}
	parts := make([]string, 0, len(d.columns)+len(d.constraints)+1)
	for _, c := range d.columns {
		text, err := t.columnText(d, c)
		if err != nil {
			return "", err
		}
		parts = append(parts, text)
	}
	without := ""
	if d.primary != nil {
		name := d.primaryName
		if name == "" {
			name = d.constraintName("", "pkey")
		}
		parts = append(parts, "CONSTRAINT "+quoteName(name)+" PRIMARY KEY ("+quoteNames(d.primary)+")")
		without = " WITHOUT ROWID"
	}
	parts = append(parts, d.constraints...)
	if err := t.checkReferences(d); err != nil {
		return "", err
	}
	return "CREATE TABLE " + quoteName(d.name) + " (" + strings.Join(parts, ", ") + ")" + without, nil
}

func quoteNames(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteName(n)
	}
	return strings.Join(quoted, ", ")
}

func (d *tableDef) column(name string) *columnDef {
	for _, c := range d.columns {
		if fold(c.name) == fold(name) {
			return c
		}
	}
	return nil
}

// constraintName makes a name as PostgreSQL does: table_columns_kind.
func (d *tableDef) constraintName(columns, kind string) string {
	name := d.name
	if columns != "" {
		name += "_" + columns
	}
	for i := 0; ; i++ {
		try := name + "_" + kind
		if i > 0 {
			try += itoa(i)
		}
		if try = shorten(try); !d.names[try] {
			d.names[try] = true
			return try
		}
	}
}

// checkReferences refuses foreign keys to what is not there or not unique.
func (t *translator) checkReferences(d *tableDef) error {
	for _, r := range d.references {
		if fold(r.table) == fold(d.name) {
			continue
		}
		if t.env.Schema == nil {
			return nil
		}
		table, ok := t.env.Schema.Table(r.table)
		if !ok || table.Kind != schema.KindTable {
			return t.fail(r.at, stateNoTable, "relation %q does not exist", r.table)
		}
		if !uniqueOn(table, r.columns) {
			return t.fail(r.at, stateBadFK, "there is no unique constraint matching given keys for referenced table %q", r.table)
		}
	}
	return nil
}

// uniqueOn reports whether a table has a key of just these columns; none
// stands for the primary key.
func uniqueOn(table *schema.Table, columns []string) bool {
	for _, x := range table.Indexes {
		if len(columns) == 0 && x.Primary {
			return true
		}
		if !x.Unique || x.Where != "" || len(x.Columns) != len(columns) {
			continue
		}
		all := true
		for _, name := range columns {
			all = all && containsFold(x.Columns, name)
		}
		if all {
			return true
		}
	}
	primary := 0
	for i := range table.Columns {
		if table.Columns[i].PrimaryKey > 0 {
			primary++
			if len(columns) > 0 && !containsFold(columns, table.Columns[i].Name) {
				return false
			}
		}
	}
	return primary > 0 && (len(columns) == 0 || primary == len(columns))
}

func containsFold(list []string, name string) bool {
	for _, x := range list {
		if fold(x) == fold(name) {
			return true
		}
	}
	return false
}

// createTableAs reads CREATE TABLE … AS query.
func (t *translator) createTableAs(p *parser, s *Statement, name string) (*Statement, error) {
	var names []string
	var err error
	if p.peek().punct("(") {
		if names, err = p.names(); err != nil {
			return nil, err
		}
	}
	if err := p.expect("as"); err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	data := true
	if p.word("with") {
		data = !p.word("no")
		if err := p.expect("data"); err != nil {
			return nil, err
		}
	}
	t.scope = &scope{}
	b, err := t.query(q)
	if err != nil {
		return nil, err
	}
	if err := b.settle(t); err != nil {
		return nil, err
	}
	if len(names) > len(b.cols) {
		return nil, t.fail(q.at(), stateSyntax, "too many column names were specified")
	}
	cols := make([]string, len(b.cols))
	for i, c := range b.cols {
		if i < len(names) {
			c.name = names[i]
		}
		if c.typ.OID == 0 {
			return nil, t.fail(q.at(), stateUnsupported, "the type of column %q is not known: cast it", c.name)
		}
		if c.typ.Mod >= 1000<<16 {
			c.typ = base(c.typ)
		}
		cols[i] = quoteName(c.name) + " " + c.typ.Declared()
	}
	if s.Kind == Nothing {
		return s, nil
	}
	s.Tag = "SELECT"
	s.Before = []string{"CREATE TABLE " + quoteName(name) + " (" + strings.Join(cols, ", ") + ")"}
	if !data {
		s.SQL, s.Before, s.Tag = s.Before[0], nil, "CREATE TABLE AS"
		return s, nil
	}
	s.SQL = "INSERT INTO " + quoteName(name) + " " + b.render(t)
	return s, nil
}

// columnText writes a column.
func (t *translator) columnText(d *tableDef, c *columnDef) (string, error) {
	var s strings.Builder
	s.WriteString(quoteName(c.name) + " " + c.typ.typ.Declared())
	if c.notNull {
		s.WriteString(" NOT NULL")
	}
	t.scope = &scope{bare: true, noAgg: "DEFAULT expressions", noWin: "DEFAULT expressions"}
	switch {
	case c.sequence != nil:
		d.sequences = append(d.sequences, *c.sequence)
		s.WriteString(" DEFAULT (nextval(" + quoteText(c.sequence.Name) + ")" + identityMark(c.identity) + ")")
	case c.fallback != nil:
		text, err := t.defaultValue(c.name, c.typ.typ, c.fallback)
		if err != nil {
			return "", err
		}
		s.WriteString(" DEFAULT (" + text + ")")
	case c.stored != nil:
		t.scope = &scope{rels: []*relation{d.rel}, bare: true, noAgg: "generated columns", noWin: "generated columns"}
		v, err := t.expr(c.stored)
		if err != nil {
			return "", err
		}
		if v, err = t.convert(v, c.typ.typ, assignment, c.name); err != nil {
			return "", err
		}
		s.WriteString(" GENERATED ALWAYS AS (" + v.sql + ") STORED")
	}
	d.references = append(d.references, c.references...)
	for _, text := range c.texts {
		s.WriteString(" " + text)
	}
	for _, check := range c.checks {
		text, err := t.checkText(d, check)
		if err != nil {
			return "", err
		}
		s.WriteString(" " + text)
	}
	return s.String(), nil
}

// identityMark is the comment in a default that says that the column is an
// identity column, which SQLite's schema has no other place for.
func identityMark(identity string) string {
	switch identity {
	case "a":
		return schema.IdentityAlways
	case "d":
		return schema.IdentityByDefault
	}
	return ""
}

// defaultValue translates the default of a column.
func (t *translator) defaultValue(name string, typ sqltype.Type, x expr) (string, error) {
	v, err := t.expr(x)
	if err != nil {
		return "", err
	}
	if v.row {
		return "", t.fail(x.at(), stateMismatch, "a row cannot be a default")
	}
	v, err = t.convert(v, typ, assignment, name)
	return v.sql, err
}

func (t *translator) checkText(d *tableDef, c checkDef) (string, error) {
	t.scope = &scope{rels: []*relation{d.rel}, bare: true, noAgg: "check constraints", noWin: "check constraints"}
	v, err := t.condition(c.x, "CHECK")
	if err != nil {
		return "", err
	}
	return "CONSTRAINT " + quoteName(c.name) + " CHECK (" + v.sql + ")", nil
}
