package dialect

import (
	"strings"

	"kimberlite/internal/schema"
)

// alterColumn translates ALTER COLUMN.
func (a *alteration) alterColumn() error {
	p := a.p
	at := p.peek().start
	name, err := p.name()
	if err != nil {
		return err
	}
	c, err := a.column(name, at)
	if err != nil {
		return err
	}
	clause := a.prefix() + "ALTER COLUMN " + quoteName(c.Name)
	switch n := p.peek(); {
	case p.words("set", "not", "null"):
		a.add(clause + " SET NOT NULL")
		return nil
	case p.words("drop", "not", "null"):
		if c.PrimaryKey > 0 {
			return a.t.fail(n.start, stateBadDefinition, "column %q is in a primary key", c.Name)
		}
		a.add(clause + " DROP NOT NULL")
		return nil
	case p.words("set", "default"):
		x, err := p.binary(precCompare)
		if err != nil {
			return err
		}
		a.t.scope = &scope{bare: true, noAgg: "DEFAULT expressions", noWin: "DEFAULT expressions"}
		text, err := a.t.defaultValue(c.Name, c.Type, x)
		if err != nil {
			return err
		}
		return a.redefine(c, n.start, func(words []string) []string { return append(words, "DEFAULT ("+text+")") })
	case p.words("drop", "default"):
		if c.Default == "" {
			return nil
		}
		return a.redefine(c, n.start, nil)
	case p.words("set", "data", "type"), p.word("type"):
		return a.retype(c, n.start)
	case n.is("add"), n.is("set"), n.is("drop"), n.is("reset"):
		return p.unsupported(n.start, "this form of ALTER COLUMN is not supported: make a new column or table")
	}
	return p.unexpected()
}

// redefine makes the table anew with another default of a column.
func (a *alteration) redefine(c *schema.Column, at int, change func([]string) []string) error {
	parts, rest, ok := cutTable(a.table.SQL)
	if !ok {
		return a.cannotRebuild(at)
	}
	for i, part := range parts {
		if !definesColumn(part, c.Name) {
			continue
		}
		part = withoutDefault(part)
		if change != nil {
			part += " " + strings.Join(change(nil), " ")
		}
		parts[i] = part
		return a.rebuild(at, parts, rest, nil)
	}
	return a.cannotRebuild(at)
}

// retype makes the table anew with another type of a column.
func (a *alteration) retype(c *schema.Column, at int) error {
	p, t := a.p, a.t
	to, err := p.typeName()
	if err != nil {
		return err
	}
	if to.serial != "" {
		return t.fail(to.at(), stateNoObject, "type %q does not exist", to.name)
	}
	if p.word("collate") {
		return p.unsupported(at, "collations of columns are not supported")
	}
	rel := tableRelation(a.table.Name, a.table)
	t.scope = &scope{rels: []*relation{rel}, bare: true, noAgg: "USING", noWin: "USING"}
	using := expr(&columnRef{pos: pos(at), parts: []string{c.Name}})
	kind := assignment
	if p.word("using") {
		if using, err = p.expr(); err != nil {
			return err
		}
	}
	v, err := t.scalar(using)
	if err != nil {
		return err
	}
	if v, err = t.convert(v, to.typ, kind, c.Name); err != nil {
		return err
	}
	parts, rest, ok := cutTable(a.table.SQL)
	if !ok {
		return a.cannotRebuild(at)
	}
	for i, part := range parts {
		if !definesColumn(part, c.Name) {
			continue
		}
		tokens, _ := lex(part)
		end := typeEnd(tokens)
		parts[i] = quoteName(c.Name) + " " + to.typ.Declared() + part[end:]
		return a.rebuild(at, parts, rest, map[string]string{c.Name: v.sql})
	}
	return a.cannotRebuild(at)
}

// typeEnd is where a column's declared type ends: one word, and perhaps
// parentheses.
func typeEnd(tokens []token) int {
	if len(tokens) < 3 {
		return tokens[0].end
	}
	end := tokens[1].end
	if !tokens[2].punct("(") {
		return end
	}
	for _, n := range tokens[2:] {
		if n.punct(")") {
			return n.end
		}
	}
	return end
}

// definesColumn reports whether a part of CREATE TABLE is the column's.
func definesColumn(part, name string) bool {
	tokens, err := lex(part)
	return err == nil && (tokens[0].kind == tokQuoted || tokens[0].kind == tokWord) && fold(tokens[0].value) == fold(name) &&
		!(tokens[0].kind == tokWord && (tokens[0].is("constraint") || tokens[0].is("primary") || tokens[0].is("unique") || tokens[0].is("check") || tokens[0].is("foreign")))
}

