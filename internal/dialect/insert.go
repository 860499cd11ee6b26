package dialect

import (
	"strings"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// target is the table that a statement changes.
type target struct {
	rel   *relation
	sql   string
	at    int
	table *schema.Table
}

// target reads the table of INSERT, UPDATE or DELETE.
func (t *translator) target(p *parser, stop map[string]bool) (*target, error) {
	p.word("only")
	ref := &tableRef{pos: p.pos()}
	var err error
	if ref.schema, ref.name, err = p.qualified(); err != nil {
		return nil, err
	}
	p.operator("*")
	if p.word("as") {
		if ref.alias, err = p.name(); err != nil {
			return nil, err
		}
	} else if n := p.peek(); isName(n) && (n.kind == tokQuoted || !stop[n.value]) {
		ref.alias = p.next().value
	}
	known := t.ctes
	t.ctes = nil
	rel, sql, err := t.lookupTable(ref)
	t.ctes = known
	if err != nil {
		return nil, err
	}
	if rel.table == nil && !rel.open || rel.table != nil && rel.table.Kind != schema.KindTable {
		if rel.table == nil || rel.table.Kind == schema.KindSystem {
			return nil, t.fail(ref.at(), "42809", "%q cannot be changed: it describes the tenant's own tables", ref.name)
		}
	}
	return &target{rel: rel, sql: sql, at: ref.at(), table: rel.table}, nil
}

// as writes the table with its alias.
func (g *target) as() string {
	if g.sql == quoteName(g.rel.name) {
		return g.sql
	}
	return g.sql + " AS " + quoteName(g.rel.name)
}

// column finds a column of the table.
func (g *target) column(t *translator, name string, at int) (*relColumn, error) {
	if c := g.rel.column(name); c != nil {
		return c, nil
	}
	if g.rel.open {
		return &relColumn{name: name, sql: name, rel: g.rel}, nil
	}
	return nil, t.fail(at, stateNoColumn, "column %q of relation %q does not exist", name, g.rel.name)
}

// schemaColumn is the schema's column.
func (g *target) schemaColumn(c *relColumn) *schema.Column {
	if g.table == nil {
		return nil
	}
	found, _, _ := g.table.Column(c.sql)
	return found
}

var insertStop = wordSet("default", "values", "select", "with", "overriding", "table")

// insertStatement translates INSERT.
func (t *translator) insertStatement(p *parser, with *query) (*Statement, error) {
	p.next()
	if err := p.expect("into"); err != nil {
		return nil, err
	}
	known := len(t.ctes)
	defer func() { t.ctes = t.ctes[:known] }()
	prefix, err := t.outerWith(with)
	if err != nil {
		return nil, err
	}
	g, err := t.target(p, insertStop)
	if err != nil {
		return nil, err
	}
	ins := &insert{t: t, p: p, g: g}
	text, err := ins.read()
	if err != nil {
		return nil, err
	}
	s := &Statement{Kind: Insert, SQL: prefix + "INSERT INTO " + g.as() + text, Tag: "INSERT 0"}
	return s, t.returning(p, g, s)
}

// outerWith translates the WITH before INSERT, UPDATE or DELETE.
func (t *translator) outerWith(q *query) (string, error) {
	if q == nil {
		return "", nil
	}
	t.scope = &scope{}
	return t.with(q)
}

// insert is an INSERT while it is read.
type insert struct {
	t          *translator
	p          *parser
	g          *target
	cols       []*relColumn
	overriding string
}

func (i *insert) read() (string, error) {
	p, t := i.p, i.t
	if p.words("default", "values") {
		i.cols = []*relColumn{}
		conflict, err := i.conflict()
		return " DEFAULT VALUES" + conflict, err
	}
	named := p.peek().punct("(") && !p.startsQuery()
	if err := i.columns(named); err != nil {
		return "", err
	}
	if p.word("overriding") {
		if !p.word("system") && !p.word("user") {
			return "", p.unexpected()
		}
		i.overriding = p.tokens[p.at-1].value
		if err := p.expect("value"); err != nil {
			return "", err
		}
	}
	if p.words("default", "values") {
		return "", p.unexpected()
	}
	q, err := p.query()
	if err != nil {
		return "", err
	}
	var b *body
	t.scope = &scope{}
	if v, ok := q.body.(*valuesList); ok && len(q.with) == 0 && q.orderBy == nil && q.limit == nil && q.offset == nil {
		b, err = i.values(v)
	} else {
		b, err = t.query(q)
	}
	if err != nil {
		return "", err
	}
	return i.write(b, named)
}

// columns reads the columns, or takes all of the table's.
func (i *insert) columns(named bool) error {
	p, t := i.p, i.t
	if !named {
		for c := range i.g.rel.cols {
			if col := &i.g.rel.cols[c]; !col.hidden {
				if sc := i.g.schemaColumn(col); sc == nil || !sc.Generated {
					i.cols = append(i.cols, col)
				}
			}
		}
		return nil
	}
	p.next()
	seen := map[string]bool{}
	for {
		at := p.peek().start
		name, err := p.name()
		if err != nil {
			return err
		}
		if next := p.peek(); next.punct(".") || next.punct("[") {
			return p.unsupported(next.start, "parts of columns are not supported in INSERT")
		}
		col, err := i.g.column(t, name, at)
		if err != nil {
			return err
		}
		if seen[col.sql] {
			return t.fail(at, stateDuplicate, "column %q specified more than once", name)
		}
		seen[col.sql] = true
		i.cols = append(i.cols, col)
		if !p.punct(",") {
			return p.expectPunct(")")
		}
	}
}

// values translates VALUES, each value with its column's type at hand.
func (i *insert) values(v *valuesList) (*body, error) {
	t := i.t
	width := len(v.rows[0])
	if err := i.fits(width, v.at()); err != nil {
		return nil, err
	}
	b := &body{at: v.at(), cols: make([]bodyColumn, width)}
	for _, row := range v.rows {
		values := make([]value, width)
		for j, x := range row {
			if _, ok := x.(*defaultExpr); ok {
				values[j] = value{sql: defaultMark, at: x.at()}
				continue
			}
			e, err := t.expr(x)
			if err != nil {
				return nil, err
			}
			if e.row {
				return nil, t.fail(e.at, stateUnsupported, "a row as a column's value is not supported")
			}
			if values[j], err = t.assign(e, i.cols[j]); err != nil {
				return nil, err
			}
		}
		b.rows = append(b.rows, values)
	}
	return b, nil
}

func (i *insert) fits(width, at int) error {
	if width > len(i.cols) && !i.g.rel.open {
		return i.t.fail(at, stateSyntax, "INSERT has more expressions than target columns")
	}
	for len(i.cols) < width {
		i.cols = append(i.cols, &relColumn{rel: i.g.rel})
	}
	return nil
}

// assign converts a value to what a column holds.
func (t *translator) assign(v value, col *relColumn) (value, error) {
	if col.typ.OID == 0 || !col.enforced && col.rel.table != nil && !v.unknown() {
		return t.settled(v)
	}
	if l, ok := v.leaf.(*literal); ok && !col.enforced && v.unknown() && l.kind == litString {
		v.typ = sqltype.Text // SQLite's affinity is the column's
		return v, nil
	}
	return t.convert(v, col.typ, assignment, col.name)
}

// settled gives text to a value whose type nothing tells.
func (t *translator) settled(v value) (value, error) {
	v, err := t.materialise(v)
	if err != nil {
		return v, err
	}
	return t.asText(v)
}

// write writes columns, rows and what follows.
func (i *insert) write(b *body, named bool) (string, error) {
	t := i.t
	if err := i.fits(len(b.cols), b.at); err != nil {
		return "", err
	}
	if named && len(b.cols) < len(i.cols) {
		return "", t.fail(b.at, stateSyntax, "INSERT has more target columns than expressions")
	}
	i.cols = i.cols[:len(b.cols)]
	if b.rows == nil || b.tail != "" || b.with != "" {
		for j, col := range i.cols {
			if err := b.assign(t, j, col); err != nil {
				return "", err
			}
		}
		if err := b.settle(t); err != nil {
			return "", err
		}
	}
	if err := i.identity(b); err != nil {
		return "", err
	}
	i.defaults(b)
	var s strings.Builder
	if len(i.cols) == 0 {
		if len(b.rows) > 1 {
			return "", t.fail(b.at, stateUnsupported, "several rows of nothing but DEFAULT are not supported: insert them one by one")
		}
		s.WriteString(" DEFAULT VALUES")
	} else {
		if names := i.names(); names != "" {
			s.WriteString(" (" + names + ")")
		}
		s.WriteString(" ")
		b.write(t, &s)
	}
	conflict, err := i.conflict()
	if err != nil {
		return "", err
	}
	if conflict != "" && b.rows == nil {
		return strings.Replace(" "+s.String(), " ", "", 1) + upsertGuard(b) + conflict, nil
	}
	return s.String() + conflict, nil
}

// upsertGuard keeps SQLite from reading ON CONFLICT as the condition of a
// join.
func upsertGuard(b *body) string {
	if b.tail == "" && b.left == nil && b.wrap == nil && strings.Contains(b.rest, " FROM ") && !strings.Contains(b.rest, " WHERE ") && !strings.Contains(b.rest, " GROUP BY ") && !strings.Contains(b.rest, " WINDOW ") {
		return " WHERE 1"
	}
	if b.tail == "" && b.left == nil && b.rest == "" {
		return " WHERE 1"
	}
	return ""
}

func (i *insert) names() string {
	names := make([]string, len(i.cols))
	for j, c := range i.cols {
		if c.sql == "" {
			return ""
		}
		names[j] = quoteName(c.sql)
	}
	return strings.Join(names, ", ")
}

// assign converts a result column to what a table's column holds.
func (b *body) assign(t *translator, j int, col *relColumn) error {
	v := b.columnValue(j)
	if !v.unknown() && (col.typ.OID == 0 || !col.enforced && col.rel.table != nil) {
		return nil
	}
	if col.typ.OID == 0 {
		return nil
	}
	return b.coerce(t, j, col.typ, assignment, col.name)
}

// identity holds the rules of GENERATED … AS IDENTITY and of generated
// columns.
func (i *insert) identity(b *body) error {
	for j, col := range i.cols {
		c := i.g.schemaColumn(col)
		if c == nil || c.Identity != "a" && !c.Generated {
			if c != nil && c.Identity == "d" && i.overriding == "user" {
				if err := i.dropColumn(b, j); err != nil {
					return err
				}
			}
			continue
		}
		given := b.rows == nil
		for _, row := range b.rows {
			given = given || row[j].sql != defaultMark
		}
		switch {
		case !given:
		case c.Generated:
			return i.t.fail(b.at, stateGenerated, "cannot insert a non-DEFAULT value into column %q: it is a generated column", col.name)
		case i.overriding == "":
			return hinted(i.t.fail(b.at, stateGenerated, "cannot insert a non-DEFAULT value into column %q: it is an identity column defined as GENERATED ALWAYS", col.name), "Use OVERRIDING SYSTEM VALUE to override.")
		case i.overriding == "user":
			if err := i.dropColumn(b, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropColumn makes a column's values DEFAULT.
func (i *insert) dropColumn(b *body, j int) error {
	if b.rows == nil {
		return i.t.fail(b.at, stateUnsupported, "OVERRIDING USER VALUE is supported with VALUES only: leave the column out")
	}
	for _, row := range b.rows {
		row[j].sql = defaultMark
	}
	return nil
}

// defaults puts the columns' defaults in the place of DEFAULT.
func (i *insert) defaults(b *body) {
	for j := len(i.cols) - 1; j >= 0; j-- {
		all, some := len(b.rows) > 0, false
		for _, row := range b.rows {
			is := row[j].sql == defaultMark
			all, some = all && is, some || is
		}
		switch {
		case all:
			for r := range b.rows {
				b.rows[r] = append(b.rows[r][:j:j], b.rows[r][j+1:]...)
			}
			i.cols = append(i.cols[:j:j], i.cols[j+1:]...)
		case some:
			text := i.g.defaultText(i.cols[j])
			for r := range b.rows {
				if b.rows[r][j].sql == defaultMark {
					b.rows[r][j].sql = text
				}
			}
		}
	}
}

// defaultText is what a column's default is.
func (g *target) defaultText(col *relColumn) string {
	if c := g.schemaColumn(col); c != nil && c.Default != "" {
		return "(" + c.Default + ")"
	}
	return "NULL"
}
