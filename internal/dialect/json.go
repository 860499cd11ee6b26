package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

func isJSON(t sqltype.Type) bool { return t.OID == sqltype.JSON.OID || t.OID == sqltype.JSONB.OID }

// jsonOperator translates the operators of json and jsonb, and those of arrays
// that look like them.
func (t *translator) jsonOperator(at int, op string, x, y value) (value, error) {
	if op == "@>" || op == "<@" {
		if isArray(x.typ) || isArray(y.typ) {
			return t.arrayOperator(at, op, x, y)
		}
		return t.jsonContains(at, op, x, y)
	}
	var err error
	if x.open() {
		x.typ = sqltype.JSONB
	}
	if !isJSON(x.typ) {
		return x, t.noOperator(at, op, x, y)
	}
	if x.typ.OID == sqltype.JSON.OID && strings.ContainsAny(op, "?-@") && op != "->" && op != "->>" {
		return x, t.noOperator(at, op, x, y)
	}
	result := x.typ
	switch op {
	case "->", "->>":
		if y.unknown() {
			y, err = t.resolve(y, sqltype.Text)
		}
		if err == nil && y.known() && !isString(y.typ) && !isInteger(y.typ) {
			err = t.noOperator(at, op, x, y)
		}
	case "#>", "#>>", "?|", "?&", "#-":
		y, err = t.convert(y, sqltype.TextArray, implicit, "")
	case "?":
		y, err = t.convert(y, sqltype.Text, implicit, "")
	default:
		err = t.fail(at, stateUnsupported, "the operator %s of jsonpath is not supported: use -> and #>>", op)
	}
	if err != nil {
		return x, err
	}
	name := map[string]string{"->": "get", "->>": "get_text", "#>": "path", "#>>": "path_text", "?": "has", "?|": "has_any", "?&": "has_all", "#-": "delete_path"}[op]
	switch op {
	case "->>", "#>>":
		result = sqltype.Text
	case "?", "?|", "?&":
		result = sqltype.Bool
	}
	v := atomOf(result, "pg_"+x.typ.Name()+"_"+name+"("+x.sql+", "+y.sql+")")
	return v, nil
}

func (t *translator) jsonContains(at int, op string, x, y value) (value, error) {
	if x.typ.OID != sqltype.JSONB.OID && y.typ.OID != sqltype.JSONB.OID {
		return x, t.noOperator(at, op, x, y)
	}
	if op == "<@" {
		x, y = y, x
	}
	return t.typedCall(sqltype.Bool, "pg_jsonb_contains", []value{x, y}, sqltype.JSONB, sqltype.JSONB)
}

// jsonMinus translates jsonb - key.
func (t *translator) jsonMinus(op string, x, y value) (value, bool, error) {
	if op != "-" || x.typ.OID != sqltype.JSONB.OID {
		return value{}, false, nil
	}
	y, err := t.asText(y)
	if err != nil {
		return y, true, err
	}
	return atomOf(sqltype.JSONB, "pg_jsonb_delete("+x.sql+", "+y.sql+")"), true, nil
}

// toJSON writes a value as JSON text, by its type.
func (t *translator) toJSON(v value) (value, error) {
	if v.row {
		return t.rowToJSON(v)
	}
	v, err := t.single(v)
	if err != nil {
		return v, err
	}
	if v, err = t.asText(v); err != nil {
		return v, err
	}
	if isJSON(v.typ) {
		return v, nil
	}
	return atomOf(sqltype.JSON, "pg_to_json("+v.sql+", "+itoa(int(v.typ.OID))+", "+itoa(int(v.typ.Mod))+")"), nil
}

// rowToJSON writes a row as a JSON object.
func (t *translator) rowToJSON(v value) (value, error) {
	texts := make([]string, 0, 2*len(v.list))
	for i, x := range v.list {
		name := "f" + itoa(i+1)
		if x.column != nil && v.name != "row" {
			name = x.column.name
		}
		j, err := t.toJSON(x)
		if err != nil {
			return v, err
		}
		texts = append(texts, quoteText(name), j.sql)
	}
	return atomOf(sqltype.JSON, "pg_json_object("+strings.Join(texts, ", ")+")"), nil
}
