package dialect

// query reads a SELECT, VALUES or TABLE with everything around it.
func (p *parser) query() (*query, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	q := &query{pos: p.pos()}
	var err error
	if p.peek().is("with") {
		if q.recursive, q.with, err = p.with(); err != nil {
			return nil, err
		}
	}
	if q.body, err = p.setOperations(0); err != nil {
		return nil, err
	}
	return q, p.tail(q)
}

// with reads WITH name AS (query), ….
func (p *parser) with() (recursive bool, ctes []cte, err error) {
	p.next()
	recursive = p.word("recursive")
	for {
		c := cte{pos: p.pos()}
		if c.name, err = p.name(); err != nil {
			return false, nil, err
		}
		if p.peek().punct("(") {
			if c.columns, err = p.names(); err != nil {
				return false, nil, err
			}
		}
		if err = p.expect("as"); err != nil {
			return false, nil, err
		}
		switch {
		case p.word("materialized"):
			c.materialized = "MATERIALIZED "
		case p.words("not", "materialized"):
			c.materialized = "NOT MATERIALIZED "
		}
		if t := p.ahead(1); t.is("insert") || t.is("update") || t.is("delete") {
			return false, nil, p.unsupported(t.start, "%s inside WITH is not supported: run it as a statement of its own in a transaction, with RETURNING", t.value)
		}
		if c.q, err = p.parenthesised(); err != nil {
			return false, nil, err
		}
		if t := p.peek(); t.is("search") || t.is("cycle") {
			return false, nil, p.unsupported(t.start, "the %s clause of WITH is not supported", t.value)
		}
		ctes = append(ctes, c)
		if !p.punct(",") {
			return recursive, ctes, nil
		}
	}
}

