package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// binary translates x op y.
func (t *translator) binary(e *binaryExpr) (value, error) {
	x, err := t.expr(e.x)
	if err != nil {
		return x, err
	}
	y, err := t.expr(e.y)
	if err != nil {
		return y, err
	}
	var v value
	switch e.op {
	case "=", "<>", "<", "<=", ">", ">=":
		v, err = t.compare(e.at(), e.op, x, y)
	default:
		if x, err = t.single(x); err != nil {
			return x, err
		}
		if y, err = t.single(y); err != nil {
			return y, err
		}
		v, err = t.operate(e.at(), e.op, x, y)
	}
	v.name, v.at = "?column?", e.at()
	return v, err
}

// compare translates a comparison.
func (t *translator) compare(at int, op string, x, y value) (value, error) {
	if x.row || y.row {
		return t.compareRows(at, op, x, y)
	}
	var err error
	if x, err = t.materialise(x); err != nil {
		return x, err
	}
	if y, err = t.materialise(y); err != nil {
		return y, err
	}
	if x, y, err = t.comparable(at, op, x, y); err != nil {
		return x, err
	}
	return value{typ: sqltype.Bool, sql: x.operand() + " " + op + " " + y.operand(), notNull: x.notNull && y.notNull}, nil
}

// comparable gives both sides of a comparison one type and the text by which
// they compare.
func (t *translator) comparable(at int, op string, x, y value) (value, value, error) {
	x, y, err := t.sameType(at, op, x, y)
	if err != nil || x.open() || y.open() {
		return x, y, err
	}
	switch x.typ.OID {
	case sqltype.Interval.OID:
		x, y = key(x, "pg_interval_key"), key(y, "pg_interval_key")
	case sqltype.JSON.OID:
		return x, y, t.noOperator(at, op, x, y)
	case sqltype.JSONB.OID:
		if op != "=" && op != "<>" && op != "is" {
			return x, y, t.fail(at, stateUnsupported, "the order of jsonb values is not supported: compare what they hold")
		}
	}
	if isArray(x.typ) && op != "=" && op != "<>" && op != "is" {
		return x, y, t.fail(at, stateUnsupported, "the order of arrays is not supported: compare their elements")
	}
	return x, y, nil
}

func key(v value, function string) value {
	v.sql, v.atom = function+"("+v.sql+")", true
	return v
}

// sameType resolves unknown sides and converts both to their common type.
func (t *translator) sameType(at int, op string, x, y value) (value, value, error) {
	var err error
	switch {
	case x.unknown() && y.unknown():
		if x, err = t.asText(x); err == nil {
			y, err = t.asText(y)
		}
		return x, y, err
	case x.unknown():
		x, err = t.resolveBeside(x, y)
		return x, y, err
	case y.unknown():
		y, err = t.resolveBeside(y, x)
		return x, y, err
	case x.open() || y.open() || x.loosely() || y.loosely():
		return x, y, nil
	case x.typ.OID == y.typ.OID, isNumber(x.typ) && isNumber(y.typ), isString(x.typ) && isString(y.typ):
		return x, y, nil
	case isOID(x.typ) && (isOID(y.typ) || isInteger(y.typ)), isInteger(x.typ) && isOID(y.typ), isVector(x.typ) && isVector(y.typ):
		return x, y, nil
	case sameFamily(x.typ, y.typ) && rankOf(x.typ) < rankOf(y.typ):
		return t.change(x, base(y.typ), implicit), y, nil
	case sameFamily(x.typ, y.typ):
		return x, t.change(y, base(x.typ), implicit), nil
	case isArray(x.typ) && isArray(y.typ) && implicitly(x.typ, y.typ):
		return x, y, nil
	case x.typ.OID == sqltype.Time.OID && y.typ.OID == sqltype.Interval.OID, x.typ.OID == sqltype.Interval.OID && y.typ.OID == sqltype.Time.OID:
		return x, y, nil
	}
	return x, y, t.noOperator(at, op, x, y)
}

// loosely says that it is a column of SQLite's own dialect, which may hold
// values of other types.
func (v value) loosely() bool {
	return v.column != nil && !v.column.enforced && v.column.rel.table != nil
}

// resolveBeside gives a value of unknown type the type of the other side.
func (t *translator) resolveBeside(v, beside value) (value, error) {
	switch {
	case beside.open():
		if _, ok := v.leaf.(*param); ok {
			v.typ, v.leaf = sqltype.Type{}, nil // bound as text unless something tells
			return v, nil
		}
		v.typ = sqltype.Text
		return v, nil
	case beside.loosely():
		if _, ok := v.leaf.(*param); !ok {
			v.typ = sqltype.Text
			return v, nil
		}
	case beside.typ.OID == sqltype.Varchar.OID:
		return t.resolve(v, sqltype.Text)
	case beside.typ.OID == sqltype.Name.OID, beside.typ.OID == sqltype.Char.OID, beside.typ.OID == sqltype.NodeTree.OID, beside.typ.OID == sqltype.ACLItem.OID:
		return t.resolve(v, sqltype.Text)
	}
	return t.resolve(v, base(beside.typ))
}

