package projection

import (
	"slices"
	"strconv"
	"strings"

	"kimberlite/internal/schema"
)

// SQLite tells all about a table but the names of its constraints and what its
// CHECKs say. These are read from the CREATE TABLE text, which SQLite has
// understood before: what the scan does not understand it passes over, and a
// name is made up.

// token is a word, a quoted name, a literal or a sign.
type token struct {
	text       string // of a quoted name what it names
	quoted     bool
	start, end int
}

func (t token) is(word string) bool { return !t.quoted && strings.EqualFold(t.text, word) }

// scanTokens cuts a text of SQL into tokens, without blanks and comments.
func scanTokens(s string) []token {
	var all []token
	for at := 0; at < len(s); {
		c := s[at]
		start := at
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
			at++
			continue
		case strings.HasPrefix(s[at:], "--"):
			at = skipTo(s, at, "\n")
			continue
		case strings.HasPrefix(s[at:], "/*"):
			at = skipTo(s, at+2, "*/")
			continue
		case c == '"' || c == '`' || c == '[' || c == '\'':
			var text string
			text, at = quotedToken(s, at)
			all = append(all, token{text, true, start, at})
			continue
		case wordByte(c):
			for at < len(s) && wordByte(s[at]) {
				at++
			}
		default:
			at++
		}
		all = append(all, token{s[start:at], false, start, at})
	}
	return all
}

func skipTo(s string, at int, end string) int {
	if i := strings.Index(s[at:], end); i >= 0 {
		return at + i + len(end)
	}
	return len(s)
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// quotedToken reads a quoted name or text and returns where it ends.
func quotedToken(s string, at int) (string, int) {
	closing := s[at]
	if closing == '[' {
		closing = ']'
	}
	var b []byte
	for at++; at < len(s); at++ {
		if s[at] != closing {
			b = append(b, s[at])
			continue
		}
		if closing == ']' || at+1 >= len(s) || s[at+1] != closing {
			return string(b), at + 1
		}
		b = append(b, closing)
		at++
	}
	return string(b), at
}

// tableConstraints are what a CREATE TABLE text says of its constraints, in
// the order of the text.
type tableConstraints struct {
	keys    []namedColumns // PRIMARY KEY and UNIQUE
	foreign []namedColumns
	checks  []schema.Check
	serial  bool // AUTOINCREMENT
}

type namedColumns struct {
	name    string
	columns []string
}

// scanConstraints reads a CREATE TABLE text.
func scanConstraints(sql string) tableConstraints {
	var found tableConstraints
	tokens := scanTokens(sql)
	open := slices.IndexFunc(tokens, func(t token) bool { return !t.quoted && t.text == "(" })
	if open < 0 {
		return found
	}
	depth, start := 0, open+1
	for i := open; i < len(tokens); i++ {
		switch {
		case tokens[i].quoted:
		case tokens[i].text == "(":
			depth++
		case tokens[i].text == ")":
			if depth--; depth == 0 {
				found.part(sql, tokens[start:i])
				return found
			}
		case tokens[i].text == "," && depth == 1:
			found.part(sql, tokens[start:i])
			start = i + 1
		}
	}
	return found
}

// part reads one column's or table constraint's definition.
func (f *tableConstraints) part(sql string, tokens []token) {
	if len(tokens) == 0 {
		return
	}
	var own []string
	if t := tokens[0]; t.quoted || !t.is("constraint") && !t.is("primary") && !t.is("unique") && !t.is("check") && !t.is("foreign") {
		own, tokens = []string{t.text}, tokens[1:]
	}
	name := ""
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch {
		case t.quoted:
		case t.text == "(":
			i = closing(tokens, i) // of a type or a default
		case t.is("constraint") && i+1 < len(tokens):
			i++
			name = tokens[i].text
		case t.is("primary"), t.is("unique"):
			columns := own
			if own == nil {
				columns, i = parenthesised(tokens, i)
			}
			f.keys = append(f.keys, namedColumns{name, columns})
			name = ""
		case t.is("foreign"):
			own, i = parenthesised(tokens, i)
		case t.is("references"):
			f.foreign = append(f.foreign, namedColumns{name, own})
			name = ""
		case t.is("check") && i+1 < len(tokens):
			end := closing(tokens, i+1)
			f.checks = append(f.checks, schema.Check{Name: name, Expr: strings.TrimSpace(sql[tokens[i+1].end:tokens[end].start])})
			name, i = "", end
		case t.is("autoincrement"):
			f.serial = true
		}
	}
}

// closing returns where the parenthesis that opens at or after a place closes.
func closing(tokens []token, at int) int {
	depth := 0
	for i := at; i < len(tokens); i++ {
		switch {
		case tokens[i].quoted:
		case tokens[i].text == "(":
			depth++
		case tokens[i].text == ")":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(tokens) - 1
}

// parenthesised reads the column names in the next parentheses and returns
// where they close.
func parenthesised(tokens []token, at int) (columns []string, end int) {
	for at < len(tokens) && (tokens[at].quoted || tokens[at].text != "(") {
		at++
	}
	end = closing(tokens, at)
	first := true
	for i := at + 1; i < end; i++ {
		switch {
		case first:
			columns = append(columns, tokens[i].text)
			first = false
		case !tokens[i].quoted && tokens[i].text == ",":
			first = true
		}
	}
	return columns, max(end, at-1)
}

// apply gives the constraints of a table their names: those of the text, or
// such as PostgreSQL makes up.
func (f *tableConstraints) apply(t *schema.Table) {
	taken := map[string]bool{}
	for i := range t.Indexes {
		x := &t.Indexes[i]
		if !x.Constraint {
			continue
		}
		name := nameFor(f.keys, x.Columns)
		if name == "" && x.Primary {
			name = t.Name + "_pkey"
		} else if name == "" {
			name = t.Name + "_" + strings.Join(x.Columns, "_") + "_key"
		}
		x.Name = unique(taken, name)
	}
	for i := range t.ForeignKeys {
		k := &t.ForeignKeys[i]
		name := nameFor(f.foreign, k.Columns)
		if name == "" {
			name = t.Name + "_" + strings.Join(k.Columns, "_") + "_fkey"
		}
		k.Name = unique(taken, name)
	}
	for _, c := range f.checks {
		if c.Name == "" {
			c.Name = t.Name + "_check"
		}
		c.Name = unique(taken, c.Name)
		t.Checks = append(t.Checks, c)
	}
}

// nameFor returns the name of the constraint over these columns.
func nameFor(all []namedColumns, columns []string) string {
	for i, n := range all {
		if n.name != "" && slices.EqualFunc(n.columns, columns, strings.EqualFold) {
			all[i].name = "" // each name is used once
			return n.name
		}
	}
	return ""
}

// unique returns a name that no other constraint of the table has.
func unique(taken map[string]bool, name string) string {
	made := name
	for n := 1; taken[made]; n++ {
		made = name + strconv.Itoa(n)
	}
	taken[made] = true
	return made
}