// withoutDefault takes DEFAULT (…) out of a column, as this package writes it.
func withoutDefault(part string) string {
	tokens, err := lex(part)
	if err != nil {
		return part
	}
	for i, n := range tokens {
		if !n.is("default") || i+1 >= len(tokens) || !tokens[i+1].punct("(") {
			continue
		}
		depth := 0
		for _, m := range tokens[i+1:] {
			switch {
			case m.punct("("):
				depth++
			case m.punct(")"):
				if depth--; depth == 0 {
					return strings.TrimSpace(part[:n.start]) + part[m.end:]
				}
			}
		}
	}
	return part
}

// cutTable cuts CREATE TABLE name (parts) rest.
func cutTable(sql string) (parts []string, rest string, ok bool) {
	tokens, err := lex(sql)
	if err != nil {
		return nil, "", false
	}
	depth, start := 0, -1
	for _, n := range tokens {
		switch {
		case n.punct("("):
			if depth++; depth == 1 && start < 0 {
				start = n.end
			}
		case n.punct(","):
			if depth == 1 {
				parts = append(parts, strings.TrimSpace(sql[start:n.start]))
				start = n.end
			}
		case n.punct(")"):
			if depth--; depth == 0 {
				parts = append(parts, strings.TrimSpace(sql[start:n.start]))
				return parts, strings.TrimSpace(sql[n.end:]), true
			}
		}
	}
	return nil, "", false
}

// addConstraint translates ADD CONSTRAINT.
func (a *alteration) addConstraint() error {
	p, t := a.p, a.t
	at := p.peek().start
	d := a.def()
	for i := range a.table.Columns {
		c := &a.table.Columns[i]
		d.columns = append(d.columns, &columnDef{name: c.Name})
	}
	run, err := t.tableConstraint(p, d)
	if err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	if err := t.checkReferences(d); err != nil {
		return err
	}
	if d.primary != nil {
		return a.addPrimary(d, at)
	}
	text := d.constraints[0]
	tokens, err := lex(text)
	if err != nil {
		return err
	}
	switch kind := tokens[2]; {
	case kind.is("unique"):
		a.add("CREATE UNIQUE INDEX " + text[tokens[1].start:tokens[1].end] + " ON " + quoteName(a.table.Name) + " " + text[tokens[3].start:])
		return nil
	case kind.is("check"):
		a.add(a.prefix() + "ADD " + text)
		return nil
	}
	parts, rest, ok := cutTable(a.table.SQL)
	if !ok {
		return a.cannotRebuild(at)
	}
	return a.rebuild(at, append(parts, text), rest, nil)
}

// addPrimary makes the table anew with a primary key.
func (a *alteration) addPrimary(d *tableDef, at int) error {
	for i := range a.table.Columns {
		if a.table.Columns[i].PrimaryKey > 0 {
			return a.t.fail(at, stateBadDefinition, "multiple primary keys for table %q are not allowed", a.table.Name)
		}
	}
	parts, rest, ok := cutTable(a.table.SQL)
	if !ok || rest != "" {
		return a.cannotRebuild(at)
	}
	for i, part := range parts {
		for _, name := range d.primary {
			if c, _, _ := a.table.Column(name); definesColumn(part, name) && !c.NotNull {
				tokens, _ := lex(part)
				end := typeEnd(tokens)
				parts[i] = part[:end] + " NOT NULL" + part[end:]
			}
		}
	}
	name := d.primaryName
	if name == "" {
		name = d.constraintName("", "pkey")
	}
	parts = append(parts, "CONSTRAINT "+quoteName(name)+" PRIMARY KEY ("+quoteNames(d.primary)+")")
	return a.rebuild(at, parts, "WITHOUT ROWID", nil)
}

// dropConstraint translates DROP CONSTRAINT.
func (a *alteration) dropConstraint() error {
	p := a.p
	exists := p.words("if", "exists")
	at := p.peek().start
	name, err := p.name()
	if err != nil {
		return err
	}
	if !p.word("cascade") {
		p.word("restrict")
	}
	for _, x := range a.table.Indexes {
		if fold(x.Name) == fold(name) && !x.Primary && x.Unique && !x.Constraint {
			a.add("DROP INDEX " + quoteName(x.Name))
			return nil
		}
	}
	for _, x := range a.table.Checks {
		if fold(x.Name) == fold(name) {
			a.add(a.prefix() + "DROP CONSTRAINT " + quoteName(x.Name))
			return nil
		}
	}
	return a.dropByRebuild(name, at, exists)
}
