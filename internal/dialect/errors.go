package dialect

import (
	"errors"
	"unicode/utf8"

	"kimberlite/internal/fault"
)

const op = "sql"

// The SQLSTATEs that this package raises.
const (
	stateSyntax        = "42601"
	stateUnsupported   = "0A000"
	stateEncoding      = "22021"
	stateTooComplex    = "54001"
	stateNoColumn      = "42703"
	stateNoTable       = "42P01"
	stateNoFunction    = "42883"
	stateNoObject      = "42704"
	stateAmbiguous     = "42702"
	stateAmbiguousCall = "42725"
	stateMismatch      = "42804"
	stateGrouping      = "42803"
	stateWindowing     = "42P20"
	stateNoParameter   = "42P02"
	stateInconsistent  = "42P08"
	stateDuplicate     = "42701"
	stateAliasTwice    = "42712"
	stateColumnRef     = "42P10"
	stateCannotCast    = "42846"
	stateGenerated     = "428C9"
	stateObjectKind    = "42809"
	stateBadDefinition = "42P16"
	stateBadFK         = "42830"
	stateBadText       = "22P02"
	stateDivision      = "22012"
	stateNoSchema      = "3F000"
	stateBadParameter  = "22023"
	stateNoStatement   = "26000"
)

// kindOf is the kind of a SQLSTATE of this package.
func kindOf(state string) fault.Kind {
	switch state {
	case stateUnsupported:
		return fault.Unsupported
	case stateTooComplex:
		return fault.TooLarge
	}
	return fault.SQL
}

// failAt makes an error about what stands at a byte of the text.
func failAt(text string, at int, state, format string, args ...any) error {
	at = max(0, min(at, len(text)))
	return fault.New(op, kindOf(state), format, args...).WithState(state).
		WithPosition(utf8.RuneCountInString(text[:at]) + 1)
}

func tooComplex(text string, at int, format string, args ...any) error {
	return failAt(text, at, stateTooComplex, format, args...)
}

// placed gives an error that has none the place it is about, such as one that
// sqltype made for a literal.
func placed(err error, text string, at int) error {
	var e *fault.Error
	if errors.As(err, &e) && e.Position == 0 && e.File == "" {
		return e.WithPosition(utf8.RuneCountInString(text[:max(0, min(at, len(text)))]) + 1)
	}
	return err
}
