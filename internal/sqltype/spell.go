package sqltype

import (
	"strconv"
	"strings"
)

// modOffset is what PostgreSQL adds to the lengths that it keeps in modifiers.
const modOffset = 4

// maxLength is the longest varchar(n) and bpchar(n).
const maxLength = 10485760

// aliases are spellings besides typname, folded, without modifiers.
var aliases = map[string]Type{
	"boolean": Bool, "smallint": Int2, "integer": Int4, "int": Int4, "bigint": Int8,
	"real": Float4, "double precision": Float8, "float": Float8,
	"decimal": Numeric, "dec": Numeric,
	"character varying": Varchar, "char varying": Varchar, "national character varying": Varchar,
	"national char varying": Varchar, "nchar varying": Varchar,
	"character": BPChar, "char": BPChar, "nchar": BPChar, "national character": BPChar, "national char": BPChar,
	`"char"`:                      Char,
	"time without time zone":      Time,
	"timestamp without time zone": Timestamp,
	"timestamp with time zone":    Timestamptz,
}

// Parse reads a type's name in any of PostgreSQL's spellings, such as
// "character varying(10)", "timestamp(3) with time zone", "numeric(10,2)" or
// "text[]". False says that there is no such type here.
func Parse(name string) (Type, bool) {
	s := strings.Join(strings.Fields(strings.ToLower(name)), " ")
	s = strings.TrimPrefix(s, "pg_catalog.")
	array := false
	for strings.HasSuffix(s, "]") {
		at := strings.LastIndexByte(s, '[')
		if at < 0 || strings.Trim(s[at+1:len(s)-1], "0123456789 ") != "" {
			return Type{}, false
		}
		s, array = strings.TrimSpace(s[:at]), true
	}
	if rest, ok := strings.CutSuffix(s, " array"); ok {
		s, array = rest, true
	}
	base, args, ok := splitArguments(s)
	if !ok {
		return Type{}, false
	}
	t, ok := parseScalar(base, args)
	if ok && array {
		return t.Array()
	}
	return t, ok
}

// splitArguments takes the parenthesised numbers out of a name, wherever they
// stand in it.
func splitArguments(s string) (base string, args []int64, ok bool) {
	open := strings.IndexByte(s, '(')
	if open < 0 {
		return s, nil, true
	}
	end := strings.IndexByte(s, ')')
	if end < open {
		return "", nil, false
	}
	for _, part := range strings.Split(s[open+1:end], ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(part), 10, 32)
		if err != nil {
			return "", nil, false
		}
		args = append(args, n)
	}
	base = strings.TrimSpace(s[:open]) + " " + strings.TrimSpace(s[end+1:])
	return strings.TrimSpace(base), args, true
}

func parseScalar(base string, args []int64) (Type, bool) {
	if element, ok := strings.CutPrefix(base, "_"); ok {
		t, ok := parseScalar(element, args)
		if !ok {
			return Type{}, false
		}
		return t.Array()
	}
	t, ok := aliases[base]
	if !ok {
		s := byName[strings.Trim(base, `"`)]
		if s == nil {
			if !strings.HasPrefix(base, "interval ") { // interval day to second
				return Type{}, false
			}
			return Interval, true
		}
		t = Type{s.oid, -1}
	}
	return t.withArguments(base, args)
}

// withArguments sets the modifier from the numbers in parentheses.
func (t Type) withArguments(base string, args []int64) (Type, bool) {
	switch t.OID {
	case Varchar.OID, BPChar.OID:
		if len(args) == 0 {
			if t.OID == BPChar.OID && base != "bpchar" {
				return BPChar.WithMod(1 + modOffset), true // character is character(1)
			}
			return t, true
		}
		if len(args) != 1 || args[0] < 1 || args[0] > maxLength {
			return Type{}, false
		}
		return t.WithMod(int32(args[0]) + modOffset), true //nolint:gosec // bounded by maxLength
	case Numeric.OID:
		return numericWith(args)
	case Time.OID, Timestamp.OID, Timestamptz.OID, Interval.OID:
		if len(args) == 0 {
			return t, true
		}
		if len(args) != 1 || args[0] < 0 {
			return Type{}, false
		}
		return t.WithMod(int32(min(args[0], 6))), true //nolint:gosec // bounded
	case Float8.OID:
		if len(args) == 1 && base == "float" && args[0] >= 1 && args[0] <= 53 {
			if args[0] <= 24 {
				return Float4, true
			}
			return Float8, true
		}
	}
	return t, len(args) == 0
}

func numericWith(args []int64) (Type, bool) {
	switch {
	case len(args) == 0:
		return Numeric, true
	case len(args) == 1:
		args = append(args, 0)
	case len(args) > 2:
		return Type{}, false
	}
	precision, scale := args[0], args[1]
	if precision < 1 || precision > 1000 || scale < 0 || scale > precision {
		return Type{}, false
	}
	return Numeric.WithMod(int32(precision<<16|scale) + modOffset), true //nolint:gosec // bounded
}

// Precision returns the precision and scale of numeric(p,s).
func (t Type) Precision() (precision, scale int, ok bool) {
	if t.OID != Numeric.OID || t.Mod < modOffset {
		return 0, 0, false
	}
	m := t.Mod - modOffset
	return int(m >> 16 & 0xffff), int(m & 0xffff), true
}

// Length returns the n of varchar(n) and bpchar(n), in characters.
func (t Type) Length() (int, bool) {
	if t.OID != Varchar.OID && t.OID != BPChar.OID || t.Mod < modOffset {
		return 0, false
	}
	return int(t.Mod) - modOffset, true
}

// digits returns the digits of a second that are kept: 6 without a modifier.
func (t Type) digits() int {
	if t.Mod >= 0 && t.Mod < 6 {
		return int(t.Mod)
	}
	return 6
}

// SQL writes the type as PostgreSQL's format_type does.
func (t Type) SQL() string {
	if e, ok := t.Element(); ok {
		return e.SQL() + "[]"
	}
	sql := t.shape().sql
	args := t.arguments()
	if args == "" {
		if t.OID == BPChar.OID {
			return "bpchar"
		}
		return sql
	}
	if head, tail, ok := strings.Cut(sql, " "); ok && t.OID != Varchar.OID {
		return head + args + " " + tail // timestamp(3) with time zone
	}
	return sql + args
}

// arguments writes the modifier in parentheses, or "".
func (t Type) arguments() string {
	if n, ok := t.Length(); ok {
		return "(" + strconv.Itoa(n) + ")"
	}
	if p, s, ok := t.Precision(); ok {
		return "(" + strconv.Itoa(p) + "," + strconv.Itoa(s) + ")"
	}
	switch t.OID {
	case Time.OID, Timestamp.OID, Timestamptz.OID, Interval.OID:
		if t.Mod >= 0 {
			return "(" + strconv.Itoa(int(t.Mod)) + ")"
		}
	}
	return ""
}
