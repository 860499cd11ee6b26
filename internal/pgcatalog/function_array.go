package pgcatalog

import (
	"encoding/json"
	"strings"

	"kimberlite/internal/sqltype"
)

// arrayFunctions read arrays of the catalog: JSON arrays, vectors, and
// PostgreSQL's own array text of literals.
func arrayFunctions() []Function {
	length := func(list []any) (any, error) { return int64(len(list)), nil }
	first := func([]any) (any, error) { return int64(1), nil }
	return []Function{
		{"array_to_string", 2, sqltype.Text, callArrayToString},
		{"array_to_string", 3, sqltype.Text, callArrayToString},
		{"array_length", 2, sqltype.Int4, ofDimension(length)},
		{"array_upper", 2, sqltype.Int4, ofDimension(length)},
		{"array_lower", 2, sqltype.Int4, ofDimension(first)},
		{"array_ndims", 1, sqltype.Int4, ofDimension(first)},
		{"cardinality", 1, sqltype.Int4, strict(func(_ *Env, args []any) (any, error) {
			return int64(len(elements(args[0]))), nil
		})},
		{"array_position", 2, sqltype.Int4, func(_ *Env, args []any) (any, error) {
			want, _ := asText(args[1])
			for i, v := range elements(args[0]) {
				if s, ok := elementText(v); ok == (args[1] != nil) && s == want {
					return int64(i + 1), nil
				}
			}
			return nil, nil //nolint:nilnil // NULL
		}},
	}
}

// ofDimension answers for the only dimension that an array has; NULL for
// others and for an empty array.
func ofDimension(f func(list []any) (any, error)) call {
	return strict(func(_ *Env, args []any) (any, error) {
		list := elements(args[0])
		if len(args) > 1 {
			if n, ok := asInt(args[1]); !ok || n != 1 {
				return nil, nil //nolint:nilnil // NULL
			}
		}
		if len(list) == 0 {
			return nil, nil //nolint:nilnil // NULL
		}
		return f(list)
	})
}

func callArrayToString(_ *Env, args []any) (any, error) {
	if args[0] == nil || args[1] == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	between, _ := asText(args[1])
	var parts []string
	for _, v := range elements(args[0]) {
		if s, ok := elementText(v); ok {
			parts = append(parts, s)
		} else if len(args) > 2 && args[2] != nil {
			s, _ := asText(args[2])
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, between), nil
}

// elementText writes an element as PostgreSQL does; false is NULL.
func elementText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", false
	case bool:
		if v {
			return "t", true
		}
		return "f", true
	case json.Number:
		return v.String(), true
	case string:
		return v, true
	}
	b, err := json.Marshal(v)
	return string(b), err == nil
}

// elements returns an array's elements; those of no array are none.
func elements(v any) []any {
	s, ok := asText(v)
	if !ok {
		return nil
	}
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "[") {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var list []any
		if d.Decode(&list) == nil {
			return list
		}
		return nil
	}
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		return literalElements(s[1 : len(s)-1])
	}
	var list []any
	for _, f := range strings.Fields(s) { // a vector
		list = append(list, json.Number(f))
	}
	return list
}

// literalElements reads the inside of '{a,"b c",NULL}'.
func literalElements(s string) []any {
	var list []any
	for s != "" {
		var b strings.Builder
		quoted := strings.HasPrefix(s, `"`)
		if quoted {
			s = s[1:]
		}
		at := 0
		for ; at < len(s); at++ {
			if c := s[at]; c == '\\' && at+1 < len(s) {
				at++
			} else if quoted && c == '"' || !quoted && c == ',' {
				break
			}
			b.WriteByte(s[at])
		}
		s = s[min(at+1, len(s)):]
		if quoted {
			s = strings.TrimPrefix(s, ",")
		}
		if word := b.String(); !quoted && strings.EqualFold(word, "null") {
			list = append(list, nil)
		} else {
			list = append(list, word)
		}
	}
	return list
}
