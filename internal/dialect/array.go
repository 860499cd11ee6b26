package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// Arrays are stored as JSON arrays of their elements' stored forms, which
// json_each reads.

// array translates ARRAY[…]. What it becomes depends on where it stands: the
// elements are kept until then.
func (t *translator) array(e *arrayExpr) (value, error) {
	v := value{typ: sqltype.AnyArray, list: make([]value, len(e.elems)), name: "array", at: e.at(), notNull: true}
	if len(e.elems) == 0 {
		return v, t.fail(e.at(), "42P18", "cannot determine type of empty array: cast it, for example ARRAY[]::integer[]")
	}
	for i, x := range e.elems {
		var err error
		if v.list[i], err = t.scalar(x); err != nil {
			return v, err
		}
		if isArray(v.list[i].typ) {
			return v, t.fail(x.at(), stateUnsupported, "arrays of several dimensions are not supported: use jsonb")
		}
	}
	return v, nil
}

// materialise makes a value of an array's elements.
func (t *translator) materialise(v value) (value, error) {
	if v.list == nil || v.row {
		return v, nil
	}
	elem, err := t.unify(v.list, "ARRAY")
	if err != nil {
		return v, err
	}
	return t.arrayOf(v, elem)
}

// arrayOf writes elements that are of one type.
func (t *translator) arrayOf(v value, elem sqltype.Type) (value, error) {
	typ, ok := base(elem).Array()
	if !ok {
		if elem.OID != 0 {
			return v, t.fail(v.at, stateUnsupported, "arrays of type %s are not supported", elem.SQL())
		}
		typ = sqltype.TextArray
	}
	texts := make([]string, len(v.list))
	for i, x := range v.list {
		texts[i] = jsonElement(x.sql, elem)
	}
	return value{typ: typ, sql: "json_array(" + strings.Join(texts, ", ") + ")", atom: true, notNull: true, name: v.name, at: v.at}, nil
}

// jsonElement is an element of an array as JSON has it.
func jsonElement(sql string, elem sqltype.Type) string {
	switch elem.OID {
	case sqltype.Bytea.OID:
		return "pg_array_element(" + sql + ", " + itoa(int(elem.OID)) + ")"
	case sqltype.Bool.OID:
		return "json(pg_array_element(" + sql + ", " + itoa(int(elem.OID)) + "))"
	}
	return sql
}

// fromElement is an element as it is stored by itself.
func fromElement(sql string, elem sqltype.Type) string {
	if elem.OID == sqltype.Bytea.OID {
		return "pg_array_bytea(" + sql + ")"
	}
	return sql
}

// convertArray converts ARRAY[…] to an array type.
func (t *translator) convertArray(v value, to sqltype.Type, kind castKind, what string) (value, error) {
	elem, ok := to.Element()
	if !ok {
		m, err := t.materialise(v)
		if err != nil {
			return v, err
		}
		return t.convert(m, to, kind, what)
	}
	list := make([]value, len(v.list))
	for i := range v.list {
		var err error
		if list[i], err = t.convert(v.list[i], elem, kind, what); err != nil {
			return v, err
		}
	}
	v.list = list
	out, err := t.arrayOf(v, elem)
	out.typ = to
	return out, err
}

// elementOf is the type of an array's elements; zero when it is not known.
func elementOf(t sqltype.Type) sqltype.Type {
	switch t.OID {
	case sqltype.Int2Vector.OID:
		return sqltype.Int2
	case sqltype.OIDVector.OID:
		return sqltype.OIDType
	}
	e, _ := t.Element()
	return e
}

// quantified translates x op ANY or ALL.
func (t *translator) quantified(e *quantified) (value, error) {
	x, err := t.expr(e.x)
	if err != nil {
		return x, err
	}
	if e.sub != nil {
		switch {
		case e.op == "=" && !e.all:
			return t.inQuery(e.at(), x, e.sub, "")
		case e.op == "<>" && e.all:
			return t.inQuery(e.at(), x, e.sub, "NOT ")
		}
		return x, t.fail(e.at(), stateUnsupported, "%s ANY or ALL of a query is not supported but for = ANY and <> ALL: use EXISTS, min() or max()", e.op)
	}
	if x, err = t.single(x); err != nil {
		return x, err
	}
	a, err := t.expr(e.array)
	if err != nil {
		return a, err
	}
	inverse := map[bool]string{false: "=", true: "<>"}[e.all]
	if a.list != nil && !a.row && e.op == inverse {
		not := ""
		if e.all {
			not = "NOT "
		}
		return t.inList(e.at(), x, a.list, not)
	}
	if a.list != nil && !a.row {
		return t.eachOf(e, x, a.list)
	}
	if a, err = t.arrayBeside(a, x); err != nil {
		return a, err
	}
	return t.quantifiedArray(e, x, a, inverse)
}

// eachOf compares with each element of ARRAY[…].
func (t *translator) eachOf(e *quantified, x value, list []value) (value, error) {
	texts := make([]string, len(list))
	for i, y := range list {
		v, err := t.applyOperator(e.at(), e.op, x, y)
		if err != nil {
			return v, err
		}
		texts[i] = v.operand()
	}
	word := " OR "
	if e.all {
		word = " AND "
	}
	return boolean(balanced(texts, word)), nil
}

func (t *translator) applyOperator(at int, op string, x, y value) (value, error) {
	switch op {
	case "like", "ilike", "similar", "not like", "not ilike", "not similar":
		name, not := strings.CutPrefix(op, "not ")
		return t.likeValues(at, name, not, x, y, "")
	case "=", "<>", "<", "<=", ">", ">=":
		return t.compare(at, op, x, y)
	}
	return t.operate(at, op, x, y)
}

