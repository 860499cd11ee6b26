package dialect

import (
	"strings"

	"kimberlite/internal/schema"
)

// oneRow reports whether a query can be seen to have one row at most.
// PostgreSQL refuses a second one where a query stands for a value, SQLite
// takes the first.
func (t *translator) oneRow(q *query) bool {
	if l, ok := q.limit.(*literal); ok && (l.text == "1" || l.text == "0") {
		return true
	}
	c, ok := q.body.(*selectCore)
	switch {
	case !ok:
		return false
	case len(c.from) == 0:
		return true
	case len(c.from) > 1 || c.where == nil:
		return false
	}
	ref, ok := c.from[0].(*tableRef)
	if !ok || t.findCTE(ref.name) != nil {
		return false
	}
	table, _, err := t.resolveTable(ref)
	if err != nil || table == nil {
		return false
	}
	alias := ref.alias
	if alias == "" {
		alias = ref.name
	}
	return keyed(table, alias, c.where)
}

// keyed reports whether a condition fixes a table's primary key.
func keyed(table *schema.Table, alias string, where expr) bool {
	fixed := map[string]bool{}
	var visit func(x expr)
	visit = func(x expr) {
		b, ok := x.(*binaryExpr)
		switch {
		case !ok:
		case b.op == "and":
			visit(b.x)
			visit(b.y)
		case b.op == "=":
			for _, sides := range [][2]expr{{b.x, b.y}, {b.y, b.x}} {
				if c, ok := sides[0].(*columnRef); ok && (len(c.parts) == 1 || c.parts[0] == alias) && fixedOutside(sides[1], alias) {
					fixed[fold(c.parts[len(c.parts)-1])] = true
				}
			}
		}
	}
	visit(where)
	keys := 0
	for i := range table.Columns {
		if table.Columns[i].PrimaryKey > 0 {
			keys++
			if !fixed[fold(table.Columns[i].Name)] {
				return false
			}
		}
	}
	return keys > 0
}

// only writes a query so that a second row is an error.
func (t *translator) only(text string) string {
	name := t.fresh()
	return "WITH " + name + "(x) AS (" + strings.TrimSpace(text) + ") SELECT pg_single(x) FROM " + name
}

// fixedOutside reports whether an expression is the same for every row of a
// table.
func fixedOutside(x expr, alias string) bool {
	switch x := x.(type) {
	case *literal, *param:
		return true
	case *columnRef:
		return len(x.parts) == 2 && x.parts[0] != alias
	}
	return false
}
