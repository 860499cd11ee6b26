package sqlfunc

import (
	"encoding/json"
	"strings"

	"kimberlite/internal/sqltype"
)

// Arrays are JSON arrays of their elements' stored forms; see package sqltype.

func arrayFunctions() []Function {
	list := []Function{
		// An element as json_array takes it: that of a boolean array goes
		// through json() on its way.
		loose("pg_array_element", 2, func(args []any) (any, error) {
			e := arrayElement(args[0], uint32(integer(args[1])))
			if b, ok := e.(bool); ok {
				return map[bool]string{true: "true", false: "false"}[b], nil
			}
			return e, nil
		}),
		loose("pg_array_append", 3, func(args []any) (any, error) {
			one, err := arrayText([]any{arrayElement(args[1], uint32(integer(args[2])))})
			if err != nil {
				return nil, err
			}
			return concatArrays([]any{args[0], one})
		}),
		loose("pg_array_prepend", 3, func(args []any) (any, error) {
			one, err := arrayText([]any{arrayElement(args[0], uint32(integer(args[2])))})
			if err != nil {
				return nil, err
			}
			return concatArrays([]any{one, args[1]})
		}),
		strict("pg_array_bytea", 1, func(args []any) (any, error) { return sqltype.Bytea.Input(text(args[0])) }),
		strict("pg_array_length", 2, func(args []any) (any, error) {
			list, err := elements(args[0])
			if err != nil || len(list) == 0 || integer(args[1]) != 1 {
				return nil, err
			}
			return int64(len(list)), nil
		}),
		loose("pg_array_concat", 2, concatArrays),
		strict("pg_array_get", 4, func(args []any) (any, error) {
			list, err := elements(args[0])
			i := integer(args[1]) - integer(args[2])
			if err != nil || i < 0 || i >= int64(len(list)) {
				return nil, err
			}
			t, _ := sqltype.Lookup(uint32(integer(args[3])))
			return stored(list[i], t), nil
		}),
		strict("pg_array_overlap", 2, func(args []any) (any, error) { return sharing(args, false) }),
		strict("pg_array_contains", 2, func(args []any) (any, error) { return sharing(args, true) }),
		strict("pg_string_to_array", 2, stringToArray),
		loose("pg_string_to_array", 3, stringToArray),
		loose("pg_array_longest", -1, longest),
		strict("pg_vector_json", 1, func(args []any) (any, error) {
			return "[" + strings.Join(strings.Fields(text(args[0])), ",") + "]", nil
		}),
	}
	list = append(list, searchFunctions()...)
	return append(list, times(loose("pg_array_to_string", 3, arrayToString), 3, 4)...)
}

// searchFunctions look for elements.
func searchFunctions() []Function {
	return []Function{
		loose("pg_array_remove", 2, func(args []any) (any, error) {
			return eachElement(args[0], func(list []any, e any) []any {
				if equalElements(e, args[1]) {
					return list
				}
				return append(list, e)
			})
		}),
		loose("pg_array_replace", 3, func(args []any) (any, error) {
			return eachElement(args[0], func(list []any, e any) []any {
				if equalElements(e, args[1]) {
					e = args[2]
				}
				return append(list, e)
			})
		}),
		loose("pg_array_position", 2, func(args []any) (any, error) {
			places, err := positions(args)
			if err != nil || len(places) == 0 {
				return nil, err
			}
			return places[0], nil
		}),
		loose("pg_array_positions", 2, func(args []any) (any, error) {
			if args[0] == nil {
				return nil, nil //nolint:nilnil // NULL
			}
			places, err := positions(args)
			if err != nil {
				return nil, err
			}
			return arrayText(places)
		}),
	}
}

// eachElement builds an array of another's elements.
func eachElement(array any, fn func(list []any, e any) []any) (any, error) {
	if array == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	list, err := elements(array)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, e := range list {
		out = fn(out, e)
	}
	return arrayText(out)
}

