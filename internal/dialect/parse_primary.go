package dialect

import (
	"strconv"
)

// maxParams is how many parameters the protocol can count.
const maxParams = 65535

// primary reads an operand.
func (p *parser) primary() (expr, error) {
	t := p.peek()
	at := pos(t.start)
	switch t.kind {
	case tokInteger:
		p.next()
		return &literal{at, litInteger, t.value}, nil
	case tokDecimal:
		p.next()
		return &literal{at, litDecimal, t.value}, nil
	case tokString:
		p.next()
		return &literal{at, litString, t.value}, nil
	case tokBits:
		return nil, p.unsupported(t.start, "bit strings are not supported: use bytea ('\\x…') or integers")
	case tokParam:
		p.next()
		n, err := strconv.Atoi(t.value)
		if err != nil || n < 1 || n > maxParams {
			return nil, failAt(p.text, t.start, stateNoParameter, "there is no parameter $%s", t.value)
		}
		return &param{at, n}, nil
	case tokPunct:
		if t.value == "(" {
			return p.parenthesis()
		}
	case tokOperator:
		if t.value == "?" {
			return nil, failAt(p.text, t.start, stateSyntax, "parameters are written $1, $2, …, not ?")
		}
	case tokSQLite:
		return nil, failAt(p.text, t.start, stateSyntax, "%s is SQLite's own syntax: parameters are $1, names are in double quotes", p.text[t.start:t.end])
	case tokWord, tokQuoted:
		return p.named()
	}
	return nil, p.unexpected()
}

// parenthesis reads (expr), (query) or (a, b).
func (p *parser) parenthesis() (expr, error) {
	at := p.pos()
	if p.startsQuery() && !p.operand() {
		q, err := p.parenthesised()
		return &subquery{pos: at, q: q}, err
	}
	p.next()
	elems, err := p.exprs()
	if err != nil {
		return nil, err
	}
	if err := p.expectPunct(")"); err != nil {
		return nil, err
	}
	if len(elems) > 1 {
		return &rowExpr{at, elems}, nil
	}
	return elems[0], nil
}

// operand reports whether the parentheses that are next hold an expression
// that begins with a query, as ((SELECT 1) + 2) does.
func (p *parser) operand() bool {
	return p.ahead(1).punct("(") && func() bool {
		inner := parser{text: p.text, tokens: p.tokens, at: p.at + 1}
		return inner.rowsOfQueries()
	}()
}

// parenthesised reads (query).
func (p *parser) parenthesised() (*query, error) {
	if err := p.expectPunct("("); err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return q, p.expectPunct(")")
}

// typedLiteral are the types that may stand before a string: date '…'.
var typedLiteral = wordSet("date", "time", "timestamp", "timestamptz", "interval", "json", "jsonb", "uuid", "bytea",
	"bool", "boolean", "int", "int2", "int4", "int8", "integer", "smallint", "bigint", "numeric", "decimal", "real",
	"float", "float4", "float8", "double", "text", "varchar", "bpchar", "char", "character", "name", "regclass", "oid")

// named reads what begins with a word.
func (p *parser) named() (expr, error) {
	t := p.peek()
	at := pos(t.start)
	if t.kind == tokWord {
		if e, err := p.special(t); e != nil || err != nil {
			return e, err
		}
		if typedLiteral[t.value] {
			if e := p.literalOfType(); e != nil {
				return e, nil
			}
		}
		if reserved[t.value] || functionOrType[t.value] && !p.ahead(1).punct("(") && !p.ahead(1).punct(".") {
			return nil, p.unexpected()
		}
	}
	p.next()
	parts := []string{t.value}
	for p.peek().punct(".") {
		p.next()
		if p.peek().op("*") {
			p.next()
			return &columnRef{at, parts, true}, nil
		}
		n, err := p.label()
		if err != nil {
			return nil, err
		}
		parts = append(parts, n)
	}
	if p.peek().punct("(") {
		return p.call(at, parts)
	}
	if len(parts) > 3 {
		return nil, failAt(p.text, t.start, stateSyntax, "improper qualified name (too many dotted names)")
	}
	if p.peek().kind == tokString && len(parts) == 2 && parts[0] == "pg_catalog" {
		if to, ok := p.lookupType(t.start, parts[1], ""); ok {
			s := p.next()
			return &castExpr{pos: at, x: &literal{pos(s.start), litString, s.value}, to: to, literal: true}, nil
		}
	}
	return &columnRef{at, parts, false}, nil
}

