package sqlfunc

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"kimberlite/internal/sqltype"
)

// jsonChangeFunctions make new jsonb values of old ones.
func jsonChangeFunctions() []Function {
	list := []Function{
		strict("pg_jsonb_has", 2, func(args []any) (any, error) { return has(args[0], text(args[1])) }),
		strict("pg_jsonb_has_any", 2, func(args []any) (any, error) { return hasSome(args, false) }),
		strict("pg_jsonb_has_all", 2, func(args []any) (any, error) { return hasSome(args, true) }),
		strict("pg_jsonb_contains", 2, func(args []any) (any, error) {
			a, err := parsed(args[0])
			if err != nil {
				return nil, err
			}
			b, err := parsed(args[1])
			if err != nil {
				return nil, err
			}
			return boolean(contains(a, b, true))
		}),
		strict("pg_jsonb_concat", 2, concatJSON),
		strict("pg_jsonb_delete", 2, func(args []any) (any, error) { return deleteKey(args[0], args[1]) }),
		strict("pg_jsonb_delete_path", 2, func(args []any) (any, error) {
			v, path, err := valueAndPath(args)
			if err != nil {
				return nil, err
			}
			return asStored(change(v, path, func(any, bool) (any, bool) { return nil, false }, false))
		}),
		strict("pg_jsonb_pretty", 1, func(args []any) (any, error) { return made(pretty(text(args[0]))) }),
	}
	list = append(list, times(strict("pg_jsonb_set", 3, func(args []any) (any, error) { return setJSON(args, false) }), 3, 4)...)
	return append(list, times(strict("pg_jsonb_insert", 3, func(args []any) (any, error) { return setJSON(args, true) }), 3, 4)...)
}

// parsed reads jsonb: an object is a map, an array a slice, a number its text.
func parsed(v any) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text(v)))
	decoder.UseNumber()
	var out any
	if err := decoder.Decode(&out); err != nil {
		return nil, notJSON()
	}
	return out, nil
}

// asStored writes a parsed value as jsonb is stored.
func asStored(v any, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	s, err := marshal(v)
	if err != nil {
		return nil, notJSON()
	}
	return sqltype.JSONB.Input(s)
}

// has is ?: a key of an object, a string among an array's elements, or a
// string itself.
func has(v any, key string) (any, error) {
	value, err := parsed(v)
	if err != nil {
		return nil, err
	}
	return boolean(hasKey(value, key))
}

func hasKey(value any, key string) bool {
	switch value := value.(type) {
	case map[string]any:
		_, ok := value[key]
		return ok
	case []any:
		return slices.Contains(value, any(key))
	case string:
		return value == key
	}
	return false
}

func hasSome(args []any, all bool) (any, error) {
	value, err := parsed(args[0])
	if err != nil {
		return nil, err
	}
	keys, err := elements(args[1])
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if found := key != nil && hasKey(value, text(key)); found != all && key != nil {
			return boolean(found)
		}
	}
	return boolean(all)
}

// contains is @>. An array contains a scalar among its elements, at the top
// only.
func contains(a, b any, top bool) bool {
	switch b := b.(type) {
	case map[string]any:
		object, ok := a.(map[string]any)
		if !ok {
			return false
		}
		for key, want := range b {
			have, ok := object[key]
			if !ok || !contains(have, want, false) {
				return false
			}
		}
		return true
	case []any:
		array, ok := a.([]any)
		return ok && !slices.ContainsFunc(b, func(want any) bool {
			return !slices.ContainsFunc(array, func(have any) bool { return contains(have, want, false) })
		})
	}
	if array, ok := a.([]any); ok && top {
		return slices.ContainsFunc(array, func(have any) bool { return elementKey(have) == elementKey(b) })
	}
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	return elementKey(a) == elementKey(b)
}

// concatJSON is ||: objects are merged, all else becomes one array.
func concatJSON(args []any) (any, error) {
	a, err := parsed(args[0])
	if err != nil {
		return nil, err
	}
	b, err := parsed(args[1])
	if err != nil {
		return nil, err
	}
	left, okLeft := a.(map[string]any)
	right, okRight := b.(map[string]any)
	if okLeft && okRight {
		for key, v := range right {
			left[key] = v
		}
		return asStored(left, nil)
	}
	return asStored(append(asList(a), asList(b)...), nil)
}