// concatArrays puts arrays together; a NULL one counts as empty.
func concatArrays(args []any) (any, error) {
	if args[0] == nil {
		return args[1], nil
	}
	if args[1] == nil {
		return args[0], nil
	}
	a, err := elements(args[0])
	if err != nil {
		return nil, err
	}
	b, err := elements(args[1])
	if err != nil {
		return nil, err
	}
	return arrayText(append(a, b...))
}

// equalElements compares an element with a stored value, or with another
// element. NULL equals NULL, as in array_position.
func equalElements(e, v any) bool { return elementKey(e) == elementKey(v) }

// elementKey is a text by which elements compare.
func elementKey(e any) string {
	switch e := e.(type) {
	case nil:
		return "n"
	case bool:
		if e {
			return "d1"
		}
		return "d0"
	case json.Number:
		if r := rational(json2number(e)); r != nil {
			return "d" + r.RatString()
		}
		return "d" + e.String()
	case int64, float64:
		if r := rational(e); r != nil {
			return "d" + r.RatString()
		}
		return "d" + text(e)
	case []byte:
		b, _ := sqltype.Bytea.AppendText(nil, e) // every blob has a text
		return "s" + string(b)
	case string:
		return "s" + e
	}
	s, _ := marshal(e) // came out of JSON
	return "j" + s
}

func json2number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, _ := n.Float64() // a number that JSON reads
	return f
}

func positions(args []any) ([]any, error) {
	if args[0] == nil {
		return nil, nil
	}
	list, err := elements(args[0])
	if err != nil {
		return nil, err
	}
	var places []any
	for i, e := range list {
		if equalElements(e, args[1]) {
			places = append(places, int64(i+1))
		}
	}
	return places, nil
}

// sharing says whether arrays have an element in common, or, with all, whether
// the first has every one of the second. NULL elements are equal to nothing.
func sharing(args []any, all bool) (any, error) {
	a, err := elements(args[0])
	if err != nil {
		return nil, err
	}
	b, err := elements(args[1])
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, e := range a {
		if e != nil {
			have[elementKey(e)] = true
		}
	}
	for _, e := range b {
		if found := e != nil && have[elementKey(e)]; found != all {
			return boolean(found)
		}
	}
	return boolean(all)
}

func stringToArray(args []any) (any, error) {
	if args[0] == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	s := text(args[0])
	var parts []string
	switch {
	case s == "":
	case args[1] == nil:
		parts = strings.SplitN(s, "", maxElements+1)
	case text(args[1]) == "":
		parts = []string{s}
	default:
		parts = strings.SplitN(s, text(args[1]), maxElements+1)
	}
	if len(parts) > maxElements {
		return nil, tooManyElements()
	}
	list := make([]any, len(parts))
	for i, p := range parts {
		if len(args) > 2 && args[2] != nil && p == text(args[2]) {
			continue
		}
		list[i] = p
	}
	return arrayText(list)
}

// arrayToString takes the OID of the elements' type, the array, the separator
// and what stands for NULL.
func arrayToString(args []any) (any, error) {
	if args[1] == nil || args[2] == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	t, _ := sqltype.Lookup(uint32(integer(args[0])))
	list, err := elements(args[1])
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, e := range list {
		if e == nil {
			if len(args) > 3 && args[3] != nil {
				parts = append(parts, text(args[3]))
			}
			continue
		}
		b, err := t.AppendText(nil, stored(e, t))
		if err != nil {
			return nil, err
		}
		parts = append(parts, string(b))
	}
	return made(strings.Join(parts, text(args[2])))
}

// longest is an array as long as the longest of its arguments, for counting.
func longest(args []any) (any, error) {
	n := 0
	for _, a := range args {
		if a == nil {
			continue
		}
		list, err := elements(a)
		if err != nil {
			return nil, err
		}
		n = max(n, len(list))
	}
	return arrayText(make([]any, n))
}
