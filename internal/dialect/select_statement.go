package dialect

import (
	"kimberlite/internal/sqltype"
)

// selectStatement translates a statement that is a query.
func (t *translator) selectStatement(p *parser) (*Statement, error) {
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	b, err := t.topQuery(q)
	if err != nil {
		return nil, err
	}
	return &Statement{
		Kind: Query, SQL: b.render(t), Columns: b.columns(), Tag: "SELECT", Returns: true,
		ReadOnlyHint: !p.locks, Locks: p.locks, NoWait: p.noWait,
	}, nil
}

// topQuery translates a query whose rows go to the client.
func (t *translator) topQuery(q *query) (*body, error) {
	t.scope = &scope{}
	if c, ok := q.body.(*selectCore); ok && len(c.items) == 0 {
		return nil, t.fail(c.at(), stateUnsupported, "a SELECT without result columns is not supported outside of EXISTS: name one")
	}
	b, err := t.query(q)
	if err != nil {
		return nil, err
	}
	if err := b.settle(t); err != nil {
		return nil, err
	}
	b.shown(t)
	return b, nil
}

// columns are the result columns as the client is told of them.
func (b *body) columns() []Column {
	cols := make([]Column, len(b.cols))
	for i, c := range b.cols {
		cols[i] = Column{Name: c.name, Type: c.typ}
		if c.typ.OID == sqltype.Unknown.OID {
			cols[i].Type = sqltype.Text
		}
	}
	return cols
}

// withStatement translates a statement that begins with WITH.
func (t *translator) withStatement(p *parser) (*Statement, error) {
	start := p.at
	recursive, ctes, err := p.with()
	if err != nil {
		return nil, err
	}
	q := &query{pos: p.pos(), recursive: recursive, with: ctes}
	switch t0 := p.peek(); {
	case t0.is("insert"):
		return t.insertStatement(p, q)
	case t0.is("update"):
		return t.updateStatement(p, q)
	case t0.is("delete"):
		return t.deleteStatement(p, q)
	}
	p.at = start
	return t.selectStatement(p)
}
