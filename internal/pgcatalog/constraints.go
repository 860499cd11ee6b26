package pgcatalog

import (
	"strings"

	"kimberlite/internal/schema"
)

// actions are PostgreSQL's letters of what a foreign key does.
var actions = map[string]string{
	"": "a", "NO ACTION": "a", "RESTRICT": "r", "CASCADE": "c", "SET NULL": "n", "SET DEFAULT": "d",
}

func action(words string) string {
	if a, ok := actions[strings.ToUpper(words)]; ok {
		return a
	}
	return "a"
}

func rowsConstraint(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().constraints {
		pairs := []any{
			"oid", k.oid, "conname", k.name, "connamespace", publicOID, "contype", k.kind, "convalidated", true,
			"conrelid", k.table.OID, "conislocal", true, "connoinherit", k.kind != 'c', "conkey", intArray(k.columns),
		}
		if k.index != nil {
			pairs = append(pairs, "conindid", k.index.OID)
		}
		switch k.kind {
		case 'f':
			pairs = append(pairs, "confupdtype", action(k.foreign.OnUpdate), "confdeltype", action(k.foreign.OnDelete),
				"confmatchtype", "s")
			if k.target != nil {
				pairs = append(pairs, "confrelid", k.target.OID, "confkey", intArray(k.refers))
			}
		case 'c':
			pairs = append(pairs, "conbin", clientText(k.check))
		}
		row := t.row(pairs...)
		if k.kind != 'f' {
			blank(t, row, "confupdtype", "confdeltype", "confmatchtype")
		}
		rows = append(rows, row)
	}
	return rows
}

// blank sets "char" columns to a blank, which PostgreSQL writes for none.
func blank(t *Table, row []any, columns ...string) {
	for _, c := range columns {
		row[t.byID[c]] = " "
	}
}

// constraintText is pg_get_constraintdef.
func constraintText(k *constraint, pretty bool) string {
	switch k.kind {
	case 'p':
		return "PRIMARY KEY (" + quoteIdents(k.index.Columns) + ")"
	case 'u':
		return "UNIQUE (" + quoteIdents(k.index.Columns) + ")"
	case 'c':
		if pretty {
			return "CHECK (" + clientText(k.check) + ")"
		}
		return "CHECK ((" + clientText(k.check) + "))"
	}
	f := k.foreign
	refers := f.RefColumns
	if len(refers) == 0 && k.target != nil {
		refers = keyColumns(k.target)
	}
	text := "FOREIGN KEY (" + quoteIdents(f.Columns) + ") REFERENCES " + quoteIdent(f.RefTable) + "(" + quoteIdents(refers) + ")"
	if a := strings.ToUpper(f.OnUpdate); a != "" && a != "NO ACTION" {
		text += " ON UPDATE " + a
	}
	if a := strings.ToUpper(f.OnDelete); a != "" && a != "NO ACTION" {
		text += " ON DELETE " + a
	}
	return text
}

// indexText is pg_get_indexdef of a whole index. A pretty one leaves the
// schema out.
func indexText(t *schema.Table, x *schema.Index, pretty bool) string {
	text := "CREATE "
	if x.Unique || x.Primary {
		text += "UNIQUE "
	}
	text += "INDEX " + quoteIdent(x.Name) + " ON "
	if !pretty {
		text += "public."
	}
	text += quoteIdent(t.Name) + " USING btree ("
	parts := keyParts(x)
	for i := range x.Columns {
		if i > 0 {
			text += ", "
		}
		text += indexColumn(x, parts, i)
		if i < len(parts) {
			text += ordering(parts[i])
		}
	}
	text += ")"
	if w := clientText(x.Where); w != "" {
		if !pretty && len(tokens(w)) > 1 {
			w = "(" + w + ")"
		}
		text += " WHERE " + w
	}
	return text
}

