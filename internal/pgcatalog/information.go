package pgcatalog

import (
	"strconv"

	"kimberlite/internal/sqltype"
)

// yes writes information_schema's truth values.
func yes(b bool) string {
	if b {
		return "YES"
	}
	return "NO"
}

// maxOctets is the length that PostgreSQL reports of a text without a limit.
const maxOctets = 1 << 30

// typeNumbers are the columns of information_schema that describe a type.
func typeNumbers(t sqltype.Type) []any {
	if _, ok := t.Element(); ok {
		return []any{"data_type", "ARRAY"}
	}
	pairs := []any{"data_type", formatType(t.OID, -1, false)}
	switch t.OID {
	case sqltype.Int2.OID:
		return append(pairs, "numeric_precision", 16, "numeric_precision_radix", 2, "numeric_scale", 0)
	case sqltype.Int4.OID:
		return append(pairs, "numeric_precision", 32, "numeric_precision_radix", 2, "numeric_scale", 0)
	case sqltype.Int8.OID:
		return append(pairs, "numeric_precision", 64, "numeric_precision_radix", 2, "numeric_scale", 0)
	case sqltype.Float4.OID:
		return append(pairs, "numeric_precision", 24, "numeric_precision_radix", 2)
	case sqltype.Float8.OID:
		return append(pairs, "numeric_precision", 53, "numeric_precision_radix", 2)
	case sqltype.Numeric.OID:
		pairs = append(pairs, "numeric_precision_radix", 10)
		if precision, scale, ok := t.Precision(); ok {
			pairs = append(pairs, "numeric_precision", precision, "numeric_scale", scale)
		}
	case sqltype.Text.OID:
		return append(pairs, "character_octet_length", maxOctets)
	case sqltype.Varchar.OID, sqltype.BPChar.OID:
		if n, ok := t.Length(); ok {
			return append(pairs, "character_maximum_length", n, "character_octet_length", 4*n)
		}
		return append(pairs, "character_octet_length", maxOctets)
	case sqltype.Date.OID:
		return append(pairs, "datetime_precision", 0)
	case sqltype.Time.OID, sqltype.Timestamp.OID, sqltype.Timestamptz.OID, sqltype.Interval.OID:
		if t.Mod >= 0 {
			return append(pairs, "datetime_precision", t.Mod)
		}
		return append(pairs, "datetime_precision", 6)
	}
	return pairs
}

func rowsColumns(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, kind := range []byte{'r', 'v'} {
		for _, r := range e.tables(kind) {
			for i := range r.table.Columns {
				rows = append(rows, columnRow(e, t, r, i))
			}
		}
	}
	return rows
}

func columnRow(e *Env, t *Table, r *relation, i int) []any {
	c := &r.table.Columns[i]
	place := strconv.Itoa(i + 1)
	pairs := append([]any{
		"table_catalog", e.Name, "table_schema", namespaceName(r.namespace), "table_name", r.name, "column_name", c.Name,
		"ordinal_position", i + 1, "column_default", optional(defaultText(c)), "is_nullable", yes(!notNull(c)),
		"udt_catalog", e.Name, "udt_schema", "pg_catalog", "udt_name", c.Type.Name(), "dtd_identifier", place,
		"is_self_referencing", "NO", "is_identity", yes(c.Identity != ""), "identity_cycle", "NO",
		"is_generated", "NEVER", "is_updatable", yes(r.kind == 'r'),
	}, typeNumbers(c.Type)...)
	if c.Generated {
		pairs = append(pairs, "is_generated", "ALWAYS")
	}
	if c.Identity != "" {
		pairs = append(pairs, identityPairs(e, c.Sequence, c.Identity)...)
	}
	return t.row(pairs...)
}

func identityPairs(e *Env, sequence, identity string) []any {
	when := "BY DEFAULT"
	if identity == "a" {
		when = "ALWAYS"
	}
	pairs := []any{"identity_generation", when}
	q, ok := e.Schema.Sequence(sequence)
	if !ok {
		return pairs
	}
	low, high := sequenceBounds(e.sequenceType(q), q.Increment)
	return append(pairs,
		"identity_start", strconv.FormatInt(q.Start, 10), "identity_increment", strconv.FormatInt(q.Increment, 10),
		"identity_maximum", strconv.FormatInt(high, 10), "identity_minimum", strconv.FormatInt(low, 10))
}

func rowsColumnTypes(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, kind := range []byte{'r', 'v'} {
		for _, r := range e.tables(kind) {
			for _, c := range r.table.Columns {
				rows = append(rows, t.row("udt_catalog", e.Name, "udt_schema", "pg_catalog", "udt_name", c.Type.Name(),
					"table_catalog", e.Name, "table_schema", namespaceName(r.namespace), "table_name", r.name, "column_name", c.Name))
			}
		}
	}
	return rows
}