// compareRows translates (a, b) = (c, d). SQLite compares rows as PostgreSQL
// does.
func (t *translator) compareRows(at int, op string, x, y value) (value, error) {
	if !x.row || !y.row {
		return value{}, t.fail(at, stateUnsupported, "a row is compared with a row only")
	}
	if len(x.list) != len(y.list) {
		return value{}, t.fail(at, stateSyntax, "unequal number of entries in row expressions")
	}
	left, right := make([]string, len(x.list)), make([]string, len(x.list))
	for i := range x.list {
		a, b, err := t.comparable(at, op, x.list[i], y.list[i])
		if err != nil {
			return value{}, err
		}
		left[i], right[i] = a.sql, b.sql
	}
	if len(left) == 1 {
		return value{typ: sqltype.Bool, sql: "(" + left[0] + ") " + op + " (" + right[0] + ")"}, nil
	}
	return value{typ: sqltype.Bool, sql: "(" + strings.Join(left, ", ") + ") " + op + " (" + strings.Join(right, ", ") + ")"}, nil
}

// operate translates the operators that do not compare.
func (t *translator) operate(at int, op string, x, y value) (value, error) {
	switch op {
	case "+", "-", "*", "/", "%", "^":
		return t.arithmetic(at, op, x, y)
	case "||":
		return t.concatenate(at, x, y)
	case "~", "~*", "!~", "!~*":
		return t.regexpMatch(at, op, x, y)
	case "~~", "!~~", "~~*", "!~~*":
		name := "like"
		if strings.HasSuffix(op, "*") {
			name = "ilike"
		}
		return t.likeValues(at, name, op[0] == '!', x, y, "")
	case "&", "|", "#", "<<", ">>":
		return t.bits(at, op, x, y)
	case "->", "->>", "#>", "#>>", "@>", "<@", "?", "?|", "?&", "#-", "@?", "@@":
		return t.jsonOperator(at, op, x, y)
	case "&&":
		return t.arrayOperator(at, op, x, y)
	case "^@":
		return t.callFunction(at, "starts_with", []value{x, y})
	}
	return value{}, t.noOperator(at, op, x, y)
}

// bits translates the operators of integers' bits.
func (t *translator) bits(at int, op string, x, y value) (value, error) {
	var err error
	if x, y, err = t.integers(at, op, x, y); err != nil {
		return x, err
	}
	out := value{typ: widest(x.typ, y.typ), notNull: x.notNull && y.notNull}
	switch op {
	case "#":
		out.sql, out.atom = "pg_bitxor("+x.sql+", "+y.sql+")", true
	case "<<", ">>":
		out.typ = x.typ
		name := map[string]string{"<<": "shl", ">>": "shr"}[op]
		out.sql, out.atom = "pg_"+base(x.typ).Name()+"_"+name+"("+x.sql+", "+y.sql+")", true
		if x.open() {
			out.sql = "pg_int8_" + name + "(" + x.sql + ", " + y.sql + ")"
		}
	default:
		out.sql = x.operand() + " " + op + " " + y.operand()
	}
	return out, nil
}

func (t *translator) integers(at int, op string, x, y value) (value, value, error) {
	var err error
	switch {
	case x.unknown() && !y.unknown():
		x, err = t.resolve(x, y.typ)
	case y.unknown() && !x.unknown():
		y, err = t.resolve(y, x.typ)
	}
	if err != nil {
		return x, y, err
	}
	if (isInteger(x.typ) || x.open()) && (isInteger(y.typ) || y.open()) {
		return x, y, nil
	}
	return x, y, t.noOperator(at, op, x, y)
}

// widest is the number type that two make together.
func widest(a, b sqltype.Type) sqltype.Type {
	if a.OID == 0 || b.OID == 0 {
		return sqltype.Type{}
	}
	if rankOf(a) >= rankOf(b) {
		return a
	}
	return b
}

// concatenate translates ||.
func (t *translator) concatenate(at int, x, y value) (value, error) {
	var err error
	switch {
	case x.typ.OID == sqltype.JSONB.OID || y.typ.OID == sqltype.JSONB.OID:
		return t.typedCall(sqltype.JSONB, "pg_jsonb_concat", []value{x, y}, sqltype.JSONB, sqltype.JSONB)
	case isArray(x.typ) || isArray(y.typ):
		return t.concatenateArrays(at, x, y)
	case x.typ.OID == sqltype.Bytea.OID || y.typ.OID == sqltype.Bytea.OID:
		return t.typedCall(sqltype.Bytea, "pg_bytea_concat", []value{x, y}, sqltype.Bytea, sqltype.Bytea)
	}
	if !x.open() && !y.open() && !isString(x.typ) && !isString(y.typ) && !x.unknown() && !y.unknown() {
		return value{}, t.noOperator(at, "||", x, y)
	}
	if x, err = t.textOf(x); err != nil {
		return x, err
	}
	if y, err = t.textOf(y); err != nil {
		return y, err
	}
	return value{typ: sqltype.Text, sql: x.operand() + " || " + y.operand(), notNull: x.notNull && y.notNull}, nil
}

// textOf gives a value its text form.
func (t *translator) textOf(v value) (value, error) {
	if v.unknown() {
		return t.asText(v)
	}
	if v.open() || isString(v.typ) && v.typ.OID != sqltype.BPChar.OID {
		return v, nil
	}
	if isInteger(v.typ) {
		v.sql, v.atom, v.typ = "CAST("+v.sql+" AS TEXT)", true, sqltype.Text
		return v, nil
	}
	return t.castCall(v, v.typ, sqltype.Text), nil
}

// typedCall writes a call whose arguments are converted to types.
func (t *translator) typedCall(result sqltype.Type, name string, args []value, types ...sqltype.Type) (value, error) {
	texts := make([]string, len(args))
	for i, a := range args {
		var err error
		if i < len(types) {
			if a, err = t.convert(a, types[i], implicit, ""); err != nil {
				return a, err
			}
		}
		texts[i] = a.sql
	}
	return value{typ: result, sql: name + "(" + strings.Join(texts, ", ") + ")", atom: true}, nil
}