// ordering writes what differs from PostgreSQL's ascending order with NULL at
// the end.
func ordering(p keyPart) string {
	switch {
	case p.descending && !p.nullsFirst:
		return " DESC NULLS LAST"
	case p.descending:
		return " DESC"
	case p.nullsFirst:
		return " NULLS FIRST"
	}
	return ""
}

// indexColumn writes an element of an index's key.
func indexColumn(x *schema.Index, parts []keyPart, i int) string {
	if x.Columns[i] != "" {
		return quoteIdent(x.Columns[i])
	}
	if i >= len(parts) {
		return ""
	}
	text := clientText(parts[i].text)
	if isCall(text) {
		return text
	}
	return "(" + text + ")"
}

// isCall says that an expression is one call of a function.
func isCall(text string) bool {
	list := tokens(text)
	if len(list) < 3 || list[0].kind != tokenWord || list[1].text != "(" {
		return false
	}
	open := len(list[0].text)
	return closing(text[open:]) == len(text)-open-1
}

// viewText is pg_get_viewdef: the query that a view stands for.
func viewText(t *schema.Table) (string, bool) {
	if t.Kind != schema.KindView {
		return "", false
	}
	at := 0
	for at < len(t.SQL) {
		k, n := firstToken(t.SQL[at:])
		at += n
		if k.kind == tokenWord && strings.EqualFold(k.text, "as") {
			return " " + clientText(strings.TrimSuffix(withoutComment(t.SQL[at:]), ";")) + ";", true
		}
	}
	return "", false
}

// withoutComment takes the dialect's note of a view's types off its query.
func withoutComment(query string) string {
	query = strings.TrimSpace(query)
	if rest, ok := strings.CutPrefix(query, "/*"); ok {
		if _, after, ok := strings.Cut(rest, "*/"); ok {
			return strings.TrimSpace(after)
		}
	}
	return query
}

func rowsTrigger(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().triggers {
		rows = append(rows, t.row("oid", k.oid, "tgrelid", k.table.OID, "tgname", k.trigger.Name,
			"tgtype", describeTrigger(k.trigger.SQL).bits(), "tgenabled", "O", "tgargs", []byte{}))
	}
	return rows
}

func rowsRewrite(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().rules {
		rows = append(rows, t.row("oid", k.oid, "rulename", "_RETURN", "ev_class", k.view.OID, "ev_type", "1",
			"ev_enabled", "O", "is_instead", true))
	}
	return rows
}

// triggerShape is when a trigger acts.
type triggerShape struct {
	timing string   // BEFORE, AFTER, INSTEAD OF
	events []string // INSERT, UPDATE, DELETE
	when   string   // the condition
	body   string
}

// describeTrigger reads a CREATE TRIGGER up to its body.
func describeTrigger(sql string) triggerShape {
	s := triggerShape{timing: "BEFORE"}
	at, on := 0, false
	for at < len(sql) {
		k, n := firstToken(sql[at:])
		at += n
		if k.kind != tokenWord {
			continue
		}
		switch word := strings.ToUpper(k.text); word {
		case "AFTER":
			s.timing = word
		case "INSTEAD":
			s.timing = "INSTEAD OF"
		case "INSERT", "UPDATE", "DELETE":
			if !on {
				s.events = append(s.events, word)
			}
		case "ON":
			on = true
		case "WHEN":
			rest := strings.TrimSpace(sql[at:])
			if end := closing(rest); strings.HasPrefix(rest, "(") && end > 0 {
				s.when = stripParens(rest[:end+1])
			}
		case "BEGIN":
			s.body = strings.TrimSpace("BEGIN" + sql[at:])
			return s
		}
	}
	return s
}

// bits are PostgreSQL's tgtype: rows 1, before 2, insert 4, delete 8, update
// 16, instead 64.
func (s triggerShape) bits() int {
	bits := 1
	switch s.timing {
	case "BEFORE":
		bits |= 2
	case "INSTEAD OF":
		bits |= 64
	}
	for _, e := range s.events {
		bits |= map[string]int{"INSERT": 4, "DELETE": 8, "UPDATE": 16}[e]
	}
	return bits
}
