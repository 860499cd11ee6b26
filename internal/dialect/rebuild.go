package dialect

import (
	"slices"
	"strings"

	"kimberlite/internal/schema"
)

// What SQLite's ALTER TABLE cannot do is done by making the table anew: a new
// one takes the rows, the old one goes, and the new one gets its name, its
// indexes and its triggers. Other tables must not refer to it meanwhile.

// rebuild makes the table anew from the parts of its CREATE TABLE. from says
// what some columns are filled with.
func (a *alteration) rebuild(at int, parts []string, rest string, from map[string]string) error {
	t := a.t
	if len(a.texts) > 0 {
		return t.fail(at, stateUnsupported, "this action of ALTER TABLE is not supported beside the others: use a statement for each")
	}
	if other, key := t.referrer([]string{a.table.Name}); other != nil {
		return t.fail(at, stateUnsupported, "this change of table %q is not supported while constraint %q of table %q refers to it: drop that constraint first", a.table.Name, key.Name, other.Name)
	}
	a.rebuilt = true
	temporary := shorten("pg_new_" + a.table.Name)
	views := a.views()
	for _, v := range views {
		a.add("DROP VIEW " + quoteName(v.Name))
	}
	for i := range parts {
		parts[i] = referring(parts[i], a.table.Name, temporary)
	}
	if rest != "" {
		rest = " " + rest
	}
	a.add("CREATE TABLE " + quoteName(temporary) + " (" + strings.Join(parts, ", ") + ")" + rest)
	var names, values []string
	for i := range a.table.Columns {
		c := &a.table.Columns[i]
		if c.Hidden || c.Generated || !definesAny(parts, c.Name) {
			continue
		}
		names = append(names, quoteName(c.Name))
		if text, ok := from[c.Name]; ok {
			values = append(values, text)
		} else {
			values = append(values, quoteName(c.Name))
		}
	}
	a.add("INSERT INTO " + quoteName(temporary) + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(values, ", ") + " FROM " + quoteName(a.table.Name))
	a.add("DROP TABLE " + quoteName(a.table.Name))
	a.add("ALTER TABLE " + quoteName(temporary) + " RENAME TO " + quoteName(a.table.Name))
	for _, x := range a.table.Indexes {
		if x.SQL != "" {
			a.add(x.SQL)
		}
	}
	for _, x := range a.table.Triggers {
		a.add(x.SQL)
	}
	for _, v := range views {
		a.add(v.SQL)
	}
	return nil
}

// views are the views over the table, or over such a view: SQLite renames no
// table while a view refers to one that is gone.
func (a *alteration) views() []*schema.Table {
	var found []*schema.Table
	names := []string{a.table.Name}
	for more := true; more; {
		more = false
		for _, v := range a.t.env.Schema.Tables {
			if v.Kind == schema.KindView && !containsFold(names, v.Name) && mentions(v.SQL, names) {
				names, found, more = append(names, v.Name), append(found, v), true
			}
		}
	}
	return found
}

// mentions reports whether a view's text reads one of some tables: a name that
// stands after FROM, JOIN or a parenthesis, and is not a column's table.
func mentions(sql string, names []string) bool {
	tokens, err := lex(sql)
	if err != nil {
		return false
	}
	for i := 1; i < len(tokens)-1; i++ {
		before := tokens[i-1]
		if (before.is("from") || before.is("join") || before.punct("(")) && !tokens[i+1].punct(".") &&
			(tokens[i].kind == tokWord || tokens[i].kind == tokQuoted) && containsFold(names, tokens[i].value) {
			return true
		}
	}
	return false
}

// referring makes the references of a table to itself those of the new one,
// which become right when it is renamed.
func referring(part, from, to string) string {
	tokens, err := lex(part)
	if err != nil {
		return part
	}
	for i := len(tokens) - 2; i >= 0; i-- {
		if name := tokens[i+1]; tokens[i].is("references") && fold(name.value) == fold(from) {
			part = part[:name.start] + quoteName(to) + part[name.end:]
		}
	}
	return part
}

func definesAny(parts []string, name string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return definesColumn(part, name) })
}

func (a *alteration) cannotRebuild(at int) error {
	return a.t.fail(at, stateUnsupported, "this change of table %q is not supported: make a new table", a.table.Name)
}

// addByRebuild adds a column whose value in the rows that are there SQLite
// cannot tell by itself.
func (a *alteration) addByRebuild(d *tableDef, c *columnDef) error {
	parts, rest, ok := cutTable(a.table.SQL)
	if !ok {
		return a.cannotRebuild(c.at)
	}
	text, err := a.t.columnText(d, c)
	if err != nil {
		return err
	}
	if err := a.t.checkReferences(d); err != nil {
		return err
	}
	a.s.NewSequences = append(a.s.NewSequences, d.sequences...)
	at := len(parts)
	for i, part := range parts { // before the constraints
		if !definesOne(part, a) {
			at = i
			break
		}
	}
	return a.rebuild(c.at, slices.Insert(parts, at, text), rest, nil)
}

// definesOne reports whether a part is of a column and not a constraint.
func definesOne(part string, a *alteration) bool {
	for i := range a.table.Columns {
		if definesColumn(part, a.table.Columns[i].Name) {
			return true
		}
	}
	return false
}

// dropByRebuild takes a constraint out of the table.
func (a *alteration) dropByRebuild(name string, at int, exists bool) error {
	parts, rest, ok := cutTable(a.table.SQL)
	if !ok {
		return a.cannotRebuild(at)
	}
	for i, part := range parts {
		tokens, err := lex(part)
		if err != nil {
			return a.cannotRebuild(at)
		}
		if tokens[0].is("constraint") && fold(tokens[1].value) == fold(name) {
			if tokens[2].is("primary") {
				return a.t.fail(at, stateUnsupported, "dropping a primary key is not supported: make a new table")
			}
			return a.rebuild(at, slices.Delete(parts, i, i+1), rest, nil)
		}
		if from, to := inlineConstraint(tokens, name); from >= 0 {
			parts[i] = strings.TrimSpace(part[:tokens[from].start] + part[tokens[to-1].end:])
			return a.rebuild(at, parts, rest, nil)
		}
	}
	if exists {
		a.s.Notice = "constraint \"" + name + "\" of relation \"" + a.table.Name + "\" does not exist, skipping"
		return nil
	}
	return a.t.fail(at, stateNoObject, "constraint %q of relation %q does not exist", name, a.table.Name)
}

// inlineConstraint finds the tokens of a column's own constraint by name.
func inlineConstraint(tokens []token, name string) (from, to int) {
	depth := 0
	from = -1
	for i, n := range tokens {
		switch {
		case n.punct("("):
			depth++
		case n.punct(")"):
			depth--
		case n.kind == tokEnd && from >= 0:
			return from, i
		case depth > 0 || !n.is("constraint"):
		case from >= 0:
			return from, i
		case fold(tokens[i+1].value) == fold(name):
			from = i
		}
	}
	return -1, -1
}
