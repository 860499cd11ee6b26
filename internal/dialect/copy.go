package dialect

import (
	"strings"

	"kimberlite/internal/schema"
)

// copy reads COPY.
func (t *translator) copy(p *parser) (*Statement, error) {
	p.next()
	o := &CopyOptions{Delimiter: "\t", Null: `\N`, Quote: `"`}
	s := &Statement{Kind: Copy, Tag: "COPY", Copy: o}
	t.noParams = "COPY"
	o.Binary = p.word("binary") // as before PostgreSQL 7.3
	var g *target
	if p.peek().punct("(") {
		if err := t.copyQuery(p, s); err != nil {
			return nil, err
		}
	} else {
		var err error
		if g, err = t.copyTable(p, s); err != nil {
			return nil, err
		}
	}
	switch n := p.peek(); {
	case p.word("from"):
		if g == nil {
			return nil, failAt(p.text, n.start, stateSyntax, "COPY FROM needs a table")
		}
		o.From = true
	case !p.word("to"):
		return nil, p.unexpected()
	}
	switch n := p.peek(); {
	case o.From && p.word("stdin"), !o.From && p.word("stdout"):
	case n.kind == tokString, n.is("program"):
		return nil, p.unsupported(n.start, "COPY with files and programs of the server is not supported: use FROM STDIN or TO STDOUT (\\copy in psql)")
	default:
		return nil, p.unexpected()
	}
	if err := t.copyOptions(p, o); err != nil {
		return nil, err
	}
	if p.word("where") {
		return nil, p.unsupported(p.peek().start, "COPY … WHERE is not supported: delete the rows afterwards")
	}
	if g != nil {
		return s, t.copyStatement(s, g)
	}
	return s, nil
}

// copyQuery reads COPY (query).
func (t *translator) copyQuery(p *parser, s *Statement) error {
	p.next()
	first := p.peek()
	inner, err := t.oneStatement(p, first)
	if err != nil {
		return err
	}
	if !inner.Returns {
		return t.fail(first.start, stateUnsupported, "COPY (statement) needs one that returns rows")
	}
	s.SQL, s.Columns = inner.SQL, inner.Columns
	s.ReadOnlyHint = inner.ReadOnlyHint
	for _, c := range inner.Columns {
		s.Copy.Columns = append(s.Copy.Columns, c.Name)
	}
	return p.expectPunct(")")
}

// copyTable reads COPY table (columns).
func (t *translator) copyTable(p *parser, s *Statement) (*target, error) {
	ref := &tableRef{pos: p.pos()}
	var err error
	if ref.schema, ref.name, err = p.qualified(); err != nil {
		return nil, err
	}
	rel, sql, err := t.lookupTable(ref)
	if err != nil {
		return nil, err
	}
	g := &target{rel: rel, sql: sql, at: ref.at(), table: rel.table}
	s.Copy.Table = rel.name
	if p.peek().punct("(") {
		at := p.peek().start
		if s.Copy.Columns, err = p.names(); err != nil {
			return nil, err
		}
		for i, name := range s.Copy.Columns {
			c, err := g.column(t, name, at)
			if err != nil {
				return nil, err
			}
			if contains(s.Copy.Columns[:i], name) {
				return nil, t.fail(at, stateDuplicate, "column %q specified more than once", name)
			}
			if sc := g.schemaColumn(c); sc != nil && sc.Generated {
				return nil, t.fail(at, stateColumnRef, "column %q is a generated column: it cannot be used in COPY", name)
			}
		}
		return g, nil
	}
	for i := range rel.cols {
		c := &rel.cols[i]
		if sc := g.schemaColumn(c); !c.hidden && (sc == nil || !sc.Generated) {
			s.Copy.Columns = append(s.Copy.Columns, c.name)
		}
	}
	return g, nil
}

// copyStatement writes the statement that COPY runs.
func (t *translator) copyStatement(s *Statement, g *target) error {
	names, marks := make([]string, len(s.Copy.Columns)), make([]string, len(s.Copy.Columns))
	if len(names) == 0 {
		return t.fail(g.at, stateUnsupported, "COPY of a table whose columns are not known is not supported")
	}
	if s.Copy.From && (g.table == nil || g.table.Kind != schema.KindTable) {
		return t.fail(g.at, stateObjectKind, "cannot copy to %q: it is not a table", g.rel.name)
	}
	for i, name := range s.Copy.Columns {
		c, err := g.column(t, name, g.at)
		if err != nil {
			return err
		}
		names[i], marks[i] = quoteName(c.sql), "?"+itoa(i+1)
		s.Columns = append(s.Columns, Column{Name: c.name, Type: c.typ})
		if s.Copy.From {
			t.params = append(t.params, c.typ)
		}
	}
	if s.Copy.From {
		s.SQL = "INSERT INTO " + g.sql + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
		return nil
	}
	s.SQL, s.ReadOnlyHint = "SELECT "+strings.Join(names, ", ")+" FROM "+g.sql, true
	return nil
}