func rowsElementTypes(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, kind := range []byte{'r', 'v'} {
		for _, r := range e.tables(kind) {
			for i, c := range r.table.Columns {
				element, ok := c.Type.Element()
				if !ok {
					continue
				}
				// PostgreSQL describes elements without their modifiers.
				rows = append(rows, t.row("object_catalog", e.Name, "object_schema", namespaceName(r.namespace),
					"object_name", r.name, "object_type", "TABLE", "collection_type_identifier", strconv.Itoa(i+1),
					"data_type", formatType(element.OID, -1, false), "udt_catalog", e.Name, "udt_schema", "pg_catalog",
					"udt_name", element.Name(), "dtd_identifier", "a"+strconv.Itoa(i+1)))
			}
		}
	}
	return rows
}

func rowsInformationTables(e *Env, t *Table) [][]any {
	var rows [][]any
	put := func(schema, name string, view, writable bool) {
		kind := "BASE TABLE"
		if view {
			kind = "VIEW"
		}
		rows = append(rows, t.row("table_catalog", e.Name, "table_schema", schema, "table_name", name, "table_type", kind,
			"is_insertable_into", yes(writable), "is_typed", "NO"))
	}
	for _, kind := range []byte{'r', 'v'} {
		for _, r := range e.tables(kind) {
			put(namespaceName(r.namespace), r.name, kind == 'v', kind == 'r')
		}
	}
	for _, s := range Tables() {
		if s.information() {
			put("information_schema", s.name, s.view, false)
		} else {
			put("pg_catalog", s.name, s.view, false)
		}
	}
	return rows
}

func rowsInformationViews(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.tables('v') {
		text, _ := viewText(r.table)
		rows = append(rows, t.row("table_catalog", e.Name, "table_schema", namespaceName(r.namespace), "table_name", r.name,
			"view_definition", optional(text), "check_option", "NONE", "is_updatable", "NO", "is_insertable_into", "NO",
			"is_trigger_updatable", "NO", "is_trigger_deletable", "NO", "is_trigger_insertable_into", "NO"))
	}
	return rows
}

// rowsViewTables lists the tables that a view's text names.
func rowsViewTables(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.tables('v') {
		text, ok := viewText(r.table)
		if !ok {
			continue
		}
		seen := map[string]bool{}
		for _, k := range tokens(text) {
			used, ok := e.Schema.Table(k.text)
			if k.kind != tokenWord && k.kind != tokenName || !ok || seen[used.Name] {
				continue
			}
			seen[used.Name] = true
			rows = append(rows, t.row("view_catalog", e.Name, "view_schema", "public", "view_name", r.name,
				"table_catalog", e.Name, "table_schema", "public", "table_name", used.Name))
		}
	}
	return rows
}

func rowsInformationSequences(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, q := range e.sequences() {
		kind := e.sequenceType(q)
		low, high := sequenceBounds(kind, q.Increment)
		rows = append(rows, t.row("sequence_catalog", e.Name, "sequence_schema", "public", "sequence_name", q.Name,
			"data_type", kind.SQL(), "numeric_precision", 8*int(kind.Size()), "numeric_precision_radix", 2, "numeric_scale", 0,
			"start_value", strconv.FormatInt(q.Start, 10), "minimum_value", strconv.FormatInt(low, 10),
			"maximum_value", strconv.FormatInt(high, 10), "increment", strconv.FormatInt(q.Increment, 10), "cycle_option", "NO"))
	}
	return rows
}

func rowsSchemata(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, n := range namespaces {
		rows = append(rows, t.row("catalog_name", e.Name, "schema_name", n.name, "schema_owner", ownerName))
	}
	return rows
}

func rowsCatalogName(e *Env, t *Table) [][]any { return [][]any{t.row("catalog_name", e.Name)} }

func rowsEnabledRoles(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, r := range e.roles() {
		rows = append(rows, t.row("role_name", r.name))
	}
	return rows
}

func rowsCharacterSets(e *Env, t *Table) [][]any {
	return [][]any{t.row("character_set_name", "UTF8", "character_repertoire", "UCS", "form_of_use", "UTF8",
		"default_collate_catalog", e.Name, "default_collate_schema", "pg_catalog", "default_collate_name", "C")}
}

func rowsCollations(e *Env, t *Table) [][]any {
	var rows [][]any
	for _, name := range []string{"default", "C"} {
		rows = append(rows, t.row("collation_catalog", e.Name, "collation_schema", "pg_catalog", "collation_name", name,
			"pad_attribute", "NO PAD"))
	}
	return rows
}
