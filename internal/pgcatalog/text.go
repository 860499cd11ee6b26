package pgcatalog

import (
	"strings"
	"sync"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// reservedWords are PostgreSQL 15's words that an identifier must be quoted
// to be.
const reservedWords = `all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case 
cast char character check coalesce collate collation column concurrently constraint create cross 
current_catalog current_date current_role current_schema current_time current_timestamp current_user dec 
decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign 
freeze from full grant greatest group grouping having ilike in initially inner inout int integer intersect 
interval into is isnull join lateral leading least left like limit localtime localtimestamp national natural 
nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay 
placing position precision primary real references returning right row select session_user setof similar 
smallint some substring symmetric table tablesample then time timestamp to trailing treat trim true union 
unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement 
xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable`

var reserved = sync.OnceValue(func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(reservedWords) {
		m[w] = true
	}
	return m
})

// quoteIdent quotes an identifier where PostgreSQL's quote_ident does.
func quoteIdent(name string) string {
	plain := name != "" && !reserved()[name]
	for i := 0; plain && i < len(name); i++ {
		c := name[i]
		plain = c == '_' || c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9'
	}
	if plain {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteIdents quotes names, separated by commas.
func quoteIdents(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quoteIdent(name)
	}
	return strings.Join(quoted, ", ")
}

// quoteLiteral quotes a text as PostgreSQL's quote_literal does.
func quoteLiteral(s string) string {
	if strings.Contains(s, `\`) {
		return `E'` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `'`, `''`) + `'`
	}
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}

// token is a piece of SQL text: a word, a quoted name (without its quotes), a
// text literal (with them), a space or one other character.
type token struct {
	text string
	kind tokenKind
}

type tokenKind byte

const (
	tokenOther tokenKind = iota
	tokenSpace
	tokenWord
	tokenName // quoted
	tokenLiteral
	tokenNumber
)

// tokens cuts an expression of a schema into pieces; they make up the whole
// text but for the quotes of names and comments, which read as spaces.
func tokens(s string) []token {
	var list []token
	for len(s) > 0 {
		t, n := firstToken(s)
		list = append(list, t)
		s = s[n:]
	}
	return list
}

func firstToken(s string) (token, int) {
	c := s[0]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		return token{" ", tokenSpace}, 1
	case strings.HasPrefix(s, "--"):
		n := strings.IndexByte(s, '\n')
		if n < 0 {
			n = len(s)
		}
		return token{" ", tokenSpace}, n
	case strings.HasPrefix(s, "/*"):
		if n := strings.Index(s[2:], "*/"); n >= 0 {
			return token{" ", tokenSpace}, n + 4
		}
		return token{" ", tokenSpace}, len(s)
	case c == '\'':
		n := quotedLength(s, '\'')
		return token{s[:n], tokenLiteral}, n
	case c == '"' || c == '`':
		n := quotedLength(s, c)
		q := string(c)
		return token{strings.ReplaceAll(strings.TrimSuffix(s[1:n], q), q+q, q), tokenName}, n
	case c == '[':
		if n := strings.IndexByte(s, ']'); n > 0 {
			return token{s[1:n], tokenName}, n + 1
		}
	case c >= '0' && c <= '9':
		n := 1
		for n < len(s) && (wordByte(s[n]) || s[n] == '.') {
			n++
		}
		return token{s[:n], tokenNumber}, n
	case wordByte(c):
		n := 1
		for n < len(s) && wordByte(s[n]) {
			n++
		}
		return token{s[:n], tokenWord}, n
	}
	return token{s[:1], tokenOther}, 1
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// quotedLength returns the length of what a quote begins, the closing one
// included; a doubled quote does not close.
func quotedLength(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	return len(s)
}

// mentioned returns the places of a table's columns that an expression names,
// in the order of the table.
func mentioned(t *schema.Table, expr string) []int {
	seen := map[int]bool{}
	for _, k := range tokens(expr) {
		if k.kind == tokenWord || k.kind == tokenName {
			if _, at, ok := t.Column(k.text); ok {
				seen[at+1] = true
			}
		}
	}
	list := make([]int, 0, len(seen))
	for i := range t.Columns {
		if seen[i+1] {
			list = append(list, i+1)
		}
	}
	return list
}

// stripParens takes off parentheses that enclose all of an expression.
func stripParens(s string) string {
	for {
		s = strings.TrimSpace(s)
		if len(s) < 2 || s[0] != '(' || closing(s) != len(s)-1 {
			return s
		}
		s = s[1 : len(s)-1]
	}
}

// closing returns where the parenthesis at the beginning of s is closed, -1
// for nowhere.
func closing(s string) int {
	depth, at := 0, 0
	for at < len(s) {
		t, n := firstToken(s[at:])
		if t.kind == tokenOther {
			switch t.text {
			case "(":
				depth++
			case ")":
				if depth--; depth == 0 {
					return at
				}
			}
		}
		at += n
	}
	return -1
}

// defaultText returns a column's default as PostgreSQL would write it, "" when
// it has none. An identity column has none.
func defaultText(c *schema.Column) string {
	switch {
	case c.Identity != "" || c.Generated:
		return ""
	case c.Default == "" && c.Sequence != "":
		return "nextval(" + quoteLiteral(quoteIdent(c.Sequence)) + "::regclass)"
	}
	return expressionText(c.Default, c.Type)
}

// expressionText writes a default in PostgreSQL's way: a literal with its
// type, a truth value as a word.
func expressionText(text string, t sqltype.Type) string {
	text = clientText(text)
	list := tokens(text)
	kind := t
	kind.Mod = -1
	switch {
	case text == "" || strings.EqualFold(text, "null"):
		return ""
	case t.OID == sqltype.Bool.OID && (text == "1" || strings.EqualFold(text, "true")):
		return "true"
	case t.OID == sqltype.Bool.OID && (text == "0" || strings.EqualFold(text, "false")):
		return "false"
	case len(list) == 1 && list[0].kind == tokenLiteral:
		return shownLiteral(text, t) + "::" + formatPlain(kind)
	case len(list) == 2 && list[0].text == "-" && list[1].kind == tokenNumber:
		if strings.Contains(list[1].text, ".") {
			return "'" + text + "'::numeric"
		}
		return "'" + text + "'::integer"
	case len(list) >= 4 && strings.EqualFold(list[0].text, "nextval") && list[2].kind == tokenLiteral && list[3].text == ")":
		return "nextval(" + list[2].text + "::regclass)"
	}
	return text
}

// formatPlain is format_type without a modifier.
func formatPlain(t sqltype.Type) string {
	if t.OID == sqltype.BPChar.OID {
		return "bpchar"
	}
	return t.SQL()
}

// keyPart is an element of an index's key.
type keyPart struct {
	text       string // the expression, without COLLATE, ASC and DESC
	descending bool
	nullsFirst bool
}

// keyParts reads the elements of an index's key from its CREATE INDEX; nil
// when there is none.
func keyParts(x *schema.Index) []keyPart {
	open := openingParen(x.SQL)
	if open < 0 {
		return nil
	}
	end := closing(x.SQL[open:])
	if end < 0 {
		return nil
	}
	var parts []keyPart
	for _, text := range splitList(x.SQL[open+1 : open+end]) {
		parts = append(parts, readKeyPart(text))
	}
	return parts
}

// openingParen returns where the first parenthesis after the word ON is.
func openingParen(sql string) int {
	at, on := 0, false
	for at < len(sql) {
		t, n := firstToken(sql[at:])
		if t.kind == tokenWord && strings.EqualFold(t.text, "on") {
			on = true
		}
		if on && t.kind == tokenOther && t.text == "(" {
			return at
		}
		at += n
	}
	return -1
}

// splitList cuts a list at its commas outside of parentheses.
func splitList(s string) []string {
	var list []string
	depth, start, at := 0, 0, 0
	for at < len(s) {
		t, n := firstToken(s[at:])
		if t.kind == tokenOther {
			switch t.text {
			case "(":
				depth++
			case ")":
				depth--
			case ",":
				if depth == 0 {
					list = append(list, s[start:at])
					start = at + 1
				}
			}
		}
		at += n
	}
	return append(list, s[start:])
}

// readKeyPart takes the words after an expression off its end.
func readKeyPart(text string) keyPart {
	p := keyPart{}
	text = strings.TrimSpace(text)
	cut := func(word string) bool {
		at := len(text) - len(word)
		if at > 0 && strings.EqualFold(text[at:], word) && !wordByte(text[at-1]) {
			text = strings.TrimSpace(text[:at])
			return true
		}
		return false
	}
	nullsFirst, nullsLast := false, false
	if cut("first") {
		nullsFirst = cut("nulls")
	} else if cut("last") {
		nullsLast = cut("nulls")
	}
	if cut("desc") {
		p.descending = true
	} else {
		cut("asc")
	}
	p.nullsFirst = nullsFirst || p.descending && !nullsLast
	if at := strings.LastIndex(strings.ToLower(text), " collate "); at > 0 {
		text = strings.TrimSpace(text[:at])
	}
	p.text = text
	return p
}
