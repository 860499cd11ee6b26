package pgcatalog

import (
	"slices"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/sqltype"
)

// nameFunctions turn names into numbers and back, and quote.
func nameFunctions() []Function {
	return slices.Concat(
		lookups(),
		text("regclass_text", func(e *Env, args []any) (string, bool) { return e.relationText(args[0]), true }, 1),
		text("regtype_text", func(_ *Env, args []any) (string, bool) {
			if oid, ok := asInt(args[0]); ok {
				return formatType(uint32(oid), -1, false), true //nolint:gosec // an OID
			}
			return asText(args[0])
		}, 1),
		text("regproc_text", func(_ *Env, args []any) (string, bool) {
			if p := procedure(asOID(args[0])); p != nil {
				return p.name, true
			}
			return numberText(args[0])
		}, 1),
		text("regnamespace_text", func(_ *Env, args []any) (string, bool) {
			if name := namespaceName(asOID(args[0])); name != "" {
				return name, true
			}
			return numberText(args[0])
		}, 1),
		text("regrole_text", func(e *Env, args []any) (string, bool) {
			for _, r := range e.roles() {
				if r.oid == asOID(args[0]) {
					return quoteIdent(r.name), true
				}
			}
			return numberText(args[0])
		}, 1),
		text("quote_ident", func(_ *Env, args []any) (string, bool) {
			s, ok := asText(args[0])
			return quoteIdent(s), ok
		}, 1),
		text("quote_literal", func(_ *Env, args []any) (string, bool) {
			s, ok := asText(args[0])
			return quoteLiteral(s), ok
		}, 1),
		[]Function{
			{"pg_encoding_to_char", 1, sqltype.Name, strict(func(_ *Env, args []any) (any, error) {
				if n, ok := asInt(args[0]); ok && n == utf8 {
					return "UTF8", nil
				}
				return "", nil
			})},
			{"quote_nullable", 1, sqltype.Text, func(_ *Env, args []any) (any, error) {
				if s, ok := asText(args[0]); ok {
					return quoteLiteral(s), nil
				}
				return "NULL", nil
			}},
			{"pg_char_to_encoding", 1, sqltype.Int4, strict(func(_ *Env, args []any) (any, error) {
				if s, _ := asText(args[0]); strings.EqualFold(strings.ReplaceAll(s, "-", ""), "utf8") {
					return int64(utf8), nil
				}
				return int64(-1), nil
			})},
			{"pg_client_encoding", 0, sqltype.Name, always("UTF8")},
			{"getdatabaseencoding", 0, sqltype.Name, always("UTF8")},
			{"current_database", 0, sqltype.Name, func(e *Env, _ []any) (any, error) { return e.Name, nil }},
			{"current_schema", 0, sqltype.Name, always("public")},
			{"current_schemas", 1, sqltype.NameArray, strict(func(_ *Env, args []any) (any, error) {
				if asBool(args[0]) {
					return textArray([]string{"pg_catalog", "public"}), nil
				}
				return textArray([]string{"public"}), nil
			})},
		},
	)
}

// numberText is how a number without a name is written.
func numberText(v any) (string, bool) {
	if n, ok := asInt(v); ok && n == 0 {
		return "-", true
	}
	return asText(v)
}

// lookups are the functions from a name to a number: to_regclass answers NULL
// where to_regclass_oid, which stands for a cast, fails.
func lookups() []Function {
	var list []Function
	for _, k := range []struct {
		name string
		kind sqltype.Type
		find func(e *Env, name string) (uint32, bool)
		fail func(name string) error
	}{
		{"regclass", sqltype.Regclass, func(e *Env, name string) (uint32, bool) {
			r := e.named(name)
			if r == nil {
				return 0, false
			}
			return r.oid, true
		}, noRelation},
		{"regtype", sqltype.Regtype, findType, func(name string) error {
			return fault.New("sql", fault.SQL, "type %q does not exist", name).WithState("42704")
		}},
		{"regnamespace", sqltype.Regnamespace, findNamespace, func(name string) error {
			return fault.New("sql", fault.SQL, "schema %q does not exist", name).WithState("3F000")
		}},
		{"regrole", sqltype.Regrole, findRole, func(name string) error {
			return fault.New("sql", fault.SQL, "role %q does not exist", name).WithState("42704")
		}},
		{"regproc", sqltype.Regproc, findProcedure, func(name string) error {
			return fault.New("sql", fault.SQL, "function %q does not exist", name).WithState("42883")
		}},
	} {
		list = append(list,
			Function{"to_" + k.name, 1, k.kind, strict(func(e *Env, args []any) (any, error) {
				name, _ := asText(args[0])
				if oid, ok := k.find(e, name); ok {
					return int64(oid), nil
				}
				return nil, nil //nolint:nilnil // NULL
			})},
			Function{"to_" + k.name + "_oid", 1, sqltype.OIDType, strict(func(e *Env, args []any) (any, error) {
				if n, ok := asInt(args[0]); ok {
					return n, nil
				}
				name, _ := asText(args[0])
				if oid, ok := k.find(e, name); ok {
					return int64(oid), nil
				}
				if name == "-" {
					return int64(0), nil
				}
				return nil, k.fail(name)
			})})
	}
	return list
}

