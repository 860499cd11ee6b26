package dialect

import (
	"strings"
)

var updateStop = wordSet("set", "using", "where", "returning")

// updateStatement translates UPDATE.
func (t *translator) updateStatement(p *parser, with *query) (*Statement, error) {
	p.next()
	known := len(t.ctes)
	defer func() { t.ctes = t.ctes[:known] }()
	prefix, err := t.outerWith(with)
	if err != nil {
		return nil, err
	}
	g, err := t.target(p, updateStop)
	if err != nil {
		return nil, err
	}
	if err := p.expect("set"); err != nil {
		return nil, err
	}
	// FROM is read before SET is translated, which can name its tables.
	sets, err := t.parseSets(p)
	if err != nil {
		return nil, err
	}
	t.scope = &scope{rels: []*relation{g.rel}, noAgg: "UPDATE", noWin: "UPDATE"}
	from := ""
	if p.word("from") {
		items, err := p.fromList()
		if err != nil {
			return nil, err
		}
		text, err := t.from(items)
		if err != nil {
			return nil, err
		}
		from = " FROM " + text
	}
	setText, err := t.writeSets(g, sets)
	if err != nil {
		return nil, err
	}
	where, err := t.where(p)
	if err != nil {
		return nil, err
	}
	s := &Statement{Kind: Update, SQL: prefix + "UPDATE " + g.as() + " SET " + setText + from + where, Tag: "UPDATE"}
	return s, t.returning(p, g, s)
}

// where translates the condition of UPDATE and DELETE.
func (t *translator) where(p *parser) (string, error) {
	if !p.word("where") {
		return "", nil
	}
	if at := p.pos(); p.words("current", "of") {
		return "", t.fail(int(at), stateUnsupported, "WHERE CURRENT OF is not supported: there are no cursors")
	}
	x, err := p.expr()
	if err != nil {
		return "", err
	}
	v, err := t.condition(x, "WHERE")
	return " WHERE " + v.sql, err
}

// set is one assignment: columns and what they are set to.
type set struct {
	at      int
	columns []string
	values  []expr
	sub     *query
}

// parseSets reads what stands after SET.
func (t *translator) parseSets(p *parser) ([]set, error) {
	var sets []set
	for {
		s := set{at: p.peek().start}
		var err error
		multiple := p.peek().punct("(")
		if multiple {
			s.columns, err = p.names()
		} else {
			var name string
			name, err = p.name()
			s.columns = []string{name}
		}
		if err != nil {
			return nil, err
		}
		if next := p.peek(); next.punct(".") || next.punct("[") {
			return nil, p.unsupported(next.start, "parts of columns are not supported in SET")
		}
		if !p.operator("=") {
			return nil, p.unexpected()
		}
		if multiple {
			err = p.rowOf(&s)
		} else {
			var x expr
			x, err = p.expr()
			s.values = []expr{x}
		}
		if err != nil {
			return nil, err
		}
		sets = append(sets, s)
		if !p.punct(",") {
			return sets, nil
		}
	}
}

// rowOf reads (a, b) or (SELECT …) after SET (x, y) =.
func (p *parser) rowOf(s *set) error {
	p.word("row")
	if p.startsQuery() {
		var err error
		s.sub, err = p.parenthesised()
		return err
	}
	if err := p.expectPunct("("); err != nil {
		return err
	}
	var err error
	if s.values, err = p.exprs(); err != nil {
		return err
	}
	if len(s.values) != len(s.columns) {
		return failAt(p.text, s.at, stateSyntax, "number of columns does not match number of values")
	}
	return p.expectPunct(")")
}

// assignments reads and translates what stands after SET.
func (t *translator) assignments(p *parser, g *target) (string, error) {
	sets, err := t.parseSets(p)
	if err != nil {
		return "", err
	}
	return t.writeSets(g, sets)
}

func (t *translator) writeSets(g *target, sets []set) (string, error) {
	seen := map[string]bool{}
	texts := make([]string, 0, len(sets))
	for _, s := range sets {
		cols := make([]*relColumn, len(s.columns))
		for i, name := range s.columns {
			col, err := g.column(t, name, s.at)
			if err != nil {
				return "", err
			}
			if seen[col.sql] {
				return "", t.fail(s.at, stateSyntax, "multiple assignments to same column %q", name)
			}
			seen[col.sql] = true
			cols[i] = col
		}
		if s.sub != nil {
			text, err := t.setQuery(s, cols)
			if err != nil {
				return "", err
			}
			texts = append(texts, text)
			continue
		}
		for i, x := range s.values {
			text, err := t.setValue(g, cols[i], x)
			if err != nil {
				return "", err
			}
			texts = append(texts, quoteName(cols[i].sql)+" = "+text)
		}
	}
	return strings.Join(texts, ", "), nil
}

