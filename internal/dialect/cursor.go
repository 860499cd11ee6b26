package dialect

import "strconv"

// CursorMove is how far FETCH and MOVE go: Count rows on, or with All to the
// end.
type CursorMove struct {
	Count int64
	All   bool
}

// declare reads DECLARE name CURSOR FOR query.
func (t *translator) declare(p *parser) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Declare, Tag: "DECLARE CURSOR"}
	var err error
	if s.Name, err = p.name(); err != nil {
		return nil, err
	}
options:
	for {
		switch at := p.peek(); {
		case p.word("insensitive"), p.word("asensitive"), p.words("no", "scroll"):
		case p.word("scroll"):
			return nil, p.unsupported(at.start, "SCROLL cursors are not supported: cursors are read forward only")
		case p.word("binary"):
			return nil, p.unsupported(at.start, "BINARY cursors are not supported: ask for the binary format when binding FETCH")
		default:
			break options
		}
	}
	if err := p.expect("cursor"); err != nil {
		return nil, err
	}
	switch at := p.peek(); {
	case p.words("without", "hold"):
	case p.words("with", "hold"):
		return nil, p.unsupported(at.start, "cursors WITH HOLD are not supported: a cursor ends with its transaction")
	}
	if err := p.expect("for"); err != nil {
		return nil, err
	}
	switch first := p.peek(); {
	case first.is("select"), first.is("values"), first.is("table"), first.punct("("):
		s.Query, err = t.selectStatement(p)
	case first.is("with"):
		if s.Query, err = t.withStatement(p); err == nil && s.Query.Kind != Query {
			return nil, t.fail(first.start, stateUnsupported, "DECLARE CURSOR must not contain data-modifying statements in WITH")
		}
	default:
		return nil, p.unexpected()
	}
	return s, err
}

// fetchCursor reads FETCH and MOVE.
func (t *translator) fetchCursor(p *parser, word string) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Fetch, Tag: "FETCH", Returns: true, ReadOnlyHint: true, Move: &CursorMove{Count: 1}}
	if word == "move" {
		s.Kind, s.Tag, s.Returns = Move, "MOVE", false
	}
	if n := p.ahead(1); n.kind != tokEnd && !n.punct(";") {
		if err := p.cursorMove(s.Move); err != nil {
			return nil, err
		}
		if !p.word("from") {
			p.word("in")
		}
	}
	var err error
	s.Name, err = p.name()
	return s, err
}

// cursorMove reads how far to go, and in which direction.
func (p *parser) cursorMove(m *CursorMove) error {
	switch at := p.peek(); {
	case p.word("next"):
		return nil
	case p.word("forward"):
		return p.cursorCount(m)
	case at.is("prior"), at.is("first"), at.is("last"), at.is("absolute"), at.is("relative"), at.is("backward"):
		return p.unsupported(at.start, "cursors are read forward only: use NEXT, FORWARD, a count or ALL")
	}
	return p.cursorCount(m)
}

func (p *parser) cursorCount(m *CursorMove) error {
	at := p.peek()
	switch {
	case p.word("all"):
		m.All = true
		return nil
	case p.operator("-"):
		return p.unsupported(at.start, "cursors are read forward only: use a count above zero")
	}
	p.operator("+")
	if p.peek().kind != tokInteger {
		return nil
	}
	n, err := strconv.ParseInt(p.next().value, 10, 64)
	switch {
	case err != nil:
		return failAt(p.text, at.start, stateSyntax, "the number of rows is out of range")
	case n == 0:
		return p.unsupported(at.start, "a row of a cursor cannot be fetched again: use a count above zero")
	}
	m.Count = n
	return nil
}

// closeCursor reads CLOSE.
func (t *translator) closeCursor(p *parser) (*Statement, error) {
	p.next()
	s := &Statement{Kind: Close, Tag: "CLOSE CURSOR"}
	if p.word("all") {
		s.Tag = "CLOSE CURSOR ALL"
		return s, nil
	}
	var err error
	s.Name, err = p.name()
	return s, err
}
