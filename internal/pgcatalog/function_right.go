package pgcatalog

import (
	"strconv"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/sqltype"
)

// sizeFunctions tell how big things are; that of one table is not known, since
// a tenant's tables share a file.
func sizeFunctions() []Function {
	list := []Function{{"pg_size_pretty", 1, sqltype.Text, strict(func(_ *Env, args []any) (any, error) {
		n, ok := asInt(args[0])
		if !ok {
			return nil, fault.New("sql", fault.SQL, "pg_size_pretty wants a whole number of bytes").WithState("42883")
		}
		return prettySize(n), nil
	})}}
	for _, name := range []string{
		"pg_relation_size", "pg_total_relation_size", "pg_table_size", "pg_indexes_size", "pg_database_size", "pg_tablespace_size",
	} {
		list = append(list, Function{name, 1, sqltype.Int8, null})
	}
	return append(list, Function{"pg_relation_size", 2, sqltype.Int8, null})
}

// prettySize writes bytes as PostgreSQL does: the unit changes at ten times
// itself for bytes, at twenty for the others, and halves round up.
func prettySize(n int64) string {
	units := []string{"kB", "MB", "GB", "TB", "PB"}
	abs := func(n int64) int64 {
		if n < 0 {
			return -n
		}
		return n
	}
	if abs(n) < 10*1024 {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	n /= 512 // one bit more than the unit, to round by
	unit := 0
	for ; unit < len(units)-1 && abs(n) >= 20*1024-1; unit++ {
		n /= 1024
	}
	if n < 0 {
		n--
	} else {
		n++
	}
	return strconv.FormatInt(n/2, 10) + " " + units[unit]
}

// rightFunctions say what the connection may do. What a role of Kimberlite
// allows is decided where a statement runs; these answer for the owner.
func rightFunctions() []Function {
	var list []Function
	add := func(name string, counts []int, f call) {
		for _, n := range counts {
			list = append(list, Function{name, n, sqltype.Bool, strict(f)})
		}
	}
	add("has_table_privilege", []int{2, 3}, callRelationRight)
	add("has_sequence_privilege", []int{2, 3}, callRelationRight)
	add("has_any_column_privilege", []int{2, 3}, callRelationRight)
	add("has_column_privilege", []int{3, 4}, func(e *Env, args []any) (any, error) {
		// relation and right stand around the column
		return callRelationRight(e, []any{args[len(args)-3], args[len(args)-1]})
	})
	add("has_schema_privilege", []int{2, 3}, func(_ *Env, args []any) (any, error) {
		object := args[len(args)-2]
		oid := asOID(object)
		if name, ok := object.(string); ok && oid == 0 {
			if oid, ok = findNamespace(nil, name); !ok {
				return nil, fault.New("sql", fault.SQL, "schema %q does not exist", name).WithState("3F000")
			}
		}
		if namespaceName(oid) == "" {
			return nil, nil //nolint:nilnil // NULL
		}
		return stored(anyRight(args[len(args)-1], func(right string) bool {
			return right == "USAGE" || right == "CREATE" && oid == publicOID
		})), nil
	})
	add("has_database_privilege", []int{2, 3}, func(e *Env, args []any) (any, error) {
		object := args[len(args)-2]
		if name, ok := object.(string); ok && name != e.Name {
			return nil, fault.New("sql", fault.SQL, "database %q does not exist", name).WithState("3D000")
		}
		return stored(anyRight(args[len(args)-1], func(right string) bool { return right == "CONNECT" })), nil
	})
	for _, name := range []string{"has_function_privilege", "has_type_privilege", "has_language_privilege"} {
		add(name, []int{2, 3}, always(int64(1)))
	}
	add("has_tablespace_privilege", []int{2, 3}, always(int64(0)))
	add("pg_has_role", []int{2, 3}, always(int64(1)))
	return list
}

// anyRight says that one of a list of rights is given; none is given on.
func anyRight(list any, given func(right string) bool) bool {
	s, _ := asText(list)
	for right := range strings.SplitSeq(s, ",") {
		if given(strings.ToUpper(strings.TrimSpace(right))) {
			return true
		}
	}
	return false
}

// callRelationRight takes a relation and a right, after a user or not.
func callRelationRight(e *Env, args []any) (any, error) {
	object := args[len(args)-2]
	r := e.relation(object)
	if r == nil {
		if name, ok := object.(string); ok && asOID(object) == 0 {
			return nil, noRelation(name)
		}
		return nil, nil //nolint:nilnil // NULL
	}
	writable := r.system == nil && r.kind != 'v'
	return stored(anyRight(args[len(args)-1], func(right string) bool {
		switch right {
		case "SELECT", "USAGE":
			return true
		case "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER":
			return writable
		}
		return false
	})), nil
}
