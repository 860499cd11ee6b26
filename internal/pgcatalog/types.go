package pgcatalog

import (
	"strings"

	"kimberlite/internal/sqltype"
)

// fact is what PostgreSQL publishes of a type.
type fact struct {
	oid                 uint32
	name                string
	length              int
	byValue             bool
	kind, category      string
	preferred           bool
	element, array      uint32
	input, output       string
	receive, send       string
	modInput, modOutput string
	align, storage      string
	collation           int
}

// typeCatalog is the types by number and by name, and their rows.
type typeCatalog struct {
	byOID  map[uint32]*fact
	byName map[string]*fact
	rows   [][]any
}

func types() *typeCatalog { return typeCatalogs.get(makeTypes) }

// typeCatalogs is what types returns.
var typeCatalogs lazy[*typeCatalog]

func makeTypes() *typeCatalog {
	c := &typeCatalog{byOID: map[uint32]*fact{}, byName: map[string]*fact{}}
	var list []*fact
	for _, f := range factLines(typeFacts) {
		k := &fact{
			oid: uint32(number(f[0])), name: f[1], length: int(number(f[2])), byValue: f[3] == "1", //nolint:gosec // PostgreSQL's numbers
			kind: f[4], category: f[5], preferred: f[6] == "1",
			element: uint32(number(f[7])), array: uint32(number(f[8])), input: f[9], output: f[10], receive: f[11], //nolint:gosec // PostgreSQL's numbers
			send: f[12], modInput: f[13], modOutput: f[14], align: f[15], storage: f[16], collation: int(number(f[17])),
		}
		list = append(list, k)
		c.byOID[k.oid], c.byName[k.name] = k, k
	}
	t := table("pg_type")
	for _, k := range list {
		if c.byOID[k.array] == nil {
			k.array = 0
		}
		subscript := "-"
		if k.element != 0 && k.length == -1 {
			subscript = "array_subscript_handler"
		} else if k.element != 0 {
			subscript = "raw_array_subscript_handler"
		}
		analyze := "-"
		if strings.HasPrefix(subscript, "array") && k.category == "A" && k.input == "array_in" {
			analyze = "array_typanalyze"
		}
		c.rows = append(c.rows, t.row(
			"oid", k.oid, "typname", k.name, "typnamespace", catalogOID, "typowner", ownerOID, "typlen", k.length,
			"typbyval", k.byValue, "typtype", k.kind, "typcategory", k.category, "typispreferred", k.preferred,
			"typisdefined", true, "typdelim", ",", "typsubscript", subscript, "typelem", k.element, "typarray", k.array,
			"typinput", k.input, "typoutput", k.output, "typreceive", k.receive, "typsend", k.send,
			"typmodin", k.modInput, "typmodout", k.modOutput, "typanalyze", analyze, "typalign", k.align,
			"typstorage", k.storage, "typtypmod", -1, "typcollation", k.collation))
	}
	return c
}

// typeFact returns what is known of a type; of text when it is unknown.
func typeFact(oid uint32) *fact {
	c := types()
	if f := c.byOID[oid]; f != nil {
		return f
	}
	return c.byOID[sqltype.Text.OID]
}

// operatorClasses are the default B-tree classes, by type: number, name and
// family as PostgreSQL 15 numbers them.
var operatorClasses = []struct {
	oid    uint32
	name   string
	family uint32
	input  uint32
}{
	{1978, "int4_ops", 1976, 23}, {1979, "int2_ops", 1976, 21}, {1981, "oid_ops", 1989, 26}, {3122, "date_ops", 434, 1082},
	{3123, "float8_ops", 1970, 701}, {3124, "int8_ops", 1976, 20}, {3125, "numeric_ops", 1988, 1700}, {3126, "text_ops", 1994, 25},
	{3127, "timestamptz_ops", 434, 1184}, {3128, "timestamp_ops", 434, 1114}, {10000, "array_ops", 397, 2277},
	{10003, "bool_ops", 424, 16}, {10004, "bpchar_ops", 426, 1042}, {10006, "bytea_ops", 428, 17}, {10007, "char_ops", 429, 18},
	{10012, "float4_ops", 1970, 700}, {10022, "interval_ops", 1982, 1186}, {10028, "name_ops", 1994, 19},
	{10038, "time_ops", 1996, 1083}, {10065, "uuid_ops", 2968, 2950}, {10088, "jsonb_ops", 4033, 3802},
}

// operatorClass returns the number of the class that an index over the type
// uses; text's for a type without one.
func operatorClass(oid uint32) int {
	if oid == sqltype.Varchar.OID {
		oid = sqltype.Text.OID
	}
	if _, ok := (sqltype.Type{OID: oid, Mod: -1}).Element(); ok {
		oid = sqltype.AnyArray.OID
	}
	for _, k := range operatorClasses {
		if k.input == oid {
			return int(k.oid)
		}
	}
	return 3126
}

func rowsType(*Env, *Table) [][]any { return types().rows }

func rowsOperatorClass(_ *Env, t *Table) [][]any {
	var rows [][]any
	for _, k := range operatorClasses {
		rows = append(rows, t.row("oid", k.oid, "opcmethod", btreeOID, "opcname", k.name, "opcnamespace", catalogOID,
			"opcowner", ownerOID, "opcfamily", k.family, "opcintype", k.input, "opcdefault", true))
	}
	return rows
}

// formatType is PostgreSQL's format_type. known says that the modifier is not
// NULL.
func formatType(oid uint32, mod int32, known bool) string {
	if oid == 0 {
		return "-"
	}
	t, ok := sqltype.Lookup(oid)
	if !ok {
		if f := types().byOID[oid]; f != nil {
			if f.element != 0 {
				return strings.TrimPrefix(f.name, "_") + "[]"
			}
			return quoteType(f.name)
		}
		return "???"
	}
	if e, ok := t.Element(); ok {
		return formatType(e.OID, mod, known) + "[]"
	}
	switch {
	case !known && oid == sqltype.BPChar.OID:
		return "character"
	case !known:
		return t.SQL()
	}
	return t.WithMod(mod).SQL()
}

// quoteType quotes the names of pseudo-types that are words.
func quoteType(name string) string {
	if name == "any" {
		return `"any"`
	}
	return name
}