func asList(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

// deleteKey is jsonb - text and jsonb - integer.
func deleteKey(v, key any) (any, error) {
	value, err := parsed(v)
	if err != nil {
		return nil, err
	}
	switch value := value.(type) {
	case map[string]any:
		if _, ok := key.(int64); ok {
			return nil, fail(stateInvalidArgument, "cannot delete from object using integer index")
		}
		delete(value, text(key))
		return asStored(value, nil)
	case []any:
		if n, ok := key.(int64); ok {
			if n < 0 {
				n += int64(len(value))
			}
			if n >= 0 && n < int64(len(value)) {
				value = slices.Delete(value, int(n), int(n)+1)
			}
			return asStored(value, nil)
		}
		return asStored(slices.DeleteFunc(value, func(e any) bool { return e == any(text(key)) }), nil)
	}
	return nil, fail(stateInvalidArgument, "cannot delete from scalar")
}

func valueAndPath(args []any) (value any, path []string, err error) {
	if value, err = parsed(args[0]); err != nil {
		return nil, nil, err
	}
	steps, err := elements(args[1])
	if err != nil {
		return nil, nil, err
	}
	for _, s := range steps {
		if s == nil {
			return nil, nil, fail("22004", "a path element is null")
		}
		path = append(path, text(s))
	}
	return value, path, nil
}

// change walks along a path and lets fn say what stands at its end; found says
// whether something did, and keep whether something is to. With insert an
// array's element makes room for the new one.
func change(v any, path []string, fn func(old any, found bool) (next any, keep bool), insert bool) (any, error) {
	if len(path) == 0 {
		return v, nil
	}
	last := len(path) == 1
	switch v := v.(type) {
	case map[string]any:
		old, found := v[path[0]]
		if last {
			if next, keep := fn(old, found); keep {
				v[path[0]] = next
			} else {
				delete(v, path[0])
			}
			return v, nil
		}
		if !found {
			return v, nil
		}
		next, err := change(old, path[1:], fn, insert)
		v[path[0]] = next
		return v, err
	case []any:
		return changeList(v, path, fn, insert)
	}
	return v, nil
}

func changeList(v []any, path []string, fn func(any, bool) (any, bool), insert bool) (any, error) {
	n, err := strconv.ParseInt(path[0], 10, 32)
	if err != nil {
		return nil, fail(stateInvalidText, "a path element is not an integer, and the value there is an array")
	}
	if n < 0 {
		n += int64(len(v))
	}
	inside := n >= 0 && n < int64(len(v))
	if len(path) > 1 {
		if !inside {
			return v, nil
		}
		v[n], err = change(v[n], path[1:], fn, insert)
		return v, err
	}
	if inside && !insert {
		next, keep := fn(v[n], true)
		if !keep {
			return slices.Delete(v, int(n), int(n)+1), nil
		}
		v[n] = next
		return v, nil
	}
	next, keep := fn(nil, false)
	switch {
	case !keep:
		return v, nil
	case inside:
		return slices.Insert(v, int(n), next), nil
	case n < 0:
		return slices.Insert(v, 0, next), nil
	}
	return append(v, next), nil
}

// setJSON is jsonb_set(value, path, new, create) and jsonb_insert(value, path,
// new, after).
func setJSON(args []any, insert bool) (any, error) {
	value, path, err := valueAndPath(args)
	if err != nil {
		return nil, err
	}
	next, err := parsed(args[2])
	if err != nil {
		return nil, err
	}
	flag := !insert
	if len(args) > 3 {
		flag = integer(args[3]) != 0
	}
	if insert && flag { // after the element that the path names
		if n, err := strconv.ParseInt(path[len(path)-1], 10, 32); err == nil && n != -1 {
			path[len(path)-1] = strconv.FormatInt(n+1, 10)
		} else if err == nil {
			path[len(path)-1] = strconv.Itoa(1 << 30)
		}
	}
	exists := false
	out, err := change(value, path, func(old any, found bool) (any, bool) {
		if insert {
			exists = found
			return next, true
		}
		if !found && !flag {
			return old, false
		}
		return next, true
	}, insert)
	if exists {
		return nil, fail(stateInvalidArgument, "cannot replace existing key: use jsonb_set")
	}
	return asStored(out, err)
}

// stripped leaves out the members that are null.
func stripped(s string, t sqltype.Type) (any, error) {
	out, err := stripRaw(json.RawMessage(s))
	if err != nil {
		return nil, err
	}
	return t.Input(out)
}

func stripRaw(raw json.RawMessage) (string, error) {
	var parts []string
	switch kindOf(raw) {
	case "object":
		list, err := members(raw)
		if err != nil {
			return "", err
		}
		for _, m := range list {
			if kindOf(m.value) == "null" {
				continue
			}
			v, err := stripRaw(m.value)
			if err != nil {
				return "", err
			}
			parts = append(parts, quoted(m.key)+":"+v)
		}
		return "{" + strings.Join(parts, ",") + "}", nil
	case "array":
		list, err := items(raw)
		if err != nil {
			return "", err
		}
		for _, e := range list {
			v, err := stripRaw(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, v)
		}
		return "[" + strings.Join(parts, ",") + "]", nil
	}
	return strings.TrimSpace(string(raw)), nil
}

// pretty is jsonb_pretty: four blanks a level, and nothing between the
// brackets of what is empty.
func pretty(s string) string {
	var b strings.Builder
	depth, inText := 0, false
	line := func() { b.WriteString("\n" + strings.Repeat("    ", depth)) }
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case inText:
			b.WriteByte(c)
			if c == '\\' && i+1 < len(s) {
				i++
				b.WriteByte(s[i])
			} else if c == '"' {
				inText = false
			}
		case c == '"':
			inText = true
			b.WriteByte(c)
		case c == '{' || c == '[':
			b.WriteByte(c)
			depth++
			line()
			if i+1 < len(s) && (s[i+1] == '}' || s[i+1] == ']') {
				// PostgreSQL breaks the line of an empty one, too.
				continue
			}
		case c == '}' || c == ']':
			depth--
			if i > 0 && (s[i-1] == '{' || s[i-1] == '[') {
				trimmed := strings.TrimRight(b.String(), " \n")
				b.Reset()
				b.WriteString(trimmed)
			}
			line()
			b.WriteByte(c)
		case c == ',':
			b.WriteByte(c)
			line()
			if i+1 < len(s) && s[i+1] == ' ' {
				i++
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
