package dialect

import (
	"fmt"
	"strings"

	"kimberlite/internal/sqltype"
)

// castKind is how a conversion came about, which says what is allowed.
type castKind uint8

const (
	implicit   castKind = iota // by an operator or a function
	assignment                 // by storing into a column
	explicit                   // by CAST
)

// resolve gives a value of unknown type the type; others stay as they are.
func (t *translator) resolve(v value, to sqltype.Type) (value, error) {
	if !v.unknown() {
		return v, nil
	}
	switch leaf := v.leaf.(type) {
	case *param:
		if err := t.setParam(leaf, to); err != nil {
			return value{}, err
		}
		v.typ, v.leaf = t.params[leaf.n-1], nil
		return v, nil
	case *literal:
		if leaf.kind == litNull {
			v.typ, v.leaf = to, nil
			return v, nil
		}
		if isRegType(to) {
			return t.regLiteral(v, leaf, to)
		}
		stored, err := to.Input(leaf.text)
		if err != nil {
			return value{}, placed(err, t.text, leaf.at())
		}
		v.typ, v.leaf, v.sql, v.notNull = to, nil, literalOf(stored), true
		v.atom = !strings.HasPrefix(v.sql, "-")
		return v, nil
	}
	v.typ = to
	return v, nil
}

// setParam notes the type of a parameter.
func (t *translator) setParam(p *param, to sqltype.Type) error {
	have := &t.params[p.n-1]
	switch {
	case have.OID == 0 || have.OID == sqltype.Unknown.OID:
		*have = base(to)
	case have.OID != to.OID && !implicitly(*have, to):
		return t.fail(p.at(), stateInconsistent, "inconsistent types deduced for parameter $%d: %s and %s", p.n, have.SQL(), base(to).SQL())
	}
	return nil
}

// text resolves a value of unknown type to text.
func (t *translator) asText(v value) (value, error) { return t.resolve(v, sqltype.Text) }

// implicitly reports whether PostgreSQL converts without being asked.
func implicitly(from, to sqltype.Type) bool {
	switch {
	case from.OID == to.OID, from.OID == 0, to.OID == 0, from.OID == sqltype.Unknown.OID:
		return true
	case sameFamily(from, to):
		return rankOf(from) <= rankOf(to)
	case isString(from) && isString(to):
		return true
	case isInteger(from) && isOID(to), isOID(from) && isOID(to), isOID(from) && to.OID == sqltype.Int8.OID:
		return true
	case isString(from) && to.OID == sqltype.Regclass.OID:
		return true
	case from.OID == sqltype.Time.OID && to.OID == sqltype.Interval.OID:
		return true
	case isArray(from) && isArray(to):
		return from.OID == sqltype.AnyArray.OID || to.OID == sqltype.AnyArray.OID || isVector(from) || isVector(to) || textArrays(from, to)
	}
	return false
}

func isVector(t sqltype.Type) bool {
	return t.OID == sqltype.Int2Vector.OID || t.OID == sqltype.OIDVector.OID
}

func textArrays(a, b sqltype.Type) bool {
	ea, _ := a.Element()
	eb, _ := b.Element()
	return isString(ea) && isString(eb)
}

// assignable reports whether PostgreSQL stores a value of one type into a
// column of another.
func assignable(from, to sqltype.Type) bool {
	switch {
	case implicitly(from, to), sameFamily(from, to):
		return true
	case isString(to):
		return true // every type has a text form
	case isOID(from) && isInteger(to):
		return true
	case from.OID == sqltype.JSON.OID && to.OID == sqltype.JSONB.OID, from.OID == sqltype.JSONB.OID && to.OID == sqltype.JSON.OID:
		return true
	case from.OID == sqltype.Interval.OID && to.OID == sqltype.Time.OID,
		from.OID == sqltype.Timestamp.OID && to.OID == sqltype.Time.OID,
		from.OID == sqltype.Timestamptz.OID && to.OID == sqltype.Time.OID:
		return true
	case isArray(from) && isArray(to):
		ea, _ := from.Element()
		eb, _ := to.Element()
		return assignable(ea, eb)
	}
	return false
}

