package sqlfunc

import (
	"bytes"
	"encoding/json"
	"strings"

	"kimberlite/internal/sqltype"
)

// castFunctions are pg_cast_T(value, OID of its type, modifier of T), with a
// modifier of the value's type 32 bits above its OID, and
// pg_assign_T, the conversion that storing into a column makes: it refuses
// what a cast would cut.
func castFunctions() []Function {
	var list []Function
	for _, t := range sqltype.All() {
		name := strings.TrimPrefix(t.Name(), "_")
		if _, ok := t.Element(); ok {
			name += "_array"
		}
		for prefix, explicit := range map[string]bool{"pg_cast_": true, "pg_assign_": false} {
			list = append(list, strict(prefix+name, 3, func(args []any) (any, error) {
				source := integer(args[1])
				from, _ := sqltype.Lookup(uint32(source)) //nolint:gosec // the low half
				if mod := source >> 32; mod != 0 {
					from = from.WithMod(int32(mod)) //nolint:gosec // the high half
				}
				return convert(args[0], from, t.WithMod(int32(integer(args[2]))), explicit)
			}))
		}
	}
	return list
}

// convert converts a stored value of one type to one of another.
func convert(v any, from, to sqltype.Type, explicit bool) (any, error) {
	if v == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	if _, ok := to.Element(); ok {
		return convertArray(v, from, to, explicit)
	}
	switch {
	case to.Category() == 'S' || to.OID == sqltype.Unknown.OID:
		return convertToText(v, from, to, explicit)
	case isText(from):
		s, ok := v.(string)
		if !ok {
			return to.Cast(v)
		}
		return to.Input(s)
	case from.OID == sqltype.JSONB.OID && to.OID != sqltype.JSON.OID:
		return convertJSONB(text(v), to)
	case to.OID == sqltype.Bool.OID || from.OID == sqltype.Bool.OID:
		if to.OID == from.OID {
			return v, nil
		}
		return to.Cast(v)
	}
	return convertTime(v, from, to)
}

func isText(t sqltype.Type) bool {
	return t.Category() == 'S' || t.OID == 0 || t.OID == sqltype.Unknown.OID
}

func convertToText(v any, from, to sqltype.Type, explicit bool) (any, error) {
	var s string
	switch {
	case from.OID == sqltype.Bool.OID:
		s = map[bool]string{true: "true", false: "false"}[integer(v) != 0]
	case from.OID == sqltype.BPChar.OID || isText(from) && from.OID != sqltype.Unknown.OID && from.OID != 0:
		s = text(v)
	case from.OID == 0 || from.OID == sqltype.Unknown.OID:
		converted, err := sqltype.Text.Cast(v)
		if err != nil {
			return nil, err
		}
		s = text(converted)
	default:
		b, err := from.AppendText(nil, v)
		if err != nil {
			return nil, err
		}
		s = string(b)
	}
	if explicit {
		return to.Cast(s)
	}
	return to.Input(s)
}

// convertJSONB makes a number or boolean of a jsonb value.
func convertJSONB(s string, to sqltype.Type) (any, error) {
	s = strings.TrimSpace(s)
	isBool := s == "true" || s == "false"
	if (to.OID == sqltype.Bool.OID) != isBool || s == "null" || strings.HasPrefix(s, `"`) || strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") {
		return nil, fail(stateInvalidArgument, "the jsonb value cannot be cast to type %s", to.SQL())
	}
	if isBool {
		return to.Input(s)
	}
	number, err := sqltype.Numeric.Input(s)
	if err != nil {
		return nil, err
	}
	return to.Cast(number)
}

// convertTime converts between dates, times and intervals, and the rest as
// sqltype does.
func convertTime(v any, from, to sqltype.Type) (any, error) {
	switch {
	case from.OID == sqltype.Time.OID && to.OID == sqltype.Interval.OID:
		return to.Input(text(v))
	case from.OID == sqltype.Interval.OID && to.OID == sqltype.Time.OID:
		span, err := sqltype.ParseSpan(text(v))
		if err != nil {
			return nil, err
		}
		return timeOfDay(span.Micros), nil
	}
	if isMoment(from) && isMoment(to) && from.OID != sqltype.Time.OID {
		at, err := from.ParseTime(v)
		if err != nil {
			return nil, err
		}
		return to.FormatTime(at)
	}
	return to.Cast(v)
}

func isMoment(t sqltype.Type) bool {
	switch t.OID {
	case sqltype.Date.OID, sqltype.Time.OID, sqltype.Timestamp.OID, sqltype.Timestamptz.OID:
		return true
	}
	return false
}

// convertArray converts an array's elements, or reads an array's text.
func convertArray(v any, from, to sqltype.Type, explicit bool) (any, error) {
	element, _ := to.Element() // the caller looked
	fromElement, ok := from.Element()
	if !ok {
		if isText(from) {
			return to.Input(text(v))
		}
		return to.Cast(v)
	}
	list, err := elements(v)
	if err != nil {
		return nil, err
	}
	element = element.WithMod(to.Mod)
	for i, e := range list {
		if e == nil {
			continue
		}
		converted, err := convert(stored(e, fromElement), fromElement, element, explicit)
		if err != nil {
			return nil, err
		}
		list[i] = arrayElement(converted, element.OID)
	}
	return arrayText(list)
}

// elements reads an array: nil, json.Number, string or bool.
func elements(v any) ([]any, error) {
	if strings.Count(text(v), ",") > maxElements {
		return nil, tooManyElements()
	}
	decoder := json.NewDecoder(strings.NewReader(text(v)))
	decoder.UseNumber()
	var list []any
	if err := decoder.Decode(&list); err != nil {
		return nil, fail(stateInvalidText, "the value is no array")
	}
	return list, nil
}

// stored returns an element of an array as a value of its type by itself.
func stored(e any, t sqltype.Type) any {
	switch e := e.(type) {
	case bool:
		v, _ := boolean(e) // cannot fail
		return v
	case json.Number:
		if n, err := e.Int64(); err == nil {
			return n
		}
		f, _ := e.Float64() // a number that JSON reads
		return f
	case string:
		if t.OID == sqltype.Bytea.OID {
			if v, err := t.Input(e); err == nil {
				return v
			}
		}
		return e
	case nil:
		return nil
	}
	s, _ := marshal(e) // came out of JSON
	return s
}

// arrayElement returns a value as an array holds it.
func arrayElement(v any, oid uint32) any {
	switch {
	case v == nil:
		return nil
	case oid == sqltype.Bool.OID:
		return integer(v) != 0
	case oid == sqltype.Bytea.OID:
		b, err := sqltype.Bytea.AppendText(nil, v)
		if err != nil {
			return nil
		}
		return string(b)
	}
	return v
}

// arrayText writes an array.
func arrayText(list []any) (any, error) {
	if list == nil {
		return "[]", nil
	}
	s, err := marshal(list)
	if err != nil {
		return nil, fail(stateOutOfRange, "an element cannot stand in an array")
	}
	return made(s)
}

// marshal writes JSON without escaping what only HTML needs escaped.
func marshal(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