// arrayBeside resolves an array of unknown type by the value it is compared
// with.
func (t *translator) arrayBeside(a, x value) (value, error) {
	if !a.unknown() {
		if a.known() && !isArray(a.typ) {
			return a, t.fail(a.at, stateObjectKind, "op ANY/ALL (array) requires array on right side")
		}
		return a, nil
	}
	elem := sqltype.Text
	if x.known() {
		elem = base(x.typ)
		if isString(elem) && elem.OID != sqltype.BPChar.OID {
			elem = sqltype.Text
		}
	}
	typ, ok := elem.Array()
	if !ok {
		return a, t.fail(a.at, stateUnsupported, "arrays of type %s are not supported", elem.SQL())
	}
	return t.resolve(a, typ)
}

// quantifiedArray compares with the elements of a value that is an array.
func (t *translator) quantifiedArray(e *quantified, x, a value, inverse string) (value, error) {
	elem := elementOf(a.typ)
	item := atomOf(elem, fromElement("value", elem))
	item.at = e.at()
	// A NULL array makes NULL, as one that holds nothing but NULL does.
	from := " FROM json_each(coalesce(" + a.sql + ", '[null]'))"
	if a.notNull {
		from = " FROM json_each(" + a.sql + ")"
	}
	if e.op == inverse {
		left, right, err := t.comparable(e.at(), "=", x, item)
		if err != nil {
			return x, err
		}
		not := ""
		if e.all {
			not = "NOT "
		}
		return boolean(left.operand() + " " + not + "IN (SELECT " + right.sql + from + ")"), nil
	}
	v, err := t.applyOperator(e.at(), e.op, x, item)
	if err != nil {
		return v, err
	}
	// max() over what is true, false or NULL is not OR: NULL counts as less
	// than true and more than false.
	each := "CASE " + v.operand() + " WHEN 1 THEN 2 WHEN 0 THEN 0 ELSE 1 END"
	if e.all {
		return atomOf(sqltype.Bool, "(SELECT CASE coalesce(min("+each+"), 2) WHEN 2 THEN 1 WHEN 0 THEN 0 END"+from+")"), nil
	}
	return atomOf(sqltype.Bool, "(SELECT CASE coalesce(max("+each+"), 0) WHEN 2 THEN 1 WHEN 0 THEN 0 END"+from+")"), nil
}

// subscript translates array[n].
func (t *translator) subscript(e *subscript) (value, error) {
	x, err := t.scalar(e.x)
	if err != nil {
		return x, err
	}
	i, err := t.scalar(e.index)
	if err != nil {
		return i, err
	}
	if x.typ.OID == sqltype.JSONB.OID {
		if i.unknown() {
			return t.jsonOperator(e.at(), "->", x, i)
		}
		return t.jsonOperator(e.at(), "->", x, i)
	}
	elem := elementOf(x.typ)
	if !isArray(x.typ) {
		return x, t.fail(e.at(), stateMismatch, "cannot subscript type %s because it does not support subscripting", base(x.typ).SQL())
	}
	if i, err = t.resolve(i, sqltype.Int4); err != nil {
		return i, err
	}
	if i.known() && !isInteger(i.typ) {
		return i, t.fail(e.index.at(), stateMismatch, "array subscript must have type integer")
	}
	first := 1
	if isVector(x.typ) {
		first = 0
	}
	return value{typ: elem, sql: "pg_array_get(" + jsonOf(x) + ", " + i.sql + ", " + itoa(first) + ", " + itoa(int(elem.OID)) + ")", atom: true, name: x.name, at: e.at()}, nil
}

// concatenateArrays translates || of arrays and elements.
func (t *translator) concatenateArrays(at int, x, y value) (value, error) {
	var err error
	typ := x.typ
	if !isArray(typ) {
		typ = y.typ
	}
	elem := elementOf(typ)
	side := func(v value) (value, error) {
		if v.unknown() {
			return t.resolve(v, base(typ))
		}
		if isArray(v.typ) {
			return v, nil
		}
		if v, err = t.convert(v, elem, implicit, ""); err != nil {
			return v, err
		}
		return atomOf(typ, "json_array("+jsonElement(v.sql, elem)+")"), nil
	}
	if x, err = side(x); err != nil {
		return x, err
	}
	if y, err = side(y); err != nil {
		return y, err
	}
	if elementOf(x.typ).OID != elementOf(y.typ).OID {
		return x, t.noOperator(at, "||", x, y)
	}
	return atomOf(typ, "pg_array_concat("+x.sql+", "+y.sql+")"), nil
}

// arrayOperator translates && @> <@ of arrays.
func (t *translator) arrayOperator(at int, op string, x, y value) (value, error) {
	var err error
	switch {
	case x.unknown():
		x, err = t.resolve(x, base(y.typ))
	case y.unknown():
		y, err = t.resolve(y, base(x.typ))
	}
	if err != nil {
		return x, err
	}
	if !isArray(x.typ) || !isArray(y.typ) || elementOf(x.typ).OID != elementOf(y.typ).OID && !textArrays(x.typ, y.typ) {
		return x, t.noOperator(at, op, x, y)
	}
	if op == "<@" {
		x, y, op = y, x, "@>"
	}
	name := map[string]string{"&&": "pg_array_overlap", "@>": "pg_array_contains"}[op]
	return atomOf(sqltype.Bool, name+"("+x.sql+", "+y.sql+")"), nil
}
