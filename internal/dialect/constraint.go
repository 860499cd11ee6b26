package dialect

import (
	"strings"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// columnDef reads a column with its constraints.
func (t *translator) columnDef(p *parser, table string) (*columnDef, error) {
	c := &columnDef{at: p.peek().start}
	var err error
	if c.name, err = p.name(); err != nil {
		return nil, err
	}
	if c.typ, err = p.typeName(); err != nil {
		return nil, err
	}
	if c.typ.serial != "" {
		c.notNull = true
		c.sequence = &schema.Sequence{Name: shorten(table + "_" + c.name + "_seq"), Table: table, Column: c.name, Start: 1, Increment: 1}
	}
	if isOID(c.typ.typ) && isRegType(c.typ.typ) || c.typ.typ.OID == sqltype.AnyArray.OID {
		return nil, t.fail(c.typ.at(), stateUnsupported, "columns of type %s are not supported: use text", c.typ.typ.SQL())
	}
	for {
		more, err := t.columnConstraint(p, table, c)
		if err != nil || !more {
			return c, err
		}
	}
}

// columnConstraint reads one constraint of a column.
func (t *translator) columnConstraint(p *parser, table string, c *columnDef) (bool, error) {
	name := ""
	if p.word("constraint") {
		var err error
		if name, err = p.name(); err != nil {
			return false, err
		}
	}
	named := func(kind string) string {
		if name != "" {
			return "CONSTRAINT " + quoteName(name) + " "
		}
		return "CONSTRAINT " + quoteName(shorten(table+"_"+c.name+"_"+kind)) + " "
	}
	switch n := p.peek(); {
	case p.words("not", "null"):
		c.notNull = true
	case p.word("null"):
	case p.words("primary", "key"):
		c.primary = true
		return true, p.indexParameters()
	case p.word("unique"):
		c.texts = append(c.texts, named("key")+"UNIQUE")
		return true, p.indexParameters()
	case p.word("check"):
		check := checkDef{at: n.start, name: name}
		if name == "" {
			check.name = shorten(table + "_" + c.name + "_check")
			if k := len(c.checks); k > 0 {
				check.name += itoa(k)
			}
		}
		var err error
		if check.x, err = p.inParentheses(); err != nil {
			return false, err
		}
		c.checks = append(c.checks, check)
		return true, p.noInherit()
	case p.word("default"):
		var err error
		c.fallback, err = p.binary(precCompare)
		return true, err
	case p.word("references"):
		text, err := t.references(p, []string{c.name}, n.start, &c.references)
		c.texts = append(c.texts, named("fkey")+text)
		return true, err
	case p.word("generated"):
		return true, t.generated(p, table, c)
	case p.word("collate"):
		_, collation, err := p.anyName()
		if err != nil {
			return false, err
		}
		_, err = t.collate(&collateExpr{pos: pos(n.start), x: &literal{pos(n.start), litString, ""}, collation: collation})
		return true, err
	case n.is("storage"), n.is("compression"):
		return false, p.unsupported(n.start, "%s of a column is not supported", strings.ToUpper(n.value))
	default:
		if name != "" {
			return false, p.unexpected()
		}
		return false, nil
	}
	return true, nil
}

func (p *parser) inParentheses() (expr, error) {
	if err := p.expectPunct("("); err != nil {
		return nil, err
	}
	x, err := p.expr()
	if err != nil {
		return nil, err
	}
	return x, p.expectPunct(")")
}

func (p *parser) noInherit() error {
	p.words("no", "inherit")
	if n := p.peek(); n.is("not") && p.ahead(1).is("valid") {
		return p.unsupported(n.start, "NOT VALID is not supported: constraints hold for every row")
	}
	return nil
}

// indexParameters reads what may follow UNIQUE and PRIMARY KEY.
func (p *parser) indexParameters() error {
	for {
		switch n := p.peek(); {
		case n.is("with") && p.ahead(1).punct("("):
			for p.next(); !p.punct(")"); p.next() {
				if p.peek().kind == tokEnd {
					return p.unexpected()
				}
			}
		case p.words("not", "deferrable"), p.words("initially", "immediate"):
		case n.is("deferrable"), n.is("initially"):
			return p.unsupported(n.start, "deferrable unique constraints are not supported: only foreign keys can be deferred")
		case n.is("include"), n.is("nulls"), n.is("using") && p.ahead(1).is("index") && p.ahead(2).is("tablespace"):
			return p.unsupported(n.start, "%s of a constraint is not supported", strings.ToUpper(n.value))
		default:
			return nil
		}
	}
}

// generated reads GENERATED … AS IDENTITY and GENERATED ALWAYS AS (…) STORED.
func (t *translator) generated(p *parser, table string, c *columnDef) error {
	at := p.peek().start
	identity := "a"
	if p.words("by", "default") {
		identity = "d"
	} else if err := p.expect("always"); err != nil {
		return err
	}
	if err := p.expect("as"); err != nil {
		return err
	}
	if !p.word("identity") {
		var err error
		if c.stored, err = p.inParentheses(); err != nil {
			return err
		}
		if n := p.peek(); n.is("virtual") {
			return p.unsupported(n.start, "virtual generated columns are not supported: use STORED")
		}
		return p.expect("stored")
	}
	if !isInteger(c.typ.typ) {
		return t.fail(at, "22023", "identity column type must be smallint, integer, or bigint")
	}
	c.identity, c.notNull = identity, true
	c.sequence = &schema.Sequence{Name: shorten(table + "_" + c.name + "_seq"), Table: table, Column: c.name, Start: 1, Increment: 1}
	if p.punct("(") {
		if err := t.sequenceOptions(p, c.sequence); err != nil {
			return err
		}
		return p.expectPunct(")")
	}
	return nil
}

// references reads what stands after REFERENCES.
func (t *translator) references(p *parser, columns []string, at int, noted *[]foreignKey) (string, error) {
	place := p.peek().start
	name, err := p.table()
	if err != nil {
		return "", err
	}
	r := foreignKey{at: place, table: name}
	text := "REFERENCES " + quoteName(name)
	if p.peek().punct("(") {
		if r.columns, err = p.names(); err != nil {
			return "", err
		}
		if len(r.columns) != len(columns) {
			return "", t.fail(at, stateBadFK, "number of referencing and referenced columns for foreign key disagree")
		}
		text += " (" + quoteNames(r.columns) + ")"
	}
	*noted = append(*noted, r)
	for {
		switch n := p.peek(); {
		case p.words("on", "delete"), p.words("on", "update"):
			event := strings.ToUpper(p.tokens[p.at-1].value)
			action, err := p.action()
			if err != nil {
				return "", err
			}
			text += " ON " + event + " " + action
		case p.words("match", "simple"):
		case n.is("match"):
			return "", p.unsupported(n.start, "MATCH %s is not supported: use MATCH SIMPLE", strings.ToUpper(p.ahead(1).value))
		case p.words("not", "deferrable"):
		case p.words("deferrable", "initially", "deferred"), p.words("initially", "deferred"):
			text += " DEFERRABLE INITIALLY DEFERRED"
		case p.words("deferrable", "initially", "immediate"), p.word("deferrable"), p.words("initially", "immediate"):
		case n.is("not") && p.ahead(1).is("valid"):
			return "", p.noInherit()
		default:
			return text, nil
		}
	}
}

// action reads what a foreign key does.
func (p *parser) action() (string, error) {
	at := p.peek().start
	var action string
	switch {
	case p.words("no", "action"):
		return "NO ACTION", nil
	case p.word("restrict"):
		return "RESTRICT", nil
	case p.word("cascade"):
		return "CASCADE", nil
	case p.words("set", "null"):
		action = "SET NULL"
	case p.words("set", "default"):
		action = "SET DEFAULT"
	default:
		return "", p.unexpected()
	}
	if p.peek().punct("(") {
		return "", p.unsupported(at, "%s of some columns is not supported", action)
	}
	return action, nil
}

// tableConstraint reads a constraint of a table; what it returns is run when
// the columns are known.
func (t *translator) tableConstraint(p *parser, d *tableDef) (func() error, error) {
	at := p.peek().start
	name := ""
	if p.word("constraint") {
		var err error
		if name, err = p.name(); err != nil {
			return nil, err
		}
		if d.names[name] {
			return nil, t.fail(at, stateNoObject, "constraint %q is named twice", name)
		}
		d.names[name] = true
	}
	add := func(kind, columns, text string) {
		if name == "" {
			name = d.constraintName(columns, kind)
		}
		d.constraints = append(d.constraints, "CONSTRAINT "+quoteName(name)+" "+text)
	}
	switch {
	case p.words("primary", "key"), p.word("unique"):
		return t.keyConstraint(p, d, at, name, add)
	case p.word("check"):
		x, err := p.inParentheses()
		if err != nil {
			return nil, err
		}
		if err := p.noInherit(); err != nil {
			return nil, err
		}
		return func() error {
			text, err := t.checkText(d, checkDef{at: at, name: "x", x: x})
			add("check", "", strings.TrimPrefix(text, "CONSTRAINT x "))
			return err
		}, nil
	case p.words("foreign", "key"):
		return t.foreignConstraint(p, d, at, add)
	}
	if n := p.peek(); n.is("exclude") {
		return nil, p.unsupported(n.start, "EXCLUDE constraints are not supported")
	}
	return nil, p.unexpected()
}

// keyConstraint reads what stands after PRIMARY KEY or UNIQUE.
func (t *translator) keyConstraint(p *parser, d *tableDef, at int, name string, add func(kind, columns, text string)) (func() error, error) {
	unique := p.tokens[p.at-1].is("unique")
	if n := p.peek(); n.is("using") || n.is("nulls") {
		return nil, p.unsupported(n.start, "UNIQUE %s is not supported here", strings.ToUpper(n.value))
	}
	columns, err := p.names()
	if err != nil {
		return nil, err
	}
	if err := p.indexParameters(); err != nil {
		return nil, err
	}
	return func() error {
		for _, c := range columns {
			if d.column(c) == nil {
				return t.fail(at, stateNoColumn, "column %q named in key does not exist", c)
			}
		}
		if unique {
			add("key", strings.Join(columns, "_"), "UNIQUE ("+quoteNames(columns)+")")
			return nil
		}
		if d.primary != nil {
			return t.fail(at, stateBadDefinition, "multiple primary keys for table %q are not allowed", d.name)
		}
		d.primary, d.primaryName = columns, name
		return nil
	}, nil
}

// foreignConstraint reads what stands after FOREIGN KEY.
func (t *translator) foreignConstraint(p *parser, d *tableDef, at int, add func(kind, columns, text string)) (func() error, error) {
	columns, err := p.names()
	if err != nil {
		return nil, err
	}
	if err := p.expect("references"); err != nil {
		return nil, err
	}
	text, err := t.references(p, columns, at, &d.references)
	if err != nil {
		return nil, err
	}
	return func() error {
		for _, c := range columns {
			if d.column(c) == nil && d.rel.column(c) == nil {
				return t.fail(at, stateNoColumn, "column %q referenced in foreign key constraint does not exist", c)
			}
		}
		add("fkey", strings.Join(columns, "_"), "FOREIGN KEY ("+quoteNames(columns)+") "+text)
		return nil
	}, nil
}

// sequenceOptions reads START, INCREMENT and the like.
func (t *translator) sequenceOptions(p *parser, q *schema.Sequence) error {
	for {
		n := p.peek()
		switch {
		case p.word("start"):
			p.word("with")
			if err := p.signed(&q.Start); err != nil {
				return err
			}
		case p.word("increment"):
			p.word("by")
			if err := p.signed(&q.Increment); err != nil {
				return err
			}
			if q.Increment == 0 {
				return t.fail(n.start, stateBadParameter, "INCREMENT must not be zero")
			}
		case p.words("no", "minvalue"), p.words("no", "maxvalue"), p.words("no", "cycle"):
		case p.word("as"):
			if _, err := p.typeName(); err != nil {
				return err
			}
		case p.word("cache"):
			var ignored int64 // numbers are drawn one by one, which is what a cache of 1 does
			if err := p.signed(&ignored); err != nil {
				return err
			}
		case p.words("owned", "by"):
			if p.word("none") {
				continue
			}
			var err error
			if q.Table, q.Column, err = p.qualified(); err != nil {
				return err
			}
		case n.is("minvalue"), n.is("maxvalue"):
			p.next()
			var bound int64
			if err := p.signed(&bound); err != nil {
				return err
			}
			if n.is("minvalue") && bound != 1 || n.is("maxvalue") && bound < 1<<31-1 {
				return p.unsupported(n.start, "%s of a sequence is not supported", strings.ToUpper(n.value))
			}
		case n.is("cycle"), n.is("restart"), n.is("sequence"):
			return p.unsupported(n.start, "%s of a sequence is not supported", strings.ToUpper(n.value))
		default:
			return nil
		}
	}
}

// signed reads an integer.
func (p *parser) signed(to *int64) error {
	sign := ""
	if p.operator("-") {
		sign = "-"
	}
	n := p.next()
	if n.kind != tokInteger {
		p.at--
		return p.unexpected()
	}
	v, err := sqltype.Int8.Input(sign + n.value)
	if err != nil {
		return placed(err, p.text, n.start)
	}
	*to = v.(int64) //nolint:forcetypeassert // the stored form of int8
	return nil
}
