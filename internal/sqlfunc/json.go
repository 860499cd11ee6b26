package sqlfunc

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"kimberlite/internal/sqltype"
)

// jsonFunctions read json and jsonb. Of json they keep the text of what they
// take out; what they give of jsonb is normalised.
func jsonFunctions() []Function {
	var list []Function
	for _, t := range []sqltype.Type{sqltype.JSON, sqltype.JSONB} {
		prefix := "pg_" + t.Name() + "_"
		list = append(list,
			strict(prefix+"get", 2, func(args []any) (any, error) { return asJSON(t)(member(args[0], args[1])) }),
			strict(prefix+"get_text", 2, func(args []any) (any, error) { return asText(member(args[0], args[1])) }),
			strict(prefix+"path", 2, func(args []any) (any, error) { return asJSON(t)(follow(args[0], args[1])) }),
			strict(prefix+"path_text", 2, func(args []any) (any, error) { return asText(follow(args[0], args[1])) }),
			strict(prefix+"extract_path", -1, func(args []any) (any, error) { return asJSON(t)(followKeys(args[0], args[1:])) }),
			strict(prefix+"extract_path_text", -1, func(args []any) (any, error) { return asText(followKeys(args[0], args[1:])) }),
			strict(prefix+"strip_nulls", 1, func(args []any) (any, error) { return stripped(text(args[0]), t) }),
		)
	}
	return append(list,
		strict("pg_json_array_length", 1, func(args []any) (any, error) {
			items, err := items(json.RawMessage(text(args[0])))
			if err != nil {
				return nil, err
			}
			return int64(len(items)), nil
		}),
		strict("pg_json_typeof", 1, func(args []any) (any, error) { return kindOf(json.RawMessage(text(args[0]))), nil }),
		loose("pg_to_json", 3, func(args []any) (any, error) {
			t, _ := sqltype.Lookup(uint32(integer(args[1])))
			return toJSON(args[0], t.WithMod(int32(integer(args[2]))))
		}),
		loose("pg_json_object", -1, func(args []any) (any, error) {
			var b strings.Builder
			b.WriteByte('{')
			for i := 0; i+1 < len(args); i += 2 {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(quoted(text(args[i])) + ":" + orNull(args[i+1]))
			}
			return made(b.String() + "}")
		}),
		strict("pg_json_elements", 1, func(args []any) (any, error) { return elementTexts(text(args[0]), false) }),
		strict("pg_json_elements_text", 1, func(args []any) (any, error) { return elementTexts(text(args[0]), true) }),
		strict("pg_json_keys", 1, func(args []any) (any, error) {
			members, err := members(json.RawMessage(text(args[0])))
			if err != nil {
				return nil, err
			}
			keys := make([]any, len(members))
			for i, m := range members {
				keys[i] = m.key
			}
			return arrayText(keys)
		}),
		strict("pg_json_pairs", 2, pairs),
	)
}

func quoted(s string) string {
	q, _ := marshal(s) // every text has one
	return q
}

func orNull(v any) string {
	if v == nil {
		return "null"
	}
	return text(v)
}

// kindOf is what json_typeof calls a value.
func kindOf(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// jsonMember is a key of an object with its value.
type jsonMember struct {
	key   string
	value json.RawMessage
}

// members reads an object in its order; a key may come twice in json.
func members(raw json.RawMessage) ([]jsonMember, error) {
	if kind := kindOf(raw); kind != "object" {
		return nil, fail(stateInvalidArgument, "the JSON value is not an object but of kind %s", kind)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return nil, notJSON()
	}
	var list []jsonMember
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, notJSON()
		}
		m := jsonMember{}
		m.key, _ = key.(string) // keys are strings
		if err := decoder.Decode(&m.value); err != nil {
			return nil, notJSON()
		}
		list = append(list, m)
	}
	return list, nil
}

func notJSON() error { return fail(stateInvalidText, "invalid input syntax for type json") }

func items(raw json.RawMessage) ([]json.RawMessage, error) {
	if kind := kindOf(raw); kind != "array" {
		return nil, fail(stateInvalidArgument, "the JSON value is not an array but of kind %s", kind)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, notJSON()
	}
	return list, nil
}

// member is ->: by a key of an object, or by an index of an array.
func member(v, key any) (json.RawMessage, error) {
	raw := json.RawMessage(text(v))
	if n, ok := key.(int64); ok {
		if kindOf(raw) != "array" {
			return nil, nil
		}
		return itemAt(raw, n)
	}
	if kindOf(raw) != "object" {
		return nil, nil
	}
	return memberOf(raw, text(key))
}

