package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// rowSource is a function in FROM: its text, and its columns when they are
// not one.
type rowSource struct {
	text string
	cols []bodyColumn
	// places says that the one column is the elements' places, which count
	// from first: 0 in vectors, 1 in arrays.
	places bool
	first  int
}

// rowFunction translates a function that makes rows.
func (t *translator) rowFunction(c *callExpr) (rowSource, sqltype.Type, error) {
	args, err := t.values(c.args)
	if err != nil {
		return rowSource{}, sqltype.Type{}, err
	}
	switch c.name {
	case "generate_series":
		return t.generateSeries(c, args)
	case "generate_subscripts":
		if len(args) == 2 && isArray(args[0].typ) {
			first := 1
			if isVector(args[0].typ) {
				first = 0
			}
			return rowSource{text: "json_each(" + jsonOf(args[0]) + ")", places: true, first: first}, sqltype.Int4, nil
		}
	case "unnest":
		return t.unnest(c, args)
	case "json_array_elements", "jsonb_array_elements", "json_array_elements_text", "jsonb_array_elements_text",
		"json_each", "jsonb_each", "json_each_text", "jsonb_each_text", "json_object_keys", "jsonb_object_keys":
		return t.jsonRows(c, args)
	case "string_to_table":
		v, err := t.callFunction(c.at(), "string_to_array", args)
		return rowSource{text: "json_each(" + v.sql + ")"}, sqltype.Text, err
	case "regexp_split_to_table":
		v, err := t.callFunction(c.at(), "regexp_split_to_array", args)
		return rowSource{text: "json_each(" + v.sql + ")"}, sqltype.Text, err
	case "regexp_matches":
		return rowSource{}, sqltype.Type{}, t.fail(c.at(), stateUnsupported, "regexp_matches in FROM is not supported: use regexp_match")
	}
	if catalogTables()[c.name] != nil {
		return t.catalogRows(c, args)
	}
	// A function of one value is a table of one row.
	v, err := t.call(c)
	return rowSource{text: "(SELECT " + v.sql + " AS value)"}, v.typ, err
}

// catalogRows is a function of the catalog that is kept as a table.
func (t *translator) catalogRows(c *callExpr, args []value) (rowSource, sqltype.Type, error) {
	if len(args) > 0 {
		return rowSource{}, sqltype.Type{}, t.noFunction(c.at(), c.name, args)
	}
	r := rowSource{text: quoteName(c.name)}
	for _, col := range catalogTables()[c.name].Columns {
		r.cols = append(r.cols, bodyColumn{name: col.Name, typ: col.Type})
	}
	return r, sqltype.Record, nil
}

func (t *translator) generateSeries(c *callExpr, args []value) (rowSource, sqltype.Type, error) {
	if len(args) < 2 || len(args) > 3 {
		return rowSource{}, sqltype.Type{}, t.noFunction(c.at(), c.name, args)
	}
	to := sqltype.Int4
	for _, a := range args[:2] {
		if rankOf(a.typ) > rankOf(to) {
			to = base(a.typ)
		}
	}
	if isTime(args[0].typ) || isTime(args[1].typ) {
		return t.timeSeries(c, args)
	}
	if to.OID == sqltype.Numeric.OID || isFloat(to) {
		return rowSource{}, sqltype.Type{}, t.fail(c.at(), stateUnsupported, "generate_series of %s is not supported: divide one of integers", to.SQL())
	}
	texts := make([]string, 0, 3)
	for i := range args {
		v, err := t.convert(args[i], to, implicit, "")
		if err != nil {
			return rowSource{}, to, err
		}
		texts = append(texts, v.sql)
	}
	if len(texts) == 3 {
		texts[2] = "pg_step(" + texts[2] + ")"
	} else {
		texts = append(texts, "1")
	}
	return rowSource{text: "(SELECT value FROM generate_series(" + strings.Join(texts, ", ") + "))"}, to, nil
}

