package dialect

import (
	"strings"
)

// conflict translates ON CONFLICT.
func (i *insert) conflict() (string, error) {
	p := i.p
	if !p.words("on", "conflict") {
		return "", nil
	}
	goal, err := i.conflictTarget()
	if err != nil {
		return "", err
	}
	if err := p.expect("do"); err != nil {
		return "", err
	}
	if p.word("nothing") {
		return " ON CONFLICT" + goal + " DO NOTHING", nil
	}
	at := p.peek().start
	if err := p.expect("update", "set"); err != nil {
		return "", err
	}
	if goal == "" {
		return "", i.t.fail(at, stateSyntax, "ON CONFLICT DO UPDATE requires inference specification or constraint name")
	}
	excluded := *i.g.rel
	excluded.name, excluded.sql = "excluded", "excluded"
	excluded.cols = append([]relColumn(nil), i.g.rel.cols...)
	for c := range excluded.cols {
		excluded.cols[c].rel = &excluded
	}
	s := &scope{rels: []*relation{i.g.rel, &excluded}, noAgg: "UPDATE", noWin: "UPDATE"}
	i.t.scope = s
	s.merged = map[string]*relColumn{} // a bare name is the table's
	for c := range i.g.rel.cols {
		s.merged[i.g.rel.cols[c].name] = &i.g.rel.cols[c]
	}
	sets, err := i.t.assignments(p, i.g)
	if err != nil {
		return "", err
	}
	text := " ON CONFLICT" + goal + " DO UPDATE SET " + sets
	if p.word("where") {
		x, err := p.expr()
		if err != nil {
			return "", err
		}
		v, err := i.t.condition(x, "WHERE")
		if err != nil {
			return "", err
		}
		text += " WHERE " + v.sql
	}
	return text, nil
}

// conflictTarget reads (columns) WHERE …, or ON CONSTRAINT name.
func (i *insert) conflictTarget() (string, error) {
	p, t := i.p, i.t
	if p.words("on", "constraint") {
		at := p.peek().start
		name, err := p.name()
		if err != nil {
			return "", err
		}
		return i.constraint(name, at)
	}
	if !p.punct("(") {
		return "", nil
	}
	t.scope = &scope{rels: []*relation{i.g.rel}, bare: true, noAgg: "ON CONFLICT", noWin: "ON CONFLICT"}
	var texts []string
	for {
		x, err := p.expr()
		if err != nil {
			return "", err
		}
		v, err := t.scalar(x)
		if err != nil {
			return "", err
		}
		texts = append(texts, v.sql)
		if !p.punct(",") {
			break
		}
	}
	if err := p.expectPunct(")"); err != nil {
		return "", err
	}
	goal := " (" + strings.Join(texts, ", ") + ")"
	if p.word("where") {
		x, err := p.expr()
		if err != nil {
			return "", err
		}
		v, err := t.condition(x, "WHERE")
		if err != nil {
			return "", err
		}
		goal += " WHERE " + v.sql
	}
	return goal, nil
}

// constraint finds the columns of a constraint.
func (i *insert) constraint(name string, at int) (string, error) {
	if table := i.g.table; table != nil {
		for _, x := range table.Indexes {
			if !x.Unique || fold(x.Name) != fold(name) || x.Where != "" || contains(x.Columns, "") {
				continue
			}
			names := make([]string, len(x.Columns))
			for j, c := range x.Columns {
				names[j] = quoteName(c)
			}
			return " (" + strings.Join(names, ", ") + ")", nil
		}
	}
	return "", i.t.fail(at, stateNoObject, "constraint %q for table %q does not exist", name, i.g.rel.name)
}
