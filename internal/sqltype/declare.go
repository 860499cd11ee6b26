package sqltype

import "strings"

// declaredPrefix begins the declared type of a column whose values are checked.
const declaredPrefix = "pg_"

// textSuffix gives a declared type TEXT affinity, for values that SQLite would
// else turn into numbers.
const textSuffix = "_text"

// arraySuffix marks an array, which brackets cannot in SQLite.
const arraySuffix = "_array"

// needText are the types that are strings and whose names do not say so to
// SQLite.
var needText = map[uint32]bool{JSON.OID: true, JSONB.OID: true, Name.OID: true, Unknown.OID: true}

// Declared returns what a column of the type is declared as in SQLite, such
// as "pg_varchar(10)". SQLite's affinity rules leave every stored form of the
// type as it is.
func (t Type) Declared() string {
	scalar, suffix := t, ""
	if e, ok := t.Element(); ok {
		scalar, suffix = e, arraySuffix
	}
	name := scalar.Name()
	if needText[scalar.OID] {
		name += textSuffix
	}
	return declaredPrefix + name + suffix + scalar.arguments()
}

// FromDeclared returns the type that a column has by its declared type.
// enforced says that the declaration is one of Declared, so that the column
// holds stored forms of the type and nothing else. Other declarations get the
// type of SQLite's affinity: int8, float8, bytea or text.
func FromDeclared(decl string) (t Type, enforced bool) {
	s := strings.ToLower(strings.TrimSpace(decl))
	if name, ok := strings.CutPrefix(s, declaredPrefix); ok {
		if t, ok := parseDeclared(name); ok {
			return t, true
		}
	}
	switch {
	case strings.Contains(s, "int"):
		return Int8, false
	case strings.Contains(s, "char"), strings.Contains(s, "clob"), strings.Contains(s, "text"):
		return Text, false
	case strings.Contains(s, "blob"):
		return Bytea, false
	case strings.Contains(s, "real"), strings.Contains(s, "floa"), strings.Contains(s, "doub"):
		return Float8, false
	}
	return Text, false
}

func parseDeclared(name string) (Type, bool) {
	base, args, ok := splitArguments(name)
	if !ok {
		return Type{}, false
	}
	base, array := strings.CutSuffix(base, arraySuffix)
	if short, ok := strings.CutSuffix(base, textSuffix); ok {
		base = short
	}
	s := byName[base]
	if s == nil || s.element != 0 {
		return Type{}, false
	}
	t, ok := Type{s.oid, -1}.withArguments(base, args)
	if ok && array {
		return t.Array()
	}
	return t, ok
}