// literalOfType reads date '2026-01-01'; nil says that it is none.
func (p *parser) literalOfType() expr {
	start := p.at
	at := p.pos()
	to, err := p.typeName()
	if err != nil || p.peek().kind != tokString {
		p.at = start
		return nil
	}
	s := p.next()
	if to.typ.Name() == "interval" {
		unit := p.intervalField()
		if unit != "" {
			s.value += " " + unit
		}
	}
	return &castExpr{pos: at, x: &literal{pos(s.start), litString, s.value}, to: to, literal: true}
}

// intervalField reads the unit that may follow interval '1'.
func (p *parser) intervalField() string {
	switch t := p.peek(); {
	case t.kind != tokWord:
	case t.value == "year", t.value == "month", t.value == "day", t.value == "hour", t.value == "minute", t.value == "second":
		if !p.ahead(1).is("to") {
			p.next()
			return t.value
		}
	}
	return ""
}

// typeName reads a type.
func (p *parser) typeName() (typeName, error) {
	t := p.peek()
	at := t.start
	if !isLabel(t) {
		return typeName{}, p.unexpected()
	}
	p.next()
	name := t.value
	if t.kind == tokQuoted && name == "char" {
		name = `"char"`
	}
	for p.punct(".") {
		if name != "pg_catalog" && name != "public" {
			return typeName{}, failAt(p.text, at, stateNoSchema, "schema %q does not exist", name)
		}
		part := p.peek()
		n, err := p.label()
		if err != nil {
			return typeName{}, err
		}
		name = n
		if part.kind == tokQuoted && name == "char" {
			name = `"char"`
		}
	}
	name = p.longType(name)
	mods, err := p.modifiers()
	if err != nil {
		return typeName{}, err
	}
	if name == "time" || name == "timestamp" {
		switch {
		case p.words("with", "time", "zone"):
			name += "tz"
		case p.words("without", "time", "zone"):
		}
	}
	if name == "interval" {
		if unit := p.intervalField(); unit != "" {
			return typeName{}, p.unsupported(at, "intervals of restricted fields are not supported: use interval")
		}
	}
	for p.punct("[") {
		if p.peek().kind == tokInteger {
			p.next()
		}
		if err := p.expectPunct("]"); err != nil {
			return typeName{}, err
		}
		mods += "[]"
	}
	if p.word("array") {
		mods += "[]"
	}
	to, ok := p.lookupType(at, name, mods)
	if !ok {
		return typeName{}, p.noType(at, name, mods)
	}
	return to, nil
}

// longType reads the rest of a type of several words.
func (p *parser) longType(name string) string {
	switch name {
	case "double":
		if p.word("precision") {
			return "float8"
		}
	case "character", "char", "nchar":
		if p.word("varying") {
			return "varchar"
		}
	case "national":
		if p.word("character") || p.word("char") {
			if p.word("varying") {
				return "varchar"
			}
			return "char"
		}
	case "bit":
		if p.word("varying") {
			return "varbit"
		}
	}
	return name
}

// modifiers reads (10,2) as it is written.
func (p *parser) modifiers() (string, error) {
	if !p.peek().punct("(") {
		return "", nil
	}
	p.next()
	mods := "("
	for {
		t := p.peek()
		if t.kind != tokInteger {
			return "", p.unexpected()
		}
		p.next()
		mods += t.value
		if p.punct(")") {
			return mods + ")", nil
		}
		if !p.punct(",") {
			return "", p.unexpected()
		}
		mods += ","
	}
}
