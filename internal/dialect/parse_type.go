package dialect

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// serials are the types that bring a sequence with them.
var serials = map[string]string{
	"serial": "int4", "serial4": "int4", "bigserial": "int8", "serial8": "int8", "smallserial": "int2", "serial2": "int2",
}

// noTypes are PostgreSQL's types that are not offered, and what to use.
var noTypes = map[string]string{
	"money": "use numeric(19,2)", "xml": "use text", "inet": "use text", "cidr": "use text", "macaddr": "use text",
	"macaddr8": "use text", "point": "use two float8 columns", "line": "use float8 columns", "lseg": "use float8 columns",
	"box": "use float8 columns", "path": "use jsonb", "polygon": "use jsonb", "circle": "use float8 columns",
	"bit": "use bytea or integers", "varbit": "use bytea", "tsvector": "search with ILIKE or regular expressions",
	"tsquery": "search with ILIKE or regular expressions", "timetz": "use timestamptz", "hstore": "use jsonb",
	"citext": "use text with an index on lower(column)", "pg_lsn": "use text", "txid_snapshot": "use int8",
	"int4range": "use two columns", "int8range": "use two columns", "numrange": "use two columns",
	"tsrange": "use two columns", "tstzrange": "use two columns", "daterange": "use two columns",
	"vector": "use bytea or jsonb",
}

// lookupType returns the type of a name.
func (p *parser) lookupType(at int, name, mods string) (typeName, bool) {
	if s := serials[name]; s != "" && mods == "" {
		t, _ := sqltype.Parse(s)
		return typeName{pos(at), name, t, s}, true
	}
	if name == "timetz" {
		return typeName{}, false
	}
	t, ok := sqltype.Parse(name + mods)
	if !ok {
		return typeName{}, false
	}
	return typeName{pos: pos(at), name: name + mods, typ: t}, true
}

// noType is the error for a type that is not there.
func (p *parser) noType(at int, name, mods string) error {
	if advice := noTypes[strings.TrimPrefix(name, "_")]; advice != "" {
		return p.unsupported(at, "type %q is not supported: %s", name, advice)
	}
	if _, ok := sqltype.Parse(name); ok && mods != "" {
		return failAt(p.text, at, stateBadParameter, "type %s%s is not one: its modifier is out of range or not supported", name, mods)
	}
	return failAt(p.text, at, stateNoObject, "type %q does not exist", name)
}
