package dialect

// The levels of precedence, from the loosest.
const (
	precNone = iota
	precOr
	precAnd
	precNot
	precIs
	precCompare
	precBetween // BETWEEN IN LIKE ILIKE SIMILAR
	precOther   // every operator that is not named here
	precAdd
	precMultiply
	precPower
	precZone // AT TIME ZONE
	precCollate
	precSign
	precSubscript
	precCast
)

// precedenceOf is that of a binary operator.
func precedenceOf(op string) int {
	switch op {
	case "<", ">", "=", "<=", ">=", "<>":
		return precCompare
	case "+", "-":
		return precAdd
	case "*", "/", "%":
		return precMultiply
	case "^":
		return precPower
	}
	return precOther
}

// expr reads an expression.
func (p *parser) expr() (expr, error) { return p.binary(precNone) }

// binary reads an expression of operators that bind tighter than level.
func (p *parser) binary(level int) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.prefix()
	for err == nil {
		var next expr
		next, err = p.infix(x, level)
		if next == nil {
			return x, err
		}
		x = next
	}
	return nil, err
}

// prefix reads an operand with what stands before it.
func (p *parser) prefix() (expr, error) {
	t := p.peek()
	at := pos(t.start)
	switch {
	case t.is("not"):
		p.next()
		x, err := p.binary(precNot - 1)
		return &unaryExpr{at, "not", x}, err
	case t.op("-"), t.op("+"):
		p.next()
		x, err := p.binary(precSign - 1)
		if n, ok := x.(*literal); ok && t.value == "-" && (n.kind == litInteger || n.kind == litDecimal) && n.text[0] != '-' {
			return &literal{at, n.kind, "-" + n.text}, err
		}
		return &unaryExpr{at, t.value, x}, err
	case t.kind == tokOperator:
		p.next()
		x, err := p.binary(precOther)
		return &unaryExpr{at, t.value, x}, err
	}
	return p.primary()
}

// infix reads what continues x if it binds tighter than level; nil says that
// nothing does.
func (p *parser) infix(x expr, level int) (expr, error) {
	t := p.peek()
	switch t.kind {
	case tokPunct:
		return p.suffix(x, level)
	case tokOperator:
		prec := precedenceOf(t.value)
		if prec <= level {
			return nil, nil
		}
		p.next()
		return p.operation(x, t, t.value, prec)
	case tokWord:
		return p.keyword(x, level)
	}
	return nil, nil
}

// suffix reads ::type and [index].
func (p *parser) suffix(x expr, level int) (expr, error) {
	at := pos(p.peek().start)
	switch {
	case p.peek().punct("::") && precCast > level:
		p.next()
		to, err := p.typeName()
		return &castExpr{pos: at, x: x, to: to}, err
	case p.peek().punct("[") && precSubscript > level:
		p.next()
		s := &subscript{pos: at, x: x}
		var err error
		if !p.peek().punct(":") {
			if s.index, err = p.expr(); err != nil {
				return nil, err
			}
		}
		if p.punct(":") {
			return nil, p.unsupported(int(at), "slices of arrays are not supported")
		}
		return s, p.expectPunct("]")
	case p.peek().punct("."):
		return nil, p.unsupported(int(at), "fields of composite values are not supported")
	}
	return nil, nil
}

// operation reads the right side of an operator.
func (p *parser) operation(x expr, t token, op string, prec int) (expr, error) {
	at := pos(t.start)
	quantifier := p.peek()
	if (quantifier.is("any") || quantifier.is("some") || quantifier.is("all")) && p.ahead(1).punct("(") {
		p.next()
		return p.quantified(x, at, op, quantifier.is("all"))
	}
	y, err := p.binary(prec)
	if err != nil {
		return nil, err
	}
	if next := p.peek(); prec == precCompare && next.kind == tokOperator && precedenceOf(next.value) == precCompare {
		return nil, p.unexpected() // a < b < c
	}
	return &binaryExpr{at, op, x, y}, nil
}

// quantified reads what stands after op ANY.
func (p *parser) quantified(x expr, at pos, op string, all bool) (expr, error) {
	p.next()
	q := &quantified{pos: at, x: x, op: op, all: all}
	var err error
	if p.startsQuery() {
		q.sub, err = p.query()
	} else {
		q.array, err = p.expr()
	}
	if err != nil {
		return nil, err
	}
	return q, p.expectPunct(")")
}

// startsQuery reports whether a query is next, perhaps in parentheses.
func (p *parser) startsQuery() bool {
	for i := 0; ; i++ {
		switch t := p.ahead(i); {
		case t.punct("("):
		case t.is("select"), t.is("values"), t.is("with"), t.is("table") && i == 0:
			return true
		default:
			return false
		}
	}
}

// keyword reads the operators that are words.
func (p *parser) keyword(x expr, level int) (expr, error) {
	t := p.peek()
	at := pos(t.start)
	switch t.value {
	case "or", "and":
		prec := precOr
		if t.value == "and" {
			prec = precAnd
		}
		if prec <= level {
			return nil, nil
		}
		p.next()
		y, err := p.binary(prec)
		return &binaryExpr{at, t.value, x, y}, err
	case "is", "isnull", "notnull":
		if precIs <= level {
			return nil, nil
		}
		p.next()
		if t.value != "is" {
			return &isExpr{pos: at, x: x, what: "null", not: t.value == "notnull"}, nil
		}
		return p.is(x, at)
	case "not":
		switch next := p.ahead(1); next.value {
		case "in", "like", "ilike", "similar", "between":
			if next.kind != tokWord || precBetween <= level {
				return nil, nil
			}
			p.next()
			return p.test(x, at, true)
		}
	case "in", "like", "ilike", "similar", "between":
		if precBetween > level {
			return p.test(x, at, false)
		}
	case "collate":
		if precCollate > level {
			p.next()
			_, name, err := p.anyName()
			return &collateExpr{at, x, name}, err
		}
	case "at":
		if precZone > level && p.words("at", "time", "zone") {
			zone, err := p.binary(precZone)
			return &callExpr{pos: at, name: "timezone", args: []expr{zone, x}}, err
		}
	case "operator":
		if precOther > level && p.ahead(1).punct("(") {
			return p.qualifiedOperator(x)
		}
	case "overlaps":
		return nil, p.unsupported(t.start, "OVERLAPS is not supported: compare the ends of the periods")
	}
	return nil, nil
}