// setValue translates what a column is set to.
func (t *translator) setValue(g *target, col *relColumn, x expr) (string, error) {
	c := g.schemaColumn(col)
	if _, ok := x.(*defaultExpr); ok {
		return g.defaultText(col), nil
	}
	if c != nil && c.Generated {
		return "", t.fail(x.at(), stateGenerated, "column %q can only be updated to DEFAULT: it is a generated column", col.name)
	}
	if c != nil && c.Identity == "a" {
		return "", t.fail(x.at(), stateGenerated, "column %q can only be updated to DEFAULT: it is an identity column defined as GENERATED ALWAYS", col.name)
	}
	v, err := t.expr(x)
	if err != nil {
		return "", err
	}
	if v.row {
		return "", t.fail(x.at(), stateUnsupported, "a row as a column's value is not supported")
	}
	v, err = t.assign(v, col)
	return v.sql, err
}

// setQuery translates SET (a, b) = (SELECT …).
func (t *translator) setQuery(s set, cols []*relColumn) (string, error) {
	b, err := t.subqueryBody(s.sub)
	if err != nil {
		return "", err
	}
	if len(b.cols) != len(cols) {
		return "", t.fail(s.at, stateSyntax, "number of columns does not match number of values")
	}
	names := make([]string, len(cols))
	for i, col := range cols {
		if err := b.assign(t, i, col); err != nil {
			return "", err
		}
		names[i] = quoteName(col.sql)
	}
	if err := b.settle(t); err != nil {
		return "", err
	}
	return "(" + strings.Join(names, ", ") + ") = (" + b.render(t) + ")", nil
}

var deleteStop = wordSet("using", "where", "returning")

// deleteStatement translates DELETE. One with USING becomes a condition that
// such rows exist.
func (t *translator) deleteStatement(p *parser, with *query) (*Statement, error) {
	p.next()
	known := len(t.ctes)
	defer func() { t.ctes = t.ctes[:known] }()
	prefix, err := t.outerWith(with)
	if err != nil {
		return nil, err
	}
	if err := p.expect("from"); err != nil {
		return nil, err
	}
	g, err := t.target(p, deleteStop)
	if err != nil {
		return nil, err
	}
	s := &Statement{Kind: Delete, Tag: "DELETE"}
	outer := &scope{rels: []*relation{g.rel}, noAgg: "WHERE", noWin: "WHERE"}
	t.scope = outer
	if !p.word("using") {
		where, err := t.where(p)
		if err != nil {
			return nil, err
		}
		s.SQL = prefix + "DELETE FROM " + g.as() + where
		return s, t.returning(p, g, s)
	}
	items, err := p.fromList()
	if err != nil {
		return nil, err
	}
	t.scope = &scope{parent: outer, noAgg: "WHERE", noWin: "WHERE"}
	text, err := t.from(items)
	if err != nil {
		return nil, err
	}
	where, err := t.where(p)
	if err != nil {
		return nil, err
	}
	t.scope = outer
	s.SQL = prefix + "DELETE FROM " + g.as() + " WHERE EXISTS (SELECT 1 FROM " + text + where + ")"
	return s, t.returning(p, g, s)
}

// returning translates RETURNING, which sees the table alone.
func (t *translator) returning(p *parser, g *target, s *Statement) error {
	if !p.word("returning") {
		return nil
	}
	items, err := p.selectList()
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return p.unexpected()
	}
	t.scope = &scope{rels: []*relation{g.rel}, bare: true, noAgg: "RETURNING", noWin: "RETURNING"}
	b := &body{items: []value{}}
	if err := t.items(&selectCore{items: items}, b); err != nil {
		return err
	}
	if err := b.settle(t); err != nil {
		return err
	}
	b.shown(t)
	var text strings.Builder
	b.writeCore(&text)
	s.SQL += " RETURNING " + text.String()
	s.Returns, s.Columns = true, b.columns()
	return nil
}
