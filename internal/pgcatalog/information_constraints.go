package pgcatalog

import "strings"

// constraintKinds are information_schema's words for them.
var constraintKinds = map[byte]string{'p': "PRIMARY KEY", 'u': "UNIQUE", 'f': "FOREIGN KEY", 'c': "CHECK"}

// constraintName are the columns that name a constraint.
func constraintName(e *Env, name string) []any {
	return []any{"constraint_catalog", e.Name, "constraint_schema", "public", "constraint_name", name}
}

// tableName are the columns that name a table.
func tableName(e *Env, name string) []any {
	return []any{"table_catalog", e.Name, "table_schema", "public", "table_name", name}
}

func join(lists ...[]any) []any {
	var all []any
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func rowsTableConstraints(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().constraints {
		pairs := join(constraintName(e, k.name), tableName(e, k.table.Name), []any{
			"constraint_type", constraintKinds[k.kind], "is_deferrable", "NO", "initially_deferred", "NO", "enforced", "YES",
		})
		if k.kind == 'u' {
			pairs = append(pairs, "nulls_distinct", "YES")
		}
		rows = append(rows, t.row(pairs...))
	}
	for _, n := range notNulls(e) {
		rows = append(rows, t.row(join(constraintName(e, n.name), tableName(e, n.table), []any{
			"constraint_type", "CHECK", "is_deferrable", "NO", "initially_deferred", "NO", "enforced", "YES",
		})...))
	}
	return rows
}

// required is a NOT NULL, which information_schema lists as a CHECK.
type required struct{ name, table, column string }

func notNulls(e *Env) []required {
	var list []required
	for _, r := range e.tables('r') {
		for i := range r.table.Columns {
			if c := &r.table.Columns[i]; notNull(c) {
				list = append(list, required{
					name:  vectorName(publicOID, int(r.oid), i+1),
					table: r.name, column: c.Name,
				})
			}
		}
	}
	return list
}

// vectorName is the name that PostgreSQL makes up for a NOT NULL.
func vectorName(parts ...int) string {
	return strings.ReplaceAll(vector(parts), " ", "_") + "_not_null"
}

func rowsCheckConstraints(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().constraints {
		if k.kind == 'c' {
			rows = append(rows, t.row(append(constraintName(e, k.name), "check_clause", "("+clientText(k.check)+")")...))
		}
	}
	for _, n := range notNulls(e) {
		rows = append(rows, t.row(append(constraintName(e, n.name), "check_clause", n.column+" IS NOT NULL")...))
	}
	return rows
}

func rowsKeyColumns(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().constraints {
		if k.kind == 'c' {
			continue
		}
		for i, at := range k.columns {
			if at == 0 {
				continue
			}
			pairs := join(constraintName(e, k.name), tableName(e, k.table.Name),
				[]any{"column_name", k.table.Columns[at-1].Name, "ordinal_position", i + 1})
			if k.kind == 'f' {
				pairs = append(pairs, "position_in_unique_constraint", placeInKey(k, i))
			}
			rows = append(rows, t.row(pairs...))
		}
	}
	return rows
}

// placeInKey is where the column that the i-th one refers to stands in the
// referenced key.
func placeInKey(k *constraint, i int) any {
	if k.index == nil || i >= len(k.refers) {
		return nil
	}
	for n, at := range places(k.target, k.index.Columns) {
		if at == k.refers[i] {
			return n + 1
		}
	}
	return nil
}

// rowsConstraintColumns lists the columns that constraints speak of: those of
// a key, and those that a foreign key refers to.
func rowsConstraintColumns(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().constraints {
		owner, columns := k.table, k.columns
		if k.kind == 'f' {
			owner, columns = k.target, k.refers
		}
		for _, at := range columns {
			if owner != nil && at > 0 {
				rows = append(rows, t.row(join(constraintName(e, k.name), tableName(e, owner.Name),
					[]any{"column_name", owner.Columns[at-1].Name})...))
			}
		}
	}
	return rows
}

func rowsConstraintTables(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().constraints {
		owner := k.table
		if k.kind == 'f' {
			owner = k.target
		}
		if owner != nil && k.kind != 'c' {
			rows = append(rows, t.row(join(constraintName(e, k.name), tableName(e, owner.Name))...))
		}
	}
	return rows
}

func rowsReferential(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().constraints {
		if k.kind != 'f' {
			continue
		}
		pairs := append(constraintName(e, k.name), "match_option", "NONE",
			"update_rule", ruleWords(k.foreign.OnUpdate), "delete_rule", ruleWords(k.foreign.OnDelete))
		if k.index != nil {
			pairs = append(pairs, "unique_constraint_catalog", e.Name, "unique_constraint_schema", "public",
				"unique_constraint_name", k.index.Name)
		}
		rows = append(rows, t.row(pairs...))
	}
	return rows
}

// ruleWords writes what a foreign key does in SQL's words.
func ruleWords(words string) string {
	if words == "" {
		return "NO ACTION"
	}
	return strings.ToUpper(words)
}

// tableRights are what the owner may do to a table.
var tableRights = []string{"INSERT", "SELECT", "UPDATE", "DELETE", "REFERENCES", "TRIGGER"}

func rowsTablePrivileges(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, kind := range []byte{'r', 'v'} {
		for _, r := range e.tables(kind) {
			for _, right := range rightsOf(kind) {
				rows = append(rows, t.row("grantor", ownerName, "grantee", ownerName, "table_catalog", e.Name,
					"table_schema", namespaceName(r.namespace), "table_name", r.name, "privilege_type", right,
					"is_grantable", "NO", "with_hierarchy", yes(right == "SELECT")))
			}
		}
	}
	return rows
}

// rightsOf returns what the owner may do to a table or, kind 'v', a view.
func rightsOf(kind byte) []string {
	if kind == 'v' {
		return []string{"SELECT"}
	}
	return tableRights
}

func rowsColumnPrivileges(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, kind := range []byte{'r', 'v'} {
		for _, r := range e.tables(kind) {
			for _, c := range r.table.Columns {
				for _, right := range rightsOf(kind) {
					if right == "DELETE" || right == "TRIGGER" {
						continue
					}
					rows = append(rows, t.row("grantor", ownerName, "grantee", ownerName, "table_catalog", e.Name,
						"table_schema", namespaceName(r.namespace), "table_name", r.name, "column_name", c.Name,
						"privilege_type", right, "is_grantable", "NO"))
				}
			}
		}
	}
	return rows
}

func rowsInformationTriggers(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range e.catalog().triggers {
		s := describeTrigger(k.trigger.SQL)
		for _, event := range s.events {
			rows = append(rows, t.row("trigger_catalog", e.Name, "trigger_schema", "public", "trigger_name", k.trigger.Name,
				"event_manipulation", event, "event_object_catalog", e.Name, "event_object_schema", "public",
				"event_object_table", k.table.Name, "action_order", 1, "action_condition", optional(s.when),
				"action_statement", s.body, "action_orientation", "ROW", "action_timing", s.timing))
		}
	}
	return rows
}
