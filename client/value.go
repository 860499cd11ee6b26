package client

import (
	"database/sql"
	"database/sql/driver"
	"reflect"
	"time"
	"unicode/utf8"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
)

// fromValue returns a value: nil, int64, float64, string or []byte.
func fromValue(v *v1.Value) any {
	switch k := v.GetKind().(type) {
	case *v1.Value_Integer:
		return k.Integer
	case *v1.Value_Real:
		return k.Real
	case *v1.Value_Text:
		return k.Text
	case *v1.Value_Blob:
		return append([]byte{}, k.Blob...)
	case *v1.Value_RawText:
		return string(k.RawText)
	case *v1.Value_Boolean:
		if k.Boolean {
			return int64(1)
		}
		return int64(0)
	}
	return nil
}

func fromRow(row *v1.Row) []any {
	values := make([]any, len(row.GetValues()))
	for i, v := range row.GetValues() {
		values[i] = fromValue(v)
	}
	return values
}

// toArguments tells positional from named arguments.
func toArguments(args []any) (places []*v1.Value, named map[string]*v1.Value, err error) {
	for i, arg := range args {
		if n, ok := arg.(sql.NamedArg); ok {
			v, err := toValue(n.Value)
			if err != nil {
				return nil, nil, errArgument(i, err)
			}
			if named == nil {
				named = map[string]*v1.Value{}
			}
			named[n.Name] = v
			continue
		}
		v, err := toValue(arg)
		if err != nil {
			return nil, nil, errArgument(i, err)
		}
		places = append(places, v)
	}
	return places, named, nil
}

func errArgument(i int, err error) error {
	return fault.Wrap("bind", fault.Invalid, err, "argument %d", i+1)
}

// toValue makes a message of an argument.
func toValue(arg any) (*v1.Value, error) {
	if valuer, ok := arg.(driver.Valuer); ok {
		if p := reflect.ValueOf(arg); p.Kind() == reflect.Pointer && p.IsNil() {
			return &v1.Value{}, nil
		}
		v, err := valuer.Value()
		if err != nil {
			return nil, err
		}
		arg = v
	}
	switch v := arg.(type) {
	case nil:
		return &v1.Value{}, nil
	case string:
		if !utf8.ValidString(v) {
			return &v1.Value{Kind: &v1.Value_RawText{RawText: []byte(v)}}, nil
		}
		return &v1.Value{Kind: &v1.Value_Text{Text: v}}, nil
	case []byte:
		if v == nil {
			return &v1.Value{}, nil
		}
		return &v1.Value{Kind: &v1.Value_Blob{Blob: v}}, nil
	case time.Time:
		return &v1.Value{Kind: &v1.Value_Text{Text: v.UTC().Format(time.RFC3339Nano)}}, nil
	}
	return byReflection(reflect.ValueOf(arg))
}

func byReflection(v reflect.Value) (*v1.Value, error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return &v1.Value{}, nil
		}
		return toValue(v.Elem().Interface())
	case reflect.Bool:
		return &v1.Value{Kind: &v1.Value_Boolean{Boolean: v.Bool()}}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &v1.Value{Kind: &v1.Value_Integer{Integer: v.Int()}}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n := v.Uint(); n <= 1<<63-1 {
			return &v1.Value{Kind: &v1.Value_Integer{Integer: int64(n)}}, nil
		}
		return nil, fault.New("", fault.Invalid, "the number is over 9223372036854775807")
	case reflect.Float32, reflect.Float64:
		return &v1.Value{Kind: &v1.Value_Real{Real: v.Float()}}, nil
	case reflect.String:
		return toValue(v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return toValue(v.Bytes())
		}
	}
	return nil, fault.New("", fault.Invalid, "a %s is no value of SQL", v.Type())
}
