package dialect

import (
	"strconv"
	"strings"

	"kimberlite/internal/sqltype"
)

// passthrough recognises statements of SQLite's own dialect, which PostgreSQL
// has not, and hands them over as they are but for the parameters: $1 becomes
// ?1.
func passthrough(p *parser) (*Statement, bool) {
	for p.punct(";") { // nothing before it
	}
	s := &Statement{Passthrough: true}
	first, second := p.peek(), p.ahead(1)
	switch {
	case first.is("pragma"):
		s.Kind, s.Tag, s.Returns, s.ReadOnlyHint = Query, "SELECT", true, true
	case first.is("insert") && second.is("or"), first.is("replace") && second.is("into"):
		s.Kind, s.Tag = Insert, "INSERT 0"
	case first.is("update") && second.is("or"):
		s.Kind, s.Tag = Update, "UPDATE"
	case first.is("create") && second.is("virtual"):
		s.Kind, s.Tag = DDL, "CREATE TABLE"
	case first.is("create") && (second.is("trigger") || second.is("temp") && p.ahead(2).is("trigger")) && p.hasWord("begin"):
		s.Kind, s.Tag = DDL, "CREATE TRIGGER"
	case first.is("create") && second.is("table") && p.strictTable():
		s.Kind, s.Tag = DDL, "CREATE TABLE"
	case first.is("attach"), first.is("detach"):
		s.Kind, s.Tag = DDL, strings.ToUpper(first.value)
	default:
		return nil, false
	}
	s.Returns = s.Returns || p.hasWord("returning")
	s.SQL, s.Params = p.sqliteText()
	return s, true
}

func (p *parser) hasWord(word string) bool {
	for _, t := range p.tokens[p.at:] {
		if t.is(word) {
			return true
		}
	}
	return false
}

// strictTable reports whether CREATE TABLE ends in STRICT or WITHOUT ROWID, or
// has an AUTOINCREMENT.
func (p *parser) strictTable() bool {
	depth := 0
	for i, t := range p.tokens[p.at:] {
		switch {
		case t.punct("("):
			depth++
		case t.punct(")"):
			depth--
		case t.is("autoincrement"), depth == 0 && t.is("strict"), depth == 0 && t.is("without") && p.ahead(i+1).is("rowid"):
			return true
		}
	}
	return false
}

// sqliteText is the statement with ?n in the place of $n.
func (p *parser) sqliteText() (string, []sqltype.Type) {
	var b strings.Builder
	from, highest := p.peek().start, 0
	end := from
	for _, t := range p.tokens[p.at:] {
		if t.kind == tokEnd {
			break
		}
		if t.punct(";") && p.lastMark(t) {
			break
		}
		if t.kind == tokParam {
			b.WriteString(p.text[from:t.start])
			b.WriteString("?" + t.value)
			from = t.end
			n, _ := strconv.Atoi(t.value)
			highest = max(highest, n)
		}
		end = t.end
	}
	b.WriteString(p.text[from:max(from, end)])
	return b.String(), textParams(highest)
}

// lastMark reports whether nothing follows a semicolon.
func (p *parser) lastMark(t token) bool {
	for _, other := range p.tokens {
		if other.start > t.start && other.kind != tokEnd && !other.punct(";") {
			return false
		}
	}
	return true
}

// textParams are n parameters whose types nothing tells.
func textParams(n int) []sqltype.Type {
	if n > maxParams {
		n = maxParams
	}
	params := make([]sqltype.Type, n)
	for i := range params {
		params[i] = sqltype.Text
	}
	return params
}