func memberOf(raw json.RawMessage, key string) (json.RawMessage, error) {
	list, err := members(raw)
	if err != nil {
		return nil, err
	}
	for i := len(list) - 1; i >= 0; i-- { // the last of a key counts
		if list[i].key == key {
			return list[i].value, nil
		}
	}
	return nil, nil
}

func itemAt(raw json.RawMessage, n int64) (json.RawMessage, error) {
	list, err := items(raw)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n += int64(len(list))
	}
	if n < 0 || n >= int64(len(list)) {
		return nil, nil
	}
	return list[n], nil
}

// follow is #>: path is an array of texts.
func follow(v, path any) (json.RawMessage, error) {
	steps, err := elements(path)
	if err != nil {
		return nil, err
	}
	return followKeys(v, steps)
}

func followKeys(v any, steps []any) (json.RawMessage, error) {
	raw := json.RawMessage(text(v))
	for _, step := range steps {
		if step == nil || raw == nil {
			return nil, nil
		}
		var err error
		switch kindOf(raw) {
		case "object":
			raw, err = memberOf(raw, text(step))
		case "array":
			if n, ok := index(text(step)); ok {
				raw, err = itemAt(raw, n)
			} else {
				raw = nil // an array has no member of a name
			}
		default:
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// index reads an array's index.
func index(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// asJSON returns what was taken out as a value of a type.
func asJSON(t sqltype.Type) func(json.RawMessage, error) (any, error) {
	return func(raw json.RawMessage, err error) (any, error) {
		if err != nil || raw == nil {
			return nil, err
		}
		if t.OID == sqltype.JSON.OID {
			return string(bytes.TrimSpace(raw)), nil
		}
		return t.Input(string(raw))
	}
}

// asText returns a string without its quotes, and null as NULL.
func asText(raw json.RawMessage, err error) (any, error) {
	if err != nil || raw == nil {
		return nil, err
	}
	switch kindOf(raw) {
	case "null":
		return nil, nil //nolint:nilnil // NULL
	case "string":
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, notJSON()
		}
		return s, nil
	}
	return string(bytes.TrimSpace(raw)), nil
}

// toJSON writes a stored value of a type as JSON.
func toJSON(v any, t sqltype.Type) (any, error) {
	if element, ok := t.Element(); ok && v != nil {
		list, err := elements(v)
		if err != nil {
			return nil, err
		}
		parts := make([]string, len(list))
		for i, e := range list {
			part, err := toJSON(stored(e, element), element)
			if err != nil {
				return nil, err
			}
			parts[i] = text(part)
		}
		return made("[" + strings.Join(parts, ",") + "]")
	}
	switch {
	case v == nil:
		return "null", nil
	case t.OID == sqltype.Bool.OID:
		return map[bool]string{true: "true", false: "false"}[integer(v) != 0], nil
	case t.OID == sqltype.JSON.OID, t.OID == sqltype.JSONB.OID:
		return text(v), nil
	case t.OID == sqltype.Timestamp.OID, t.OID == sqltype.Timestamptz.OID:
		b, err := t.AppendText(nil, v)
		s := strings.Replace(string(b), " ", "T", 1)
		if t.OID == sqltype.Timestamptz.OID {
			s += ":00" // +00:00
		}
		return quoted(s), err
	}
	b, err := sqltype.Text.AppendText(nil, v)
	if t.OID != 0 {
		b, err = t.AppendText(nil, v)
	}
	if err != nil {
		return nil, err
	}
	if _, isText := v.(string); !isText && (t.Category() == 'N' || t.OID == 0) && json.Valid(b) {
		return string(b), nil
	}
	return made(quoted(string(b)))
}

// elementTexts is an array's elements as an array of texts, each JSON or, with
// plain, as ->> gives it.
func elementTexts(s string, plain bool) (any, error) {
	list, err := items(json.RawMessage(s))
	if err != nil {
		return nil, err
	}
	out := make([]any, len(list))
	for i, raw := range list {
		if out[i], err = valueText(raw, plain); err != nil {
			return nil, err
		}
	}
	return arrayText(out)
}

func valueText(raw json.RawMessage, plain bool) (any, error) {
	if plain {
		return asText(raw, nil)
	}
	return string(bytes.TrimSpace(raw)), nil
}

// pairs is an object's members as an array of [key, value].
func pairs(args []any) (any, error) {
	list, err := members(json.RawMessage(text(args[0])))
	if err != nil {
		return nil, err
	}
	out := make([]any, len(list))
	for i, m := range list {
		v, err := valueText(m.value, integer(args[1]) != 0)
		if err != nil {
			return nil, err
		}
		out[i] = []any{m.key, v}
	}
	return arrayText(out)
}
