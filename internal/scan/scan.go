// Package scan stores values of SQLite in variables of Go.
//
// It guarantees that a value is converted only where nothing of it is lost.
// It is pure and must not know where the values come from. The embedded API
// and the client's rows use it.
package scan

import (
	"database/sql"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
)

// Assign stores a value of SQLite (nil, int64, float64, string, []byte) in
// what dest points to. It converts where nothing is lost and refuses the rest.
func Assign(dest, v any) error {
	if p := reflect.ValueOf(dest); p.Kind() == reflect.Pointer && p.IsNil() {
		return errPlace(dest)
	}
	switch d := dest.(type) {
	case *any:
		*d = v
		return nil
	case sql.Scanner:
		return d.Scan(v)
	case *[]byte:
		return assignBytes(d, v)
	case *time.Time:
		return assignTime(d, v)
	}
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return errPlace(dest)
	}
	return assignValue(p.Elem(), v)
}

func errPlace(dest any) error {
	return fmt.Errorf("the place must be a pointer that is not nil, not %T", dest)
}

func assignValue(to reflect.Value, v any) error {
	if to.Kind() == reflect.Pointer {
		if v == nil {
			to.SetZero()
			return nil
		}
		fresh := reflect.New(to.Type().Elem())
		if err := Assign(fresh.Interface(), v); err != nil {
			return err
		}
		to.Set(fresh)
		return nil
	}
	if v == nil {
		return fmt.Errorf("NULL does not fit into %s: use a pointer to it", to.Type())
	}
	switch to.Kind() {
	case reflect.String:
		return assignString(to, v)
	case reflect.Bool:
		return assignBool(to, v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := toInt(v)
		if err != nil || to.OverflowInt(n) {
			return fmt.Errorf("the value does not fit into %s", to.Type())
		}
		to.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := toInt(v)
		if err != nil || n < 0 || to.OverflowUint(uint64(n)) {
			return fmt.Errorf("the value does not fit into %s", to.Type())
		}
		to.SetUint(uint64(n))
	case reflect.Float32, reflect.Float64:
		f, err := toFloat(v)
		if err != nil {
			return err
		}
		to.SetFloat(f)
	default:
		return fmt.Errorf("a value cannot be stored in %s", to.Type())
	}
	return nil
}

func assignString(to reflect.Value, v any) error {
	switch v := v.(type) {
	case string:
		to.SetString(v)
	case []byte:
		to.SetString(string(v))
	case int64:
		to.SetString(strconv.FormatInt(v, 10))
	case float64:
		to.SetString(strconv.FormatFloat(v, 'g', -1, 64))
	}
	return nil
}

func assignBool(to reflect.Value, v any) error {
	n, err := toInt(v)
	if err != nil || n < 0 || n > 1 {
		return fmt.Errorf("the value is neither true nor false")
	}
	to.SetBool(n == 1)
	return nil
}

func assignBytes(to *[]byte, v any) error {
	switch v := v.(type) {
	case nil:
		*to = nil
	case []byte:
		*to = append([]byte{}, v...)
	case string:
		*to = []byte(v)
	default:
		return fmt.Errorf("a number does not fit into []byte")
	}
	return nil
}

// timeForms are the texts that SQLite and Go write times as.
var timeForms = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02",
}

func assignTime(to *time.Time, v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("a time is kept as text, this value is not text")
	}
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			*to = t
			return nil
		}
	}
	return fmt.Errorf("the text is not a time")
}

func toInt(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), nil
		}
	case string:
		return strconv.ParseInt(v, 10, 64)
	}
	return 0, fmt.Errorf("the value is not a whole number")
}

func toFloat(v any) (float64, error) {
	switch v := v.(type) {
	case float64:
		return v, nil
	case int64:
		return float64(v), nil
	case string:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return 0, fmt.Errorf("the text is not a number")
		}
		return f, nil
	}
	return 0, fmt.Errorf("the value is not a number")
}
