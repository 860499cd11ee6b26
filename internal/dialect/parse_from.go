package dialect

// fromList reads what stands after FROM.
func (p *parser) fromList() ([]fromItem, error) {
	var all []fromItem
	for {
		f, err := p.joins()
		if err != nil {
			return nil, err
		}
		all = append(all, f)
		if !p.punct(",") {
			return all, nil
		}
	}
}

// joins reads a table and what is joined with it.
func (p *parser) joins() (fromItem, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	left, err := p.fromItem()
	for err == nil {
		j := &joinRef{pos: p.pos(), left: left}
		start := p.at
		j.natural = p.word("natural")
		switch {
		case p.word("cross"):
			j.kind = "cross"
		case p.word("inner"):
		case p.word("left"), p.word("right"), p.word("full"):
			j.kind = p.tokens[p.at-1].value
			p.word("outer")
		}
		if !p.word("join") {
			if p.at != start {
				return nil, p.unexpected()
			}
			return left, nil
		}
		if left, err = p.join(j); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// join reads the right side of a join and its condition.
func (p *parser) join(j *joinRef) (fromItem, error) {
	var err error
	if j.right, err = p.fromItem(); err != nil {
		return nil, err
	}
	if j.natural || j.kind == "cross" {
		return j, nil
	}
	// a JOIN b JOIN c ON … ON …: the inner one comes first.
	for t := p.peek(); !t.is("on") && !t.is("using"); t = p.peek() {
		inner := &joinRef{pos: p.pos(), left: j.right}
		start := p.at
		switch {
		case p.word("inner"):
		case p.word("left"), p.word("right"), p.word("full"):
			inner.kind = p.tokens[p.at-1].value
			p.word("outer")
		}
		if !p.word("join") {
			p.at = start
			return nil, p.unexpected()
		}
		if j.right, err = p.join(inner); err != nil {
			return nil, err
		}
	}
	if p.word("using") {
		if j.using, err = p.names(); err != nil {
			return nil, err
		}
		if t := p.peek(); t.is("as") {
			return nil, p.unsupported(t.start, "an alias of USING is not supported")
		}
		return j, nil
	}
	if err = p.expect("on"); err != nil {
		return nil, err
	}
	j.on, err = p.expr()
	return j, err
}

func (p *parser) fromItem() (fromItem, error) {
	t := p.peek()
	at := pos(t.start)
	lateral := p.word("lateral")
	switch {
	case p.startsQuery():
		start := p.at
		q, err := p.parenthesised()
		if err != nil { // ((SELECT …) a JOIN b)
			p.at = start
			if p.retries++; p.retries <= maxRetries {
				if f, nested := p.nestedJoin(); nested == nil {
					return f, nil
				}
			}
			return nil, err
		}
		if lateral {
			return nil, p.unsupported(t.start, "LATERAL is not supported: use a subquery in the select list, or a join with window functions")
		}
		r := &queryRef{pos: at, q: q}
		r.alias, r.columns, err = p.alias()
		if err == nil && r.alias == "" {
			return nil, failAt(p.text, t.start, stateSyntax, "subquery in FROM must have an alias")
		}
		return r, err
	case p.peek().punct("("):
		return p.nestedJoin()
	case p.peek().is("rows") && p.ahead(1).is("from"):
		return nil, p.unsupported(t.start, "ROWS FROM is not supported")
	}
	only := p.word("only")
	c := p.peek()
	if !only && (c.kind == tokWord || c.kind == tokQuoted) && p.callAhead() {
		return p.callRef(at)
	}
	r := &tableRef{pos: pos(p.peek().start)}
	var err error
	if r.schema, r.name, err = p.qualified(); err != nil {
		return nil, err
	}
	p.operator("*")
	if r.alias, r.columns, err = p.alias(); err != nil {
		return nil, err
	}
	if t := p.peek(); t.is("tablesample") {
		return nil, p.unsupported(t.start, "TABLESAMPLE is not supported: use ORDER BY random() LIMIT n")
	}
	return r, nil
}

// nestedJoin reads (a JOIN b ON …).
func (p *parser) nestedJoin() (fromItem, error) {
	at := p.peek().start
	if err := p.expectPunct("("); err != nil {
		return nil, err
	}
	f, err := p.joins()
	if err != nil {
		return nil, err
	}
	if err := p.expectPunct(")"); err != nil {
		return nil, err
	}
	if p.peek().is("as") || isName(p.peek()) && !p.joinAhead() {
		return nil, p.unsupported(at, "an alias of a join is not supported: alias its tables")
	}
	return f, nil
}

// joinAhead reports whether a word that is a name too begins a join.
func (p *parser) joinAhead() bool { return p.peek().is("cross") || p.peek().is("natural") }

// callAhead reports whether a function call is next.
func (p *parser) callAhead() bool {
	i := 1
	for p.ahead(i).punct(".") {
		i += 2
	}
	if niladic[p.peek().value] && i == 1 && p.peek().kind == tokWord {
		return true
	}
	return p.ahead(i).punct("(")
}

// callRef reads function(…) WITH ORDINALITY AS name (columns).
func (p *parser) callRef(at pos) (fromItem, error) {
	e, err := p.primary()
	if err != nil {
		return nil, err
	}
	c, ok := e.(*callExpr)
	if !ok {
		return nil, p.unsupported(int(at), "this expression cannot stand in FROM")
	}
	r := &callRef{pos: at, call: c}
	if p.peek().is("with") && p.ahead(1).is("ordinality") {
		p.next()
		p.next()
		r.ordinality = true
	}
	r.alias, r.columns, err = p.alias()
	return r, err
}

// alias reads [AS] name [(columns)].
func (p *parser) alias() (name string, columns []string, err error) {
	t := p.peek()
	switch {
	case t.is("as"):
		p.next()
		if name, err = p.name(); err != nil {
			return "", nil, err
		}
	case t.kind == tokQuoted, t.kind == tokWord && isName(t) && !aliasStop[t.value]:
		name = p.next().value
	default:
		return "", nil, nil
	}
	if !p.peek().punct("(") {
		return name, nil, nil
	}
	p.next()
	for {
		n, err := p.name()
		if err != nil {
			return "", nil, err
		}
		columns = append(columns, n)
		if t := p.peek(); !t.punct(",") && !t.punct(")") {
			return "", nil, p.unsupported(t.start, "column definitions of a function in FROM are not supported")
		}
		if !p.punct(",") {
			return name, columns, p.expectPunct(")")
		}
	}
}

// aliasStop are words that go on with the statement where an alias could
// stand.
var aliasStop = wordSet("set", "values")