// timeSeries counts in steps of an interval.
func (t *translator) timeSeries(c *callExpr, args []value) (rowSource, sqltype.Type, error) {
	if len(args) != 3 {
		return rowSource{}, sqltype.Type{}, t.noFunction(c.at(), c.name, args)
	}
	to := sqltype.Timestamp
	if args[0].typ.OID != sqltype.Timestamp.OID && args[1].typ.OID != sqltype.Timestamp.OID {
		to = sqltype.Timestamptz
	}
	texts := make([]string, 3)
	for i := range args {
		typ := to
		if i == 2 {
			typ = sqltype.Interval
		}
		v, err := t.convert(args[i], typ, implicit, "")
		if err != nil {
			return rowSource{}, to, err
		}
		texts[i] = v.sql
	}
	return rowSource{text: "json_each(pg_time_series(" + strings.Join(texts, ", ") + "))"}, to, nil
}

func (t *translator) unnest(c *callExpr, args []value) (rowSource, sqltype.Type, error) {
	if len(args) == 0 {
		return rowSource{}, sqltype.Type{}, t.noFunction(c.at(), c.name, args)
	}
	for i := range args {
		if args[i].unknown() {
			return rowSource{}, sqltype.Type{}, t.fail(c.at(), stateAmbiguousCall, "function unnest(unknown) is not unique: cast the argument, for example $1::text[]")
		}
		if !isArray(args[i].typ) {
			return rowSource{}, sqltype.Type{}, t.noFunction(c.at(), c.name, args)
		}
	}
	if len(args) == 1 {
		elem := elementOf(args[0].typ)
		if isVector(args[0].typ) {
			return rowSource{text: "json_each(" + jsonOf(args[0]) + ")"}, elem, nil
		}
		if elem.OID == sqltype.Bytea.OID {
			return rowSource{text: "(SELECT " + fromElement("value", elem) + " AS value FROM json_each(" + jsonOf(args[0]) + "))"}, elem, nil
		}
		return rowSource{text: "json_each(" + args[0].sql + ")"}, elem, nil
	}
	// Several arrays side by side: the shorter ones end in NULL.
	r := rowSource{}
	cols := make([]string, len(args))
	texts := make([]string, len(args))
	for i, a := range args {
		elem := elementOf(a.typ)
		name := "unnest" + itoa(i+1)
		r.cols = append(r.cols, bodyColumn{name: name, typ: elem})
		cols[i] = fromElement("json_extract("+jsonOf(a)+", '$[' || key || ']')", elem) + " AS " + name
		texts[i] = jsonOf(a)
	}
	r.text = "(SELECT " + strings.Join(cols, ", ") + " FROM json_each(pg_array_longest(" + strings.Join(texts, ", ") + ")))"
	return r, sqltype.Record, nil
}

// jsonOf is the text of an array as JSON: that of a vector is not.
func jsonOf(v value) string {
	if isVector(v.typ) {
		return "pg_vector_json(" + v.sql + ")"
	}
	return v.sql
}

// jsonRows translates the functions that take JSON apart.
func (t *translator) jsonRows(c *callExpr, args []value) (rowSource, sqltype.Type, error) {
	if len(args) != 1 {
		return rowSource{}, sqltype.Type{}, t.noFunction(c.at(), c.name, args)
	}
	arg := sqltype.JSON
	if strings.HasPrefix(c.name, "jsonb") {
		arg = sqltype.JSONB
	}
	v, err := t.convert(args[0], arg, implicit, "")
	if err != nil {
		return rowSource{}, arg, err
	}
	typ := arg
	if strings.HasSuffix(c.name, "_text") || strings.HasSuffix(c.name, "_keys") {
		typ = sqltype.Text
	}
	name := strings.TrimPrefix(strings.TrimPrefix(c.name, "jsonb_"), "json_")
	if name == "each" || name == "each_text" {
		return rowSource{
			text: "(SELECT value ->> 0 AS key, value ->> 1 AS value FROM json_each(pg_json_pairs(" + v.sql + ", " + boolText(typ.OID == sqltype.Text.OID) + ")))",
			cols: []bodyColumn{{name: "key", typ: sqltype.Text}, {name: "value", typ: typ}},
		}, sqltype.Record, nil
	}
	function := map[string]string{"array_elements": "elements", "array_elements_text": "elements_text", "object_keys": "keys"}[name]
	return rowSource{text: "json_each(pg_json_" + function + "(" + v.sql + "))"}, typ, nil
}

func boolText(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
