package dialect

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"kimberlite/internal/sqltype"
)

// value is a translated expression.
type value struct {
	// typ is its type: zero when it is not known, Unknown for a string, NULL
	// or parameter whose type is still to be found.
	typ sqltype.Type
	// sql is SQLite's text.
	sql string
	// atom says that sql needs no parentheses as an operand.
	atom bool
	// notNull says that it is known not to be NULL.
	notNull bool
	// leaf is what an Unknown value was written as.
	leaf expr
	// column is the column that it is, if it is one.
	column *relColumn
	// name is what PostgreSQL calls a result column of it.
	name string
	// list are the elements of ARRAY[…] or of a row, which SQLite has no value
	// for where they are used as such.
	list []value
	row  bool
	// at is where it was written.
	at int
}

func (v value) known() bool   { return v.typ.OID != 0 && v.typ.OID != sqltype.Unknown.OID }
func (v value) unknown() bool { return v.typ.OID == sqltype.Unknown.OID }

// open says that nothing is known of its type.
func (v value) open() bool { return v.typ.OID == 0 }

// operand returns its text so that an operator may stand beside it.
func (v value) operand() string {
	if v.atom {
		return v.sql
	}
	return "(" + v.sql + ")"
}

// atomOf makes a value whose text needs no parentheses.
func atomOf(typ sqltype.Type, sql string) value { return value{typ: typ, sql: sql, atom: true} }

// quoteName writes an identifier for SQLite.
func quoteName(name string) string {
	plain := name != "" && !isDigit(name[0])
	for i := 0; i < len(name) && plain; i++ {
		c := name[i]
		plain = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || isDigit(c)
	}
	if plain && !sqliteWords[fold(name)] {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteText writes a string for SQLite.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// literalOf writes a stored value for SQLite.
func literalOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		switch {
		case math.IsInf(v, 1):
			return "9e999"
		case math.IsInf(v, -1):
			return "-9e999"
		}
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return s
	case []byte:
		return "x'" + hex.EncodeToString(v) + "'"
	case string:
		return quoteText(v)
	case bool:
		if v {
			return "1"
		}
		return "0"
	}
	return "NULL"
}

// The families of types.
func isInteger(t sqltype.Type) bool {
	switch t.OID {
	case sqltype.Int2.OID, sqltype.Int4.OID, sqltype.Int8.OID:
		return true
	}
	return false
}

// isOID reports whether t is one of the types that are object numbers.
func isOID(t sqltype.Type) bool {
	switch t.OID {
	case sqltype.OIDType.OID, sqltype.Regclass.OID, sqltype.Regtype.OID, sqltype.Regproc.OID,
		sqltype.Regnamespace.OID, sqltype.Regrole.OID, sqltype.XID.OID:
		return true
	}
	return false
}

func isNumber(t sqltype.Type) bool {
	switch t.OID {
	case sqltype.Float4.OID, sqltype.Float8.OID, sqltype.Numeric.OID:
		return true
	}
	return isInteger(t)
}

func isFloat(t sqltype.Type) bool {
	return t.OID == sqltype.Float4.OID || t.OID == sqltype.Float8.OID
}

func isString(t sqltype.Type) bool {
	switch t.OID {
	case sqltype.Text.OID, sqltype.Varchar.OID, sqltype.BPChar.OID, sqltype.Name.OID, sqltype.Char.OID,
		sqltype.NodeTree.OID, sqltype.ACLItem.OID:
		return true
	}
	return false
}

func isArray(t sqltype.Type) bool {
	_, ok := t.Element()
	return ok || t.OID == sqltype.Int2Vector.OID || t.OID == sqltype.OIDVector.OID || t.OID == sqltype.AnyArray.OID
}

// rankOf orders the types that convert implicitly: numbers and times.
func rankOf(t sqltype.Type) int {
	switch t.OID {
	case sqltype.Int2.OID:
		return 1
	case sqltype.Int4.OID:
		return 2
	case sqltype.Int8.OID:
		return 3
	case sqltype.Numeric.OID:
		return 4
	case sqltype.Float4.OID:
		return 5
	case sqltype.Float8.OID:
		return 6
	case sqltype.Date.OID:
		return 11
	case sqltype.Timestamp.OID:
		return 12
	case sqltype.Timestamptz.OID:
		return 13
	}
	return 0
}

// sameFamily reports whether both are numbers or both are dates and times.
func sameFamily(a, b sqltype.Type) bool {
	ra, rb := rankOf(a), rankOf(b)
	return ra != 0 && rb != 0 && (ra > 10) == (rb > 10)
}

// base is a type without its modifier.
func base(t sqltype.Type) sqltype.Type { return sqltype.Type{OID: t.OID, Mod: -1} }

// scaled is numeric that shows so many digits after the point. Its precision
// says that it was computed: no column has it.
func scaled(scale int) sqltype.Type {
	if scale < 0 || scale > 100 {
		return sqltype.Numeric
	}
	return sqltype.Numeric.WithMod(int32(1000<<16|scale) + 4)
}

// scaleOf is the digits after the point that a number shows; false says that
// it depends on the value.
func scaleOf(t sqltype.Type) (int, bool) {
	if isInteger(t) {
		return 0, true
	}
	_, scale, ok := t.Precision()
	return scale, ok
}
