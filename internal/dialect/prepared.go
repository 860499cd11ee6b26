package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// prepare reads PREPARE name (types) AS statement.
func (t *translator) prepare(p *parser) (*Statement, error) {
	p.next()
	if at := p.peek(); at.is("transaction") {
		return nil, p.unsupported(at.start, "two-phase commit is not supported")
	}
	s := &Statement{Kind: Prepare, Tag: "PREPARE"}
	var err error
	if s.Name, err = p.name(); err != nil {
		return nil, err
	}
	if p.punct("(") {
		for {
			to, err := p.typeName()
			if err != nil {
				return nil, err
			}
			s.PreparedParams = append(s.PreparedParams, to.typ.OID)
			if !p.punct(",") {
				break
			}
		}
		if err := p.expectPunct(")"); err != nil {
			return nil, err
		}
	}
	if err := p.expect("as"); err != nil {
		return nil, err
	}
	switch first := p.peek(); {
	case first.is("select"), first.is("insert"), first.is("update"), first.is("delete"), first.is("values"), first.is("with"), first.punct("("):
	default:
		return nil, p.unexpected()
	}
	s.Prepared = strings.TrimRight(t.text[p.peek().start:], "; \t\r\n")
	for p.peek().kind != tokEnd {
		p.next()
	}
	return s, nil
}

// execute reads EXECUTE name (values).
func (t *translator) execute(p *parser) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Execute, Tag: "EXECUTE"}
	var err error
	if s.Name, err = p.name(); err != nil || !p.punct("(") {
		return s, err
	}
	list, err := p.exprs()
	if err != nil {
		return nil, err
	}
	t.scope, t.noParams = &scope{noAgg: "EXECUTE", noWin: "EXECUTE"}, "EXECUTE"
	texts := make([]string, len(list))
	for i, x := range list {
		v, err := t.scalar(x)
		if err != nil {
			return nil, err
		}
		typ := v.typ
		if v.unknown() {
			if v, err = t.asText(v); err != nil {
				return nil, err
			}
			typ = sqltype.Unknown
		}
		texts[i] = v.sql
		s.ArgumentColumns = append(s.ArgumentColumns, Column{Type: typ})
	}
	s.Arguments = "SELECT " + strings.Join(texts, ", ")
	return s, p.expectPunct(")")
}

// explain reads EXPLAIN. Options that ask for running the statement are
// refused: the plan is SQLite's, which measures nothing.
func (t *translator) explain(p *parser) (*Statement, error) {
	p.next()
	if err := t.explainOptions(p); err != nil {
		return nil, err
	}
	first := p.peek()
	switch {
	case first.is("select"), first.is("insert"), first.is("update"), first.is("delete"), first.is("values"), first.is("with"), first.punct("("):
	default:
		return nil, p.unexpected()
	}
	inner, err := t.oneStatement(p, first)
	if err != nil {
		return nil, err
	}
	return &Statement{
		Kind: Explain, SQL: "EXPLAIN QUERY PLAN " + inner.SQL, Tag: "EXPLAIN", Returns: true, ReadOnlyHint: true,
		Columns: []Column{{"QUERY PLAN", sqltype.Text}},
	}, nil
}

func (t *translator) explainOptions(p *parser) error {
	analyze := func(at int) error {
		return p.unsupported(at, "EXPLAIN ANALYZE is not supported: use EXPLAIN, which shows the plan without running it")
	}
	for {
		switch o := p.peek(); {
		case o.is("analyze"), o.is("analyse"):
			return analyze(o.start)
		case p.word("verbose"):
			continue
		case o.punct("(") && !p.startsQuery():
			p.next()
			for !p.punct(")") {
				n := p.next()
				value := p.peek()
				switch {
				case n.kind == tokEnd:
					return p.unexpected()
				case (n.is("analyze") || n.is("analyse")) && !value.is("false") && !value.is("off"):
					return analyze(n.start)
				case n.is("format") && !value.is("text"):
					return p.unsupported(n.start, "EXPLAIN in the format %s is not supported: use TEXT", value.value)
				}
			}
		}
		return nil
	}
}
