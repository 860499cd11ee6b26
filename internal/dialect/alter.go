package dialect

import (
	"strings"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// alter translates ALTER.
func (t *translator) alter(p *parser) (*Statement, error) {
	kind := p.next()
	switch kind.value {
	case "table":
	case "index", "view", "sequence":
		return t.alterOther(p, kind)
	default:
		return nil, p.unsupported(kind.start, "ALTER %s is not supported", strings.ToUpper(kind.value))
	}
	t.noParams = "ALTER TABLE"
	exists := p.words("if", "exists")
	p.word("only")
	at := p.peek().start
	name, err := p.table()
	if err != nil {
		return nil, err
	}
	p.operator("*")
	table, ok := t.env.Schema.Table(name)
	s := &Statement{Kind: DDL, Tag: "ALTER TABLE"}
	switch {
	case !ok && exists:
		for p.peek().kind != tokEnd && !p.peek().punct(";") {
			p.next()
		}
		s.Kind, s.Notice = Nothing, "relation \""+name+"\" does not exist, skipping"
		return s, nil
	case !ok:
		return nil, t.fail(at, stateNoTable, "relation %q does not exist", name)
	case table.Kind == schema.KindSystem:
		return nil, t.fail(at, stateObjectKind, "%q cannot be changed", name)
	}
	a := &alteration{t: t, p: p, s: s, table: table}
	for {
		if err := a.action(); err != nil {
			return nil, err
		}
		if !p.punct(",") {
			break
		}
	}
	a.finish()
	return s, nil
}

// alteration is an ALTER TABLE while it is read.
type alteration struct {
	t     *translator
	p     *parser
	s     *Statement
	table *schema.Table
	texts []string
	// rebuilt says that the table is made anew, which goes with nothing else.
	rebuilt bool
}

func (a *alteration) add(text string) { a.texts = append(a.texts, text) }

func (a *alteration) prefix() string { return "ALTER TABLE " + quoteName(a.table.Name) + " " }

// finish puts the statements in order.
func (a *alteration) finish() {
	if len(a.texts) == 0 {
		if len(a.s.NewSequences)+len(a.s.DropSequences) == 0 {
			a.s.Kind = Nothing
		}
		return
	}
	a.s.Before, a.s.SQL = a.texts[:len(a.texts)-1], a.texts[len(a.texts)-1]
}

// action reads one action.
func (a *alteration) action() error {
	p := a.p
	n := p.peek()
	if a.rebuilt {
		return p.unsupported(n.start, "this action of ALTER TABLE is not supported beside the others: use a statement for each")
	}
	switch {
	case p.word("add"):
		switch c := p.peek(); {
		case c.is("constraint"), c.is("primary"), c.is("unique"), c.is("check"), c.is("foreign"), c.is("exclude"):
			return a.addConstraint()
		}
		p.word("column")
		return a.addColumn()
	case p.words("drop", "constraint"):
		return a.dropConstraint()
	case p.word("drop"):
		p.word("column")
		return a.dropColumn()
	case p.words("rename", "to"):
		name, err := p.newName()
		a.add(a.prefix() + "RENAME TO " + quoteName(name))
		return err
	case p.words("rename", "constraint"):
		return p.unsupported(n.start, "RENAME CONSTRAINT is not supported: drop it and add it again")
	case p.word("rename"):
		p.word("column")
		return a.renameColumn()
	case p.word("alter"):
		p.word("column")
		return a.alterColumn()
	case p.words("owner", "to"), p.words("replica", "identity"):
		return p.unsupported(n.start, "ALTER TABLE … %s is not supported: tables belong to the tenant", strings.ToUpper(n.value))
	case n.is("enable"), n.is("disable"):
		return p.unsupported(n.start, "ALTER TABLE … %s is not supported", strings.ToUpper(n.value))
	case p.words("validate", "constraint"):
		_, err := p.name() // constraints hold for every row from the start
		return err
	case n.is("set"), n.is("inherit"), n.is("attach"), n.is("detach"), n.is("cluster"), n.is("force"), n.is("no"), n.is("of"):
		return p.unsupported(n.start, "ALTER TABLE … %s is not supported", strings.ToUpper(n.value))
	}
	return p.unexpected()
}

// column finds a column of the table.
func (a *alteration) column(name string, at int) (*schema.Column, error) {
	c, _, ok := a.table.Column(name)
	if !ok {
		return nil, a.t.fail(at, stateNoColumn, "column %q of relation %q does not exist", name, a.table.Name)
	}
	return c, nil
}

func (a *alteration) renameColumn() error {
	at := a.p.peek().start
	from, err := a.p.name()
	if err != nil {
		return err
	}
	c, err := a.column(from, at)
	if err != nil {
		return err
	}
	if err := a.p.expect("to"); err != nil {
		return err
	}
	to, err := a.p.name()
	a.add(a.prefix() + "RENAME COLUMN " + quoteName(c.Name) + " TO " + quoteName(to))
	return err
}

func (a *alteration) dropColumn() error {
	p := a.p
	exists := p.words("if", "exists")
	at := p.peek().start
	name, err := p.name()
	if err != nil {
		return err
	}
	c, _, ok := a.table.Column(name)
	switch {
	case !ok && exists:
		a.s.Notice = "column \"" + name + "\" of relation \"" + a.table.Name + "\" does not exist, skipping"
	case !ok:
		_, err := a.column(name, at)
		return err
	default:
		// Indexes of the column go with it, as in PostgreSQL.
		for _, x := range a.table.Indexes {
			if containsFold(x.Columns, c.Name) && !x.Constraint && x.SQL != "" {
				a.add("DROP INDEX " + quoteName(x.Name))
			}
		}
		a.add(a.prefix() + "DROP COLUMN " + quoteName(c.Name))
		if q, ok := a.t.env.Schema.Sequence(c.Sequence); ok && c.Sequence != "" {
			a.s.DropSequences = append(a.s.DropSequences, *q)
		}
	}
	if n := p.peek(); p.word("cascade") {
		if from, _ := a.t.referrer([]string{a.table.Name}); from != nil {
			return p.unsupported(n.start, "DROP COLUMN … CASCADE is not supported while other tables refer to this one")
		}
	} else {
		p.word("restrict")
	}
	return nil
}

// addColumn translates ADD COLUMN. SQLite adds a column to the rows that are
// there only with a constant default.
func (a *alteration) addColumn() error {
	p, t := a.p, a.t
	exists := p.words("if", "not", "exists")
	c, err := t.columnDef(p, a.table.Name)
	if err != nil {
		return err
	}
	if _, _, there := a.table.Column(c.name); there {
		if !exists {
			return t.fail(c.at, stateDuplicate, "column %q of relation %q already exists", c.name, a.table.Name)
		}
		a.s.Notice = "column \"" + c.name + "\" of relation \"" + a.table.Name + "\" already exists, skipping"
		return nil
	}
	d := a.def()
	if c.primary {
		return p.unsupported(c.at, "a primary key is not added with a column: make a new table")
	}
	d.rel.cols = append(d.rel.cols, relColumn{name: c.name, sql: c.name, typ: c.typ.typ, enforced: true, rel: d.rel})
	for i := range d.rel.cols {
		d.rel.cols[i].rel = d.rel
	}
	var unique string
	kept := c.texts[:0]
	for _, text := range c.texts {
		if name, ok := strings.CutSuffix(text, " UNIQUE"); ok {
			unique = strings.TrimPrefix(name, "CONSTRAINT ")
			continue
		}
		kept = append(kept, text)
	}
	c.texts = kept
	if needsRebuild(c) {
		return a.addByRebuild(d, c)
	}
	text, err := t.columnText(d, c)
	if err != nil {
		return err
	}
	if err := t.checkReferences(d); err != nil {
		return err
	}
	a.add(a.prefix() + "ADD COLUMN " + text)
	if unique != "" {
		a.add("CREATE UNIQUE INDEX " + unique + " ON " + quoteName(a.table.Name) + " (" + quoteName(c.name) + ")")
	}
	return nil
}

// needsRebuild says that SQLite cannot add a column by itself: its default is
// not constant, it is stored or refers with a default.
func needsRebuild(c *columnDef) bool {
	if c.sequence != nil || c.stored != nil {
		return true
	}
	l, constant := c.fallback.(*literal)
	if cast, ok := c.fallback.(*castExpr); ok {
		l, constant = cast.x.(*literal)
	}
	switch {
	case c.fallback == nil:
		return false
	case !constant:
		return true
	}
	switch c.typ.typ.OID {
	case sqltype.Numeric.OID, sqltype.Int2.OID, sqltype.Int4.OID:
		// It may have to be rounded, or be out of range: SQLite would put it
		// into the rows that are there without looking.
		if l.kind != litNull && (l.kind != litInteger || len(l.text) > 4 || c.typ.typ.OID == sqltype.Numeric.OID) {
			return true
		}
	}
	return len(c.references) > 0 && l.kind != litNull
}

// def is the table as a definition, for what is added to it.
func (a *alteration) def() *tableDef {
	d := &tableDef{name: a.table.Name, rel: tableRelation(a.table.Name, a.table), names: map[string]bool{}}
	for _, x := range a.table.Indexes {
		d.names[x.Name] = true
	}
	for _, x := range a.table.Checks {
		d.names[x.Name] = true
	}
	for _, x := range a.table.ForeignKeys {
		d.names[x.Name] = true
	}
	return d
}

// alterOther translates ALTER INDEX, VIEW and SEQUENCE.
func (t *translator) alterOther(p *parser, kind token) (*Statement, error) {
	p.words("if", "exists")
	at := p.peek().start
	name, err := p.table()
	if err != nil {
		return nil, err
	}
	s := &Statement{Kind: DDL, Tag: "ALTER " + strings.ToUpper(kind.value)}
	if q, ok := t.env.Schema.Sequence(name); ok && kind.is("sequence") {
		switch {
		case p.word("restart"):
			start := q.Start
			if p.word("with") || p.peek().kind == tokInteger {
				if err := p.signed(&start); err != nil {
					return nil, err
				}
			}
			s.SQL = "SELECT setval(" + quoteText(q.Name) + ", " + literalOf(start) + ", 0)"
			return s, nil
		case p.words("owned", "by"):
			if _, _, err := p.qualified(); err == nil {
				return nil, p.unsupported(at, "ALTER SEQUENCE … OWNED BY is not supported: use SERIAL or IDENTITY columns")
			}
		}
	}
	return nil, p.unsupported(kind.start, "this form of ALTER %s is not supported: drop it and make it again", strings.ToUpper(kind.value))
}
