package pgcatalog

import (
	"slices"
	"strconv"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/sqltype"
)

type call = func(e *Env, args []any) (any, error)

// functions are made once and read-only from then on.
var functions = sync.OnceValue(func() []Function {
	return slices.Concat(definitionFunctions(), visibilityFunctions(), nameFunctions(), arrayFunctions(),
		sizeFunctions(), rightFunctions(), emptyFunctions())
})

// Functions returns every function. They are shared and not to be changed. It
// may be called at any time, by anybody.
func Functions() []Function { return functions() }

// strict makes a call whose answer is NULL when any argument is.
func strict(f call) call {
	return func(e *Env, args []any) (any, error) {
		for _, a := range args {
			if a == nil {
				return nil, nil //nolint:nilnil // NULL
			}
		}
		return f(e, args)
	}
}

// null answers NULL: there is no such thing here.
func null(*Env, []any) (any, error) { return nil, nil } //nolint:nilnil // NULL

// always answers with a value.
func always(v any) call {
	return func(*Env, []any) (any, error) { return v, nil }
}

// text is a function of a strict call that may find nothing, for some numbers
// of arguments.
func text(name string, f func(e *Env, args []any) (string, bool), counts ...int) []Function {
	var list []Function
	for _, n := range counts {
		list = append(list, Function{name, n, sqltype.Text, strict(func(e *Env, args []any) (any, error) {
			if s, ok := f(e, args); ok {
				return s, nil
			}
			return nil, nil //nolint:nilnil // NULL
		})})
	}
	return list
}

// definitionFunctions write objects as SQL.
func definitionFunctions() []Function {
	return slices.Concat(
		[]Function{{"format_type", 2, sqltype.Text, callFormatType}},
		text("pg_get_expr", func(_ *Env, args []any) (string, bool) { return asText(args[0]) }, 2, 3),
		text("pg_get_userbyid", callUserByID, 1),
		text("pg_get_indexdef", callIndexDef, 1, 3),
		text("pg_get_constraintdef", func(e *Env, args []any) (string, bool) {
			k := e.catalog().constraint[asOID(args[0])]
			if k == nil {
				return "", false
			}
			return constraintText(k, len(args) > 1 && asBool(args[1])), true
		}, 1, 2),
		text("pg_get_viewdef", callViewDef, 1, 2),
		text("pg_get_triggerdef", func(e *Env, args []any) (string, bool) {
			for _, k := range e.catalog().triggers {
				if k.oid == asOID(args[0]) {
					return k.trigger.SQL, true
				}
			}
			return "", false
		}, 1, 2),
		text("pg_get_ruledef", func(e *Env, args []any) (string, bool) {
			for _, k := range e.catalog().rules {
				if k.oid == asOID(args[0]) {
					query, _ := viewText(k.view)
					return `CREATE RULE "_RETURN" AS ON SELECT TO ` + quoteIdent(k.view.Name) + " DO INSTEAD" + query, true
				}
			}
			return "", false
		}, 1, 2),
		text("pg_get_function_result", func(_ *Env, args []any) (string, bool) {
			if p := procedure(asOID(args[0])); p != nil {
				return p.resultText(), true
			}
			return "", false
		}, 1),
		text("pg_get_function_arguments", callFunctionArguments, 1),
		text("pg_get_function_identity_arguments", callFunctionArguments, 1),
		[]Function{{"pg_get_serial_sequence", 2, sqltype.Text, strict(callSerialSequence)}},
	)
}

func callFormatType(_ *Env, args []any) (any, error) {
	if args[0] == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	mod, known := asInt(args[1])
	return formatType(asOID(args[0]), int32(mod), known), nil //nolint:gosec // a modifier
}

func callFunctionArguments(_ *Env, args []any) (string, bool) {
	if p := procedure(asOID(args[0])); p != nil {
		return p.argumentText(), true
	}
	return "", false
}

func callUserByID(e *Env, args []any) (string, bool) {
	oid := asOID(args[0])
	for _, r := range e.roles() {
		if r.oid == oid {
			return r.name, true
		}
	}
	return "unknown (OID=" + strconv.FormatUint(uint64(oid), 10) + ")", true
}

