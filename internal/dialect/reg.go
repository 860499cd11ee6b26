package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// isRegType reports whether t is an object number that is written as a name.
func isRegType(t sqltype.Type) bool { return isOID(t) && strings.HasPrefix(t.Name(), "reg") }

// regLiteral turns a name into the number of what it names.
func (t *translator) regLiteral(v value, l *literal, to sqltype.Type) (value, error) {
	v.typ, v.leaf, v.notNull = to, nil, true
	if strings.Trim(l.text, "0123456789") == "" && l.text != "" {
		v.sql = l.text
		return v, nil
	}
	name := strings.TrimPrefix(l.text, "public.")
	if to.OID == sqltype.Regclass.OID {
		if table, ok := t.env.Schema.Table(strings.Trim(name, `"`)); ok {
			v.sql = itoa(int(table.OID))
			return v, nil
		}
	}
	v.sql, v.atom = "to_"+to.Name()+"_oid("+quoteText(l.text)+")", true
	t.catalog = true
	return v, nil
}

// regCast converts from and to the types that are object numbers.
func (t *translator) regCast(v value, to sqltype.Type) (value, bool) {
	switch {
	case isRegType(v.typ) && isString(to):
		t.catalog = true
		return atomOf(to, v.typ.Name()+"_text("+v.sql+")"), true
	case isString(v.typ) && isRegType(to), v.open() && isRegType(to):
		t.catalog = true
		return atomOf(to, "to_"+to.Name()+"_oid("+v.sql+")"), true
	case isOID(v.typ) && (isOID(to) || isInteger(to)), isInteger(v.typ) && isOID(to):
		v.typ = to
		return v, true
	}
	return v, false
}

// shown writes result columns that are object numbers as the names that
// PostgreSQL shows.
func (b *body) shown(t *translator) {
	for i := range b.items {
		if v := &b.items[i]; isRegType(v.typ) && v.sql != "NULL" {
			t.catalog = true
			v.sql = v.typ.Name() + "_text(" + v.sql + ")"
			v.column = nil
		}
	}
}
