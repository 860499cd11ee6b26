package dialect

// niladic are the functions that are written without parentheses.
var niladic = wordSet("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
	"current_user", "session_user", "user", "current_role", "current_catalog", "current_schema")

// special reads the operands that have a grammar of their own; nil says that t
// begins none.
func (p *parser) special(t token) (expr, error) {
	at := pos(t.start)
	call := p.ahead(1).punct("(")
	switch t.value {
	case "null":
		p.next()
		return &literal{at, litNull, ""}, nil
	case "true":
		p.next()
		return &literal{at, litTrue, ""}, nil
	case "false":
		p.next()
		return &literal{at, litFalse, ""}, nil
	case "default":
		p.next()
		return &defaultExpr{at}, nil
	case "case":
		return p.caseExpr()
	case "cast":
		return p.cast()
	case "array":
		return p.array()
	case "exists":
		if call {
			p.next()
			q, err := p.parenthesised()
			return &subquery{pos: at, kind: "exists", q: q}, err
		}
	case "row":
		if call {
			return p.row()
		}
	case "interval":
		if call {
			return p.preciseInterval()
		}
	case "extract", "substring", "position", "overlay", "trim":
		if call {
			return p.callWithWords(t.value)
		}
	case "xmlelement", "xmlforest", "xmlparse", "xmlserialize", "grouping", "json_table", "json_value":
		if call {
			return nil, p.unsupported(t.start, "%s is not supported", t.value)
		}
	}
	if niladic[t.value] && !(t.value == "current_schema" && call) {
		return p.niladicCall()
	}
	return nil, nil
}

// niladicCall reads current_timestamp(3) and the like.
func (p *parser) niladicCall() (expr, error) {
	t := p.next()
	c := &callExpr{pos: pos(t.start), name: t.value}
	switch t.value {
	case "current_time", "current_timestamp", "localtime", "localtimestamp":
		if p.punct("(") {
			n := p.next()
			if n.kind != tokInteger {
				p.at--
				return nil, p.unexpected()
			}
			c.args = []expr{&literal{pos(n.start), litInteger, n.value}}
			return c, p.expectPunct(")")
		}
	}
	return c, nil
}

// preciseInterval reads interval(p) '…'.
func (p *parser) preciseInterval() (expr, error) {
	if e := p.literalOfType(); e != nil {
		return e, nil
	}
	return nil, p.unexpected()
}

func (p *parser) caseExpr() (expr, error) {
	c := &caseExpr{pos: p.pos()}
	p.next()
	var err error
	if !p.peek().is("when") {
		if c.operand, err = p.expr(); err != nil {
			return nil, err
		}
	}
	for p.word("when") {
		var w caseWhen
		if w.cond, err = p.expr(); err != nil {
			return nil, err
		}
		if err = p.expect("then"); err != nil {
			return nil, err
		}
		if w.then, err = p.expr(); err != nil {
			return nil, err
		}
		c.whens = append(c.whens, w)
	}
	if len(c.whens) == 0 {
		return nil, p.unexpected()
	}
	if p.word("else") {
		if c.other, err = p.expr(); err != nil {
			return nil, err
		}
	}
	return c, p.expect("end")
}

func (p *parser) cast() (expr, error) {
	c := &castExpr{pos: p.pos()}
	p.next()
	var err error
	if err = p.expectPunct("("); err != nil {
		return nil, err
	}
	if c.x, err = p.expr(); err != nil {
		return nil, err
	}
	if err = p.expect("as"); err != nil {
		return nil, err
	}
	if c.to, err = p.typeName(); err != nil {
		return nil, err
	}
	return c, p.expectPunct(")")
}

func (p *parser) array() (expr, error) {
	at := p.pos()
	p.next()
	if p.peek().punct("(") {
		q, err := p.parenthesised()
		return &subquery{pos: at, kind: "array", q: q}, err
	}
	if !p.punct("[") {
		return nil, p.unexpected()
	}
	a := &arrayExpr{pos: at}
	if p.punct("]") {
		return a, nil
	}
	if p.peek().punct("[") {
		return nil, p.unsupported(p.peek().start, "arrays of several dimensions are not supported: use jsonb")
	}
	var err error
	if a.elems, err = p.exprs(); err != nil {
		return nil, err
	}
	return a, p.expectPunct("]")
}

func (p *parser) row() (expr, error) {
	r := &rowExpr{pos: p.pos()}
	p.next()
	p.next()
	if p.punct(")") {
		return r, nil
	}
	var err error
	if r.elems, err = p.exprs(); err != nil {
		return nil, err
	}
	return r, p.expectPunct(")")
}

// callWithWords reads the calls whose arguments words part.
func (p *parser) callWithWords(name string) (expr, error) {
	c := &callExpr{pos: p.pos(), name: name}
	p.next()
	p.next()
	var err error
	switch name {
	case "extract":
		t := p.next()
		if t.kind != tokString && !isLabel(t) {
			p.at--
			return nil, p.unexpected()
		}
		c.args = []expr{&literal{pos(t.start), litString, t.value}}
		if err = p.expect("from"); err != nil {
			return nil, err
		}
		err = p.appendArg(c)
	case "position":
		var x, in expr
		if x, err = p.binary(precBetween); err != nil {
			return nil, err
		}
		if err = p.expect("in"); err != nil {
			return nil, err
		}
		in, err = p.expr()
		c.args = []expr{in, x}
	case "overlay":
		err = p.parts(c, "placing", "from", "for")
	case "substring":
		err = p.substring(c)
	case "trim":
		err = p.trim(c)
	}
	if err != nil {
		return nil, err
	}
	return c, p.expectPunct(")")
}

// appendArg reads one more argument.
func (p *parser) appendArg(c *callExpr) error {
	x, err := p.expr()
	c.args = append(c.args, x)
	return err
}

// parts reads an argument, and one after each word that follows; commas do in
// their place.
func (p *parser) parts(c *callExpr, words ...string) error {
	if err := p.appendArg(c); err != nil {
		return err
	}
	for _, w := range words {
		if !p.word(w) && !p.punct(",") {
			continue
		}
		if err := p.appendArg(c); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) substring(c *callExpr) error {
	if err := p.appendArg(c); err != nil {
		return err
	}
	switch {
	case p.word("similar"):
		c.name = "substring_similar"
		if err := p.appendArg(c); err != nil {
			return err
		}
		if err := p.expect("escape"); err != nil {
			return err
		}
		return p.appendArg(c)
	case p.word("for"):
		if err := p.appendArg(c); err != nil {
			return err
		}
		from := expr(&literal{c.pos, litInteger, "1"})
		if p.word("from") {
			var err error
			if from, err = p.expr(); err != nil {
				return err
			}
		}
		c.args = []expr{c.args[0], from, c.args[1]}
		return nil
	case p.word("from"), p.punct(","):
		return p.parts(c, "for")
	}
	return nil
}

// trim reads [LEADING|TRAILING|BOTH] [characters] FROM text, or text and
// characters.
func (p *parser) trim(c *callExpr) error {
	c.name = "btrim"
	switch {
	case p.word("leading"):
		c.name = "ltrim"
	case p.word("trailing"):
		c.name = "rtrim"
	default:
		p.word("both")
	}
	if p.word("from") {
		return p.parts(c, ",")
	}
	if err := p.appendArg(c); err != nil {
		return err
	}
	switch {
	case p.word("from"):
		if err := p.appendArg(c); err != nil {
			return err
		}
		c.args[0], c.args[1] = c.args[1], c.args[0]
	case p.punct(","):
		return p.appendArg(c)
	}
	return nil
}
