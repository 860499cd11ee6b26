package pgcatalog

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// SQLite keeps expressions as the dialect translated them. clientText writes
// the functions that stand for PostgreSQL's casts and operators as those
// again, so that tools show what the client once wrote.

// innerPrefix begins the names of the functions that translations call.
const innerPrefix = "pg_"

// operators are the last parts of the functions that compute.
var operators = map[string]string{"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "pow": "^"}

// clientText returns an expression in the client's words, without parentheses
// around the whole.
func clientText(text string) string {
	var b strings.Builder
	text = stripParens(text)
	for at := 0; at < len(text); {
		k, n := firstToken(text[at:])
		rest := text[at+n:]
		if k.kind == tokenWord && strings.HasPrefix(k.text, innerPrefix) && strings.HasPrefix(rest, "(") {
			if end := closing(rest); end > 0 {
				b.WriteString(clientCall(k.text, splitList(rest[1:end])))
				at += n + end + 1
				continue
			}
		}
		b.WriteString(text[at : at+n])
		at += n
	}
	if s := b.String(); s != "substr(now(), 1, 10)" {
		return stripParens(s)
	}
	return "CURRENT_DATE"
}

// clientCall writes a call of one of the dialect's functions.
func clientCall(name string, args []string) string {
	for i, a := range args {
		args[i] = clientText(a)
	}
	name = strings.TrimPrefix(name, innerPrefix)
	kind, operation, _ := cutLast(name, "_")
	switch {
	case strings.HasPrefix(name, "assign_"):
		return args[0]
	case strings.HasPrefix(name, "cast_") && len(args) == 3:
		return args[0] + "::" + castName(strings.TrimPrefix(name, "cast_"), args[2])
	case name == "like" && len(args) == 2:
		return "(" + args[0] + " LIKE " + args[1] + ")"
	case name == "ilike" && len(args) == 2:
		return "(" + args[0] + " ILIKE " + args[1] + ")"
	case len(args) == 2 && operators[operation] != "" && types().byName[kind] != nil:
		return "(" + args[0] + " " + operators[operation] + " " + args[1] + ")"
	}
	if len(args) == 1 && args[0] == "" {
		args = nil
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

func cutLast(s, separator string) (before, after string, ok bool) {
	at := strings.LastIndex(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(separator):], true
}

// castName is the name of the type that a cast is to, with its modifier.
func castName(typname, mod string) string {
	scalar, array := strings.CutSuffix(typname, "_array")
	f := types().byName[scalar]
	if f == nil {
		return typname
	}
	n, ok := asInt(mod)
	name := formatType(f.oid, int32(n), ok) //nolint:gosec // a modifier
	if array {
		name += "[]"
	}
	return name
}

// shownLiteral writes a quoted stored value as PostgreSQL shows one of the
// type.
func shownLiteral(text string, t sqltype.Type) string {
	if len(text) < 2 || !strings.HasSuffix(text, "'") {
		return text
	}
	stored := strings.ReplaceAll(text[1:len(text)-1], "''", "'")
	if t.Check(stored) != nil {
		return text
	}
	shown, err := t.AppendText(nil, stored)
	if err != nil {
		return text
	}
	return "'" + strings.ReplaceAll(string(shown), "'", "''") + "'"
}
