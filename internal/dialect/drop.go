package dialect

import (
	"strings"

	"kimberlite/internal/schema"
)

// drop translates DROP. CASCADE is refused where it would take anything along.
func (t *translator) drop(p *parser) (*Statement, error) {
	kind := p.next()
	switch kind.value {
	case "table", "view", "index", "sequence":
	case "schema", "extension", "function", "trigger", "type", "role", "user", "database", "materialized", "policy",
		"procedure", "domain", "aggregate", "operator", "owned", "rule", "publication", "subscription", "foreign", "server":
		if kind.is("trigger") {
			return t.dropTrigger(p)
		}
		if p.words("if", "exists") && !kind.is("schema") && !kind.is("database") && !kind.is("role") && !kind.is("user") && !kind.is("extension") {
			for p.peek().kind != tokEnd && !p.peek().punct(";") {
				p.next()
			}
			return &Statement{Kind: Nothing, Tag: "DROP " + strings.ToUpper(kind.value), Notice: "there are no objects of this kind, skipping"}, nil
		}
		return nil, p.unsupported(kind.start, "DROP %s is not supported", strings.ToUpper(kind.value))
	default:
		p.at--
		return nil, p.unexpected()
	}
	if kind.is("index") {
		p.word("concurrently")
	}
	exists := p.words("if", "exists")
	s := &Statement{Kind: DDL, Tag: "DROP " + strings.ToUpper(kind.value)}
	var texts []string
	var dropped []string
	for {
		at := p.peek().start
		name, err := p.table()
		if err != nil {
			return nil, err
		}
		text, there, err := t.dropOne(s, kind.value, name, at)
		switch {
		case err != nil:
			return nil, err
		case !there && !exists:
			state := stateNoTable
			if kind.is("index") {
				state = stateNoObject
			}
			return nil, t.fail(at, state, "%s %q does not exist", kind.value, name)
		case !there:
			s.Notice = kind.value + " \"" + name + "\" does not exist, skipping"
		case text != "":
			texts = append(texts, text)
		}
		dropped = append(dropped, name)
		if !p.punct(",") {
			break
		}
	}
	cascade := p.peek().start
	if p.word("cascade") {
		if err := t.mayCascade(kind.value, dropped, cascade); err != nil {
			return nil, err
		}
	} else {
		p.word("restrict")
		if err := t.mayDrop(kind, dropped); err != nil {
			return nil, err
		}
	}
	switch {
	case len(texts) > 0:
		s.Before, s.SQL = texts[:len(texts)-1], texts[len(texts)-1]
	case len(s.DropSequences) == 0:
		s.Kind = Nothing
	}
	return s, nil
}

// dropOne writes the statement that drops one object.
func (t *translator) dropOne(s *Statement, kind, name string, at int) (text string, there bool, err error) {
	switch kind {
	case "table", "view":
		table, ok := t.env.Schema.Table(name)
		if !ok && t.env.Schema != nil {
			return "", false, nil
		}
		if ok {
			if table.Kind != kind {
				return "", false, t.fail(at, stateObjectKind, "%q is not a %s", name, kind)
			}
			name = table.Name
		}
		return "DROP " + strings.ToUpper(kind) + " " + quoteName(name), true, nil
	case "index":
		table := t.indexNamed(name)
		if table == nil {
			return "", false, nil
		}
		for _, x := range table.Indexes {
			if fold(x.Name) == fold(name) && x.Constraint {
				return "", false, t.fail(at, "2BP01", "cannot drop index %q because a constraint on table %q requires it", name, table.Name)
			}
		}
		return "DROP INDEX " + quoteName(name), true, nil
	}
	q, ok := t.env.Schema.Sequence(name)
	if !ok {
		return "", false, nil
	}
	if q.Table != "" {
		if table, ok := t.env.Schema.Table(q.Table); ok {
			if c, _, ok := table.Column(q.Column); ok && strings.Contains(c.Default, "nextval(") {
				return "", false, t.fail(at, "2BP01", "cannot drop sequence %q because the default of column %q of table %q requires it", name, q.Column, q.Table)
			}
		}
	}
	s.DropSequences = append(s.DropSequences, *q)
	return "", true, nil
}

