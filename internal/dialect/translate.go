package dialect

import (
	"errors"
	"strconv"

	"kimberlite/internal/fault"
	"kimberlite/internal/sqltype"
)

// translator turns one statement into SQLite's.
type translator struct {
	text   string
	env    Env
	params []sqltype.Type
	scope  *scope
	ctes   []*commonTable
	depth  int
	// noParams names the statement that can have no parameters.
	noParams string
	// constantWords makes bare words values: of SET and EXECUTE.
	constantWords bool
	// catalog says that tables of the catalog are read.
	catalog bool
	// aliases numbers the names that the translation makes up.
	aliases int
}

func (t *translator) fail(at int, state, format string, args ...any) error {
	return failAt(t.text, at, state, format, args...)
}

// hinted adds a hint to an error.
func hinted(err error, hint string) error {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.WithHint(hint)
	}
	return err
}

// fresh makes up a name.
func (t *translator) fresh() string {
	t.aliases++
	return "pg_" + itoa(t.aliases)
}

func itoa(n int) string { return strconv.Itoa(n) }

// Translate turns one statement of PostgreSQL's into SQLite's. declared are
// the parameters' types that the client gave, 0 for those that it left open.
// Errors carry SQLSTATE and position. It has no state, and is safe to call
// from many goroutines.
func Translate(sql string, declared []uint32, env Env) (*Statement, error) {
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	t := &translator{text: sql, env: env}
	for i, oid := range declared {
		if i == maxParams {
			break
		}
		typ, ok := sqltype.Lookup(oid)
		if oid != 0 && !ok {
			return nil, t.fail(0, stateNoObject, "the type of parameter $%d, OID %d, does not exist", i+1, oid)
		}
		if oid == sqltype.Unknown.OID || oid == 0 {
			typ = sqltype.Type{}
		}
		t.params = append(t.params, typ)
	}
	p := &parser{text: sql, tokens: tokens}
	if s, ok := passthrough(p); ok {
		return s, nil
	}
	s, err := t.statement(p)
	if err != nil {
		return nil, err
	}
	for i := range t.params {
		if t.params[i].OID == 0 {
			t.params[i] = sqltype.Text
		}
	}
	s.Params = t.params
	return s, nil
}

// statement reads and translates a statement to its end.
func (t *translator) statement(p *parser) (*Statement, error) {
	for p.punct(";") { // nothing before it
	}
	first := p.peek()
	if first.kind == tokEnd {
		return &Statement{Kind: Empty}, nil
	}
	s, err := t.oneStatement(p, first)
	if err != nil {
		return nil, err
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return s, nil
}

func (t *translator) oneStatement(p *parser, first token) (*Statement, error) {
	if first.punct("(") {
		return t.selectStatement(p)
	}
	if first.kind != tokWord {
		return nil, p.unexpected()
	}
	switch first.value {
	case "select", "values", "table":
		return t.selectStatement(p)
	case "with":
		return t.withStatement(p)
	case "insert":
		return t.insertStatement(p, nil)
	case "update":
		return t.updateStatement(p, nil)
	case "delete":
		return t.deleteStatement(p, nil)
	}
	if s, ok, err := t.sessionStatement(p, first); ok || err != nil {
		return s, err
	}
	return t.schemaStatement(p, first)
}
