package projection

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"

	"kimberlite/internal/record"
)

// rowJSON writes a row as a JSON object: blobs in base64, and the numbers that
// JSON does not know as text.
func rowJSON(columns []record.Column, values []record.Value) []byte {
	b := []byte{'{'}
	for i, v := range values {
		if i >= len(columns) {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONText(b, columns[i].Name), ':')
		b = appendJSONValue(b, v)
	}
	return append(b, '}')
}

func appendJSONValue(b []byte, v record.Value) []byte {
	switch v := v.(type) {
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return strconv.AppendQuote(b, strconv.FormatFloat(v, 'g', -1, 64))
		}
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	case string:
		return appendJSONText(b, v)
	case []byte:
		return appendJSONText(b, base64.StdEncoding.EncodeToString(v))
	}
	return append(b, "null"...)
}

func appendJSONText(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...) // a string always has a JSON form
	}
	return append(b, quoted...)
}

// columnsJSON lists columns as a JSON array of their names.
func columnsJSON(columns []record.Column) []byte {
	b := []byte{'['}
	for i, c := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONText(b, c.Name)
	}
	return append(b, ']')
}