// castable reports whether CAST converts.
func castable(from, to sqltype.Type) bool {
	switch {
	case assignable(from, to), isString(from):
		return true
	case from.OID == sqltype.Bool.OID:
		return to.OID == sqltype.Int4.OID
	case to.OID == sqltype.Bool.OID:
		return from.OID == sqltype.Int4.OID || from.OID == sqltype.JSONB.OID
	case from.OID == sqltype.JSONB.OID:
		return isNumber(to)
	case isOID(from) && isOID(to):
		return true
	}
	return false
}

// convert makes a value one of a type. what names the target in errors.
func (t *translator) convert(v value, to sqltype.Type, kind castKind, what string) (value, error) {
	if v.list != nil && !v.row && v.typ.OID == sqltype.AnyArray.OID {
		return t.convertArray(v, to, kind, what)
	}
	if v.unknown() {
		if p, ok := v.leaf.(*param); ok && kind == assignment {
			return t.assignParam(v, p, to)
		}
		return t.resolve(v, to)
	}
	if v.open() || to.OID == 0 {
		if kind == explicit && to.OID != 0 {
			if out, ok := t.regCast(v, to); ok {
				return out, nil
			}
			return t.castCall(v, sqltype.Unknown, to), nil
		}
		return v, nil
	}
	if v.typ == to || v.typ.OID == to.OID && to.Mod < 0 {
		return v, nil
	}
	ok := false
	switch kind {
	case implicit:
		ok = implicitly(v.typ, to)
	case assignment:
		ok = assignable(v.typ, to)
	case explicit:
		ok = castable(v.typ, to)
	}
	if !ok {
		return value{}, t.cannotConvert(v, to, kind, what)
	}
	return t.change(v, to, kind), nil
}

// assignParam binds a parameter to a column. The column's modifier goes with
// the check of the row.
func (t *translator) assignParam(v value, p *param, to sqltype.Type) (value, error) {
	have := t.params[p.n-1]
	if have.OID == 0 || have.OID == sqltype.Unknown.OID {
		t.params[p.n-1] = base(to)
		have = base(to)
	}
	v.typ, v.leaf = have, nil
	return t.convert(v, to, assignment, "")
}

func (t *translator) cannotConvert(v value, to sqltype.Type, kind castKind, what string) error {
	switch {
	case kind == assignment && what != "":
		return t.fail(v.at, stateMismatch, "column %q is of type %s but expression is of type %s: cast it", what, base(to).SQL(), base(v.typ).SQL())
	case kind == explicit:
		return t.fail(v.at, stateCannotCast, "cannot cast type %s to %s", base(v.typ).SQL(), base(to).SQL())
	}
	return t.fail(v.at, stateMismatch, "an expression of type %s cannot be used as %s: cast it", base(v.typ).SQL(), base(to).SQL())
}

