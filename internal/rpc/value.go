package rpc

import (
	"database/sql"
	"maps"
	"slices"
	"unicode/utf8"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// toValue makes a message of a value as SQLite stores it.
func toValue(v any) *v1.Value {
	switch v := v.(type) {
	case int64:
		return &v1.Value{Kind: &v1.Value_Integer{Integer: v}}
	case float64:
		return &v1.Value{Kind: &v1.Value_Real{Real: v}}
	case string:
		if !utf8.ValidString(v) {
			return &v1.Value{Kind: &v1.Value_RawText{RawText: []byte(v)}}
		}
		return &v1.Value{Kind: &v1.Value_Text{Text: v}}
	case []byte:
		if v == nil {
			v = []byte{}
		}
		return &v1.Value{Kind: &v1.Value_Blob{Blob: v}}
	}
	return &v1.Value{}
}

// fromValue makes an argument of a message.
func fromValue(v *v1.Value) any {
	switch k := v.GetKind().(type) {
	case *v1.Value_Integer:
		return k.Integer
	case *v1.Value_Real:
		return k.Real
	case *v1.Value_Text:
		return k.Text
	case *v1.Value_Blob:
		if k.Blob == nil {
			return []byte{}
		}
		return k.Blob
	case *v1.Value_RawText:
		return string(k.RawText)
	case *v1.Value_Boolean:
		return k.Boolean
	}
	return nil
}

func fromRow(values []*v1.Value) []any {
	row := make([]any, len(values))
	for i, v := range values {
		row[i] = fromValue(v)
	}
	return row
}

// arguments puts positional and named arguments together.
func arguments(args []*v1.Value, named map[string]*v1.Value) []any {
	all := fromRow(args)
	for _, name := range slices.Sorted(maps.Keys(named)) {
		all = append(all, sql.Named(name, fromValue(named[name])))
	}
	return all
}

// toRow makes a message of a row, and says about how long it is.
func toRow(values []any) (row *v1.Row, size int) {
	row = &v1.Row{Values: make([]*v1.Value, len(values))}
	for i, v := range values {
		row.Values[i] = toValue(v)
		size += sizeOf(v)
	}
	return row, size
}

// sizeOf is about how long a value is in a message.
func sizeOf(v any) int {
	const frame = 12
	switch v := v.(type) {
	case string:
		return frame + len(v)
	case []byte:
		return frame + len(v)
	}
	return frame
}

func toColumns(names, types []string) []*v1.Column {
	columns := make([]*v1.Column, len(names))
	for i, name := range names {
		columns[i] = &v1.Column{Name: clean(name)}
		if i < len(types) {
			columns[i].Type = clean(types[i])
		}
	}
	return columns
}

func toResult(r record.Result) *v1.Result {
	return &v1.Result{RowsAffected: r.RowsAffected, LastInsertId: r.LastInsertID}
}

// bounded reads a number of a request that has a default and a ceiling.
func bounded(name string, n, byDefault, most int32) (int, error) {
	switch {
	case n == 0:
		return int(byDefault), nil
	case n < 0 || n > most:
		return 0, fault.New("rpc", fault.Invalid, "%s is %d: want 1 to %d, or 0 for %d", name, n, most, byDefault)
	}
	return int(n), nil
}
