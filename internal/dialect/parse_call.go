package dialect

// call reads the arguments of a function, at the parenthesis.
func (p *parser) call(at pos, parts []string) (expr, error) {
	c := &callExpr{pos: at, name: parts[len(parts)-1]}
	switch len(parts) {
	case 1:
	case 2:
		c.schema = parts[0]
	default:
		return nil, p.unsupported(int(at), "functions of other databases are not supported")
	}
	p.next()
	if err := p.arguments(c); err != nil {
		return nil, err
	}
	return c, p.afterCall(c)
}

func (p *parser) arguments(c *callExpr) error {
	switch {
	case p.punct(")"):
		return nil
	case p.operator("*"):
		c.star = true
		return p.expectPunct(")")
	case p.word("distinct"):
		c.distinct = true
	default:
		p.word("all")
	}
	for {
		if p.word("variadic") {
			c.variadic = true
		}
		if isName(p.peek()) && (p.ahead(1).op("=>") || p.ahead(1).punct(":=")) {
			return p.unsupported(p.peek().start, "named arguments are not supported: pass them in order")
		}
		if err := p.appendArg(c); err != nil {
			return err
		}
		if !p.punct(",") {
			break
		}
	}
	var err error
	if p.words("order", "by") {
		if c.orderBy, err = p.sortKeys(); err != nil {
			return err
		}
	}
	return p.expectPunct(")")
}

// afterCall reads WITHIN GROUP, FILTER and OVER.
func (p *parser) afterCall(c *callExpr) error {
	var err error
	if p.peek().is("within") && p.ahead(1).is("group") {
		p.next()
		p.next()
		if err = p.expectPunct("("); err != nil {
			return err
		}
		if err = p.expect("order", "by"); err != nil {
			return err
		}
		if c.within, err = p.sortKeys(); err != nil {
			return err
		}
		if err = p.expectPunct(")"); err != nil {
			return err
		}
	}
	if p.peek().is("filter") && p.ahead(1).punct("(") {
		p.next()
		p.next()
		if err = p.expect("where"); err != nil {
			return err
		}
		if c.filter, err = p.expr(); err != nil {
			return err
		}
		if err = p.expectPunct(")"); err != nil {
			return err
		}
	}
	if !p.peek().is("over") || !p.ahead(1).punct("(") && !isName(p.ahead(1)) {
		return nil
	}
	at := p.pos()
	p.next()
	if !p.peek().punct("(") {
		n := p.next()
		c.over = &window{pos: at, base: n.value, reference: true}
		return nil
	}
	c.over, err = p.window()
	return err
}

// window reads (base PARTITION BY … ORDER BY … frame).
func (p *parser) window() (*window, error) {
	w := &window{pos: p.pos()}
	if err := p.expectPunct("("); err != nil {
		return nil, err
	}
	t := p.peek()
	if isName(t) && !(t.kind == tokWord && (t.value == "partition" || t.value == "rows" || t.value == "range" || t.value == "groups")) {
		p.next()
		w.base = t.value
	}
	var err error
	if p.words("partition", "by") {
		if w.partition, err = p.exprs(); err != nil {
			return nil, err
		}
	}
	if p.words("order", "by") {
		if w.orderBy, err = p.sortKeys(); err != nil {
			return nil, err
		}
	}
	if t := p.peek(); t.is("rows") || t.is("range") || t.is("groups") {
		if err := p.frame(w); err != nil {
			return nil, err
		}
	}
	return w, p.expectPunct(")")
}

// frame reads ROWS BETWEEN … AND … EXCLUDE …; the words are SQLite's too.
func (p *parser) frame(w *window) error {
	for !p.peek().punct(")") {
		switch t := p.peek(); {
		case t.kind == tokEnd:
			return p.unexpected()
		case t.kind == tokWord && frameWords[t.value]:
			p.next()
			w.frame = append(w.frame, frameToken{word: t.value})
		default:
			x, err := p.binary(precBetween)
			if err != nil {
				return err
			}
			w.frame = append(w.frame, frameToken{x: x})
		}
	}
	return nil
}

var frameWords = wordSet("rows", "range", "groups", "between", "and", "unbounded", "preceding", "following",
	"current", "row", "exclude", "no", "others", "group", "ties")

// sortKeys reads what stands after ORDER BY.
func (p *parser) sortKeys() ([]sortKey, error) {
	var keys []sortKey
	for {
		x, err := p.expr()
		if err != nil {
			return nil, err
		}
		k := sortKey{x: x}
		switch {
		case p.word("asc"):
		case p.word("desc"):
			k.desc = true
		case p.word("using"):
			switch {
			case p.operator("<"):
			case p.operator(">"):
				k.desc = true
			default:
				return nil, p.unexpected()
			}
		}
		if p.word("nulls") {
			switch {
			case p.word("first"):
				k.nulls = "first"
			case p.word("last"):
				k.nulls = "last"
			default:
				return nil, p.unexpected()
			}
		}
		keys = append(keys, k)
		if !p.punct(",") {
			return keys, nil
		}
	}
}