// change writes the conversion of a value whose type is known.
func (t *translator) change(v value, to sqltype.Type, kind castKind) value {
	from := v.typ
	switch {
	case isInteger(from) && isInteger(to) && (kind == assignment || rankOf(from) <= rankOf(to)),
		isOID(to) && (isInteger(from) || isOID(from)) && kind != explicit, isOID(from) && isInteger(to) && kind != explicit,
		isInteger(from) && to.OID == sqltype.Numeric.OID && to.Mod < 0,
		isString(from) && isString(to) && to.Mod < 0 && to.OID != sqltype.Char.OID && to.OID != sqltype.BPChar.OID && to.OID != sqltype.Name.OID,
		isArray(from) && isArray(to) && kind == implicit:
		v.typ, v.column = to, nil
		return v
	case isInteger(from) && isFloat(to):
		return value{typ: to, sql: "CAST(" + v.sql + " AS REAL)", atom: true, notNull: v.notNull, name: v.name, at: v.at}
	case from.OID == sqltype.Float4.OID && to.OID == sqltype.Float8.OID:
		v.typ, v.column = to, nil
		return v
	case from.OID == sqltype.Date.OID && to.OID == sqltype.Timestamp.OID && to.Mod < 0:
		return t.suffixed(v, to, "' 00:00:00.000000'")
	case from.OID == sqltype.Date.OID && to.OID == sqltype.Timestamptz.OID && to.Mod < 0:
		return t.suffixed(v, to, "' 00:00:00.000000Z'")
	case from.OID == sqltype.Timestamp.OID && to.OID == sqltype.Timestamptz.OID && to.Mod < 0:
		return t.suffixed(v, to, "'Z'")
	}
	if from.OID == to.OID && to.OID == sqltype.Varchar.OID && kind == assignment {
		v.typ = to // the check of the row refuses what is too long
		return v
	}
	if out, ok := t.regCast(v, to); ok {
		out.name, out.at, out.notNull = v.name, v.at, v.notNull
		return out
	}
	out := t.castCall(v, from, to)
	if kind == explicit {
		return out
	}
	if kind == assignment {
		out.sql = strings.Replace(out.sql, "pg_cast_", "pg_assign_", 1)
	}
	return out
}

func (t *translator) suffixed(v value, to sqltype.Type, suffix string) value {
	return value{typ: to, sql: v.operand() + " || " + suffix, notNull: v.notNull, name: v.name, at: v.at}
}

// castCall writes a call of the function that converts to a type.
func (t *translator) castCall(v value, from, to sqltype.Type) value {
	if v.sql == "NULL" {
		v.typ = to
		return v
	}
	name := strings.TrimPrefix(to.Name(), "_")
	if isArray(to) {
		name += "_array"
	}
	source := int64(from.OID)
	if from.OID == sqltype.Numeric.OID && from.Mod >= 0 && isString(to) {
		source |= int64(from.Mod) << 32 // the digits that its text shows
	}
	return value{
		typ: to, sql: fmt.Sprintf("pg_cast_%s(%s, %d, %d)", name, v.sql, source, to.Mod),
		atom: true, notNull: v.notNull, name: v.name, at: v.at,
	}
}

// common returns the type that values take together in CASE, UNION and the
// like. what names the place in errors.
func (t *translator) common(values []value, what string) (sqltype.Type, error) {
	var all sqltype.Type
	same := true
	for _, v := range values {
		switch {
		case v.unknown():
			same = false
		case v.open():
			return sqltype.Type{}, nil
		case all.OID == 0:
			all = v.typ
		case all.OID == v.typ.OID:
			if all.Mod != v.typ.Mod {
				all = mergeMods(all, v.typ)
			}
		case implicitly(all, v.typ) && !(isString(all) && all.OID == sqltype.Text.OID):
			all = v.typ
			same = false
		case implicitly(v.typ, all):
			same = false
		default:
			return sqltype.Type{}, t.fail(v.at, stateMismatch, "%s types %s and %s cannot be matched: cast one of them", what, base(all).SQL(), base(v.typ).SQL())
		}
	}
	if all.OID == 0 {
		return sqltype.Text, nil
	}
	if !same && all.OID != sqltype.Numeric.OID {
		all = base(all)
	}
	return all, nil
}

// mergeMods is the type of values of one type whose modifiers differ.
func mergeMods(a, b sqltype.Type) sqltype.Type {
	sa, okA := scaleOf(a)
	sb, okB := scaleOf(b)
	if a.OID == sqltype.Numeric.OID && okA && okB && sa == sb {
		return scaled(sa)
	}
	return base(a)
}

// unify converts values to their common type.
func (t *translator) unify(values []value, what string) (sqltype.Type, error) {
	to, err := t.common(values, what)
	if err != nil {
		return to, err
	}
	for i := range values {
		if values[i].unknown() || to.OID != 0 {
			target := to
			if to.OID == 0 {
				target = sqltype.Text
			}
			if values[i], err = t.convert(values[i], base(target), implicit, ""); err != nil {
				return to, err
			}
		}
	}
	return to, nil
}
