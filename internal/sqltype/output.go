package sqltype

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
)

// AppendText appends PostgreSQL's text form of a stored value. A value of
// another form, as a column without enforcement can hold, is written as it is.
// nil appends nothing: NULL has no text.
func (t Type) AppendText(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return dst, nil
	case int64:
		return t.appendInteger(dst, v), nil
	case float64:
		return t.appendNumber(dst, v), nil
	case string:
		return t.appendString(dst, v)
	case []byte:
		if t.OID != Bytea.OID && t.Category() == 'S' {
			return append(dst, v...), nil
		}
		dst = append(dst, `\x`...)
		return hex.AppendEncode(dst, v), nil
	}
	return nil, t.wrongStored(v)
}

func (t Type) appendInteger(dst []byte, n int64) []byte {
	switch t.OID {
	case Bool.OID:
		if n != 0 {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case Numeric.OID:
		return t.appendNumeric(dst, n)
	case Float8.OID:
		return appendFloat(dst, float64(n), 64)
	case Float4.OID:
		return appendFloat(dst, float64(n), 32)
	}
	return strconv.AppendInt(dst, n, 10)
}

func (t Type) appendNumber(dst []byte, f float64) []byte {
	switch t.OID {
	case Numeric.OID:
		return t.appendNumeric(dst, f)
	case Float4.OID:
		return appendFloat(dst, f, 32)
	}
	return appendFloat(dst, f, 64)
}

// appendNumeric writes a number without exponent, with the digits that the
// type's scale asks for.
func (t Type) appendNumeric(dst []byte, v any) []byte {
	d, ok := decimalOf(v)
	if !ok {
		f, _ := v.(float64)
		return appendFloat(dst, f, 64)
	}
	_, scale, limited := t.Precision()
	if limited {
		d.round(scale)
	}
	return d.appendFixed(dst, scale)
}

// appendFloat writes the shortest digits that read back the same, with an
// exponent where PostgreSQL uses one.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case f == 0:
		if math.Signbit(f) {
			return append(dst, "-0"...)
		}
		return append(dst, '0')
	}
	high := 1e15
	if bits == 32 {
		high = 1e6
	}
	if a := math.Abs(f); a >= 1e-4 && a < high {
		return strconv.AppendFloat(dst, f, 'f', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'e', -1, bits)
}

func (t Type) appendString(dst []byte, s string) ([]byte, error) {
	switch t.OID {
	case BPChar.OID:
		dst = append(dst, s...)
		if n, ok := t.Length(); ok {
			for i := len([]rune(s)); i < n; i++ {
				dst = append(dst, ' ')
			}
		}
		return dst, nil
	case Time.OID:
		return append(dst, withoutZeros(s)...), nil
	case Timestamp.OID:
		return append(dst, withoutZeros(s)...), nil
	case Timestamptz.OID:
		return appendTimestamptz(dst, s), nil
	}
	if e, ok := t.Element(); ok {
		return t.appendArray(dst, e, s)
	}
	return append(dst, s...), nil
}

// withoutZeros takes the zeros off the end of a stored time's fraction.
func withoutZeros(s string) string {
	at := strings.LastIndexByte(s, '.')
	if at < 0 || len(s)-at != 7 {
		return s
	}
	s = strings.TrimRight(s, "0")
	return strings.TrimSuffix(s, ".")
}

// appendTimestamptz writes a stored time with the zone UTC.
func appendTimestamptz(dst []byte, s string) []byte {
	body, ok := strings.CutSuffix(s, "Z")
	if !ok {
		v, err := Timestamptz.Input(s) // of a function of SQLite, perhaps
		if err != nil {
			return append(dst, s...)
		}
		body = strings.TrimSuffix(v.(string), "Z") //nolint:forcetypeassert // what Input makes
	}
	dst = append(dst, withoutZeros(body)...)
	return append(dst, "+00"...)
}

// FormatTime returns the stored form of a moment in a date, time, timestamp or
// timestamptz, rounded to microseconds. Years beyond 9999 are refused.
func (t Type) FormatTime(at time.Time) (any, error) {
	at = at.UTC().Round(time.Microsecond)
	if t.OID == Time.OID {
		return at.Format(layoutTime), nil
	}
	return t.formatInstant(at)
}

// ParseTime reads the stored form of a date, time, timestamp or timestamptz
// back. It takes other texts that Input takes, too.
func (t Type) ParseTime(v any) (time.Time, error) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, t.wrongStored(v)
	}
	if at, ok := t.stored(s); ok {
		return at, nil
	}
	canonical, err := t.Input(s)
	if err != nil {
		return time.Time{}, err
	}
	at, ok := t.stored(canonical.(string)) //nolint:forcetypeassert // what Input makes
	if !ok {
		return time.Time{}, t.invalidDatetime()
	}
	return at, nil
}

// stored reads exactly the stored form.
func (t Type) stored(s string) (time.Time, bool) {
	layout := layoutTimestamp
	switch t.OID {
	case Date.OID:
		layout = layoutDate
	case Time.OID:
		layout = layoutTime
		if s == formatClock(24*time.Hour) {
			return time.Time{}.Add(24*time.Hour).AddDate(-1, 0, 0).AddDate(1, 0, 0), true
		}
	case Timestamptz.OID:
		layout = layoutTimestamptz
	}
	if len(s) != len(layout) {
		return time.Time{}, false
	}
	at, err := time.Parse(layout, s)
	if err != nil || at.Year() < 1 && t.OID != Time.OID {
		return time.Time{}, false
	}
	return at, true
}
