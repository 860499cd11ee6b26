package pgcatalog

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// intArray writes the stored form of an array of numbers.
func intArray(list []int) string {
	b := []byte{'['}
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(append(b, ']'))
}

// textArray writes the stored form of an array of texts.
func textArray(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	b, err := json.Marshal(list)
	if err != nil {
		return "[]" // texts marshal
	}
	return string(b)
}

// vector writes an int2vector or an oidvector.
func vector(list []int) string {
	var b []byte
	for i, n := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}

// lookupKey returns the form in which values are compared that may be equal to
// SQLite: '16384' finds 16384, since a client's literal may be a text.
func lookupKey(v any) (any, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		if n := int64(v); float64(n) == v {
			return n, true
		}
		return nil, false
	case string:
		if len(v) > 0 && len(v) < 19 && (v[0] == '-' || v[0] >= '0' && v[0] <= '9') {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n, true
			}
		}
		return v, true
	}
	return nil, false
}

// asInt reads an argument as a number: an OID or a place. Numbers come as
// texts when a client sent a literal.
func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			return 0, false
		}
		return int64(v), true
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// asOID reads an argument as an OID; 0 is none.
func asOID(v any) uint32 {
	n, ok := asInt(v)
	if !ok || n < 0 || n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

// asText reads an argument as a text.
func asText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	}
	return "", false
}

// asBool reads an argument as a truth value.
func asBool(v any) bool {
	switch v := v.(type) {
	case int64:
		return v != 0
	case string:
		return strings.HasPrefix("true", strings.ToLower(v)) && v != "" || v == "1" || strings.EqualFold(v, "on") || strings.EqualFold(v, "yes")
	}
	return false
}