func callIndexDef(e *Env, args []any) (string, bool) {
	r := e.catalog().byOID[asOID(args[0])]
	if r == nil || r.index == nil {
		return "", false
	}
	column, pretty := int64(0), false
	if len(args) == 3 {
		column, _ = asInt(args[1])
		pretty = asBool(args[2])
	}
	if column == 0 {
		return indexText(r.table, r.index, pretty), true
	}
	if column < 1 || column > int64(len(r.index.Columns)) {
		return "", true
	}
	return indexColumn(r.index, keyParts(r.index), int(column)-1), true
}

func callViewDef(e *Env, args []any) (string, bool) {
	oid := asOID(args[0])
	if name, ok := args[0].(string); ok && oid == 0 {
		if r := e.named(name); r != nil {
			oid = r.oid
		}
	}
	if t := e.catalog().tableOf(oid); t != nil {
		return viewText(t)
	}
	return "", false
}

func callSerialSequence(e *Env, args []any) (any, error) {
	name, _ := asText(args[0])
	column, _ := asText(args[1])
	r := e.named(name)
	if r == nil {
		return nil, noRelation(name)
	}
	if r.table == nil || r.index != nil {
		return nil, nil //nolint:nilnil // NULL
	}
	c, _, ok := r.table.Column(column)
	if !ok {
		return nil, fault.New("sql", fault.SQL, "column %q of relation %q does not exist", column, name).WithState("42703")
	}
	if c.Sequence == "" {
		return nil, nil //nolint:nilnil // NULL
	}
	return "public." + quoteIdent(c.Sequence), nil
}

// visibilityFunctions say whether a name finds an object without its schema.
func visibilityFunctions() []Function {
	list := []Function{
		{"pg_table_is_visible", 1, sqltype.Bool, strict(func(e *Env, args []any) (any, error) {
			r := e.catalog().find(asOID(args[0]))
			if r == nil {
				return nil, nil //nolint:nilnil // NULL
			}
			return stored(r.visible()), nil
		})},
		{"pg_relation_is_publishable", 1, sqltype.Bool, strict(func(e *Env, args []any) (any, error) {
			r := e.relation(args[0])
			return stored(r != nil && r.kind == 'r' && r.system == nil), nil
		})},
	}
	for _, kind := range []string{
		"type", "function", "operator", "opclass", "opfamily", "collation", "conversion", "statistics_obj",
		"ts_config", "ts_dict", "ts_parser", "ts_template",
	} {
		list = append(list, Function{"pg_" + kind + "_is_visible", 1, sqltype.Bool, strict(always(int64(1)))})
	}
	return list
}

// visible says that the search path finds the relation.
func (r *relation) visible() bool { return r.namespace == publicOID || r.namespace == catalogOID }

// emptyFunctions speak of what Kimberlite has not got, or does not tell.
func emptyFunctions() []Function {
	list := []Function{
		{"pg_is_in_recovery", 0, sqltype.Bool, always(int64(0))},
		{"pg_is_other_temp_schema", 1, sqltype.Bool, always(int64(0))},
		{"row_security_active", 1, sqltype.Bool, strict(always(int64(0)))},
		{"pg_my_temp_schema", 0, sqltype.OIDType, always(int64(0))},
		{"pg_tablespace_location", 1, sqltype.Text, strict(always(""))},
		{"pg_partition_ancestors", 1, sqltype.Regclass, null},
		{"inet_server_addr", 0, sqltype.Text, null}, {"inet_client_addr", 0, sqltype.Text, null},
		{"inet_server_port", 0, sqltype.Int4, null}, {"inet_client_port", 0, sqltype.Int4, null},
	}
	for name, counts := range map[string][]int{
		"obj_description": {1, 2}, "col_description": {2}, "shobj_description": {2},
		"pg_get_statisticsobjdef": {1}, "pg_get_statisticsobjdef_columns": {1}, "pg_get_partkeydef": {1},
		"pg_get_partition_constraintdef": {1}, "pg_get_function_sqlbody": {1},
	} {
		for _, n := range counts {
			list = append(list, Function{name, n, sqltype.Text, null})
		}
	}
	slices.SortFunc(list, func(a, b Function) int {
		if a.Name != b.Name {
			if a.Name < b.Name {
				return -1
			}
			return 1
		}
		return a.Args - b.Args
	})
	return list
}
