package dialect

import "kimberlite/internal/sqltype"

// rowMakers are the functions that make rows of one value.
var rowMakers = map[string]bool{
	"generate_series": true, "generate_subscripts": true, "unnest": true, "string_to_table": true, "regexp_split_to_table": true,
	"json_array_elements": true, "jsonb_array_elements": true, "json_array_elements_text": true, "jsonb_array_elements_text": true,
	"json_object_keys": true, "jsonb_object_keys": true,
}

// liftRows moves functions that make rows from the select list to FROM, where
// SQLite has them: SELECT unnest(a) FROM t is SELECT u FROM t, unnest(a) AS u.
// Several unnest side by side become one of several arrays, as PostgreSQL
// steps through them together.
func (t *translator) liftRows(c *selectCore) error {
	var at []int
	for i, item := range c.items {
		if call, ok := item.x.(*callExpr); ok && rowMakers[call.name] && call.over == nil {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return nil
	}
	first := c.items[at[0]].x.(*callExpr) //nolint:forcetypeassert // it was one above
	if len(c.groupBy) > 0 || c.having != nil || c.distinctOn != nil {
		return t.fail(first.at(), stateUnsupported, "%s in the select list of a grouped query is not supported: put it in FROM", first.name)
	}
	ref := &callRef{pos: first.pos, call: first, alias: t.fresh()}
	names := make([]string, len(at))
	if len(at) > 1 {
		if len(c.from) > 0 {
			return t.fail(first.at(), stateUnsupported, "several functions that make rows over a table's columns are not supported: put one in FROM, and take the others by subscript")
		}
		all := *first
		all.args = nil
		for i, n := range at {
			call := c.items[n].x.(*callExpr) //nolint:forcetypeassert // it was one above
			if call.name != "unnest" || len(call.args) != 1 {
				return t.fail(call.at(), stateUnsupported, "several functions that make rows in one select list are not supported: put them in FROM")
			}
			all.args = append(all.args, call.args[0])
			names[i] = "unnest" + itoa(i+1)
		}
		ref.call, ref.columns = &all, names
	} else {
		names[0] = "value"
		ref.columns = names
	}
	for i, n := range at {
		item := &c.items[n]
		if item.alias == "" {
			item.alias = item.x.(*callExpr).name //nolint:forcetypeassert // it was one above
		}
		item.x = &columnRef{pos: first.pos, parts: []string{ref.alias, names[i]}}
	}
	c.from = append(c.from, ref)
	return nil
}

// noColumns is the column of a SELECT without any, which only EXISTS may have.
func noColumns(at int) value {
	return value{typ: sqltype.Int4, sql: "1", atom: true, notNull: true, name: "?column?", at: at}
}
