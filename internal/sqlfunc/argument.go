package sqlfunc

import (
	"math"
	"strconv"
	"unicode/utf8"

	"kimberlite/internal/fault"
)

// SQLSTATEs of what functions refuse.
const (
	stateDivisionByZero  = "22012"
	stateOutOfRange      = "22003"
	stateInvalidArgument = "22023"
	stateInvalidText     = "22P02"
	stateInvalidRegexp   = "2201B"
	stateInvalidLog      = "2201E"
	stateInvalidPower    = "2201F"
	stateInvalidLimit    = "2201W"
	stateInvalidOffset   = "2201X"
	stateInvalidEscape   = "22025"
	stateInvalidDatetime = "22007"
	stateDatetimeField   = "22008"
	stateNotUTF8         = "22021"
	stateCannotCast      = "42846"
	stateSubstring       = "22011"
	stateNotSupported    = "0A000"
	stateTooMuch         = "54000"
	stateSubscript       = "2202E"
)

func fail(state, format string, args ...any) error {
	kind := fault.Invalid
	switch state {
	case stateNotSupported:
		kind = fault.Unsupported
	case stateOutOfRange, stateDivisionByZero:
		kind = fault.Constraint
	case stateTooMuch:
		kind = fault.TooLarge
	}
	return fault.New("function", kind, format, args...).WithState(state)
}

// maxText bounds what a function makes, in bytes: SQLite's own limit on values
// comes later, when the memory is taken already.
const maxText = 32 << 20

func tooLong() error {
	return fail(stateTooMuch, "the result of a function has more than %d bytes", maxText)
}

// text returns an argument as text.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return ""
}

// integer returns an argument as an integer, cut to its range.
func integer(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case float64:
		if v >= math.MaxInt64 {
			return math.MaxInt64
		}
		if v <= math.MinInt64 {
			return math.MinInt64
		}
		return int64(v)
	case string:
		n, _ := strconv.ParseInt(v, 10, 64) // the dialect lets integers through only
		return n
	}
	return 0
}

// float returns an argument as a floating point number.
func float(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	case string:
		f, _ := strconv.ParseFloat(v, 64) // as above
		return f
	}
	return 0
}

func boolean(b bool) (any, error) {
	if b {
		return int64(1), nil
	}
	return int64(0), nil
}

// blob returns an argument as bytes.
func blob(v any) []byte {
	if b, ok := v.([]byte); ok {
		return b
	}
	return []byte(text(v))
}

// made checks the size of a text that a function made, and that it is UTF-8.
func made(s string) (any, error) {
	if len(s) > maxText {
		return nil, tooLong()
	}
	if !utf8.ValidString(s) {
		return nil, fail(stateNotUTF8, "the result of a function is not UTF-8")
	}
	return s, nil
}
