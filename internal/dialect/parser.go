package dialect

import "strings"

// maxDepth bounds how deep expressions and queries nest.
const maxDepth = 300

// parser reads tokens from the first to the last.
type parser struct {
	text   string
	tokens []token
	at     int
	depth  int
	// retries counts the parentheses that were read twice.
	retries int
	// locks says that FOR UPDATE or its like was read, noWait that NOWAIT was.
	locks, noWait bool
}

// maxRetries bounds how often a parenthesis in FROM is read again as a join.
const maxRetries = 8

func (p *parser) peek() token { return p.tokens[p.at] }

// ahead returns the token that stands n further.
func (p *parser) ahead(n int) token { return p.tokens[min(p.at+n, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if p.at < len(p.tokens)-1 {
		p.at++
	}
	return t
}

// pos is where the next token stands.
func (p *parser) pos() pos { return pos(p.tokens[p.at].start) }

// word takes the keyword if it is next.
func (p *parser) word(keyword string) bool {
	if p.tokens[p.at].is(keyword) {
		p.next()
		return true
	}
	return false
}

// words takes the keywords if all of them are next.
func (p *parser) words(keywords ...string) bool {
	for i, k := range keywords {
		if !p.ahead(i).is(k) {
			return false
		}
	}
	for range keywords {
		p.next()
	}
	return true
}

// punct takes the punctuation mark if it is next.
func (p *parser) punct(mark string) bool {
	if p.tokens[p.at].punct(mark) {
		p.next()
		return true
	}
	return false
}

func (p *parser) operator(op string) bool {
	if p.tokens[p.at].op(op) {
		p.next()
		return true
	}
	return false
}

// expect takes the keywords or fails.
func (p *parser) expect(keywords ...string) error {
	for _, k := range keywords {
		if !p.word(k) {
			return p.unexpected()
		}
	}
	return nil
}

func (p *parser) expectPunct(mark string) error {
	if !p.punct(mark) {
		return p.unexpected()
	}
	return nil
}

// unexpected is the syntax error at the next token.
func (p *parser) unexpected() error {
	t := p.peek()
	if t.kind == tokEnd {
		return failAt(p.text, t.start, stateSyntax, "syntax error at end of input")
	}
	if t.kind == tokString {
		return failAt(p.text, t.start, stateSyntax, "syntax error at or near a string literal")
	}
	return failAt(p.text, t.start, stateSyntax, "syntax error at or near %q", p.text[t.start:t.end])
}

// unsupported is the error for what is not offered. It says what, and what to
// do instead.
func (p *parser) unsupported(at int, format string, args ...any) error {
	return failAt(p.text, at, stateUnsupported, format, args...)
}

// enter counts a level of nesting; leave it with p.depth--.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return tooComplex(p.text, p.peek().start, "the statement nests deeper than %d levels", maxDepth)
	}
	return nil
}

// isName reports whether t can name a column or a table.
func isName(t token) bool {
	return t.kind == tokQuoted || t.kind == tokWord && !reserved[t.value] && !functionOrType[t.value]
}

// isLabel reports whether t can stand after AS.
func isLabel(t token) bool { return t.kind == tokQuoted || t.kind == tokWord }

// name reads the name of a column or a table.
func (p *parser) name() (string, error) {
	if t := p.peek(); isName(t) {
		p.next()
		return t.value, nil
	}
	return "", p.unexpected()
}

// label reads a name that may be a keyword.
func (p *parser) label() (string, error) {
	if t := p.peek(); isLabel(t) {
		p.next()
		return t.value, nil
	}
	return "", p.unexpected()
}

// qualified reads schema.name or name.
func (p *parser) qualified() (schema, name string, err error) {
	if name, err = p.name(); err != nil {
		return "", "", err
	}
	for i := 0; p.punct("."); i++ {
		if i == 2 {
			return "", "", p.unexpected()
		}
		schema = name
		if name, err = p.label(); err != nil {
			return "", "", err
		}
	}
	return schema, name, nil
}

// names reads (a, b, …).
func (p *parser) names() ([]string, error) {
	if err := p.expectPunct("("); err != nil {
		return nil, err
	}
	var all []string
	for {
		n, err := p.name()
		if err != nil {
			return nil, err
		}
		all = append(all, n)
		if !p.punct(",") {
			return all, p.expectPunct(")")
		}
	}
}

// end fails unless the statement ends here.
func (p *parser) end() error {
	p.punct(";")
	if p.peek().kind != tokEnd {
		return p.unexpected()
	}
	return nil
}

// table reads the name of a table of the tenant's; PostgreSQL's schema public
// is where all of them are.
func (p *parser) table() (string, error) {
	at := p.peek().start
	schema, name, err := p.qualified()
	if err != nil {
		return "", err
	}
	return p.inSchema(at, schema, name)
}

// inSchema returns the name that an object of a schema has in SQLite.
func (p *parser) inSchema(at int, schema, name string) (string, error) {
	switch strings.ToLower(schema) {
	case "", "public", "main":
		return name, nil
	case "pg_catalog":
		return name, nil
	case "information_schema":
		return "information_schema_" + name, nil
	case "kimberlite":
		return name, nil
	}
	return "", failAt(p.text, at, stateNoSchema, "schema %q does not exist: a tenant has the schema public", schema)
}