// anyName reads a qualified name whose parts may be keywords.
func (p *parser) anyName() (schema, name string, err error) {
	if name, err = p.label(); err != nil {
		return "", "", err
	}
	for p.punct(".") {
		schema = name
		if name, err = p.label(); err != nil {
			return "", "", err
		}
	}
	return schema, name, nil
}

// qualifiedOperator reads OPERATOR(pg_catalog.~) and its right side.
func (p *parser) qualifiedOperator(x expr) (expr, error) {
	p.next()
	p.next()
	if p.peek().kind == tokWord && p.ahead(1).punct(".") {
		if !p.peek().is("pg_catalog") {
			return nil, p.unsupported(p.peek().start, "operators of schema %q are not supported", p.peek().value)
		}
		p.next()
		p.next()
	}
	t := p.peek()
	if t.kind != tokOperator {
		return nil, p.unexpected()
	}
	p.next()
	if err := p.expectPunct(")"); err != nil {
		return nil, err
	}
	return p.operation(x, t, t.value, precOther)
}

// is reads what stands after IS.
func (p *parser) is(x expr, at pos) (expr, error) {
	e := &isExpr{pos: at, x: x, not: p.word("not")}
	t := p.peek()
	switch {
	case t.is("null"), t.is("true"), t.is("false"), t.is("unknown"):
		p.next()
		e.what = t.value
		return e, nil
	case t.is("distinct"):
		p.next()
		if err := p.expect("from"); err != nil {
			return nil, err
		}
		y, err := p.binary(precIs)
		e.what, e.y = "distinct", y
		return e, err
	case t.is("json"), t.is("document"), t.is("normalized"):
		return nil, p.unsupported(t.start, "IS %s is not supported", t.value)
	}
	return nil, p.unexpected()
}

// test reads IN, LIKE, ILIKE, SIMILAR TO and BETWEEN.
func (p *parser) test(x expr, at pos, not bool) (expr, error) {
	switch t := p.next(); t.value {
	case "in":
		return p.in(x, at, not)
	case "between":
		e := &betweenExpr{pos: at, x: x, not: not, symmetric: p.word("symmetric")}
		if !e.symmetric {
			p.word("asymmetric")
		}
		var err error
		if e.low, err = p.binary(precBetween); err != nil {
			return nil, err
		}
		if err = p.expect("and"); err != nil {
			return nil, err
		}
		e.high, err = p.binary(precBetween)
		return e, err
	case "similar":
		if err := p.expect("to"); err != nil {
			return nil, err
		}
		return p.like(x, at, "similar", not)
	default:
		return p.like(x, at, t.value, not)
	}
}

func (p *parser) like(x expr, at pos, op string, not bool) (expr, error) {
	if t := p.peek(); (t.is("any") || t.is("some") || t.is("all")) && p.ahead(1).punct("(") {
		p.next()
		if not {
			op = "not " + op
		}
		return p.quantified(x, at, op, t.is("all"))
	}
	e := &likeExpr{pos: at, x: x, op: op, not: not}
	var err error
	if e.pattern, err = p.binary(precBetween); err != nil {
		return nil, err
	}
	if p.word("escape") {
		e.escape, err = p.binary(precBetween)
	}
	return e, err
}

func (p *parser) in(x expr, at pos, not bool) (expr, error) {
	e := &inExpr{pos: at, x: x, not: not}
	if err := p.expectPunct("("); err != nil {
		return nil, err
	}
	var err error
	if p.startsQuery() && !p.rowsOfQueries() {
		if e.sub, err = p.query(); err != nil {
			return nil, err
		}
		return e, p.expectPunct(")")
	}
	if e.list, err = p.exprs(); err != nil {
		return nil, err
	}
	return e, p.expectPunct(")")
}

// rowsOfQueries reports whether the parenthesis that is next holds one element
// of a list and not the whole of it: ((SELECT 1), 2).
func (p *parser) rowsOfQueries() bool {
	if !p.peek().punct("(") {
		return false
	}
	depth := 0
	for i := 0; ; i++ {
		switch t := p.ahead(i); {
		case t.kind == tokEnd:
			return false
		case t.punct("("):
			depth++
		case t.punct(")"):
			if depth--; depth == 0 {
				after := p.ahead(i + 1)
				return !after.punct(")") && !after.is("union") && !after.is("intersect") && !after.is("except") &&
					!after.is("order") && !after.is("limit") && !after.is("offset") && !after.is("fetch")
			}
		}
	}
}

// exprs reads expressions with commas between them.
func (p *parser) exprs() ([]expr, error) {
	var all []expr
	for {
		x, err := p.expr()
		if err != nil {
			return nil, err
		}
		all = append(all, x)
		if !p.punct(",") {
			return all, nil
		}
	}
}