func noRelation(name string) error {
	return fault.New("sql", fault.SQL, "relation %q does not exist", name).WithState("42P01")
}

// nameParts reads a name as SQL writes it: quoted or folded to lower case,
// with its schema or without.
func nameParts(s string) (namespace, name string, ok bool) {
	var parts []string
	want := true
	for _, k := range tokens(strings.TrimSpace(s)) {
		switch {
		case want && k.kind == tokenName:
			parts = append(parts, k.text)
		case want && k.kind == tokenWord:
			parts = append(parts, strings.ToLower(k.text))
		case !want && k.text == ".":
		default:
			return "", "", false
		}
		want = !want
	}
	switch {
	case want && len(parts) > 0, len(parts) == 0, len(parts) > 3:
		return "", "", false
	case len(parts) == 1:
		return "", parts[0], true
	}
	return parts[len(parts)-2], parts[len(parts)-1], true
}

// named finds a relation by its name, nil for none.
func (e *Env) named(s string) *relation {
	namespace, name, ok := nameParts(s)
	if !ok {
		return nil
	}
	c := e.catalog()
	switch namespace {
	case "":
		if r := systemRelations().byName[name]; r != nil {
			return r
		}
		return c.byName[name]
	case "public":
		return c.byName[name]
	case "pg_catalog":
		return systemRelations().byName[name]
	case "information_schema":
		if t := table(informationPrefix + name); t != nil {
			return systemRelations().byOID[t.oid]
		}
	case "kimberlite":
		for _, r := range c.relations {
			if r.namespace == kimberliteOID && r.name == name {
				return r
			}
		}
	}
	return nil
}

// relation finds a relation by an argument: its number or its name.
func (e *Env) relation(v any) *relation {
	if n, ok := asInt(v); ok {
		return e.catalog().find(uint32(n)) //nolint:gosec // an OID
	}
	name, _ := asText(v)
	return e.named(name)
}

// relationText is a relation's number as a regclass is written; a text stays
// as it is.
func (e *Env) relationText(v any) string {
	r := e.catalog().find(asOID(v))
	if r == nil {
		s, _ := numberText(v)
		return s
	}
	name := quoteIdent(r.name)
	if r.visible() {
		return name
	}
	return namespaceName(r.namespace) + "." + name
}

// findType finds a type by any of its spellings.
func findType(_ *Env, name string) (uint32, bool) {
	if t, ok := sqltype.Parse(name); ok {
		return t.OID, true
	}
	f := types().byName[strings.Trim(strings.TrimPrefix(name, "pg_catalog."), `"`)]
	if f == nil {
		return 0, false
	}
	return f.oid, true
}

func findNamespace(_ *Env, name string) (uint32, bool) {
	_, folded, ok := nameParts(name)
	for _, n := range namespaces {
		if ok && n.name == folded {
			return n.oid, true
		}
	}
	return 0, false
}

func findRole(e *Env, name string) (uint32, bool) {
	for _, r := range e.roles() {
		if quoteIdent(r.name) == name || r.name == name {
			return r.oid, true
		}
	}
	return 0, false
}

func findProcedure(_ *Env, name string) (uint32, bool) {
	_, folded, ok := nameParts(name)
	if p := procedures().byName[folded]; ok && p != nil {
		return p.oid, true
	}
	return 0, false
}
