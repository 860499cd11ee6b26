package sqltype

import "kimberlite/internal/fault"

// SQLSTATEs of values that do not fit.
const (
	stateInvalidText     = "22P02"
	stateInvalidBinary   = "22P03"
	stateOutOfRange      = "22003"
	stateTooLong         = "22001"
	stateInvalidDatetime = "22007"
	stateDatetimeField   = "22008"
	stateEncoding        = "22021"
	stateNotSupported    = "0A000"
	stateCannotCast      = "42846"
	stateWrongType       = "42804"
	stateUntranslatable  = "22P05"
)

func fail(state, format string, args ...any) error {
	kind := fault.Invalid
	switch state {
	case stateNotSupported:
		kind = fault.Unsupported
	case stateTooLong, stateOutOfRange:
		kind = fault.Constraint
	}
	return fault.New("value", kind, format, args...).WithState(state)
}

// invalidText is PostgreSQL's commonest refusal, without the value.
func (t Type) invalidText() error {
	return fail(stateInvalidText, "invalid input syntax for type %s", t.SQL())
}

func (t Type) invalidBinary() error {
	return fail(stateInvalidBinary, "incorrect binary data format for type %s", t.SQL())
}

func (t Type) outOfRange() error {
	return fail(stateOutOfRange, "value is out of range for type %s", t.SQL())
}