// mayDrop refuses to drop what a view reads or another table refers to.
func (t *translator) mayDrop(kind token, names []string) error {
	if !kind.is("table") && !kind.is("view") || t.env.Schema == nil {
		return nil
	}
	for _, view := range t.env.Schema.Tables {
		if view.Kind == schema.KindView && !containsFold(names, view.Name) && mentions(view.SQL, names) {
			return t.fail(kind.start, "2BP01", "cannot drop %s %q because view %q depends on it: drop the view first", kind.value, names[0], view.Name)
		}
	}
	if from, key := t.referrer(names); from != nil {
		return t.fail(kind.start, "2BP01", "cannot drop table %q because constraint %q on table %q depends on it: drop that table too, or first", key.RefTable, key.Name, from.Name)
	}
	return nil
}

// referrer finds a foreign key from elsewhere to one of some tables.
func (t *translator) referrer(names []string) (*schema.Table, *schema.ForeignKey) {
	for _, table := range t.env.Schema.Tables {
		if containsFold(names, table.Name) {
			continue
		}
		for i := range table.ForeignKeys {
			if containsFold(names, table.ForeignKeys[i].RefTable) {
				return table, &table.ForeignKeys[i]
			}
		}
	}
	return nil, nil
}

// mayCascade refuses CASCADE where something depends on what goes.
func (t *translator) mayCascade(kind string, names []string, at int) error {
	if kind == "index" || kind == "sequence" || t.env.Schema == nil {
		return nil
	}
	if from, key := t.referrer(names); from != nil {
		return t.fail(at, stateUnsupported, "DROP … CASCADE is not supported while something depends on it: constraint %q on table %q does", key.Name, from.Name)
	}
	for _, view := range t.env.Schema.Tables {
		if view.Kind != schema.KindView || containsFold(names, view.Name) {
			continue
		}
		if mentions(view.SQL, names) {
			return t.fail(at, stateUnsupported, "DROP … CASCADE is not supported while something depends on it: view %q may", view.Name)
		}
	}
	return nil
}

// dropTrigger translates DROP TRIGGER name ON table.
func (t *translator) dropTrigger(p *parser) (*Statement, error) {
	exists := p.words("if", "exists")
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	if p.word("on") {
		if _, err := p.table(); err != nil {
			return nil, err
		}
	}
	if !p.word("cascade") {
		p.word("restrict")
	}
	word := "DROP TRIGGER "
	if exists {
		word += "IF EXISTS "
	}
	return &Statement{Kind: DDL, Tag: "DROP TRIGGER", SQL: word + quoteName(name)}, nil
}

// truncate translates TRUNCATE: DELETE of all rows.
func (t *translator) truncate(p *parser) (*Statement, error) {
	p.next()
	p.word("table")
	s := &Statement{Kind: DDL, Tag: "TRUNCATE TABLE"}
	var names, texts []string
	for {
		p.word("only")
		at := p.peek().start
		name, err := p.table()
		if err != nil {
			return nil, err
		}
		p.operator("*")
		table, ok := t.env.Schema.Table(name)
		if !ok && t.env.Schema != nil {
			return nil, t.fail(at, stateNoTable, "relation %q does not exist", name)
		}
		if ok {
			if table.Kind != schema.KindTable {
				return nil, t.fail(at, stateObjectKind, "%q is not a table", name)
			}
			name = table.Name
		}
		names = append(names, name)
		texts = append(texts, "DELETE FROM "+quoteName(name))
		if !p.punct(",") {
			break
		}
	}
	restart := p.words("restart", "identity")
	if !restart {
		p.words("continue", "identity")
	}
	at := p.peek().start
	cascade := p.word("cascade")
	if !cascade {
		p.word("restrict")
	}
	if t.env.Schema != nil {
		if from, key := t.referrer(names); from != nil {
			if cascade {
				return nil, t.fail(at, stateUnsupported, "TRUNCATE … CASCADE is not supported while another table refers to it: name table %q too", from.Name)
			}
			return nil, t.fail(at, stateUnsupported, "cannot truncate a table referenced in a foreign key constraint: constraint %q on table %q", key.Name, from.Name)
		}
	}
	s.Before, s.SQL = texts[:len(texts)-1], texts[len(texts)-1]
	if restart {
		s.After = t.restarts(names)
	}
	return s, nil
}

// restarts sets the sequences of tables back to where they started.
func (t *translator) restarts(names []string) []string {
	var texts []string
	if t.env.Schema == nil {
		return nil
	}
	for _, q := range t.env.Schema.Sequences {
		if q.Table != "" && containsFold(names, q.Table) {
			texts = append(texts, "SELECT setval("+quoteText(q.Name)+", "+literalOf(q.Start)+", 0)")
		}
	}
	return texts
}