// tail reads ORDER BY, LIMIT, OFFSET, FETCH and FOR.
func (p *parser) tail(q *query) error {
	var err error
	if p.words("order", "by") {
		if q.orderBy, err = p.sortKeys(); err != nil {
			return err
		}
	}
	for {
		switch t := p.peek(); {
		case t.is("limit") && q.limit == nil:
			p.next()
			if p.word("all") {
				continue
			}
			if q.limit, err = p.expr(); err != nil {
				return err
			}
			if p.punct(",") {
				return failAt(p.text, t.start, stateSyntax, "LIMIT #,# syntax is not supported: use separate LIMIT and OFFSET clauses")
			}
		case t.is("offset") && q.offset == nil:
			p.next()
			if q.offset, err = p.expr(); err != nil {
				return err
			}
			if !p.word("row") {
				p.word("rows")
			}
		case t.is("fetch") && q.limit == nil:
			if err = p.fetch(q); err != nil {
				return err
			}
		case t.is("for"):
			if err = p.locking(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (p *parser) fetch(q *query) error {
	p.next()
	if !p.word("first") && !p.word("next") {
		return p.unexpected()
	}
	q.limit = &literal{p.pos(), litInteger, "1"}
	if t := p.peek(); !t.is("row") && !t.is("rows") {
		var err error
		if q.limit, err = p.binary(precOther); err != nil {
			return err
		}
	}
	if !p.word("row") && !p.word("rows") {
		return p.unexpected()
	}
	if p.words("with", "ties") {
		return p.unsupported(p.peek().start, "FETCH … WITH TIES is not supported: use rank() in a subquery")
	}
	return p.expect("only")
}

// locking reads FOR UPDATE and its like.
func (p *parser) locking() error {
	p.next()
	switch {
	case p.word("update"), p.words("no", "key", "update"), p.word("share"), p.words("key", "share"):
	default:
		return p.unexpected()
	}
	p.locks = true
	if p.word("of") {
		for {
			if _, _, err := p.qualified(); err != nil {
				return err
			}
			if !p.punct(",") {
				break
			}
		}
	}
	switch t := p.peek(); {
	case p.words("skip", "locked"):
		return p.unsupported(t.start, "FOR UPDATE SKIP LOCKED is not supported: transactions of a tenant run one after another, so that no row is ever locked alone")
	case p.word("nowait"):
		p.noWait = true
	}
	return nil
}

// setOperations reads SELECT … UNION SELECT …; INTERSECT binds tighter.
func (p *parser) setOperations(level int) (queryBody, error) {
	left, err := p.simpleQuery()
	for err == nil {
		t := p.peek()
		prec := 0
		switch {
		case t.is("union"), t.is("except"):
			prec = 1
		case t.is("intersect"):
			prec = 2
		}
		if prec <= level {
			return left, nil
		}
		p.next()
		s := &setOperation{pos: pos(t.start), op: t.value, left: left, all: p.word("all")}
		if !s.all {
			p.word("distinct")
		}
		if s.right, err = p.setOperations(prec); err != nil {
			return nil, err
		}
		left = s
	}
	return nil, err
}

func (p *parser) simpleQuery() (queryBody, error) {
	t := p.peek()
	switch {
	case t.punct("("):
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		return p.parenthesised()
	case t.is("values"):
		return p.values()
	case t.is("table"):
		p.next()
		schema, name, err := p.qualified()
		return &selectCore{pos: pos(t.start), items: []selectItem{{x: &columnRef{pos: pos(t.start), star: true}}},
			from: []fromItem{&tableRef{pos: pos(t.start), schema: schema, name: name}}}, err
	case t.is("select"):
		return p.selectCore()
	}
	return nil, p.unexpected()
}

func (p *parser) values() (*valuesList, error) {
	v := &valuesList{pos: p.pos()}
	p.next()
	for {
		if err := p.expectPunct("("); err != nil {
			return nil, err
		}
		row, err := p.exprs()
		if err != nil {
			return nil, err
		}
		if len(v.rows) > 0 && len(row) != len(v.rows[0]) {
			return nil, failAt(p.text, row[0].at(), stateSyntax, "VALUES lists must all be the same length")
		}
		v.rows = append(v.rows, row)
		if err := p.expectPunct(")"); err != nil {
			return nil, err
		}
		if !p.punct(",") {
			return v, nil
		}
	}
}

func (p *parser) selectCore() (*selectCore, error) {
	s := &selectCore{pos: p.pos()}
	p.next()
	var err error
	switch {
	case p.word("distinct"):
		s.distinct = true
		if p.word("on") {
			if err = p.expectPunct("("); err != nil {
				return nil, err
			}
			if s.distinctOn, err = p.exprs(); err != nil {
				return nil, err
			}
			if err = p.expectPunct(")"); err != nil {
				return nil, err
			}
		}
	default:
		p.word("all")
	}
	if s.items, err = p.selectList(); err != nil {
		return nil, err
	}
	if t := p.peek(); t.is("into") {
		return nil, p.unsupported(t.start, "SELECT INTO is not supported: use CREATE TABLE … AS SELECT")
	}
	if p.word("from") {
		if s.from, err = p.fromList(); err != nil {
			return nil, err
		}
	}
	return s, p.afterFrom(s)
}

// afterFrom reads WHERE, GROUP BY, HAVING and WINDOW.
func (p *parser) afterFrom(s *selectCore) error {
	var err error
	if p.word("where") {
		if s.where, err = p.expr(); err != nil {
			return err
		}
	}
	if p.words("group", "by") {
		if t := p.peek(); t.is("rollup") || t.is("cube") || t.is("grouping") || t.is("distinct") {
			return p.unsupported(t.start, "GROUP BY %s is not supported: use UNION ALL of several groupings", t.value)
		}
		p.word("all")
		if s.groupBy, err = p.exprs(); err != nil {
			return err
		}
	}
	if p.word("having") {
		if s.having, err = p.expr(); err != nil {
			return err
		}
	}
	if !p.word("window") {
		return nil
	}
	for {
		name, err := p.name()
		if err != nil {
			return err
		}
		if err := p.expect("as"); err != nil {
			return err
		}
		w, err := p.window()
		if err != nil {
			return err
		}
		w.name = name
		s.windows = append(s.windows, *w)
		if !p.punct(",") {
			return nil
		}
	}
}

// selectList reads the result columns; there may be none.
func (p *parser) selectList() ([]selectItem, error) {
	var items []selectItem
	switch t := p.peek(); {
	case t.kind == tokEnd, t.is("from"), t.is("where"), t.punct(")"), t.punct(";"):
		return nil, nil
	}
	for {
		if t := p.peek(); t.op("*") {
			p.next()
			items = append(items, selectItem{x: &columnRef{pos: pos(t.start), star: true}})
		} else {
			x, err := p.expr()
			if err != nil {
				return nil, err
			}
			item := selectItem{x: x}
			switch t := p.peek(); {
			case t.is("as"):
				p.next()
				if item.alias, err = p.label(); err != nil {
					return nil, err
				}
			case t.kind == tokQuoted, t.kind == tokWord && !needsAs[t.value]:
				item.alias = p.next().value
			}
			items = append(items, item)
		}
		if !p.punct(",") {
			return items, nil
		}
	}
}
